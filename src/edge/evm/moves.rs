//! A payer's word that its money moves, once: an authorization that pays, or one that fills a channel.
//! Its own nonce is the evidence, so that it may be handed in as often as one likes.

use alloy::primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolCall, SolStruct, SolValue};

use crate::domain::channel::ChannelId;
use crate::domain::commitment::AuthorizationKey;
use crate::domain::money::Amount;
use crate::domain::x402::batch::funding::{ReceiveWithAuthorization, deposit_nonce};
use crate::domain::x402::batch::typed::{BATCH_SETTLEMENT, ERC3009_COLLECTOR, config_of, id_of};
use crate::ports::channel_rail::SignedDeposit;
use crate::ports::rail::{Authorization, RailError, RefusedBy, Settlement};

use super::abi;
use super::contracts::{BatchSettlement, erc3009_collector_data};
use super::judge::{Verdict, judge};
use super::node::Trouble;
use super::read::{self, Sought, Trace};
use super::sender::{Call, Outcome, Sender, is_revert};

/// One move of money.
#[derive(Clone, Debug)]
pub(super) struct Move {
    /// Its nonce, and where its money has to go.
    pub(super) sought: Sought,
    pub(super) amount: Amount,
    /// Exclusive, as all times of EIP-3009.
    pub(super) valid_after_s: u64,
    /// Exclusive.
    pub(super) valid_before_s: u64,
    /// Hands it in.
    pub(super) call: Call,
    /// What was signed, without its domain.
    content: B256,
    signature: Signature,
}

impl Move {
    /// Who signed it, for a token with this domain.
    pub(super) fn find_signer(&self, domain_separator: B256) -> Option<Address> {
        let digest = keccak256(("\x19\x01", domain_separator, self.content).abi_encode_packed());
        self.signature.recover_address_from_prehash(&digest).ok()
    }
}

impl From<&Authorization> for Move {
    fn from(authorization: &Authorization) -> Self {
        let Authorization { commitment, signature } = authorization;
        let sought = Sought { key: commitment.key(), to: commitment.pay_to, channel: None };
        let call = Call {
            name: name_of(&sought.key),
            to: commitment.asset.contract,
            input: abi::settle_call(authorization),
        };
        Self {
            sought,
            amount: commitment.amount_max,
            valid_after_s: commitment.valid_after_s,
            valid_before_s: commitment.valid_before_s,
            call,
            content: abi::content(commitment),
            signature: *signature,
        }
    }
}

impl From<&SignedDeposit> for Move {
    fn from(deposit: &SignedDeposit) -> Self {
        let SignedDeposit { terms, amount, valid_before_s, salt, signature } = deposit;
        let channel = id_of(terms);
        let salt = U256::from_be_bytes(salt.0);
        let nonce = deposit_nonce(channel.0, salt);
        let key = AuthorizationKey { asset: terms.asset, payer: terms.payer, nonce };
        let sought = Sought { key, to: ERC3009_COLLECTOR, channel: Some(channel) };
        let valid_before = U256::from(*valid_before_s);
        let signed = Bytes::from(signature.as_bytes());
        let input = BatchSettlement::depositCall {
            config: (&config_of(terms)).into(),
            amount: amount.get(),
            collector: ERC3009_COLLECTOR,
            collectorData: erc3009_collector_data(U256::ZERO, valid_before, salt, &signed),
        };
        let content = ReceiveWithAuthorization {
            from: terms.payer,
            to: ERC3009_COLLECTOR,
            value: U256::from(amount.get()),
            validAfter: U256::ZERO,
            validBefore: valid_before,
            nonce,
        };
        let (name, input) = (name_of(&key), input.abi_encode().into());
        Self {
            sought,
            amount: *amount,
            valid_after_s: 0,
            valid_before_s: *valid_before_s,
            call: Call { name, to: BATCH_SETTLEMENT, input },
            content: content.eip712_hash_struct(),
            signature: *signature,
        }
    }
}

fn name_of(key: &AuthorizationKey) -> B256 {
    keccak256((key.asset.contract, key.payer, key.nonce).abi_encode())
}

impl Sender {
    /// Moves the money, or says why it does not move. An error means that nothing was sent.
    pub(super) async fn settle(&mut self, wanted: &Move) -> Result<Settlement, RailError> {
        if let Some(outcome) = self.resume(wanted.call.name).await {
            return Ok(self.conclude(wanted, outcome).await);
        }
        self.push_on().await?;
        let gas = match self.estimate(&wanted.call).await {
            Ok(gas) => gas,
            Err(refused @ Trouble::Refused(_)) => return self.explain(wanted, refused).await,
            Err(other) => return Err(other.on(self.node.network())),
        };
        let outcome = self.execute(wanted.call.clone(), gas).await?;
        Ok(self.conclude(wanted, outcome).await)
    }

    /// Why the node would not run it; nothing was sent.
    async fn explain(&self, wanted: &Move, refused: Trouble) -> Result<Settlement, RailError> {
        let network = self.node.network();
        let reverted = matches!(&refused, Trouble::Refused(error) if is_revert(error));
        let verdict = self.judge(wanted).await.map_err(|it| it.on(network))?;
        match verdict {
            Verdict::Settled(settled @ Settlement::Settled { transaction, .. }) => {
                Ok(match self.wait(&[transaction]).await {
                    Some(_) => settled,
                    None => Settlement::Unknown { transaction: Some(transaction) },
                })
            }
            Verdict::Settled(other) => Ok(other),
            Verdict::Untraced => Ok(Settlement::Unknown { transaction: None }),
            Verdict::Refused(RefusedBy::Reverted) if !reverted => Err(refused.on(network)),
            Verdict::Refused(reason) => Ok(Settlement::Refused(reason)),
        }
    }

    async fn judge(&self, wanted: &Move) -> Result<Verdict, Trouble> {
        let head = self.node.latest().await?;
        judge(&self.node, wanted, &head, self.clock.now().as_secs()).await
    }

    /// What came of it.
    async fn conclude(&self, wanted: &Move, outcome: Outcome) -> Settlement {
        let receipt = match outcome {
            Outcome::Mined(receipt) => receipt,
            Outcome::Unseen(transaction) => return Settlement::Unknown { transaction },
        };
        if let Trace::Used(amount) = read::trace(&receipt, &wanted.sought)
            && amount == wanted.amount
        {
            return self.settled(&receipt, amount).await;
        }
        // Ours failed. Somebody else's may have come first, and then it is paid all the same.
        match self.judge(wanted).await {
            Ok(Verdict::Settled(settled)) => settled,
            Ok(Verdict::Refused(reason)) => Settlement::Refused(reason),
            Ok(Verdict::Untraced) | Err(_) => {
                Settlement::Unknown { transaction: Some(receipt.transaction_hash) }
            }
        }
    }

    /// That `amount` moved in the transaction of `receipt`.
    pub(super) async fn settled(&self, receipt: &TransactionReceipt, amount: Amount) -> Settlement {
        let transaction = receipt.transaction_hash;
        match self.node.moved_at_s(receipt).await {
            Ok(moved_at_s) => Settlement::Settled { transaction, amount, moved_at_s },
            Err(_) => Settlement::Unknown { transaction: Some(transaction) },
        }
    }
}

/// The channel that a receipt's logs say that `amount` came into.
pub(super) fn arrived(receipt: &TransactionReceipt, channel: ChannelId, amount: Amount) -> bool {
    let logs = receipt.logs().iter().map(|log| &log.inner);
    logs.filter(|log| log.address == BATCH_SETTLEMENT).any(|log| {
        read::decode::<BatchSettlement::Deposited>(log)
            .is_some_and(|log| (log.channelId, log.amount) == (channel.0, amount.get()))
    })
}
