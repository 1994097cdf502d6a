//! Channels of which a payer does not know what was charged last: lost answers, lies, and ledgers that
//! were restored from a copy. Over gRPC, with journals on disk. Row ids are those of the threat model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::B256;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use bursar::domain::asset::Network;
use bursar::domain::channel::{ChannelId, ChannelTerms};
use bursar::domain::commitment::TransferMethod;
use bursar::domain::ledger::channel::{ChannelState, Frozen};
use bursar::domain::listing::{Listing, Ware};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::negotiation::Verdict;
use bursar::domain::order::Usage;
use bursar::domain::quote::{PayBy, PriceTerms, Quote};
use bursar::domain::x402::TokenDomains;
use bursar::domain::x402::batch::read::{BatchWord, VoucherWord, read_batch};
use bursar::domain::x402::batch::state::{ChannelState as Standing, VoucherState};
use bursar::domain::x402::batch::word;
use bursar::domain::x402::payload::grpc_resource;
use bursar::domain::x402::requirements::Requirement;
use bursar::domain::x402::signature::to_text;
use bursar::domain::x402::wire::PaymentRequired;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{Address, Doors, Listener, Purchase, serve_paid_service};
use bursar::edge::keys::LocalServiceSigner;
use bursar::node::sandbox_assets;
use bursar::ports::clock::Clock;
use bursar::ports::directory::Directory;
use bursar::ports::paid_service::{
    Answer, Ask, Closing, PaidCall, PaidService, Piece, Quoted, ServiceError,
};
use bursar::ports::signer::ServiceSigner;
use bursar::runtime::channels::KeeperSettings;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::Notify;

use crate::channel_strict::wish_of;
use crate::copies::{copy_ledger, restore_ledger};
use crate::market::{Market, POLICY, PRICE, Shop, channel_scheme, echo, key, loopback, name, usdc};

/// What a teller does with a call that a voucher pays.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Charges it and answers.
    Serve,
    /// Charges it, and the answer is lost.
    Lose,
    /// Charges it, answers, and says what is not so.
    Lie(Lie),
    /// Says nothing, whatever it is asked.
    Hush,
    /// Hears it, and never answers.
    Hang,
}

/// What it says of a call that it charged.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// More than was asked.
    Dear,
    /// More in all than before it and the call.
    Sum,
    /// Less in all.
    Less,
    /// Of another channel.
    Other,
    /// Nothing of the channel.
    Silence,
}

/// How it proves what it has charged.
#[derive(Clone, Copy, Debug, Default)]
enum Proof {
    #[default]
    Honest,
    /// Without a voucher.
    None,
    /// With a voucher that somebody else signed.
    Forged,
    /// With a real voucher, for more than it says.
    Inflated,
}

#[derive(Default)]
struct Till {
    terms: Option<ChannelTerms>,
    charged: u128,
    voucher: Option<VoucherWord>,
}

/// A payee that keeps one channel after the other by hand, and does what it is told to.
struct Teller {
    signer: LocalServiceSigner,
    quote: Quote,
    till: Mutex<BTreeMap<ChannelId, Till>>,
    acts: Mutex<VecDeque<Act>>,
    proof: Mutex<Proof>,
    heard: Notify,
}

#[async_trait]
impl PaidService for Teller {
    async fn quote(&self, _: Ask) -> Result<Quoted, ServiceError> {
        let valid_until = SystemClock.now().after(Duration::from_secs(60));
        let quote = Quote { valid_until, ..self.quote.clone() };
        Ok(Quoted { quote: self.signer.sign_quote(quote), verdict: Verdict::List })
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        let Some(payment) = &call.payment else { return Err(self.offer(None, None, &call)) };
        let word: BatchWord = read_batch(&payment.payload, Network::SANDBOX).unwrap();
        if matches!(self.acts.lock().unwrap().front(), Some(Act::Hang)) {
            self.acts.lock().unwrap().pop_front();
            self.heard.notify_one();
            std::future::pending::<()>().await;
        }
        self.serve(&call, word)
    }

    /// Once a channel has paid, its vouchers come alone.
    async fn infer_by_word(
        &self,
        call: PaidCall,
        word: VoucherWord,
    ) -> Result<Answer, ServiceError> {
        let channel = word.ceiling.channel;
        let terms = self.till.lock().unwrap().get(&channel).and_then(|till| till.terms).unwrap();
        self.serve(&call, BatchWord { terms, channel, voucher: word, deposit: None })
    }
}

impl Teller {
    fn serve(&self, call: &PaidCall, word: BatchWord) -> Result<Answer, ServiceError> {
        let mut tills = self.till.lock().unwrap();
        let till = tills.entry(word.channel).or_default();
        till.terms = Some(word.terms);
        if matches!(self.acts.lock().unwrap().front(), Some(Act::Hush)) {
            self.acts.lock().unwrap().pop_front();
            return Err(ServiceError::Unavailable("hush".to_owned()));
        }
        let asked = word.voucher.ceiling.amount.get();
        if asked != till.charged + PRICE {
            let code = "invalid_batch_settlement_evm_cumulative_amount_mismatch";
            return Err(self.offer(Some(code), Some((&word, till)), call));
        }
        let act = self.acts.lock().unwrap().pop_front().unwrap_or(Act::Serve);
        till.charged += PRICE;
        till.voucher = Some(word.voucher);
        match act {
            Act::Serve => Ok(answer(&word, till, None)),
            Act::Hush | Act::Hang => unreachable!("it was taken out above"),
            Act::Lose => Err(ServiceError::Unknown("lost".to_owned())),
            Act::Lie(lie) => Ok(answer(&word, till, Some(lie))),
        }
    }
}

fn thief() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap()
}

impl Teller {
    /// What it has charged on all channels.
    fn charged(&self) -> Vec<u128> {
        self.till.lock().unwrap().values().map(|till| till.charged).collect()
    }

    fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    /// What would have to be paid; with how the channel stands, where it is asked about one.
    fn offer(
        &self,
        error: Option<&str>,
        of: Option<(&BatchWord, &Till)>,
        call: &PaidCall,
    ) -> ServiceError {
        let tokens = TokenDomains::new(&sandbox_assets());
        let requirement = Requirement::of_quote(&self.quote, &call.order, &tokens).unwrap();
        let mut accepts: Vec<_> = requirement.iter().map(|way| way.to_wire()).collect();
        if let Some((word, till)) = of {
            let proof = *self.proof.lock().unwrap();
            let charged = match proof {
                Proof::Inflated => till.charged + 1,
                _ => till.charged,
            };
            let voucher = till.voucher.filter(|_| !matches!(proof, Proof::None));
            let signature = voucher.map(|voucher| match proof {
                Proof::Forged => {
                    to_text(&thief().sign_hash_sync(&voucher.ceiling.channel.0).unwrap())
                }
                _ => to_text(&voucher.signature),
            });
            let state =
                Standing { charged_cumulative_amount: Some(charged.to_string()), ..standing(word) };
            let ceiling = voucher.map(|voucher| voucher.ceiling.amount.to_string());
            let voucher = VoucherState { signed_max_claimable: ceiling, signature };
            for accept in &mut accepts {
                let extra = accept.extra.get_or_insert_default();
                extra.insert("channelState".to_owned(), serde_json::to_value(&state).unwrap());
                extra.insert("voucherState".to_owned(), serde_json::to_value(&voucher).unwrap());
            }
        }
        ServiceError::PaymentRequired(Box::new(PaymentRequired {
            x402_version: 2,
            error: error.map(ToOwned::to_owned),
            resource: grpc_resource(&self.quote.resource),
            accepts,
            extensions: None,
        }))
    }
}

fn standing(word: &BatchWord) -> Standing {
    Standing {
        channel_id: word.channel.to_string(),
        balance: "0".to_owned(),
        total_claimed: "0".to_owned(),
        withdraw_requested_at: 0,
        refund_nonce: "0".to_owned(),
        charged_cumulative_amount: None,
    }
}

fn answer(word: &BatchWord, till: &Till, lie: Option<Lie>) -> Answer {
    let (mut charged, mut sum, mut state) = (PRICE, till.charged, standing(word));
    match lie {
        Some(Lie::Dear) => (charged, sum) = (PRICE + 1, till.charged + 1),
        Some(Lie::Sum) => sum += 1,
        Some(Lie::Less) => sum -= 1,
        Some(Lie::Other) => state.channel_id = ChannelId(B256::repeat_byte(9)).to_string(),
        Some(Lie::Silence) | None => {}
    }
    state.charged_cumulative_amount = Some(sum.to_string());
    let mut response = word::response(&word.terms, Amount::new(charged), state, None);
    if matches!(lie, Some(Lie::Silence)) {
        response.extra = None;
    }
    let usage = Usage::default();
    let closing = Closing { usage, response: response.clone(), receipt: None };
    let pieces = [Ok(Piece::Chunk("told".into())), Ok(Piece::Done(Box::new(closing)))];
    Answer {
        content_type: "text/plain".to_owned(),
        model: "teller-1".to_owned(),
        settled: None,
        pieces: stream::iter(pieces).boxed(),
    }
}

/// Puts a teller into the market's directory.
async fn open_till(market: &Market) -> Arc<Teller> {
    let listener = Listener::bind(&Address::Tcp(loopback()), "--listen").await.unwrap();
    let endpoint = listener.address().to_string();
    let (pay_to, service) = (key("teller"), key("teller service"));
    let pay_by = PayBy {
        scheme: channel_scheme(),
        method: TransferMethod::Eip3009,
        asset: usdc(),
        pay_to: pay_to.address(),
        timeout_s: 600,
    };
    let terms = PriceTerms { flat: Amount::new(PRICE), ..PriceTerms::default() };
    let quote = Quote {
        provider: name("teller"),
        resource: endpoint.replace("http://", "grpc://") + "/bursar.v1.InferenceService/Infer",
        capability: name("echo"),
        model: name("echo-1"),
        terms,
        pay_by: vec![pay_by],
        output_max: 1000,
        valid_until: SystemClock.now(),
        rounds: 0,
        standing: None,
        stride: None,
    };
    let now = SystemClock.now();
    let listing = Listing {
        provider: name("teller"),
        endpoint,
        wares: vec![Ware {
            capability: name("echo"),
            model: name("echo-1"),
            terms,
            tiers: Default::default(),
        }],
        pay_by: vec![pay_by],
        issued_at: now,
        valid_until: now.after(Duration::from_secs(600)),
    };
    let delegation = pay_to.delegate_to(service.address());
    let signer = LocalServiceSigner::new(service);
    market.registry.announce(signer.sign_listing(listing, delegation)).await.unwrap();
    let teller = Arc::new(Teller {
        signer,
        quote,
        till: Mutex::default(),
        acts: Mutex::default(),
        proof: Mutex::default(),
        heard: Notify::new(),
    });
    let doors = Doors::default().with(serve_paid_service(teller.clone()));
    let max = Duration::from_secs(1);
    tokio::spawn(doors.serve(vec![listener], std::future::pending(), max));
    teller
}

async fn open() -> Market {
    Market::open_with(Shop { by_channel: true, ..Shop::default() }).await
}

fn of_teller(body: &str) -> Purchase {
    let mut purchase = echo(body);
    purchase.provider = Some(name("teller"));
    purchase
}

/// What the node knows of its channels: state, charged, and what is signed beyond.
pub async fn channels(market: &Market) -> Vec<(ChannelState, u128, u128)> {
    let look = |ledger: &bursar::domain::ledger::Ledger| {
        let facts = |it: &bursar::domain::ledger::channel::Channel| {
            (it.state, it.charged.get(), it.exposure().get())
        };
        ledger.channels().map(facts).collect()
    };
    market.node().treasury.read(look).await.unwrap()
}

/// How many calls' worth is left of the worker's budget of twenty.
async fn left(market: &Market) -> u64 {
    market.left("worker").await.get() / crate::market::PRICE_NANO
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_answer_was_lost_is_asked_about_and_lent_again() {
    let market = open().await;
    let teller = open_till(&market).await;
    let client = market.client("worker").await;
    teller.will([Act::Serve, Act::Lose, Act::Serve, Act::Lose]);
    client.buy(of_teller("one")).await.unwrap();
    client.buy(of_teller("two")).await.unwrap_err();
    assert_eq!(channels(&market).await, [(ChannelState::Open, PRICE, PRICE)], "held, not charged");
    client.buy(of_teller("three")).await.unwrap();
    client.buy(of_teller("four")).await.unwrap_err();
    client.buy(of_teller("five")).await.unwrap();
    assert_eq!(teller.charged(), [5 * PRICE], "one channel carried all five");
    market.node().payer.drain().await;
    assert_eq!(channels(&market).await, [(ChannelState::Open, 5 * PRICE, 0)]);
    assert_eq!(left(&market).await, 15);
    let audit = market.audit().await;
    assert_eq!((audit.captured(usdc()), audit.over_limit()), (5 * PRICE, Nano::ZERO));
}

/// A payee that said nothing is asked again after a second; calls that wait for a channel meanwhile
/// waited their whole time, and then went away.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_a_channel_in_doubt_goes_on_once_it_has_rested() {
    let keeper = KeeperSettings { pool_max: 1, ..Shop::default().keeper };
    let market = Market::open_with(Shop { by_channel: true, keeper, ..Shop::default() }).await;
    let teller = open_till(&market).await;
    let client = market.client("worker").await;
    teller.will([Act::Serve, Act::Lose, Act::Hush]);
    client.buy(of_teller("one")).await.unwrap();
    client.buy(of_teller("two")).await.unwrap_err();
    client.buy(of_teller("three")).await.unwrap();
    assert_eq!(teller.charged(), [3 * PRICE]);
}

/// The one channel was lent to ask how it stands; with its caller it was gone, until the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_while_a_payee_is_asked_leaves_its_channel_behind() {
    let keeper = KeeperSettings { pool_max: 1, ..Shop::default().keeper };
    let market = Market::open_with(Shop { by_channel: true, keeper, ..Shop::default() }).await;
    let teller = open_till(&market).await;
    let client = market.client("worker").await;
    teller.will([Act::Serve, Act::Lose, Act::Hang]);
    client.buy(of_teller("one")).await.unwrap();
    client.buy(of_teller("two")).await.unwrap_err();
    tokio::select! {
        biased;
        bought = market.node().payer.pay(wish_of(of_teller("three"))) => panic!("nobody answers: {bought:?}"),
        () = teller.heard.notified() => {}
    }
    client.buy(of_teller("four")).await.unwrap();
    market.node().payer.drain().await;
    // One, two and four; and three, where its own task got through after all. Both sides count the same.
    let charged = teller.charged();
    assert!([[3 * PRICE], [4 * PRICE]].iter().any(|sum| *sum == charged[..]), "{charged:?}");
    let known = channels(&market).await;
    assert_eq!(known, [(ChannelState::Open, charged[0], 0)]);
}

/// The payee served it, both sides lost the answer, and once the payer booked that as a call that cost
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_whose_answer_is_kept_nowhere_is_booked_for_what_it_was_charged() {
    let market = open().await;
    let teller = open_till(&market).await;
    let client = market.client("worker").await;
    teller.will([Act::Serve, Act::Lose]);
    client.buy(of_teller("one")).await.unwrap();
    let lost = of_teller("two");
    client.buy(lost.clone()).await.unwrap_err();
    for _ in 0..2 {
        let again = client.buy(lost.clone()).await.unwrap_err();
        assert_eq!(again.reason, "PAYER_ANSWER_GONE");
    }
    assert_eq!(channels(&market).await, [(ChannelState::Open, 2 * PRICE, 0)]);
    client.buy(of_teller("three")).await.unwrap();
    assert_eq!(teller.charged(), [3 * PRICE]);
    assert_eq!(left(&market).await, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn e12_a_figure_that_is_not_proven_is_not_adopted_and_its_channel_pays_no_more() {
    for proof in [Proof::None, Proof::Forged, Proof::Inflated] {
        let market = open().await;
        let teller = open_till(&market).await;
        let client = market.client("worker").await;
        teller.will([Act::Lose]);
        client.buy(of_teller("one")).await.unwrap_err();
        *teller.proof.lock().unwrap() = proof;
        client.buy(of_teller("two")).await.unwrap();
        let mut seen = channels(&market).await;
        seen.sort_by_key(|(state, ..)| *state != ChannelState::Frozen(Frozen::Lied));
        let frozen = (ChannelState::Frozen(Frozen::Lied), 0, PRICE);
        assert_eq!(seen[0], frozen, "{proof:?}: what was signed stays held");
        assert_eq!(seen.len(), 2, "{proof:?}: another channel pays");
        assert_eq!(left(&market).await, 18, "{proof:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e10_after_an_answer_that_cannot_be_nothing_more_is_signed_for_its_channel() {
    let market = open().await;
    let teller = open_till(&market).await;
    let client = market.client("worker").await;
    let lies = [Lie::Dear, Lie::Sum, Lie::Less, Lie::Other, Lie::Silence];
    for (place, lie) in lies.into_iter().enumerate() {
        teller.will([Act::Lie(lie)]);
        // The answer came, and is the caller's.
        client.buy(of_teller("lie")).await.unwrap();
        let seen = channels(&market).await;
        assert_eq!(seen.len(), place + 1, "{lie:?}: each lie costs its channel");
        let lied = (ChannelState::Frozen(Frozen::Lied), 0, PRICE);
        assert!(seen.iter().all(|it| *it == lied), "{lie:?}: {seen:?}");
    }
    client.buy(of_teller("honest")).await.unwrap();
    assert_eq!(left(&market).await, 20 - 5 - 1);
}

/// A node that crashed, or was put back from a copy, asks before it signs anything. The copy knows three
/// of eight calls.
#[tokio::test(flavor = "multi_thread")]
async fn e13_a_ledger_from_an_old_copy_takes_over_what_its_own_vouchers_prove_and_goes_on() {
    let mut market = open().await;
    for number in 0..3 {
        market.client("worker").await.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    market.stop_node().await;
    let copy = tempfile::tempdir().unwrap();
    copy_ledger(market.folder(), copy.path(), "node");
    market.start_node(POLICY).await;
    for number in 3..8 {
        market.client("worker").await.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    market.stop_node().await;
    restore_ledger(market.folder(), copy.path(), "node");
    market.start_node(POLICY).await;
    assert_eq!(channels(&market).await, [(ChannelState::Open, 3 * PRICE, 0)]);
    market.client("worker").await.buy(echo("after")).await.unwrap();
    market.node().payer.drain().await;
    assert_eq!(channels(&market).await, [(ChannelState::Open, 9 * PRICE, 0)], "the same channel");
    market.provider.as_ref().unwrap().payee.claim_round(true).await.unwrap();
    assert_eq!(market.earned_on_chain().await, 9 * PRICE);
}
