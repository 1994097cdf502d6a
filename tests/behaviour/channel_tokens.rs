//! Channels in tokens that have no EIP-3009: their deposits go by Permit2, by the wallet's approval or by its
//! own permit at the token. Over gRPC, on a real EVM, with journals on disk. Row ids are those of the threat
//! model.

use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::primitives::B256;
use alloy::signers::SignerSync;
use bursar::domain::asset::AssetInfo;
use bursar::domain::channel::{ChannelTerms, Deposit, Incoming};
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::ledger::channel::Channel;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::quote::PriceTerms;
use bursar::domain::x402::TokenDomain;
use bursar::domain::x402::batch::check::{deposit_digest, deposit_word};
use bursar::domain::x402::batch::read::DepositWord;
use bursar::domain::x402::batch::typed::id_of;
use bursar::node::sandbox_assets;
use bursar::runtime::channels::KeeperSettings;

use crate::channels::{PREFIX, Stranger, charged, claim_all, until};
use crate::market::{KEEPER, Market, POLICY, PRICE, PRICE_NANO, Shop, echo, key};
use crate::tender::other_token;
use crate::upto::{approve, token};

/// Rounds after which what was claimed has to be paid out, whoever did it.
const ROUNDS_MAX: usize = 100;

/// As USDT has it: no permits, and calls that answer nothing.
fn usdt() -> AssetInfo {
    token("USDT", 6, ("", ""), 1_000_000_000)
}

/// As DAI has it: permits, no EIP-3009, and eighteen decimals.
fn dai() -> AssetInfo {
    token("DAI", 18, ("Permit Token", "1"), 1_000_000_000)
}

/// A shop that is paid in this token, a thousandth of its unit for a call.
fn shop(artifact: &'static str, info: AssetInfo, method: TransferMethod) -> Shop {
    let flat = Amount::new(10_u128.pow(u32::from(info.decimals) - 3));
    let terms = PriceTerms { flat, ..PriceTerms::default() };
    let (instead, tender) = (Some((Scheme::Exact, method)), Some((artifact, info)));
    Shop { by_channel: true, terms, instead, tender, ..Shop::default() }
}

async fn open(artifact: &'static str, info: AssetInfo, method: TransferMethod) -> Market {
    Market::open_with(shop(artifact, info, method)).await
}

/// What a call costs, in atomic units.
fn price(market: &Market) -> u128 {
    market.shop.terms.flat.get()
}

async fn by_approval() -> Market {
    open("PlainToken", usdt(), TransferMethod::Permit2).await
}

async fn by_permit() -> Market {
    open("PermitToken", dai(), TransferMethod::Permit2Sponsored).await
}

async fn channels(market: &Market) -> Vec<Channel> {
    let look = |ledger: &bursar::domain::ledger::Ledger| ledger.channels().cloned().collect();
    market.node().treasury.read(look).await.unwrap()
}

async fn permit_nonce(market: &Market) -> Option<u64> {
    let asked = market.evidence.allowance(market.shop.asset(), key("main").address()).await;
    asked.unwrap().unwrap().permit_nonce
}

/// Both books and the chain say the same.
async fn settles(market: &Market, calls: u128) {
    let sum = calls * price(market);
    assert_eq!(charged(market).await, sum);
    // The provider claims by itself as well, and may be about to pay out what it claimed.
    for _ in 0..ROUNDS_MAX {
        claim_all(market).await;
        if market.earned_on_chain().await == sum {
            break;
        }
    }
    assert_eq!(market.earned_on_chain().await, sum);
    market.node().payer.drain().await;
    let audit = market.audit().await;
    assert_eq!(audit.captured(market.shop.asset()), sum);
    assert_eq!(audit.over_limit(), Nano::ZERO);
    assert_eq!(market.left("worker").await.get(), (20 - calls as u64) * PRICE_NANO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_permits_fills_a_channel_by_the_wallets_approval() {
    let market = by_approval().await;
    let client = market.client("worker").await;
    // Nothing is held, and nothing signed, for what Permit2 may not move.
    let refused = client.buy(echo("hello")).await.unwrap_err();
    assert_eq!(refused.reason, "PAYER_ALLOWANCE_REQUIRED");
    assert_eq!(market.left("worker").await.get(), 20 * PRICE_NANO);
    approve(&market, 1_000_000).await;
    for _ in 0..3 {
        client.buy(echo("hello")).await.unwrap();
    }
    let found = channels(&market).await;
    let used: Vec<_> = found.iter().filter(|it| !it.reach().is_zero()).collect();
    assert_eq!(used.len(), 1);
    assert_eq!((used[0].reach(), used[0].calls), (Amount::new(10 * PRICE), 3));
    settles(&market, 3).await;
}

/// The payer has no gas and has approved nothing: its permit goes with the deposit, and the payee pays.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_permits_fills_a_channel_without_an_allowance_and_without_gas() {
    let market = by_permit().await;
    let client = market.client("worker").await;
    for _ in 0..3 {
        client.buy(echo("hello")).await.unwrap();
    }
    assert_eq!(permit_nonce(&market).await, Some(1), "one deposit, and one permit");
    let allowance =
        market.evidence.allowance(other_token(), key("main").address()).await.unwrap().unwrap();
    assert_eq!(allowance.amount, Amount::ZERO, "just what the deposit needed was permitted");
    settles(&market, 3).await;
}

/// An allowance is used first, and a short one makes the deposit smaller. threats.md F23.
#[tokio::test(flavor = "multi_thread")]
async fn f23_no_more_is_put_in_than_was_approved() {
    let market = by_approval().await;
    approve(&market, 3 * PRICE).await;
    let client = market.client("worker").await;
    for _ in 0..3 {
        client.buy(echo("hello")).await.unwrap();
    }
    let found = channels(&market).await;
    assert_eq!(found.iter().map(|it| it.reach().get()).sum::<u128>(), 3 * PRICE);
    let refused = client.buy(echo("hello")).await.unwrap_err();
    assert_eq!(refused.reason, "PAYER_ALLOWANCE_REQUIRED");
    settles(&market, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_is_enough_where_permits_are_taken_too() {
    let market = by_permit().await;
    approve(&market, 1_000 * price(&market)).await;
    market.client("worker").await.buy(echo("hello")).await.unwrap();
    assert_eq!(permit_nonce(&market).await, Some(0));
    settles(&market, 1).await;
}

/// A market whose payee is gone when its channel has to be filled anew, and the call that nobody answered:
/// its deposit is signed, and held.
async fn lost() -> Market {
    let keeper = KeeperSettings { calls_a_deposit: 1, ..KEEPER };
    let shop = shop("PermitToken", dai(), TransferMethod::Permit2Sponsored);
    let shop = Shop { keeper, ..shop };
    let mut market = Market::open_with(shop).await;
    let client = market.client("worker").await;
    client.buy(echo("first")).await.unwrap();
    // The first deposit has come in as far as the payer knows, so that the second is for the same channel.
    until(async || {
        market.node().reconciler.round().await.unwrap();
        pending(&channels(&market).await).is_none()
    })
    .await;
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    client.buy(echo("lost")).await.unwrap_err();
    market
}

fn pending(channels: &[Channel]) -> Option<Incoming> {
    channels.iter().find_map(|channel| channel.pending)
}

/// threats.md E08: after a restart the very same deposit is signed again, with its permit, and arrives once.
#[tokio::test(flavor = "multi_thread")]
async fn e08_a_deposit_that_nobody_heard_of_is_the_very_same_after_a_restart() {
    let mut market = lost().await;
    let before = pending(&channels(&market).await).unwrap();
    let TransferMethod::Permit2By(permit) = before.method else { panic!("{before:?}") };
    assert_eq!(permit.nonce, 1, "the first deposit used the permit before it");
    market.restart_node(POLICY).await;
    assert_eq!(pending(&channels(&market).await), Some(before));
    market.start_provider().await;
    let client = market.client("worker").await;
    // The next call brings it.
    client.buy(echo("next")).await.unwrap();
    assert_eq!(permit_nonce(&market).await, Some(2));
    client.buy(echo("after")).await.unwrap();
    assert_eq!(permit_nonce(&market).await, Some(2), "it came in once");
    settles(&market, 3).await;
}

/// threats.md E09: only the chain's word ends a deposit, and it says so of Permit2's nonces too.
#[tokio::test(flavor = "multi_thread")]
async fn e09_a_deposit_that_never_arrives_is_held_until_a_final_block_shows_its_nonce_unused() {
    let market = lost().await;
    let node = market.node();
    let locked = || async { node.treasury.read(|ledger| ledger.locked()).await.unwrap() };
    let held = pending(&channels(&market).await);
    assert!(held.is_some());
    node.reconciler.round().await.unwrap();
    assert_eq!(pending(&channels(&market).await), held, "its time is not over");
    assert!(locked().await > Nano::ZERO);
    market.pass(61).await;
    for _ in 0..ROUNDS_MAX {
        node.reconciler.round().await.unwrap();
    }
    assert_eq!(pending(&channels(&market).await), None);
    assert_eq!(locked().await, Nano::ZERO);
}

/// A stranger's deposit by Permit2, in the sandbox's own USDC.
fn by_permit2(stranger: &Stranger, amount: u128) -> DepositWord {
    let channel = id_of(&stranger.terms);
    let salt = B256::repeat_byte(9);
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let (amount, nano, valid_before_s) = (Amount::new(amount), Nano::ONE, now_s + 50);
    let deposit = Deposit { amount, nano, nonce: salt, salt, valid_before_s };
    let incoming = deposit.by(TransferMethod::Permit2);
    let token = TokenDomain::of(sandbox_assets().iter().next().unwrap());
    let digest = deposit_digest(&token, channel, stranger.terms.payer, &incoming);
    deposit_word(&incoming, stranger.key.sign_hash_sync(&digest).unwrap())
}

/// threats.md A01, D01, E06.
#[tokio::test(flavor = "multi_thread")]
async fn e06_a_strangers_deposit_by_permit2_fills_just_its_own_channel_or_serves_nothing() {
    let instead = Some((Scheme::Exact, TransferMethod::Permit2Sponsored));
    let shop = Shop { by_channel: true, instead, ..Shop::default() };
    let market = Market::open_with(shop).await;
    let stranger = Stranger::new(&market).await;
    let refused = |code: &str| Err(format!("{PREFIX}{code}"));
    let deposit = by_permit2(&stranger, 10 * PRICE);
    let answer = stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await;
    assert_eq!(answer, refused("permit2_allowance_required"));
    let by_token = stranger.deposit(10 * PRICE);
    let answer = stranger.call(&market, "one", stranger.voucher(PRICE), Some(by_token)).await;
    assert_eq!(answer, refused("permit2_authorization_required"));
    let more = DepositWord { amount: Amount::new(11 * PRICE), ..deposit };
    let answer = stranger.call(&market, "one", stranger.voucher(PRICE), Some(more)).await;
    assert_eq!(answer, refused("permit2_invalid_signature"));
    let terms = ChannelTerms { salt: B256::repeat_byte(8), ..stranger.terms };
    let other = Stranger { terms, ..Stranger::new(&market).await };
    let answer = other.call(&market, "one", other.voucher(PRICE), Some(deposit)).await;
    assert_eq!(answer, refused("permit2_invalid_signature"));
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
}
