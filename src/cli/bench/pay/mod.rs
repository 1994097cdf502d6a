//! `bursar bench pay`: one call that does nothing, unpaid and paid in each way, in turns of one run. Payer,
//! node and payee are processes of their own over gRPC on loopback, with their ledgers on disk; the chain
//! and the directory are in the process that measures, and are not in what a call costs.

mod part;
mod payee;
mod payer;
mod report;
mod signing;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{Doors, serve_directory};
use bursar::node::{SandboxChain, sandbox_assets};
use bursar::ports::clock::Clock;
use bursar::runtime::directory::Registry;

pub use self::part::Mode;
use self::part::{Boss, Counts, Process, Setup};
use self::report::Measured;
use super::measure::Round;
use super::settled::{key_of, key_text, listener, loopback};
use super::{Folder, TURNS, failed};
use crate::cli::args::{BenchArgs, BenchPart};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// Every way to pay, in the order in which they take turns.
const MODES: [Mode; 7] = [
    Mode::Unpaid,
    Mode::Voucher,
    Mode::VoucherNode,
    Mode::Credit16,
    Mode::Stream,
    Mode::StreamPipelined,
    Mode::Exact,
];

/// Streams at once: a node keeps so many channels to one provider.
const CHANNELS_MAX: u64 = 64;

/// Tokens that may be paid and not have come of a stream that is pipelined.
const PIPELINED: u64 = 16;

/// What each wallet has.
const MONEY: Amount = Amount::new(1_000_000_000_000);

/// How long each way is tried before it is measured: quotes are asked for, channels are opened.
const WARM: Duration = Duration::from_millis(700);

/// How long running calls of the directory may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs one of the processes of a measurement.
pub fn run_part(part: BenchPart, workers: usize) -> Result<Exit, Failure> {
    let (boss, setup) = Boss::meet()?;
    runtime(workers)?.block_on(async {
        match part {
            BenchPart::Payee => payee::run(boss, setup).await,
            BenchPart::Payer => payer::run(boss, setup).await,
            BenchPart::Node => payer::run_node(boss, setup).await,
            BenchPart::Agent => payer::run_agent(boss, setup).await,
        }
    })?;
    Ok(Exit::Done)
}

/// Measures, and shows it.
pub fn run(args: &BenchArgs, output: &Output) -> Result<Exit, Failure> {
    let folder = Folder::make(args.dir.as_deref())?;
    let runtime = runtime(1)?;
    let chosen =
        |mode: &Mode| *mode == Mode::Unpaid || args.modes.is_empty() || args.modes.contains(mode);
    let modes: Vec<Mode> = MODES.into_iter().filter(chosen).collect();
    output.note("pay: a chain, and processes that sell, buy and pay");
    let (chain, mut stage) = runtime.block_on(set_up(&folder.0)).and_then(|(chain, setup)| {
        let funded = |key: &str| {
            let funded = runtime.block_on(chain.fund(key_of(key).address(), MONEY));
            funded.map(|_| ()).map_err(|error| Failure::of(&error))
        };
        let stage = Stage::open(&setup, args.workers, funded)?;
        Ok((chain, stage))
    })?;
    let most = args.at_once.iter().copied().max().unwrap_or(1);
    for mode in &modes {
        output.note(&format!("pay: {} is tried", mode.as_str()));
        stage.caller(*mode).run(*mode, most.min(64), WARM)?;
    }
    let span = Duration::from_millis(args.seconds.saturating_mul(1000) / TURNS);
    let mut all = BTreeMap::new();
    for callers in &args.at_once {
        output.note(&format!("pay: {callers} calls at once"));
        for _ in 0..TURNS {
            // A stream has a channel of its own, and more of them would wait for each other.
            let fits = |mode: &&Mode| !mode.streams() || *callers <= CHANNELS_MAX;
            for mode in modes.iter().filter(fits) {
                let (round, counts) = stage.turn(*mode, *callers, span)?;
                let sum: &mut (Round, Counts) = all.entry((*mode, *callers)).or_default();
                sum.0.add(round);
                sum.1 = sum.1.and(counts);
            }
        }
    }
    stage.close()?;
    runtime.block_on(chain.stop());
    let measured: Vec<Measured> = all
        .into_iter()
        .map(|((mode, concurrency), (round, counts))| Measured { mode, concurrency, round, counts })
        .collect();
    report::show(&measured, signing::limit_per_s(), args.json, output);
    Ok(Exit::Done)
}

fn runtime(workers: usize) -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        .enable_all()
        .build()
        .map_err(|problem| failed(&problem))
}

/// A chain and a directory, and what the parts are told of them.
async fn set_up(folder: &Path) -> Result<(SandboxChain, Setup), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let file = folder.join("chain.db");
    let chain = SandboxChain::start(Some(&file), loopback(), Arc::clone(&clock)).await;
    let chain = chain.map_err(|error| Failure::of(&error))?;
    let registry = Arc::new(Registry::new(clock, sandbox_assets()));
    let bound = listener().await.map_err(|error| Failure::of(&error))?;
    let directory = bound.address().to_string();
    let doors = Doors::default().with(serve_directory(registry));
    // Ends with the process.
    tokio::spawn(doors.serve(vec![bound], std::future::pending(), DRAIN_MAX));
    let setup = Setup {
        folder: folder.to_owned(),
        chain: chain.url().to_owned(),
        directory,
        key: String::new(),
        pay_to: key_text(),
        free: String::new(),
        node: String::new(),
        token: String::new(),
        ahead: 1,
    };
    Ok((chain, setup))
}

/// The processes.
struct Stage {
    payee: Process,
    payer: Process,
    piper: Process,
    node: Process,
    agent: Process,
}

impl Stage {
    fn open(
        setup: &Setup,
        workers: usize,
        fund: impl Fn(&str) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let with_key = |folder: &str, setup: &Setup| -> Result<Setup, Failure> {
            let (key, folder) = (key_text(), setup.folder.join(folder));
            std::fs::create_dir(&folder).map_err(|problem| failed(&problem))?;
            fund(&key)?;
            Ok(Setup { folder, key, ..setup.clone() })
        };
        let payee = Process::start(BenchPart::Payee, &with_key("payee", setup)?, workers)?;
        let setup = Setup { free: payee.endpoint.clone(), ..setup.clone() };
        let payer = Process::start(BenchPart::Payer, &with_key("payer", &setup)?, workers)?;
        let piped = Setup { ahead: PIPELINED, ..with_key("piper", &setup)? };
        let piper = Process::start(BenchPart::Payer, &piped, workers)?;
        let node = Process::start(BenchPart::Node, &with_key("node", &setup)?, workers)?;
        let (at, token) = (node.endpoint.clone(), node.token.clone());
        let setup = Setup { node: at, token, ..setup };
        let agent = Process::start(BenchPart::Agent, &setup, workers)?;
        Ok(Self { payee, payer, piper, node, agent })
    }

    /// Who calls.
    fn caller(&mut self, mode: Mode) -> &mut Process {
        match mode {
            Mode::VoucherNode => &mut self.agent,
            Mode::StreamPipelined => &mut self.piper,
            Mode::Unpaid | Mode::Voucher | Mode::Credit16 | Mode::Stream | Mode::Exact => {
                &mut self.payer
            }
        }
    }

    /// A turn, and what it took all processes that have a part in it.
    fn turn(
        &mut self,
        mode: Mode,
        callers: u64,
        span: Duration,
    ) -> Result<(Round, Counts), Failure> {
        let before = self.count(mode)?;
        let round = self.caller(mode).run(mode, callers, span)?;
        Ok((round, self.count(mode)?.since(before)))
    }

    fn count(&mut self, mode: Mode) -> Result<Counts, Failure> {
        let counts = self.payee.count()?.and(self.caller(mode).count()?);
        Ok(if mode == Mode::VoucherNode { counts.and(self.node.count()?) } else { counts })
    }

    fn close(self) -> Result<(), Failure> {
        let Self { payee, payer, piper, node, agent } = self;
        agent.end()?;
        piper.end()?;
        node.end()?;
        payer.end()?;
        payee.end()
    }
}
