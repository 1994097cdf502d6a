//! Paying by channel over gRPC, on a real EVM, with journals on disk. Row ids are those of the threat
//! model.

use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::primitives::{B256, Signature, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::channel::{Ceiling, ChannelTerms, Deposit};
use bursar::domain::commitment::TransferMethod;
use bursar::domain::ledger::channel::ChannelState;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::order::{Order, Units};
use bursar::domain::x402::TokenDomain;
use bursar::domain::x402::batch::check::{deposit_digest, deposit_word, nonce_of};
use bursar::domain::x402::batch::read::{DepositWord, voucher_digest};
use bursar::domain::x402::batch::typed::id_of;
use bursar::domain::x402::batch::word;
use bursar::domain::x402::payload::voucher_payload;
use bursar::domain::x402::wire::{PaymentRequired, PaymentRequirements};
use bursar::edge::grpc::{AgentError, Bought};
use bursar::edge::keys::SigningKey;
use bursar::node::sandbox_assets;
use bursar::ports::paid_service::{Answer, PaidCall, PaidService, Piece, ServiceError};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Map, Value};

use crate::market::{Market, POLICY, PRICE, Shop, channel_scheme, echo, name, usdc};

/// Calls that fit under an agent's cap of 0.02 USD.
const FIT: u64 = 20;

async fn open() -> Market {
    Market::open_with(Shop { by_channel: true, ..Shop::default() }).await
}

/// Claims and sweeps all that the provider is owed.
pub async fn claim_all(market: &Market) {
    let claimed = market.provider.as_ref().unwrap().payee.claim_round(true).await.unwrap();
    assert_eq!((claimed.poisoned, claimed.silent), (0, None));
}

/// A hundred calls of one agent at once.
pub async fn a_hundred_at_once(market: &Market) -> Vec<Result<Bought, AgentError>> {
    let client = market.client("worker").await;
    let calls = (0..100).map(|number| {
        let client = client.clone();
        async move { client.buy(echo(&format!("call {number}"))).await }
    });
    join_all(calls).await
}

/// Waits for what another task does; the test's own time limit ends what never comes.
pub async fn until(mut so: impl AsyncFnMut() -> bool) {
    while !so().await {
        tokio::task::yield_now().await;
    }
}

/// What the provider has charged on its tabs, in all.
pub async fn charged(market: &Market) -> u128 {
    let treasury = &market.provider.as_ref().unwrap().treasury;
    let sum = |ledger: &bursar::domain::ledger::Ledger| -> u128 {
        ledger.tabs().map(|tab| tab.charged.get()).sum()
    };
    treasury.read(sum).await.unwrap()
}

/// Rounds after which what a block shows has to be in the ledger, whoever saw it first.
const ROUNDS_MAX: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_cost_one_deposit_and_the_books_match_the_chain() {
    let market = open().await;
    let client = market.client("worker").await;
    for number in 0..5 {
        let bought = client.buy(echo(&format!("call {number}"))).await.unwrap();
        assert_eq!(bought.body.as_ref().last(), Some(&b'c'));
    }
    let channels = market.node().treasury.read(|ledger| ledger.channels().count());
    assert_eq!(channels.await.unwrap(), 1);
    assert_eq!(charged(&market).await, 5 * PRICE);
    assert_eq!(market.earned_on_chain().await, 0, "nothing moved to the payee yet");
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, 5 * PRICE);
    market.node().payer.drain().await;
    let audit = market.audit().await;
    assert_eq!(audit.captured(usdc()), 5 * PRICE);
    assert_eq!(audit.over_limit(), Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_as_many_of_a_hundred_calls_at_once_are_paid_by_channel_as_fit_under_the_cap() {
    let market = open().await;
    let answers = a_hundred_at_once(&market).await;
    let paid = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    let refused =
        answers.iter().filter_map(|answer| answer.as_ref().err()).map(|error| &error.reason);
    assert!(refused.clone().all(|reason| reason == "LEDGER_OVER_BUDGET"), "{refused:?}");
    assert_eq!(paid, FIT, "not one more, and not one less");
    let opened = market.node().treasury.read(|ledger| {
        let funded = ledger.channels().filter(|it| !it.reach().is_zero());
        funded.count() as u64
    });
    assert!(
        opened.await.unwrap() <= FIT,
        "what no budget has room for puts nothing into a channel"
    );
    assert_eq!(charged(&market).await, u128::from(FIT) * PRICE);
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, u128::from(FIT) * PRICE);
    market.node().payer.drain().await;
    let audit = market.audit().await;
    assert_eq!(audit.captured(usdc()), u128::from(FIT) * PRICE);
    assert_eq!(audit.over_limit(), Nano::ZERO);
    assert_eq!(market.left("worker").await, Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_is_paid_by_channel_and_comes_whole() {
    let market = open().await;
    let mut purchase = echo("stream me");
    purchase.streamed = true;
    let bought = market.client("worker").await.buy(purchase).await.unwrap();
    assert_eq!(bought.body.as_ref(), b"em maerts");
    assert_eq!(charged(&market).await, PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_the_same_request_again_is_one_charge_and_the_same_answer() {
    let market = open().await;
    let client = market.client("worker").await;
    let purchase = echo("once");
    let first = client.buy(purchase.clone()).await.unwrap();
    let again = client.buy(purchase).await.unwrap();
    assert_eq!((&first.payment, &first.body), (&again.payment, &again.body));
    assert!(again.done.repeated_answer);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1);
    assert_eq!(charged(&market).await, PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn e08_the_books_of_both_sides_go_on_where_they_were_after_a_restart() {
    let mut market = open().await;
    let first = echo("before");
    market.client("worker").await.buy(first.clone()).await.unwrap();
    market.restart_node(POLICY).await;
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    market.start_provider().await;
    let client = market.client("worker").await;
    let again = client.buy(first).await.unwrap();
    assert!(again.done.repeated_answer);
    client.buy(echo("after")).await.unwrap();
    assert_eq!(charged(&market).await, 2 * PRICE);
    let states = market
        .node()
        .treasury
        .read(|ledger| ledger.channels().map(|channel| channel.state).collect::<Vec<_>>());
    assert_eq!(states.await.unwrap(), [ChannelState::Open], "the channel is used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_charged_comes_back_and_the_wallet_has_all_but_what_it_spent() {
    let market = open().await;
    let client = market.client("worker").await;
    for number in 0..3 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    let payee = &market.provider.as_ref().unwrap().payee;
    assert_eq!(payee.give_back_idle(Duration::ZERO).await.unwrap(), 1);
    // The node looks at the chain by itself as well: whichever round sees it first closes the channel.
    for _ in 0..ROUNDS_MAX {
        market.node().reconciler.round().await.unwrap();
        let closed = market
            .node()
            .treasury
            .read(|ledger| ledger.channels().all(|channel| channel.state == ChannelState::Closed));
        if closed.await.unwrap() {
            break;
        }
    }
    let (states, position) = market
        .node()
        .treasury
        .read(|ledger| {
            let states = ledger.channels().map(|channel| channel.state).collect::<Vec<_>>();
            (states, ledger.wallets()[0].find(usdc()).copied().unwrap())
        })
        .await
        .unwrap();
    assert_eq!(states, [ChannelState::Closed]);
    assert_eq!(position.locked, Amount::ZERO);
    let holder = crate::market::key("main").address();
    let owned = market.evidence.balance(usdc(), holder).await.unwrap().amount;
    assert_eq!(position.available(), owned, "the books say what the chain says");
    assert_eq!(owned.get(), 10_000_000 - 3 * PRICE);
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
    // The next call finds that the channel has ended, and opens another.
    client.buy(echo("after")).await.unwrap();
    assert_eq!(charged(&market).await, 4 * PRICE);
}

/// A payer that keeps no rules: it says whatever it is told to say.
pub struct Stranger {
    pub key: PrivateKeySigner,
    pub terms: ChannelTerms,
}

pub fn stranger_key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("bursar behaviour test stranger")).unwrap()
}

impl Stranger {
    pub async fn new(market: &Market) -> Self {
        let key = stranger_key();
        market.chain.fund(key.address(), Amount::new(1_000_000)).await.unwrap();
        let bursar::domain::commitment::Scheme::BatchSettlement(offer) = channel_scheme() else {
            unreachable!("the market's scheme is a channel's")
        };
        let terms = ChannelTerms {
            asset: usdc(),
            payer: key.address(),
            payer_authorizer: key.address(),
            receiver: crate::market::key("payee").address(),
            receiver_authorizer: offer.receiver_authorizer,
            withdraw_delay_s: offer.withdraw_delay_s,
            salt: B256::repeat_byte(1),
        };
        Self { key, terms }
    }

    fn token() -> TokenDomain {
        TokenDomain::of(sandbox_assets().iter().next().unwrap())
    }

    pub fn deposit(&self, amount: u128) -> DepositWord {
        self.deposit_by(amount, 2)
    }

    fn deposit_by(&self, amount: u128, salt: u8) -> DepositWord {
        let channel = id_of(&self.terms);
        let salt = B256::repeat_byte(salt);
        let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let deposit = Deposit {
            amount: Amount::new(amount),
            nano: Nano::ONE,
            nonce: nonce_of(channel, salt),
            salt,
            valid_before_s: now_s + 60,
        };
        let incoming = deposit.by(TransferMethod::Eip3009);
        let digest = deposit_digest(&Self::token(), channel, self.terms.payer, &incoming);
        deposit_word(&incoming, self.key.sign_hash_sync(&digest).unwrap())
    }

    pub fn voucher(&self, amount: u128) -> (Ceiling, Signature) {
        let ceiling = Ceiling { channel: id_of(&self.terms), amount: Amount::new(amount) };
        let digest = voucher_digest(Self::token().batch_separator(), &ceiling);
        (ceiling, self.key.sign_hash_sync(&digest).unwrap())
    }

    /// Calls with a voucher for `amount`, signed as `signed` says.
    pub async fn call(
        &self,
        market: &Market,
        body: &str,
        word: (Ceiling, Signature),
        deposit: Option<DepositWord>,
    ) -> Result<(), String> {
        self.call_with(market, body, word, deposit, |payload| payload).await
    }

    /// The same, with a payload that was changed by hand.
    pub async fn call_with(
        &self,
        market: &Market,
        body: &str,
        (ceiling, signature): (Ceiling, Signature),
        deposit: Option<DepositWord>,
        change: impl FnOnce(Map<String, Value>) -> Map<String, Value>,
    ) -> Result<(), String> {
        let payee = &market.provider.as_ref().unwrap().payee;
        let offer = offer(market, body).await;
        let accepted = by_channel(&offer);
        let payload = change(word::payload(&self.terms, &ceiling, &signature, deposit.as_ref()));
        let payment = bursar::domain::id::PaymentId::from_bytes([7; 16]);
        let payment =
            voucher_payload(offer.resource.clone(), accepted, payload, None, Some(payment));
        match payee.infer(PaidCall { payment: Some(payment), ..call(body) }).await {
            Ok(answer) => finish(answer).await,
            Err(ServiceError::PaymentRequired(offer)) => Err(offer.error.unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        }
    }
}

pub fn call(body: &str) -> PaidCall {
    PaidCall {
        order: Order {
            capability: name("echo"),
            model: None,
            input_max: Units(100),
            output_max: Units(100),
            maxima: Default::default(),
        },
        quote: None,
        content_type: "text/plain".to_owned(),
        body: body.to_owned().into(),
        payment: None,
        signed_order: None,
        peer: None,
        streamed: false,
    }
}

pub async fn offer(market: &Market, body: &str) -> PaymentRequired {
    let payee = &market.provider.as_ref().unwrap().payee;
    match payee.infer(call(body)).await {
        Err(ServiceError::PaymentRequired(offer)) => *offer,
        Err(other) => panic!("not an offer: {other}"),
        Ok(_) => panic!("served for nothing"),
    }
}

pub fn by_channel(offer: &PaymentRequired) -> PaymentRequirements {
    let found = offer.accepts.iter().find(|accept| accept.scheme == "batch-settlement");
    found.unwrap().clone()
}

pub async fn finish(mut answer: Answer) -> Result<(), String> {
    while let Some(piece) = answer.pieces.next().await {
        match piece {
            Ok(Piece::Chunk(_) | Piece::Used(_)) => {}
            Ok(Piece::Cut(_)) => return Err("cut".to_owned()),
            Ok(Piece::Done(closing)) => {
                assert!(closing.response.success);
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("broke off".to_owned())
}

pub const PREFIX: &str = "invalid_batch_settlement_evm_";

/// Once such a voucher was told that the payee is unavailable, which reads as if nothing was charged.
#[tokio::test(flavor = "multi_thread")]
async fn e02_a_voucher_whose_answer_is_kept_no_more_is_told_how_its_channel_stands() {
    let mut market = open().await;
    let stranger = Stranger::new(&market).await;
    let first = stranger.voucher(PRICE);
    let deposit = stranger.deposit(10 * PRICE);
    stranger.call(&market, "one", first, Some(deposit)).await.unwrap();
    assert_eq!(stranger.call(&market, "one", first, None).await, Ok(()), "it is kept");
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    let file = rusqlite::Connection::open(market.folder().join("provider.db")).unwrap();
    assert_eq!(file.execute("DELETE FROM answers", []).unwrap(), 1);
    drop(file);
    market.start_provider().await;
    let again = stranger.call(&market, "one", first, None).await;
    assert_eq!(again, Err(format!("{PREFIX}cumulative_amount_mismatch")));
    assert_eq!(charged(&market).await, PRICE);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn e01_to_e06_a_word_that_is_not_right_is_refused_by_its_code_and_nothing_is_served() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(10 * PRICE);
    let first = stranger.voucher(PRICE);
    stranger.call(&market, "one", first, Some(deposit)).await.unwrap();
    let served = || market.engine.served.load(Ordering::SeqCst);
    assert_eq!(served(), 1);

    let refused = |code: &str| Err(format!("{PREFIX}{code}"));
    let wrong_signature = Signature::new(U256::from(1), U256::from(1), false);
    let mismatch = refused("cumulative_amount_mismatch");
    // E02: the same sum again, for another request.
    assert_eq!(stranger.call(&market, "two", first, None).await, mismatch);
    // E01: less than was charged.
    assert_eq!(stranger.call(&market, "two", stranger.voucher(1), None).await, mismatch);
    // E03: whatever the sum is, the signature is looked at.
    let (ceiling, _) = stranger.voucher(1);
    let forged = stranger.call(&market, "two", (ceiling, wrong_signature), None).await;
    assert_eq!(forged, refused("voucher_signature"));
    // E04: more than lies there.
    let beyond = stranger.call(&market, "two", stranger.voucher(2 * PRICE), None).await;
    assert_eq!(beyond, Ok(()));
    // E06: another config under the same name.
    let changed = Stranger {
        key: stranger_key(),
        terms: ChannelTerms { receiver: stranger_key().address(), ..stranger.terms },
    };
    let named = stranger.voucher(3 * PRICE);
    assert_eq!(changed.call(&market, "three", named, None).await, refused("channel_id_mismatch"));
    let own = changed.voucher(PRICE);
    assert_eq!(changed.call(&market, "three", own, None).await, refused("receiver_mismatch"));
    let delayed = Stranger {
        key: stranger_key(),
        terms: ChannelTerms { withdraw_delay_s: 901, ..stranger.terms },
    };
    let own = delayed.voucher(PRICE);
    let delay = refused("withdraw_delay_mismatch");
    assert_eq!(delayed.call(&market, "three", own, None).await, delay);
    assert_eq!(served(), 2);
    assert_eq!(charged(&market).await, 2 * PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn e04_no_voucher_is_taken_beyond_what_lies_in_its_channel() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let none = stranger.call(&market, "one", stranger.voucher(PRICE), None).await;
    assert_eq!(none, Err(format!("{PREFIX}cumulative_exceeds_balance")));
    let deposit = stranger.deposit(PRICE);
    stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await.unwrap();
    let beyond = stranger.call(&market, "two", stranger.voucher(2 * PRICE), None).await;
    assert_eq!(beyond, Err(format!("{PREFIX}cumulative_exceeds_balance")));
    // The same deposit again adds nothing.
    let again = stranger.call(&market, "two", stranger.voucher(2 * PRICE), Some(deposit)).await;
    assert_eq!(again, Err(format!("{PREFIX}cumulative_exceeds_balance")));
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn e07_one_call_at_a_time_is_served_on_a_channel() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(10 * PRICE);
    stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await.unwrap();
    let next = stranger.voucher(2 * PRICE);
    let calls = (0..20).map(|number| {
        let (market, stranger) = (&market, &stranger);
        async move { stranger.call(market, &format!("call {number}"), next, None).await }
    });
    let answers = join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert_eq!(charged(&market).await, 2 * PRICE);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn e15_a_payer_that_withdraws_and_keeps_buying_is_claimed_at_once_and_served_no_more() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(10 * PRICE);
    stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await.unwrap();
    let key = SigningKey::from_bytes(&stranger.key.to_bytes()).unwrap();
    let way = crate::channel_ends::way_out(&market, &key).await;
    way.begin(&stranger.terms).await.unwrap();
    // It is served until it is seen; then what is owed is claimed, long before the delay is over.
    let payee = &market.provider.as_ref().unwrap().payee;
    while market.earned_on_chain().await == 0 {
        payee.claim_round(false).await.unwrap();
    }
    let after = stranger.call(&market, "two", stranger.voucher(2 * PRICE), None).await;
    assert_eq!(after, Err(format!("{PREFIX}cumulative_exceeds_balance")));
    market.pass(901).await;
    way.finish(&stranger.terms).await.unwrap();
    let lost = market
        .provider
        .as_ref()
        .unwrap()
        .treasury
        .read(|ledger| ledger.tabs().map(|tab| tab.lost.get()).sum::<u128>());
    assert_eq!((market.earned_on_chain().await, lost.await.unwrap()), (PRICE, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn e20_a_channel_that_was_drained_and_filled_again_goes_on_where_it_was() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(10 * PRICE);
    stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await.unwrap();
    let payee = &market.provider.as_ref().unwrap().payee;
    assert_eq!(payee.give_back_idle(Duration::ZERO).await.unwrap(), 1);
    let again = stranger.deposit_by(5 * PRICE, 3);
    let mismatch = Err(format!("{PREFIX}cumulative_amount_mismatch"));
    let from_nothing = stranger.call(&market, "two", stranger.voucher(PRICE), Some(again)).await;
    assert_eq!(from_nothing, mismatch, "its former life counts");
    stranger.call(&market, "two", stranger.voucher(2 * PRICE), Some(again)).await.unwrap();
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, 2 * PRICE);
}
