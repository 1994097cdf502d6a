//! The parts of a measurement are processes of their own: this binary, started again. They are told what
//! to do in lines of JSON on their standard input, and answer each with one line.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bursar::edge::journal::Store;
use bursar::edge::keys::signatures_made;
use bursar::runtime::meters::Phase;
use bursar::runtime::treasury::Treasury;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::failed;
use super::super::measure::Round;
use crate::cli::args::BenchPart;
use crate::cli::failure::Failure;

/// Ticks of the kernel's clock in a second. Source: proc(5), sysconf(_SC_CLK_TCK) on Linux.
const TICKS: u64 = 100;

/// What a part is started with. Keys are made for one run, and guard sandbox money.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Where its files go.
    pub folder: PathBuf,
    /// The chain.
    pub chain: String,
    /// The directory.
    pub directory: String,
    /// Its key: the wallet's, or the one that settles.
    pub key: String,
    /// The key that is paid.
    pub pay_to: String,
    /// Where the same is served for nothing.
    pub free: String,
    /// The node, for who buys through one.
    pub node: String,
    /// What proves the agent there.
    pub token: String,
    /// How many tokens of a stream may be paid and not have come.
    pub ahead: u64,
}

/// How calls are paid.
#[derive(
    Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Mode {
    /// Not at all: the same service with the payment layer off.
    Unpaid,
    /// By voucher, the wallet in the caller's process.
    Voucher,
    /// By voucher, through a node.
    VoucherNode,
    /// By voucher, sixteen calls to each.
    Credit16,
    /// By voucher on a stream, a voucher for each token: the next one is signed when the last token came.
    Stream,
    /// The same, with some tokens more on their way.
    StreamPipelined,
    /// Each by a transaction of its own.
    Exact,
}

impl Mode {
    /// Its name in the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::Voucher => "voucher",
            Self::VoucherNode => "voucher_node",
            Self::Credit16 => "credit16",
            Self::Stream => "stream",
            Self::StreamPipelined => "stream_pipelined",
            Self::Exact => "exact",
        }
    }

    /// Whether it goes by streams, each in a channel of its own.
    pub const fn streams(self) -> bool {
        matches!(self, Self::Stream | Self::StreamPipelined)
    }
}

/// What a part is told.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Call for so long.
    Run { mode: Mode, callers: u64, span: Duration },
    /// Say what was counted.
    Count,
    /// Come to an end.
    End,
}

/// What a part answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Told {
    /// It runs, and may be reached there.
    Ready { endpoint: String, token: String },
    /// The calls of a round.
    Ran(Round),
    /// What was counted since its start.
    Counted(Counts),
    /// It ends.
    Ended,
}

/// What a process has used and done since its start.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Time on processors, of all its threads, in microseconds.
    pub cpu_us: u64,
    /// Signatures made.
    pub signatures: u64,
    /// Durable batches.
    pub syncs: u64,
    /// What they took, in microseconds.
    pub sync_us: u64,
}

impl Counts {
    /// These and `other`'s.
    pub fn and(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// These without what was counted `before`.
    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            cpu_us: of(self.cpu_us, other.cpu_us),
            signatures: of(self.signatures, other.signatures),
            syncs: of(self.syncs, other.syncs),
            sync_us: of(self.sync_us, other.sync_us),
        }
    }
}

/// The ledgers of a process.
pub type Ledgers = Vec<(Store, Treasury)>;

/// Counts this process, once its readable tables know what was written: their work is part of a call.
pub async fn count(ledgers: &Ledgers) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for (store, treasury) in ledgers {
        store.catch_up().await?;
        let mut phases = treasury.meters().timings();
        let synced = phases.find(|(phase, _)| *phase == Phase::Sync);
        let synced = synced.map(|(_, timings)| timings).unwrap_or_default();
        let more = Counts {
            syncs: synced.counts.iter().sum(),
            sync_us: synced.sum_us,
            ..Counts::default()
        };
        counts = counts.and(more);
    }
    Ok(Counts { cpu_us: cpu_us()?, signatures: signatures_made(), ..counts })
}

/// What the kernel counted of this process. Source: proc(5), `stat`, fields 14 and 15.
fn cpu_us() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|problem| failed(&problem))?;
    // The name may have any character, a space too; it ends with the last parenthesis.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: Option<u64> =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum();
    let ticks = ticks.ok_or_else(|| failed(&"/proc/self/stat does not read"))?;
    Ok(ticks.saturating_mul(1_000_000 / TICKS))
}

/// A part that runs as a process.
pub struct Process {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Where it may be reached.
    pub endpoint: String,
    /// What proves its agent.
    pub token: String,
}

impl Process {
    /// Starts one, and waits until it runs.
    pub fn start(part: BenchPart, setup: &Setup, workers: usize) -> Result<Self, Failure> {
        let binary = std::env::current_exe().map_err(|problem| failed(&problem))?;
        let mut child = Command::new(binary)
            .args(["bench-part", part.as_str(), "--workers", &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|problem| failed(&problem))?;
        let piped = "both ends were asked for as pipes";
        let asks = child.stdin.take().expect(piped);
        let answers = BufReader::new(child.stdout.take().expect(piped));
        let (endpoint, token) = (String::new(), String::new());
        let mut process = Self { child, asks, answers, endpoint, token };
        match process.say(setup)? {
            Told::Ready { endpoint, token } => Ok(Self { endpoint, token, ..process }),
            other => Err(unexpected(&other)),
        }
    }

    fn say(&mut self, what: &impl Serialize) -> Result<Told, Failure> {
        let mut line = serde_json::to_vec(what).expect("what is said has text keys only");
        line.push(b'\n');
        self.asks.write_all(&line).map_err(|problem| failed(&problem))?;
        read_line(&mut self.answers)?.ok_or_else(|| failed(&"a part of the measurement has ended"))
    }

    /// Lets it call for `span`.
    pub fn run(&mut self, mode: Mode, callers: u64, span: Duration) -> Result<Round, Failure> {
        match self.say(&Ask::Run { mode, callers, span })? {
            Told::Ran(round) => Ok(round),
            other => Err(unexpected(&other)),
        }
    }

    /// What it has counted.
    pub fn count(&mut self) -> Result<Counts, Failure> {
        match self.say(&Ask::Count)? {
            Told::Counted(counts) => Ok(counts),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends it.
    pub fn end(mut self) -> Result<(), Failure> {
        let ended = self.say(&Ask::End)?;
        drop(self.asks);
        self.child.wait().map_err(|problem| failed(&problem))?;
        if matches!(ended, Told::Ended) { Ok(()) } else { Err(unexpected(&ended)) }
    }
}

fn unexpected(told: &Told) -> Failure {
    failed(&format!("a part of the measurement answered {told:?}"))
}

/// The other end: what this process is told, and how it answers.
pub struct Boss {
    asks: BufReader<std::io::Stdin>,
}

impl Boss {
    /// The one at the other end of standard input, and what it starts this process with.
    pub fn meet() -> Result<(Self, Setup), Failure> {
        let mut asks = BufReader::new(std::io::stdin());
        let setup = read_line(&mut asks)?.ok_or_else(|| failed(&"expected a line of JSON"))?;
        Ok((Self { asks }, setup))
    }

    /// Says something; takes what is asked next. Nothing where the other end is gone.
    pub fn answer(&mut self, told: &Told) -> Result<Option<Ask>, Failure> {
        let mut line = serde_json::to_vec(told).expect("what is told has text keys only");
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line).and_then(|()| out.flush()).map_err(|problem| failed(&problem))?;
        if matches!(told, Told::Ended) { Ok(None) } else { read_line(&mut self.asks) }
    }
}

fn read_line<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<Option<T>, Failure> {
    let mut line = String::new();
    let read = from.read_line(&mut line).map_err(|problem| failed(&problem))?;
    if read == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(|problem| failed(&problem))
}
