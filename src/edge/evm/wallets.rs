//! Payers that are contracts: which are, what they say of a signature, and how one is made as it pays first.
//!
//! What a contract says holds for the block that it says it on, and costs no more gas than is let: it is code of a
//! stranger's. A wallet is made by one of the factories that the operator named, and called by a constructor that
//! leaves nothing: neither the factory nor what it calls sees the gas account as its caller.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolValue};

use crate::domain::commitment::{ContractAuthorization, PayerWord, WalletMaking};
use crate::domain::time::Timestamp;
use crate::domain::x402::signature::is_signed_by;
use crate::ports::rail::{RailError, RefusedBy};

use super::abi;
use super::constructors::{FIRST_PAYMENT, FIRST_WORD, with_code};
use super::node::{Node, Trouble};
use super::settler::EvmSettler;

/// Accounts that are remembered at most; beyond that the one that was asked about longest ago is forgotten.
const ACCOUNTS_MAX: usize = 4_096;

/// How long an answer holds: a wallet may be made, and one that delegates may end it.
const FRESH: Duration = Duration::from_secs(30);

/// How long nothing is sent on the word of a contract that denied it in a block.
const DENIED_FOR: Duration = Duration::from_secs(3_600);

/// What settling by the word of a contract may use, in gas: two and a half times what wallets in use were seen to.
pub(super) const CONTRACT_GAS_MAX: u64 = 400_000;

/// The same where the contract is made in the same transaction, of which its factory may use two thirds:
/// contracts/src/shared/Making.sol.
const FIRST_GAS_MAX: u64 = 1_200_000;

/// What a contract is shown, and how it is made where it is not there.
#[derive(Clone, Debug)]
pub(super) struct ContractWord {
    pub(super) signature: Bytes,
    pub(super) making: Option<WalletMaking>,
}

impl ContractWord {
    /// What settling by it may use, in gas.
    pub(super) const fn gas_max(&self) -> u64 {
        if self.making.is_some() { FIRST_GAS_MAX } else { CONTRACT_GAS_MAX }
    }

    /// Whether `wallet` says on `block` that it signed `digest`.
    pub(super) async fn check(
        &self,
        node: &Node,
        wallet: Address,
        digest: B256,
        block: B256,
    ) -> Result<Result<(), RefusedBy>, Trouble> {
        let signature = self.signature.clone();
        let (to, input) = match &self.making {
            None => {
                let call = abi::isValidSignatureCall { digest, signature };
                (TxKind::Call(wallet), Bytes::from(call.abi_encode()))
            }
            Some(WalletMaking { factory, call }) => {
                let about = (wallet, *factory, call.clone(), digest, signature);
                (TxKind::Create, with_code(&FIRST_WORD, &about.abi_encode_params()))
            }
        };
        let mut request = TransactionRequest::default().input(input.into());
        (request.to, request.gas) = (Some(to), Some(self.gas_max()));
        let answer = node.ask::<_, Bytes>("eth_call", (request, BlockId::from(block))).await;
        let said = match answer {
            Ok(answer) => answer,
            // What reverts, or does not read, did not sign.
            Err(Trouble::Refused(_) | Trouble::Nonsense(_)) => {
                return Ok(Err(RefusedBy::BadSignature));
            }
            Err(silent @ Trouble::Silent(_)) => return Err(silent),
        };
        let is_signed = match &self.making {
            None => abi::isValidSignatureCall::abi_decode_returns(&said)
                .is_ok_and(|answer| answer == abi::isValidSignatureCall::SELECTOR),
            Some(_) => match U256::abi_decode(&said).map(|said| said.saturating_to::<u8>()) {
                Ok(0) => return Ok(Err(RefusedBy::WalletNotMade)),
                said => said == Ok(2),
            },
        };
        Ok(if is_signed { Ok(()) } else { Err(RefusedBy::BadSignature) })
    }
}

/// What makes `wallet` and then calls `token`, both or neither; where the wallet is there, only the call is made.
pub(super) fn first_payment(
    wallet: Address,
    making: &WalletMaking,
    token: Address,
    payment: Bytes,
) -> Bytes {
    let about = (wallet, making.factory, making.call.clone(), token, payment);
    with_code(&FIRST_PAYMENT, &about.abi_encode_params())
}

impl EvmSettler {
    /// The word that `authorization`'s payer is asked for: with how it is made only where it is not there, and may
    /// be made so.
    pub(super) async fn word_of(
        &self,
        authorization: &ContractAuthorization,
    ) -> Result<Result<ContractWord, RefusedBy>, RailError> {
        let signature = authorization.signature.clone();
        let payer = authorization.commitment.payer;
        if self.is_contract(payer).await? {
            return Ok(Ok(ContractWord { signature, making: None }));
        }
        let Some(making) = authorization.making.clone() else {
            return Ok(Err(RefusedBy::BadSignature));
        };
        if !self.factories.contains(&making.factory) {
            return Ok(Err(RefusedBy::FactoryNotAllowed));
        }
        Ok(Ok(ContractWord { signature, making: Some(making) }))
    }
}

impl EvmSettler {
    async fn is_contract(&self, account: Address) -> Result<bool, RailError> {
        let known = self.contracts.is_contract(&self.node, account, self.clock.now()).await;
        known.map_err(|it| it.on(self.node.network()))
    }

    /// Whether `account` says on the newest block that it signed `digest`: as a contract, where it is one.
    pub(super) async fn asks(
        &self,
        account: Address,
        digest: B256,
        word: &PayerWord,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        if !self.is_contract(account).await? {
            let by_key = match word {
                PayerWord::Key(signature) => is_signed_by(account, digest, signature),
                PayerWord::Contract(_) => false,
            };
            return Ok(if by_key { Ok(()) } else { Err(RefusedBy::BadSignature) });
        }
        if self.denials.holds(account, self.clock.now()) {
            return Ok(Err(RefusedBy::Reverted));
        }
        let word = ContractWord { signature: word.to_bytes(), making: None };
        let said = async {
            let block = self.node.latest().await?.hash;
            word.check(&self.node, account, digest, block).await
        };
        said.await.map_err(|it| it.on(self.node.network()))
    }
}

impl Node {
    async fn code_of(&self, account: Address) -> Result<Bytes, Trouble> {
        self.ask("eth_getCode", (account, "latest")).await
    }

    /// Whether `account` runs code now, as far as the node says.
    pub(super) async fn has_code(&self, account: Address) -> bool {
        self.code_of(account).await.is_ok_and(|code| !code.is_empty())
    }
}

/// What is known of accounts: remembered for a while, so that who shows wrong signatures of one address costs
/// the node one question.
#[derive(Default)]
pub(super) struct Contracts(Mutex<BTreeMap<Address, (bool, Timestamp)>>);

impl Contracts {
    /// Whether there is code at `account`, by the newest block or one that was it a moment ago.
    pub(super) async fn is_contract(
        &self,
        node: &Node,
        account: Address,
        now: Timestamp,
    ) -> Result<bool, Trouble> {
        if let Some((known, seen)) = self.find(account)
            && now.since(seen) < FRESH
        {
            return Ok(known);
        }
        let is_contract = !node.code_of(account).await?.is_empty();
        let mut kept = self.0.lock().expect("no holder of the accounts panics");
        if kept.len() >= ACCOUNTS_MAX && !kept.contains_key(&account) {
            let oldest =
                kept.iter().min_by_key(|(_, (_, seen))| *seen).map(|(account, _)| *account);
            oldest.map(|oldest| kept.remove(&oldest));
        }
        kept.insert(account, (is_contract, now));
        Ok(is_contract)
    }

    /// What was known of `account` may have changed.
    pub(super) fn forget(&self, account: Address) {
        self.0.lock().expect("no holder of the accounts panics").remove(&account);
    }

    fn find(&self, account: Address) -> Option<(bool, Timestamp)> {
        self.0.lock().expect("no holder of the accounts panics").get(&account).copied()
    }
}

/// Payers that are contracts and denied in a block what they had said when they were tried out. The gas of it was
/// lost, and is not lost again so soon.
#[derive(Default)]
pub(super) struct Denials(Mutex<BTreeMap<Address, Timestamp>>);

impl Denials {
    /// That `payer` denied its word at `now`.
    pub(super) fn add(&self, payer: Address, now: Timestamp) {
        let mut kept = self.0.lock().expect("no holder of the denials panics");
        if kept.len() >= ACCOUNTS_MAX && !kept.contains_key(&payer) {
            let oldest = kept.iter().min_by_key(|(_, seen)| **seen).map(|(payer, _)| *payer);
            oldest.map(|oldest| kept.remove(&oldest));
        }
        kept.insert(payer, now);
    }

    /// Whether nothing is sent on `payer`'s word yet.
    pub(super) fn holds(&self, payer: Address, now: Timestamp) -> bool {
        let kept = self.0.lock().expect("no holder of the denials panics");
        kept.get(&payer).is_some_and(|seen| now.since(*seen) < DENIED_FOR)
    }
}
