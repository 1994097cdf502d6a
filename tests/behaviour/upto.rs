//! Paying a maximum by Permit2 over gRPC, on a real EVM, with journals on disk: what the meter counted is
//! charged, and what was held above it comes back by the chain's word only. Row ids are those of the
//! threat model.

use std::sync::atomic::Ordering;

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::U256;
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use bursar::domain::asset::AssetInfo;
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::ledger::claim::ClaimState;
use bursar::domain::ledger::hold::HoldState;
use bursar::domain::money::{Amount, Nano, Rate};
use bursar::domain::quote::PriceTerms;
use bursar::domain::x402::permit2::PERMIT2;
use bursar::edge::grpc::Purchase;
use bursar::ports::journal::Journal;
use futures_util::future::join_all;

use crate::market::{Market, POLICY, PRICE, PRICE_NANO, Shop, echo, key, usdc};
use crate::tender::other_token;

alloy::sol! {
    function approve(address spender, uint256 value) external returns (bool);
}

/// What one byte of output costs, in atomic units.
const PER_BYTE: u128 = 10;

/// What an order of the market's may cost at most: 100 bytes.
const MOST: u128 = 100 * PER_BYTE;

/// What that counts in budgets.
const MOST_NANO: u64 = PRICE_NANO;

fn by_the_byte() -> PriceTerms {
    PriceTerms { per_1k_output: Amount::new(PER_BYTE * 1000), ..PriceTerms::default() }
}

fn upto() -> Scheme {
    Scheme::Upto { facilitator: key("gas").address() }
}

/// A market that is paid in this way.
async fn paid_by(scheme: Scheme, method: TransferMethod) -> Market {
    assert_eq!(MOST, PRICE);
    let terms = by_the_byte();
    Market::open_with(Shop { terms, instead: Some((scheme, method)), ..Shop::default() }).await
}

/// The wallet's owner lets Permit2 move so much.
pub async fn approve(market: &Market, value: u128) {
    let [main, ..] = market.keys();
    let owner = PrivateKeySigner::from_slice(&main).unwrap();
    let client = ProviderBuilder::new()
        .wallet(EthereumWallet::from(owner))
        .connect_http(market.chain.url().parse().unwrap());
    let call = approveCall { spender: PERMIT2, value: U256::from(value) };
    let token = market.shop.asset().contract;
    let request = TransactionRequest::default().with_to(token).with_input(call.abi_encode());
    let receipt = client.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
}

/// A market that takes `upto`, whose payer has approved Permit2.
async fn open() -> Market {
    let market = paid_by(upto(), TransferMethod::Permit2).await;
    approve(&market, 1_000_000).await;
    market
}

fn streamed(body: &str) -> Purchase {
    Purchase { streamed: true, ..echo(body) }
}

/// What the worker's budget has left: the cap less what is spent and held.
async fn left(market: &Market) -> u64 {
    market.left("worker").await.get()
}

const CAP_NANO: u64 = 20 * PRICE_NANO;

fn nano(units: u128) -> u64 {
    u64::try_from(units).unwrap() * 1000
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_charged_what_the_meter_counted() {
    let market = open().await;
    let bought = market.client("worker").await.buy(echo("hello")).await.unwrap();
    assert_eq!(bought.body.as_ref(), b"olleh");
    let receipt = bought.done.receipt.clone().unwrap();
    assert!(receipt.receipt.unwrap().amount.contains(&(5 * PER_BYTE).to_string()));
    let audit = market.audit().await;
    assert_eq!(audit.captured(usdc()), 5 * PER_BYTE);
    assert_eq!(market.earned_on_chain().await, 5 * PER_BYTE);
    assert_eq!(left(&market).await, CAP_NANO - nano(5 * PER_BYTE));
    assert_eq!(audit.over_limit(), Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_charged_what_the_meter_counted_at_its_end() {
    let market = open().await;
    let bought = market.client("worker").await.buy(streamed("stream me")).await.unwrap();
    assert_eq!(bought.body.as_ref(), b"em maerts");
    assert_eq!(market.audit().await.captured(usdc()), 9 * PER_BYTE);
    assert_eq!(market.earned_on_chain().await, 9 * PER_BYTE);
    let provider = market.provider.as_ref().unwrap();
    let served = provider.treasury.read(|ledger| {
        ledger.claims().all(|claim| matches!(claim.state, ClaimState::Served { .. }))
    });
    assert!(served.await.unwrap());
}

/// The deployed contract refuses nothing, so that nothing is sent; the hold comes back when a final block
/// after the time limit shows that the nonce was not used.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_of_nothing_sends_no_transaction_and_gives_the_whole_hold_back_in_time() {
    for purchase in [echo(""), streamed("")] {
        let market = open().await;
        let bought = market.client("worker").await.buy(purchase.clone()).await.unwrap();
        assert!(bought.body.is_empty());
        let node = market.node();
        node.reconciler.round().await.unwrap();
        assert_eq!(left(&market).await, CAP_NANO - MOST_NANO, "all of it may still be drawn");
        market.pass(61).await;
        node.reconciler.round().await.unwrap();
        assert_eq!(left(&market).await, CAP_NANO);
        assert_eq!(market.earned_on_chain().await, 0);
        let open = node.treasury.read(|ledger| ledger.holds_len()).await.unwrap();
        assert_eq!(open, 0);

        // It was served: the same request is the same answer, and costs nothing again.
        let again = market.client("worker").await.buy(purchase).await.unwrap();
        assert_eq!(again.payment, bought.payment);
        assert_eq!(market.engine.served.load(Ordering::SeqCst), 1);
    }
}

/// threats.md F22.
#[tokio::test(flavor = "multi_thread")]
async fn f22_the_maximum_counts_until_the_chain_has_shown_what_was_taken() {
    let market = open().await;
    let client = market.client("worker").await;
    // Each would cost 10 of the 1000 that it may cost, and twenty fit.
    let waiting = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.buy(echo("wait")).await })
    });
    let waiting: Vec<_> = waiting.collect();
    while market.engine.waiting.load(Ordering::SeqCst) < 20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(left(&market).await, 0);
    let refused = client.buy(echo("one more")).await.unwrap_err();
    assert_eq!(refused.reason, "LEDGER_OVER_BUDGET");
    market.engine.gate.add_permits(20);
    for answer in join_all(waiting).await {
        answer.unwrap().unwrap();
    }
    let audit = market.audit().await;
    assert_eq!(audit.over_limit(), Nano::ZERO);
    assert_eq!(audit.captured(usdc()), 20 * 4 * PER_BYTE);
    assert_eq!(left(&market).await, CAP_NANO - nano(20 * 4 * PER_BYTE));
    client.buy(echo("one more")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_takes_its_part_and_the_rest_stays_held_until_the_chain_confirms_it() {
    let market = open().await;
    market.client("worker").await.buy(echo("12345")).await.unwrap();
    let node = market.node();
    let entries = node.store.read(0, u32::MAX).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| entry.event.kind()).collect();
    let captured = kinds.iter().position(|kind| *kind == "captured").unwrap();
    market.audit().await;
    let entries = node.store.read(0, u32::MAX).await.unwrap();
    let closed = entries.iter().position(|entry| entry.event.kind() == "payment_closed").unwrap();
    assert!(captured < closed);
    let found = node.treasury.read(|ledger| {
        let holds = ledger.holds().into_iter();
        holds.filter(|hold| matches!(hold.state, HoldState::Captured { .. })).count()
    });
    assert_eq!(found.await.unwrap(), 0);
}

/// threats.md F04.
#[tokio::test(flavor = "multi_thread")]
async fn f04_the_same_request_again_is_charged_once() {
    let mut market = open().await;
    let purchase = echo("once");
    let first = market.client("worker").await.buy(purchase.clone()).await.unwrap();
    market.restart_node(POLICY).await;
    let again = market.client("worker").await.buy(purchase).await.unwrap();
    assert_eq!((first.payment, first.body), (again.payment, again.body));
    assert_eq!(market.audit().await.captured(usdc()), 4 * PER_BYTE);
    assert_eq!(market.earned_on_chain().await, 4 * PER_BYTE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_not_charged_and_comes_back() {
    let market = open().await;
    let error = market.client("worker").await.buy(echo("fail")).await.unwrap_err();
    assert!(error.in_doubt, "{error}");
    assert_eq!(left(&market).await, CAP_NANO - MOST_NANO);
    market.pass(61).await;
    market.node().reconciler.round().await.unwrap();
    assert_eq!(left(&market).await, CAP_NANO);
    assert_eq!(market.earned_on_chain().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_by_permit2_takes_the_whole_price() {
    let market = paid_by(Scheme::Exact, TransferMethod::Permit2).await;
    approve(&market, 1_000_000).await;
    let client = market.client("worker").await;
    client.buy(echo("hello")).await.unwrap();
    client.buy(streamed("hello")).await.unwrap();
    assert_eq!(market.audit().await.captured(usdc()), 2 * MOST);
    assert_eq!(market.earned_on_chain().await, 2 * MOST);
}

/// Nothing is held and nothing signed for what Permit2 may not move.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_allowance_a_payment_is_refused_before_anything_is_held() {
    for scheme in [Scheme::Exact, upto()] {
        let market = paid_by(scheme, TransferMethod::Permit2).await;
        let client = market.client("worker").await;
        let refused = client.buy(echo("hello")).await.unwrap_err();
        assert_eq!(refused.reason, "PAYER_ALLOWANCE_REQUIRED");
        assert_eq!(left(&market).await, CAP_NANO);
        // threats.md F23: just what two calls need at most.
        approve(&market, 2 * MOST).await;
        client.buy(echo("hello")).await.unwrap();
    }
}

/// The payer has no gas and has approved nothing: its permit goes with each payment, and the payee pays.
#[tokio::test(flavor = "multi_thread")]
async fn a_payer_without_an_allowance_sends_its_permit_where_the_payee_hands_it_in() {
    for scheme in [Scheme::Exact, upto()] {
        let market = paid_by(scheme, TransferMethod::Permit2Sponsored).await;
        let client = market.client("worker").await;
        let charged = if scheme == Scheme::Exact { MOST } else { 5 * PER_BYTE };
        for turn in 1..=3 {
            client.buy(echo("hello")).await.unwrap();
            assert_eq!(market.earned_on_chain().await, turn * charged);
        }
        assert_eq!(market.audit().await.captured(usdc()), 3 * charged);
        let allowance = market.evidence.allowance(usdc(), key("main").address()).await.unwrap();
        let allowance = allowance.unwrap();
        assert_eq!(allowance.permit_nonce, Some(3));
        // What was permitted and not charged moves nowhere without a signature.
        assert_eq!(allowance.amount.get(), MOST - charged);
    }
}

/// An allowance is used first: no permit is signed where none is needed.
#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_is_enough_where_permits_are_taken_too() {
    let market = paid_by(upto(), TransferMethod::Permit2Sponsored).await;
    approve(&market, 1_000_000).await;
    market.client("worker").await.buy(echo("hello")).await.unwrap();
    let allowance = market.evidence.allowance(usdc(), key("main").address()).await.unwrap();
    assert_eq!(allowance.unwrap().permit_nonce, Some(0));
}

/// A token in which a thousandth of a dollar costs what it costs, whatever its decimals.
async fn paid_in(
    artifact: &'static str,
    info: AssetInfo,
    scheme: Scheme,
    method: TransferMethod,
) -> Market {
    // A hundred bytes cost a thousandth of the token's unit.
    let unit = 10_u128.pow(u32::from(info.decimals));
    let terms = PriceTerms { per_1k_output: Amount::new(unit / 100), ..PriceTerms::default() };
    let (instead, tender) = (Some((scheme, method)), Some((artifact, info)));
    Market::open_with(Shop { terms, instead, tender, ..Shop::default() }).await
}

pub fn token(symbol: &str, decimals: u8, domain: (&str, &str), nano: u64) -> AssetInfo {
    AssetInfo {
        asset: other_token(),
        symbol: symbol.to_owned(),
        decimals,
        eip712_name: domain.0.to_owned(),
        eip712_version: domain.1.to_owned(),
        rate: Rate { nano, per: 10_u64.pow(u32::from(decimals)) },
    }
}

/// As USDT has it: no permits, calls that answer nothing, and six decimals.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_permits_is_paid_by_the_wallets_approval() {
    for scheme in [Scheme::Exact, upto()] {
        let usdt = token("USDT", 6, ("", ""), 1_000_000_000);
        let market = paid_in("PlainToken", usdt, scheme, TransferMethod::Permit2).await;
        let client = market.client("worker").await;
        let refused = client.buy(echo("hello")).await.unwrap_err();
        assert_eq!(refused.reason, "PAYER_ALLOWANCE_REQUIRED");
        approve(&market, 2_000).await;
        client.buy(echo("hello")).await.unwrap();
        let charged = if scheme == Scheme::Exact { 1_000 } else { 50 };
        assert_eq!(market.audit().await.captured(other_token()), charged);
        assert_eq!(market.earned_on_chain().await, charged);
        assert_eq!(left(&market).await, CAP_NANO - nano(charged));
    }
}

/// As DAI has it on most chains: permits, no EIP-3009, and eighteen decimals. A rate other than one counts
/// in budgets.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_eighteen_decimals_is_paid_by_permit_and_counts_at_its_rate() {
    let dai = token("DAI", 18, ("Permit Token", "1"), 1_250_000_000);
    let market = paid_in("PermitToken", dai, upto(), TransferMethod::Permit2Sponsored).await;
    let client = market.client("worker").await;
    client.buy(echo("hello")).await.unwrap();
    client.buy(streamed("hello")).await.unwrap();
    // Five bytes each, of a hundred for a thousandth.
    let charged = 2 * 5 * 10_u128.pow(13);
    assert_eq!(market.audit().await.captured(other_token()), charged);
    assert_eq!(market.earned_on_chain().await, charged);
    assert_eq!(left(&market).await, CAP_NANO - 2 * 5 * 12_500);
}
