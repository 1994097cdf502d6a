//! Channels of payers that are contracts, as a facilitator takes them: the wallet answers for its deposit, and for
//! its vouchers where its channel names no authorizer. Row ids are those of the threat model.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::signers::local::Secp256k1Signer;
use alloy::sol_types::SolValue;
use bursar::domain::asset::Network;
use bursar::domain::channel::{ChannelTerms, ClaimRow};
use bursar::domain::commitment::{PayerWord, TransferMethod};
use bursar::domain::x402::batch::read::DepositWord;
use bursar::domain::x402::batch::relayed::{RelayedClaim, claim_payload, settle_payload};
use bursar::ports::receiver_signer::ReceiverSigner;
use serde_json::{Value, json};

use crate::chain::{Chain, gas, key, now_s, payee, payer, stranger};
use crate::channel_rail::{deposit, deposit_by, owned, row, row_by, sent, sight, state};
use crate::evm::on_both_chains;
use crate::facilitator::World;
use crate::facilitator_channels::OneChannel;
use crate::facilitator_wallets::{
    WRAPPED, assert_refused, closeCall, numbered_wallet, tell, wallet, wantCall, waverCall,
};
use crate::permit2_deposits::signed_by;

on_both_chains!(
    a12_a_wallet_that_is_a_contract_fills_a_channel_and_its_session_key_spends_it,
    a13_a_wallet_that_denies_its_deposit_fills_nothing_and_nothing_is_sent,
    a13_a_wallet_that_denies_its_deposit_in_a_block_costs_one_transaction,
    e21_vouchers_without_an_authorizer_are_asked_of_the_wallet_and_claimed_by_its_word,
    e21_a_payee_with_an_authorizer_of_its_own_claims_by_the_word_of_a_wallet,
    e21_a_voucher_that_its_wallet_denies_pays_nobody_and_spoils_no_other,
    a13_a_wallet_that_denies_its_voucher_in_a_block_costs_one_transaction,
    a13_of_several_wallets_in_a_claim_the_one_that_denies_is_found,
    a13_a_wallet_that_burns_gas_is_paid_for_none_of_it,
);

const UNSIGNED: &str = "invalid_batch_settlement_evm_receive_authorization_signature";
const UNSIGNED_AT_PERMIT2: &str = "invalid_batch_settlement_evm_permit2_invalid_signature";
const FAILED: &str = "invalid_batch_settlement_evm_deposit_transaction_failed";
const FORGED: &str = "invalid_batch_settlement_evm_voucher_signature";
const SPOILT: &str = "invalid_batch_settlement_evm_claim_simulation_failed";

/// A wallet, and a channel of its own that names no authorizer.
async fn own_channel(chain: &Chain) -> (Address, OneChannel) {
    let wallet = wallet(chain).await;
    (wallet, channel_of(chain, wallet, Address::ZERO))
}

fn channel_of(chain: &Chain, payer: Address, payer_authorizer: Address) -> OneChannel {
    let mut channel = OneChannel::filled_by(chain, TransferMethod::Eip3009);
    channel.terms = ChannelTerms { payer, payer_authorizer, ..channel.terms };
    channel
}

/// A deposit of a hundred that the wallets' owner signed.
fn money(terms: ChannelTerms, method: TransferMethod) -> DepositWord {
    let until_s = now_s() + 600;
    match method.is_permit2() {
        true => signed_by(&stranger(), terms, 100, 1, method, until_s).word(),
        false => deposit_by(terms, 100, 1, until_s, &stranger()).word(),
    }
}

/// The same with a voucher of the owner's.
fn filling(channel: &OneChannel) -> Value {
    let money = money(channel.terms, TransferMethod::Eip3009);
    channel.ask(channel.voucher(60, &stranger(), Some(&money)))
}

async fn fill(world: &World<'_>, channel: &OneChannel) {
    let (_, settled) = world.ask("/settle", &filling(channel)).await;
    assert_eq!(
        (&settled["success"], &settled["amount"]),
        (&json!(true), &json!("100")),
        "{settled}"
    );
}

async fn verified(world: &World<'_>, asked: &Value) -> Value {
    let (_, verified) = world.ask("/verify", asked).await;
    match verified["isValid"].as_bool().unwrap() {
        true => json!("valid"),
        false => verified["invalidReason"].clone(),
    }
}

async fn settled(world: &World<'_>, asked: &Value) -> Value {
    let (_, settled) = world.ask("/settle", asked).await;
    match settled["success"].as_bool().unwrap() {
        true => json!("done"),
        false => settled["errorReason"].clone(),
    }
}

fn claim(channel: &OneChannel, rows: Vec<ClaimRow>) -> Value {
    channel.ask(claim_payload(&RelayedClaim { rows, signature: None }))
}

/// Has fifty claimed of sixty, by the word of the wallets' owner.
fn claim_of(channel: &OneChannel) -> Value {
    claim(channel, vec![row(channel.terms, 60, 50)])
}

async fn a12_a_wallet_that_is_a_contract_fills_a_channel_and_its_session_key_spends_it(
    chain: &Chain,
) {
    let wallet = wallet(chain).await;
    let (world, evm) = (World::on(chain).await, chain.evm().await);
    let session = key(8);
    for (paid, method) in (1..).zip([TransferMethod::Eip3009, TransferMethod::Permit2]) {
        let mut channel = OneChannel::filled_by(chain, method);
        channel.terms = ChannelTerms {
            payer: wallet,
            payer_authorizer: session.address(),
            salt: B256::repeat_byte(paid),
            ..channel.terms
        };
        let money = money(channel.terms, method);
        let filling = channel.ask(channel.voucher(60, &session, Some(&money)));
        // The wallet's word is for its money: its vouchers are its session key's alone.
        let by_owner = channel.ask(channel.voucher(60, &stranger(), Some(&money)));
        assert_refused(&world, &by_owner, FORGED).await;
        assert_eq!(verified(&world, &filling).await, "valid");
        for _ in 0..2 {
            let (_, settled) = world.ask("/settle", &filling).await;
            assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("100")));
            assert_eq!(settled["payer"], wallet.to_string());
            assert_eq!(settled["extra"]["channelState"]["balance"], "100", "it comes in once");
        }
        // What came in is no news, and pays all the same.
        assert_eq!(verified(&world, &filling).await, "valid");
        let by_session = claim(&channel, vec![row_by(channel.terms, 60, 50, &session)]);
        assert_eq!(settled(&world, &by_session).await, "done");
        assert_eq!(sight(&evm, &channel.terms).await, state(100, 50));
        let sweep = channel.ask(settle_payload(payee(), chain.asset()));
        assert_eq!(settled(&world, &sweep).await, "done");
        assert_eq!(world.paid().await, 50 * u128::from(paid));
        // By another key's word nothing more comes in.
        let unsigned = if method.is_permit2() { UNSIGNED_AT_PERMIT2 } else { UNSIGNED };
        let forged = match method.is_permit2() {
            true => signed_by(&payer(), channel.terms, 100, 2, method, now_s() + 600).word(),
            false => deposit(channel.terms, 100, 2).word(),
        };
        let forged = channel.ask(channel.voucher(61, &session, Some(&forged)));
        assert_refused(&world, &forged, unsigned).await;
    }
}

async fn a13_a_wallet_that_denies_its_deposit_fills_nothing_and_nothing_is_sent(chain: &Chain) {
    let (wallet, session) = (wallet(chain).await, stranger().address());
    let world = World::on(chain).await;
    let channel = channel_of(chain, wallet, session);
    assert_eq!(verified(&world, &filling(&channel)).await, "valid");
    let before = sent(chain).await;
    tell(chain, wallet, &closeCall {}).await;
    assert_refused(&world, &filling(&channel), UNSIGNED).await;
    // Nor does an account that is no contract at all, whatever it is shown as its own.
    let nobody = channel_of(chain, Address::repeat_byte(0x77), session);
    assert_refused(&world, &filling(&nobody), UNSIGNED).await;
    assert_eq!(sent(chain).await, before);
}

async fn a13_a_wallet_that_denies_its_deposit_in_a_block_costs_one_transaction(chain: &Chain) {
    let (wallet, session) = (wallet(chain).await, stranger().address());
    let (world, evm) = (World::on(chain).await, chain.evm().await);
    let channel = channel_of(chain, wallet, session);
    tell(chain, wallet, &waverCall { wavering: true }).await;
    assert_eq!(verified(&world, &filling(&channel)).await, "valid");
    let before = sent(chain).await;
    assert_eq!(settled(&world, &filling(&channel)).await, FAILED);
    assert_eq!(sent(chain).await, before + 1);
    // Nothing more is lost to it for a while, whatever it says.
    tell(chain, wallet, &waverCall { wavering: false }).await;
    assert_refused(&world, &filling(&channel), FAILED).await;
    assert_eq!(sent(chain).await, before + 1);
    assert_eq!(sight(&evm, &channel.terms).await, state(0, 0));
}

async fn e21_vouchers_without_an_authorizer_are_asked_of_the_wallet_and_claimed_by_its_word(
    chain: &Chain,
) {
    let (wallet, channel) = own_channel(chain).await;
    let (world, evm) = (World::on(chain).await, chain.evm().await);
    let with = |ceiling: u128, shown: &[u8]| {
        let mut payload = channel.voucher(ceiling, &stranger(), None);
        payload["voucher"]["signature"] = json!(alloy::primitives::hex::encode_prefixed(shown));
        channel.ask(payload)
    };
    assert_eq!(verified(&world, &filling(&channel)).await, "valid");
    let forged = money(channel.terms, TransferMethod::Eip3009);
    let forged = channel.ask(channel.voucher(60, &payer(), Some(&forged)));
    assert_refused(&world, &forged, FORGED).await;
    fill(&world, &channel).await;
    let good = channel.ask(channel.voucher(60, &stranger(), None));
    assert_eq!(verified(&world, &good).await, "valid");
    // By another key's word, by none that the wallet reads, and by more than a wallet is shown.
    for wrong in [with(60, &[1; 65]), with(60, &[7; 96]), with(60, &[7; 4_097])] {
        assert_eq!(verified(&world, &wrong).await, FORGED);
    }
    // A contract is shown just what came, but for how it is made, which is nobody's to call.
    let inner = row(channel.terms, 60, 50).signature.to_bytes();
    let wrapped = (chain.token, Bytes::from_static(&[1]), inner).abi_encode_params();
    let wrapped = [wrapped.as_slice(), WRAPPED.as_slice()].concat();
    assert_eq!(verified(&world, &with(60, &wrapped)).await, "valid");
    let signature = PayerWord::Contract(wrapped.into());
    let by_wallet = ClaimRow { signature, ..row(channel.terms, 60, 50) };
    assert_eq!(settled(&world, &claim(&channel, vec![by_wallet])).await, "done");
    assert_eq!(sight(&evm, &channel.terms).await, state(100, 50));
    // What is left goes back by the wallet's word, and by nobody else's.
    let before = (sent(chain).await, owned(chain, &evm, wallet).await);
    assert_refused(&world, &channel.refund(&payer()), FORGED).await;
    assert_eq!(sent(chain).await, before.0);
    assert_eq!(verified(&world, &channel.refund(&stranger())).await, "valid");
    assert_eq!(settled(&world, &channel.refund(&stranger())).await, "done");
    assert_eq!(owned(chain, &evm, wallet).await, before.1 + 50);
}

async fn e21_a_payee_with_an_authorizer_of_its_own_claims_by_the_word_of_a_wallet(chain: &Chain) {
    let (wallet, mut channel) = own_channel(chain).await;
    let (world, evm) = (World::on(chain).await, chain.evm().await);
    let authorizer = Secp256k1Signer::from_bytes(&key(9).to_bytes()).unwrap();
    channel.is_authorized_by(ReceiverSigner::address(&authorizer));
    fill(&world, &channel).await;
    let rows = vec![row(channel.terms, 60, 50)];
    let signature = authorizer.sign_claim(&rows, Network::SANDBOX);
    let signed = channel.ask(claim_payload(&RelayedClaim { rows, signature }));
    // It covers what the wallet is to be shown, and the wallet may deny it as long as nothing is claimed.
    tell(chain, wallet, &waverCall { wavering: true }).await;
    let before = sent(chain).await;
    for _ in 0..2 {
        assert_eq!(settled(&world, &signed).await, SPOILT);
    }
    assert_eq!(sent(chain).await, before + 1);
    tell(chain, wallet, &waverCall { wavering: false }).await;
    let anew = World::on(chain).await;
    assert_eq!(settled(&anew, &signed).await, "done");
    assert_eq!(sight(&evm, &channel.terms).await, state(100, 50));
}

async fn e21_a_voucher_that_its_wallet_denies_pays_nobody_and_spoils_no_other(chain: &Chain) {
    let (wallet, channel) = own_channel(chain).await;
    let (world, evm) = (World::on(chain).await, chain.evm().await);
    let other = OneChannel::filled_by(chain, TransferMethod::Eip3009);
    fill(&world, &channel).await;
    assert_eq!(settled(&world, &other.ask(other.filling())).await, "done");
    tell(chain, wallet, &closeCall {}).await;
    let before = sent(chain).await;
    let voucher = channel.ask(channel.voucher(60, &stranger(), None));
    assert_eq!(verified(&world, &voucher).await, FORGED);
    assert_refused(&world, &channel.refund(&stranger()), FORGED).await;
    assert_eq!(settled(&world, &claim_of(&channel)).await, SPOILT);
    assert_eq!(sent(chain).await, before);
    let both = vec![row(channel.terms, 60, 50), row(other.terms, 60, 50)];
    assert_eq!(settled(&world, &claim(&channel, both)).await, SPOILT);
    assert_eq!(sight(&evm, &channel.terms).await, state(100, 0));
    assert_eq!(sight(&evm, &other.terms).await, state(100, 50));
    assert_eq!(sent(chain).await, before + 1);
}

async fn a13_a_wallet_that_denies_its_voucher_in_a_block_costs_one_transaction(chain: &Chain) {
    let (wallet, channel) = own_channel(chain).await;
    let (world, evm) = (World::on(chain).await, chain.evm().await);
    fill(&world, &channel).await;
    tell(chain, wallet, &waverCall { wavering: true }).await;
    let voucher = channel.ask(channel.voucher(60, &stranger(), None));
    assert_eq!(verified(&world, &voucher).await, "valid");
    let before = sent(chain).await;
    assert_eq!(settled(&world, &claim_of(&channel)).await, SPOILT);
    assert_eq!(sent(chain).await, before + 1);
    // Nothing more is lost to it for a while, by a claim, a refund or a voucher.
    tell(chain, wallet, &waverCall { wavering: false }).await;
    assert_eq!(settled(&world, &claim_of(&channel)).await, SPOILT);
    assert_eq!(verified(&world, &voucher).await, FORGED);
    assert_refused(&world, &channel.refund(&stranger()), FORGED).await;
    assert_eq!(sent(chain).await, before + 1);
    assert_eq!(sight(&evm, &channel.terms).await, state(100, 0));
}

async fn a13_of_several_wallets_in_a_claim_the_one_that_denies_is_found(chain: &Chain) {
    let (_, one) = own_channel(chain).await;
    let wavering = numbered_wallet(chain, 998).await;
    let two = channel_of(chain, wavering, Address::ZERO);
    let (world, evm) = (World::on(chain).await, chain.evm().await);
    fill(&world, &one).await;
    fill(&world, &two).await;
    tell(chain, wavering, &waverCall { wavering: true }).await;
    let before = sent(chain).await;
    let both = claim(&one, vec![row(one.terms, 60, 50), row(two.terms, 60, 50)]);
    // Which of them it was is not known: from here on they go one by one.
    assert_eq!(settled(&world, &both).await, SPOILT);
    assert_eq!(sight(&evm, &one.terms).await, state(100, 50));
    assert_eq!(sent(chain).await, before + 2);
    assert_eq!(settled(&world, &both).await, SPOILT);
    assert_eq!(sent(chain).await, before + 3);
    assert_eq!(settled(&world, &both).await, SPOILT);
    assert_eq!(sent(chain).await, before + 3);
    // What the honest one says is believed as before.
    let more = claim(&one, vec![row(one.terms, 80, 80)]);
    assert_eq!(settled(&world, &more).await, "done");
    assert_eq!(sight(&evm, &one.terms).await, state(100, 80));
    assert_eq!(sight(&evm, &two.terms).await, state(100, 0));
}

async fn a13_a_wallet_that_burns_gas_is_paid_for_none_of_it(chain: &Chain) {
    let (wallet, channel) = own_channel(chain).await;
    let world = World::on(chain).await;
    fill(&world, &channel).await;
    let voucher = channel.ask(channel.voucher(60, &stranger(), None));
    let other = channel_of(chain, wallet, stranger().address());
    let before = sent(chain).await;
    // More than it is let for its word alone, and then for its word and what it is for.
    let cases = [(1_000_000, json!(FORGED), UNSIGNED), (340_000, json!("valid"), FAILED)];
    for (greed, said, refused) in cases {
        tell(chain, wallet, &wantCall { greed: U256::from(greed) }).await;
        assert_eq!(verified(&world, &voucher).await, said);
        assert_eq!(settled(&world, &claim_of(&channel)).await, SPOILT);
        assert_eq!(verified(&world, &filling(&other)).await, refused);
        assert_eq!(settled(&world, &filling(&other)).await, FAILED);
    }
    assert_eq!(sent(chain).await, before);
    let nonce = chain.client(gas()).get_transaction_count(gas().address()).pending().await.unwrap();
    assert_eq!(nonce, before, "nothing is under way either");
    tell(chain, wallet, &wantCall { greed: U256::from(100_000) }).await;
    assert_eq!(settled(&world, &claim_of(&channel)).await, "done");
}
