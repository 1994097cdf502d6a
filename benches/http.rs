//! What the web's door costs, beside the official programs in TypeScript on the same anvil, in turns of one run.
//!
//! `cargo bench --bench http -- --seconds 4`, after `npm ci` in contracts/ and tests/interop/x402/; so does
//! `bursar bench http`. `--beside NAME=COMMAND` measures one facilitator more: the command finds the chain in
//! `RPC_URL` and a key with gas in `GAS_KEY`, and prints `listening URL` once it answers. `--only NAME` measures
//! one thing: `verify`, `settle`, `voucher` or `proxy`.

#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where something does not work"
)]

#[path = "../tests/interop/x402/chain.rs"]
#[allow(dead_code, reason = "the interop tests use the rest")]
mod chain;
#[path = "../src/cli/bench/measure.rs"]
#[allow(dead_code, reason = "`bursar bench` uses the rest")]
mod measure;
#[path = "../tests/behaviour/node_commands.rs"]
#[allow(dead_code, unused_imports, reason = "the behaviour tests use the rest")]
mod node_commands;
#[path = "../tests/interop/x402/ours.rs"]
#[allow(dead_code, reason = "the interop tests use the rest")]
mod ours;
#[path = "http/post.rs"]
mod post;
#[path = "http/proxy.rs"]
mod proxy;
#[path = "../tests/interop/x402/shop.rs"]
#[allow(dead_code, reason = "the interop tests use the rest")]
mod shop;

/// What node_commands.rs takes from its neighbours.
mod market {
    use bursar::domain::id::Name;

    pub fn name(text: &str) -> Name {
        text.parse().unwrap()
    }
}

use std::io::{BufRead, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::{B256, Bytes, Signature, address, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use bursar::domain::ledger::channel::ChannelCaps;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::policy::Rates;
use bursar::domain::quote::PayBy;
use bursar::domain::x402::TokenDomains;
use bursar::domain::x402::payload::payment_payload;
use bursar::domain::x402::requirements::Requirement;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{Address, Listener};
use bursar::node::{FacilitatorNode, FacilitatorPlan};
use bursar::ports::clock::Clock as _;
use bursar::runtime::channels::KeeperSettings;
use bursar::runtime::facilitator::Rail;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::chain::{Chain, PAYER, USDC, assets, payee, payer, usdc};
use crate::measure::{Round, drive, permille, shown};
use crate::ours::Payer;
use crate::post::Client;
use crate::shop::{By, Shop};

/// The command's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns that each side takes.
const TURNS: u64 = 4;

/// Payments that are verified, over and over.
const PAYMENTS: u64 = 512;

/// Requests at once.
const MANY: u64 = 16;

/// Calls that one deposit is for, on both sides.
const DEPOSIT_CALLS: u64 = 10_000;

/// How long an answer may take before it counts as a refusal.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Where x402-rs expects its checker of contract wallets.
const ITS_CHECKER: alloy::primitives::Address =
    address!("dAcD51A54883eb67D95FAEb2BBfdC4a9a6BD2a3B");

/// What a payment is, in atomic units.
const PRICE: u128 = 10;

/// The money of the measurement, in atomic units.
const MONEY: u128 = 1_000_000_000_000;

// Development keys that anvil prints at every start: known to everybody, fit for no money.
const THEIR_GAS: &str = "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";
const OTHER_GAS: &str = "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/x402")
}

/// A program of somebody else's; gone when dropped.
struct Peer {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    asks: ChildStdin,
    url: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let asks = process.stdin.take().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let listens = |line: std::io::Result<String>| {
            line.unwrap().strip_prefix("listening").map(|url| url.trim().to_owned())
        };
        let url = said.find_map(listens).expect("it says `listening` before it ends");
        Self { process, said, asks, url }
    }

    fn script(name: &str, with: &Value) -> Self {
        let mut command = Command::new("node");
        Self::start(command.current_dir(scripts()).args([name, &with.to_string()]))
    }

    /// One turn of `load.mjs`: how many calls in how many microseconds.
    fn turn(&mut self, span: Duration) -> (u64, u64) {
        writeln!(self.asks, "{}", span.as_millis()).unwrap();
        let line = self.said.next().expect("it says what the turn was").unwrap();
        let mut words = line.strip_prefix("turn ").unwrap().split(' ');
        let mut next = || words.next().unwrap().parse().unwrap();
        (next(), next())
    }
}

/// Signs payments, each with a nonce of its own.
struct Purse {
    key: PrivateKeySigner,
    tokens: TokenDomains,
    nonce: AtomicU64,
}

impl Purse {
    fn new() -> Self {
        let (key, tokens) = (PAYER.parse().unwrap(), TokenDomains::new(&assets()));
        Self { key, tokens, nonce: AtomicU64::new(0) }
    }

    /// The body that hands one more payment in.
    fn ask(&self) -> Vec<u8> {
        let nth = self.nonce.fetch_add(1, Ordering::Relaxed);
        let pay_by = PayBy {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: usdc(),
            pay_to: payee().address(),
            timeout_s: 3_600,
        };
        let commitment = Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: usdc(),
            payer: payer().address(),
            pay_to: payee().address(),
            amount_max: Amount::new(PRICE),
            valid_after_s: 0,
            valid_before_s: SystemClock.now().as_secs() + 3_600,
            nonce: keccak256(nth.to_be_bytes()),
        };
        let token = self.tokens.find(usdc()).unwrap();
        let signature = self.sign(token.transfer_digest(&commitment));
        let accepted = Requirement { pay_by, amount: Amount::new(PRICE), token }.to_wire();
        let authorization = Authorization { commitment, signature };
        let payload = payment_payload(None, accepted.clone(), &authorization, None, None);
        let body = json!({
            "x402Version": 2, "paymentPayload": payload, "paymentRequirements": accepted
        });
        serde_json::to_vec(&body).unwrap()
    }

    fn sign(&self, digest: B256) -> Signature {
        self.key.sign_hash_sync(&digest).unwrap()
    }
}

/// What is posted, and which member of the answer has to be true.
struct Load {
    client: Client,
    path: String,
    good: &'static str,
    refused: Arc<AtomicU64>,
}

impl Load {
    fn new(url: &str, act: &str, good: &'static str) -> Arc<Self> {
        let client = Client::of(url);
        Arc::new(Self { client, path: format!("/{act}"), good, refused: Arc::default() })
    }

    async fn post(&self, body: &[u8]) {
        let answer = timeout(ANSWER_MAX, self.client.post(&self.path, body)).await;
        let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
        let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if said[self.good] != Value::Bool(true) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One side's turns.
#[derive(Default)]
struct Side {
    round: Round,
    refused: u64,
}

impl Side {
    /// What succeeded of it, a second.
    fn rate(&self) -> u64 {
        let good = self.round.count().saturating_sub(self.refused);
        self.round.rate().saturating_mul(good).checked_div(self.round.count()).unwrap_or(0)
    }
}

fn line(what: &str, name: &str, side: &Side) {
    let (rate, refused) = (side.rate(), side.refused);
    let [half, most] = [500, 990].map(|permille| side.round.at_permille(permille));
    println!("{what:<24} {name:<12} {rate:>8}/s  p50 {half} us, p99 {most} us, {refused} refused");
}

fn ratio(what: &str, ours: u64, theirs: u64, name: &str, least: u64) {
    let ratio = permille(ours, theirs);
    let met = if ratio >= least * 1000 { "met" } else { "missed" };
    println!("{what:<24} ours is {} times {name} (at least {least}: {met})", shown(ratio));
}

/// `POST /verify` or `POST /settle` at each of `sides`, in turns.
async fn facilitators(
    act: &'static str,
    callers: u64,
    span: Duration,
    sides: &[(String, String)],
) -> Vec<Side> {
    let purse = Arc::new(PURSE.get_or_init(Purse::new));
    let good = if act == "verify" { "isValid" } else { "success" };
    let known: Arc<Vec<Vec<u8>>> = Arc::new((0..PAYMENTS).map(|_| purse.ask()).collect());
    let mut measured: Vec<Side> = sides.iter().map(|_| Side::default()).collect();
    for turn in 0..=TURNS {
        for ((_, url), side) in sides.iter().zip(&mut measured) {
            let load = Load::new(url, act, good);
            let (posting, purse, known) =
                (Arc::clone(&load), Arc::clone(&purse), Arc::clone(&known));
            let round = drive(callers, span, move |nth| {
                let place = usize::try_from(nth % PAYMENTS).unwrap();
                let body = if act == "verify" { known[place].clone() } else { purse.ask() };
                let posting = Arc::clone(&posting);
                async move { posting.post(&body).await }
            });
            let round = round.await;
            // The first turn is for warming up.
            if turn > 0 {
                side.round.add(round);
                side.refused += load.refused.load(Ordering::Relaxed);
            }
        }
    }
    measured
}

static PURSE: std::sync::OnceLock<Purse> = std::sync::OnceLock::new();

/// Calls over HTTP that channels pay: our payer and payee, and theirs, in turns.
async fn vouchers(chain: &Chain, settles: &str, span: Duration) {
    let shop = Shop::open(chain, By::Channel).await;
    let plenty = Nano::new(1_000_000_000_000);
    let keeper = KeeperSettings {
        caps: ChannelCaps { provider: plenty, total: plenty },
        calls_a_deposit: DEPOSIT_CALLS,
        pool_max: usize::try_from(MANY).unwrap(),
        wait_max: Duration::from_secs(5),
        credit: false,
    };
    let policy = ("1000000 USD", r#"["batch-settlement"]"#);
    let ours = Arc::new(Payer::open_with(chain, policy, keeper).await);
    let keys: Vec<String> = (1..=MANY).map(|n| keccak256(n.to_be_bytes()).to_string()).collect();
    for key in &keys {
        let key: PrivateKeySigner = key.parse().unwrap();
        chain.mint(key.address(), MONEY).await;
    }
    let sells = json!({ "facilitator": settles, "payTo": payee().address(), "token": USDC });
    let server = Peer::script("sells.mjs", &sells);
    let url = format!("{}/channel", server.url);
    let load = json!({ "keys": keys, "rpc": chain.url, "url": url, "calls": DEPOSIT_CALLS });
    let mut client = Peer::script("load.mjs", &load);
    let (mut here, mut theirs) = (Side::default(), (0, 0));
    for turn in 0..=TURNS {
        let (payer, url) = (Arc::clone(&ours), shop.url());
        let round = drive(MANY, span, move |_| {
            let (payer, url) = (Arc::clone(&payer), url.clone());
            async move {
                let fetched = payer.send(reqwest::Method::POST, &url, "hello").await.unwrap();
                assert!(fetched.status.is_success(), "{}: {:?}", fetched.status, fetched.body);
            }
        });
        let round = round.await;
        let made = tokio::task::block_in_place(|| client.turn(span));
        if turn > 0 {
            here.round.add(round);
            theirs = (theirs.0 + made.0, theirs.1 + made.1);
        }
    }
    let rate = (theirs.0 * 1_000_000).checked_div(theirs.1).unwrap_or(0);
    line("voucher at 16", "ours", &here);
    println!("{:<24} {:<12} {rate:>8}/s", "voucher at 16", "typescript");
    ratio("voucher at 16", here.rate(), rate, "typescript", 20);
}

/// What `--NAME VALUE` says on the command line.
fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|word| word != name).nth(1)
}

/// What is measured, by what `--only` calls it.
const MEASURED: [&str; 4] = ["verify", "settle", "voucher", "proxy"];

/// Whether `--only` asks for this, or for nothing less than all.
fn is_wanted(what: &str) -> bool {
    option("--only").is_none_or(|only| only == what)
}

async fn facilitator(chain: &Chain, folder: &Path) -> FacilitatorNode {
    let (evm, any) = (chain.evm().await, Address::Tcp(([127, 0, 0, 1], 0).into()));
    let settler = Arc::new(chain.settler(&evm).await);
    FacilitatorNode::start(FacilitatorPlan {
        settlements: folder.join("settlements.db"),
        rails: vec![Rail { settler, evidence: Arc::new(evm) }],
        assets: assets(),
        payer_rates: Rates::default(),
        own: Default::default(),
        registry: None,
        listener: Listener::bind(&any, "--listen").await.unwrap(),
        clock: Arc::new(SystemClock),
    })
    .unwrap()
}

async fn measure(span: Duration) {
    let chain = Chain::start().await;
    chain.mint(payer().address(), MONEY).await;
    let folder = tempfile::tempdir().unwrap();
    let ours = facilitator(&chain, folder.path()).await;
    let asked = json!({ "gas": THEIR_GAS, "rpc": chain.url });
    let theirs = Peer::script("facilitator.mjs", &asked);
    let mut sides =
        vec![("ours".to_owned(), ours.url.clone()), ("typescript".to_owned(), theirs.url.clone())];
    let mut beside = None;
    if let Some(word) = option("--beside") {
        let (name, command) = word.split_once('=').expect("--beside NAME=COMMAND");
        // x402-rs looks whether its checker of contract wallets is there, and asks it nothing here.
        chain.set_code(ITS_CHECKER, Bytes::from_static(&[0])).await;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec {command}")])
            .env("RPC_URL", &chain.url)
            .env("GAS_KEY", OTHER_GAS);
        beside = Some((name.to_owned(), Peer::start(&mut shell)));
    }
    sides.extend(beside.iter().map(|(name, peer)| (name.clone(), peer.url.clone())));
    for (act, callers, least) in [("verify", MANY, 20), ("settle", 1, 2), ("settle", MANY, 2)] {
        if !is_wanted(act) {
            continue;
        }
        // Who waits seconds for a receipt would hold up the others' turns.
        let sides = if act == "verify" { &sides[..] } else { &sides[..2] };
        let measured = facilitators(act, callers, span, sides).await;
        let what = format!("{act} at {callers}");
        for ((name, _), side) in sides.iter().zip(&measured) {
            line(&what, name, side);
        }
        for ((name, _), side) in sides.iter().zip(&measured).skip(1) {
            let least = if name == "typescript" { least } else { 3 };
            ratio(&what, measured[0].rate(), side.rate(), name, least);
        }
    }
    if is_wanted("voucher") {
        vouchers(&chain, &ours.url, span).await;
    }
    ours.drain().await;
}

fn main() {
    let seconds: u64 = option("--seconds").map_or(4, |text| text.parse().unwrap());
    if let Some(only) = option("--only") {
        assert!(MEASURED.contains(&only.as_str()), "--only: expected one of {MEASURED:?}");
    }
    for folder in [chain::anvil(), scripts().join("node_modules/@x402/evm")] {
        assert!(folder.exists(), "{} is not there: npm ci first", folder.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let span = Duration::from_millis(seconds * 1000 / TURNS);
    runtime.block_on(async {
        measure(span).await;
        if is_wanted("proxy") {
            proxy::measure(span).await;
        }
    });
}
