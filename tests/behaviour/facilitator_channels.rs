//! Channels that a facilitator fills, claims, pays out and gives back for payees elsewhere.

use alloy::primitives::{Address, B256, U256};
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::asset::AssetRegistry;
use bursar::domain::channel::{Ceiling, ChannelTerms};
use bursar::domain::commitment::{ChannelOffer, Commitment, Scheme, TokenPermit, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::quote::PayBy;
use bursar::domain::x402::TokenDomains;
use bursar::domain::x402::batch::permitted::extensions;
use bursar::domain::x402::batch::read::{DepositWord, VoucherWord};
use bursar::domain::x402::batch::refund::RefundWord;
use bursar::domain::x402::batch::relayed::{
    RelayedClaim, RelayedRefund, claim_payload, refund_payload, settle_payload,
};
use bursar::domain::x402::batch::typed::id_of;
use bursar::domain::x402::batch::word::payload;
use bursar::domain::x402::requirements::Requirement;
use bursar::edge::evm::{Evm, EvmConfig, Finality};
use serde_json::{Value, json};

use crate::chain::{
    Chain, FUNDS, gas, now_s, payee, payer, settle_call, sign, stranger, transferCall, voucher_by,
};
use crate::channel_rail::{deposit, row, row_by};
use crate::evm::on_both_chains;
use crate::facilitator::World;
use crate::permit2_deposits::by_permit2;

on_both_chains!(
    a_deposit_is_verified_by_the_newest_block,
    a_channel_is_filled_claimed_paid_out_and_given_back_for_a_payee,
    a_channel_is_filled_by_permit2_and_by_the_payers_own_permit,
    a_payers_word_alone_gives_nothing_back_of_what_is_sold_from_the_same_gas_account,
);

/// A channel of which the facilitator is the receiver's authorizer, and how the payee asks about it.
pub struct OneChannel {
    pub terms: ChannelTerms,
    accepted: Value,
}

impl OneChannel {
    fn on(chain: &Chain) -> Self {
        Self::filled_by(chain, TransferMethod::Eip3009)
    }

    /// The same, where deposits are moved in this way.
    pub fn filled_by(chain: &Chain, method: TransferMethod) -> Self {
        let offer = ChannelOffer {
            receiver_authorizer: gas().address(),
            withdraw_delay_s: 900,
            deposit_min: Amount::ZERO,
        };
        let terms = ChannelTerms {
            asset: chain.asset(),
            payer: payer().address(),
            payer_authorizer: stranger().address(),
            receiver: payee(),
            receiver_authorizer: gas().address(),
            withdraw_delay_s: 900,
            salt: B256::ZERO,
        };
        let tokens = TokenDomains::new(&AssetRegistry::new(chain.config().assets));
        let pay_by = PayBy {
            scheme: Scheme::BatchSettlement(offer),
            method,
            asset: chain.asset(),
            pay_to: payee(),
            timeout_s: 3_600,
        };
        let token = tokens.find(chain.asset()).unwrap();
        let accepted = Requirement { pay_by, amount: Amount::new(60), token }.to_wire();
        Self { terms, accepted: json!(accepted) }
    }

    /// The same, where the payee's claims are signed by `account`.
    pub fn is_authorized_by(&mut self, account: Address) {
        self.terms.receiver_authorizer = account;
        self.accepted["extra"]["receiverAuthorizer"] = json!(account.to_string());
    }

    pub fn ask(&self, payload: serde_json::Map<String, Value>) -> Value {
        let accepted = &self.accepted;
        json!({ "x402Version": 2, "paymentRequirements": accepted, "paymentPayload": {
            "x402Version": 2, "accepted": accepted, "payload": payload } })
    }

    /// A voucher, with a deposit where one comes along.
    pub fn voucher(
        &self,
        ceiling: u128,
        by: &PrivateKeySigner,
        money: Option<&DepositWord>,
    ) -> serde_json::Map<String, Value> {
        let signature = voucher_by(&self.terms, ceiling, by);
        let ceiling = Ceiling { channel: id_of(&self.terms), amount: Amount::new(ceiling) };
        payload(&self.terms, &ceiling, &signature, money)
    }

    /// A deposit of a hundred, with the first voucher.
    pub fn filling(&self) -> serde_json::Map<String, Value> {
        self.voucher(60, &stranger(), Some(&deposit(self.terms, 100, 1).word()))
    }

    /// A voucher on nothing is worth nothing; with its deposit it is good, and the deposit comes in once.
    async fn is_filled(&self, world: &World<'_>) {
        let voucher = self.ask(self.voucher(60, &stranger(), None));
        let (_, verified) = world.ask("/verify", &voucher).await;
        let code = "invalid_batch_settlement_evm_channel_not_found";
        let said = (&verified["isValid"], &verified["invalidReason"]);
        assert_eq!(said, (&json!(false), &json!(code)));
        let with_money = self.ask(self.filling());
        let (_, verified) = world.ask("/verify", &with_money).await;
        let said = (&verified["isValid"], &verified["extra"]["balance"]);
        assert_eq!(said, (&json!(true), &json!("0")));
        for _ in 0..2 {
            let (_, settled) = world.ask("/settle", &with_money).await;
            assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("100")));
            assert_eq!(settled["extra"]["channelState"]["balance"], "100");
        }
        let (_, verified) = world.ask("/verify", &voucher).await;
        let said = (&verified["isValid"], &verified["extra"]["balance"]);
        assert_eq!(said, (&json!(true), &json!("100")));
    }

    /// The payee lets it be claimed and paid out; the facilitator is the authorizer, and needs no word.
    pub async fn is_claimed_and_paid_out(&self, world: &World<'_>) {
        let relayed = RelayedClaim { rows: vec![row(self.terms, 60, 50)], signature: None };
        let (_, claimed) = world.ask("/settle", &self.ask(claim_payload(&relayed))).await;
        let said = (&claimed["success"], &claimed["amount"]);
        assert_eq!(said, (&json!(true), &json!("")), "{claimed}");
        let sweep = self.ask(settle_payload(payee(), self.terms.asset));
        let (_, swept) = world.ask("/settle", &sweep).await;
        assert_eq!((&swept["success"], &swept["amount"]), (&json!(true), &json!("50")), "{swept}");
        let (_, again) = world.ask("/settle", &sweep).await;
        assert_eq!((&again["success"], &again["amount"]), (&json!(true), &json!("0")));
        assert_eq!(world.paid().await, 50);
    }

    /// A wish to have fifty back, where fifty were charged.
    pub fn refund(&self, by: &PrivateKeySigner) -> Value {
        let (terms, channel, amount) = (self.terms, id_of(&self.terms), Amount::new(50));
        let signature = voucher_by(&terms, 50, by).into();
        let voucher = VoucherWord { ceiling: Ceiling { channel, amount }, signature };
        let wish = RefundWord { terms, channel, voucher, amount: Some(amount) };
        let claims = RelayedClaim { rows: vec![], signature: None };
        let refund = RelayedRefund { wish, amount, nonce: 0, claims, signature: None };
        self.ask(refund_payload(&refund))
    }

    /// What is left goes back, once for each of the channel's numbers.
    async fn is_given_back(&self, world: &World<'_>) {
        let refund = self.refund(&stranger());
        let (_, verified) = world.ask("/verify", &refund).await;
        assert_eq!(verified["isValid"], true, "{verified}");
        let (_, given) = world.ask("/settle", &refund).await;
        assert_eq!((&given["success"], &given["amount"]), (&json!(true), &json!("50")), "{given}");
        assert_eq!(given["extra"]["channelState"]["refundNonce"], "1");
        let (_, again) = world.ask("/settle", &refund).await;
        let code = "invalid_batch_settlement_evm_refund_simulation_failed";
        assert_eq!(again["errorReason"], code);
    }
}

/// What arrived a moment ago can be put into a channel, however many blocks make a settlement final.
async fn a_deposit_is_verified_by_the_newest_block(chain: &Chain) {
    let config = EvmConfig { finality: Finality::Depth(1), ..chain.config() };
    let evm = Evm::connect(&config).await.unwrap();
    let world = World::by(chain, evm, chain.settler(&chain.evm().await).await).await;
    let channel = OneChannel::on(chain);
    let all = Commitment { pay_to: stranger().address(), ..chain.commitment(FUNDS, 77) };
    chain.act(stranger(), settle_call(&sign(all, &payer()))).await;
    let (to, value) = (payer().address(), U256::from(100));
    let with_money = channel.ask(channel.filling());
    let (_, verified) = world.ask("/verify", &with_money).await;
    let code = "invalid_batch_settlement_evm_insufficient_balance";
    assert_eq!(verified["invalidReason"], code, "{verified}");
    chain.act(stranger(), transferCall { to, value }).await;
    let (_, verified) = world.ask("/verify", &with_money).await;
    assert_eq!(verified["isValid"], true, "{verified}");
}

async fn a_channel_is_filled_claimed_paid_out_and_given_back_for_a_payee(chain: &Chain) {
    let world = World::on(chain).await;
    let channel = OneChannel::on(chain);
    channel.is_filled(&world).await;
    channel.is_claimed_and_paid_out(&world).await;
    channel.is_given_back(&world).await;
    // By a forged voucher nothing is claimed.
    let rows = vec![row_by(channel.terms, 60, 60, &payer())];
    let forged = RelayedClaim { rows, signature: None };
    let (_, refused) = world.ask("/settle", &channel.ask(claim_payload(&forged))).await;
    assert_eq!(refused["errorReason"], "invalid_batch_settlement_evm_voucher_signature");
}

/// Its payee would find every voucher that it has not claimed worth nothing.
async fn a_payers_word_alone_gives_nothing_back_of_what_is_sold_from_the_same_gas_account(
    chain: &Chain,
) {
    let world = World::beside(chain, [payee()].into()).await;
    let channel = OneChannel::on(chain);
    channel.is_filled(&world).await;
    let (_, refused) = world.ask("/settle", &channel.refund(&stranger())).await;
    let code = "invalid_batch_settlement_evm_authorizer_address_mismatch";
    let said = (&refused["success"], &refused["errorReason"]);
    assert_eq!(said, (&json!(false), &json!(code)), "{refused}");
    // What is claimed goes to the payee, whoever asks for it.
    channel.is_claimed_and_paid_out(&world).await;
}

async fn a_channel_is_filled_by_permit2_and_by_the_payers_own_permit(chain: &Chain) {
    let world = World::on(chain).await;
    let channel = OneChannel::filled_by(chain, TransferMethod::Permit2);
    let ask = |method, nonce| {
        let money = by_permit2(channel.terms, 100, nonce, method).word();
        let mut asked = channel.ask(channel.voucher(60, &stranger(), Some(&money)));
        let with = extensions(&channel.terms, id_of(&channel.terms), Some(&money), None);
        asked["paymentPayload"]["extensions"] = json!(with);
        asked
    };
    let code = "invalid_batch_settlement_evm_permit2_allowance_required";
    let bare = ask(TransferMethod::Permit2, 1);
    let (_, verified) = world.ask("/verify", &bare).await;
    assert_eq!((&verified["isValid"], &verified["invalidReason"]), (&json!(false), &json!(code)));
    let (_, settled) = world.ask("/settle", &bare).await;
    assert_eq!((&settled["success"], &settled["errorReason"]), (&json!(false), &json!(code)));
    let permit = TokenPermit { nonce: 0, deadline_s: now_s() + 599, signature: None };
    let sponsored = ask(TransferMethod::Permit2By(permit), 2);
    let (_, verified) = world.ask("/verify", &sponsored).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    for _ in 0..2 {
        let (_, settled) = world.ask("/settle", &sponsored).await;
        assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("100")));
        assert_eq!(settled["extra"]["channelState"]["balance"], "100", "it comes in once");
    }
    channel.is_claimed_and_paid_out(&world).await;
}
