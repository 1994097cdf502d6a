//! Runs the seeded world over many seeds, in a bounded time, and says what it came to:
//! `cargo run --release --features sim --example simulate -- --seeds 0..10000 --minutes 5`.
//! A seed that breaks an invariant is printed with how to repeat it, and the exit status is 1.
//! `--tell` prints all that happens in each run, step by step.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    reason = "a program that counts and reports to a person"
)]

use std::collections::BTreeMap;
use std::num::ParseIntError;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::B256;
use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;
use bursar::sim::fate::Fault;
use bursar::sim::plan::Plan;
use bursar::sim::world::{Report, World};
use clap::Parser;

/// As in `bursar`: a run allocates all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that broke something are named up to this many.
const NAMED_MAX: usize = 20;

/// How often progress is said.
const PROGRESS: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(about = "Runs the seeded world over many seeds")]
struct Args {
    /// From one seed up to another, the last one excluded; or a single seed.
    #[arg(long, default_value = "0..1000", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// No new seed is begun after that many minutes.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Every run's payee takes channels, whatever is drawn.
    #[arg(long)]
    channels: bool,
    /// The same, and it lends above their vouchers.
    #[arg(long)]
    credit: bool,
    /// Every run's payee takes channels, and streamed calls are paid while they flow.
    #[arg(long)]
    streams: bool,
    /// Print all that happens, step by step.
    #[arg(long)]
    tell: bool,
    /// So many runs side by side. What they come to is the same; only its order may be another.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256), conflicts_with = "tell")]
    jobs: u16,
}

fn parse_seeds(text: &str) -> Result<Range<u64>, ParseIntError> {
    match text.split_once("..") {
        Some((from, to)) => Ok(from.parse()?..to.parse()?),
        None => text.parse().map(|seed: u64| seed..seed.saturating_add(1)),
    }
}

/// What all runs came to.
#[derive(Default)]
struct Total {
    seeds: u64,
    steps: u64,
    restarts: u64,
    images: u64,
    syncs: u64,
    payments: u64,
    calls: u64,
    lent: u64,
    extended: u64,
    world: Duration,
    struck: BTreeMap<Fault, u64>,
    ends: BTreeMap<String, u64>,
    broken: Vec<u64>,
    trace: B256,
    again: &'static str,
    said: Timestamp,
}

impl Total {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.restarts += report.starts.0 + report.starts.1 - 2;
        self.images += report.images;
        self.syncs += report.syncs.0 + report.syncs.1;
        self.payments += u64::try_from(report.settled).unwrap_or(u64::MAX);
        self.calls += u64::try_from(report.calls).unwrap_or(u64::MAX);
        self.lent += u64::try_from(report.lent).unwrap_or(u64::MAX);
        self.extended += u64::try_from(report.extended).unwrap_or(u64::MAX);
        self.world += report.took;
        self.trace ^= report.trace;
        for (fault, times) in report.struck {
            *self.struck.entry(fault).or_default() += times;
        }
        for (end, times) in report.ends {
            *self.ends.entry(end).or_default() += times;
        }
        if report.broken.is_empty() {
            return;
        }
        if self.broken.len() < NAMED_MAX {
            let (seed, broken) = (report.seed, report.broken.join("\n  "));
            println!("seed {seed} broke:\n  {broken}");
            println!(
                "  again: cargo run --release --features sim --example simulate -- --seeds {seed}{} --tell",
                self.again
            );
        }
        self.broken.push(report.seed);
    }

    fn say_progress(&mut self) {
        let now = SystemClock.now();
        if now.since(self.said) >= PROGRESS {
            self.said = now;
            eprintln!("{} seeds, {} steps, {} broken", self.seeds, self.steps, self.broken.len());
        }
    }

    fn print(&self, took: Duration) {
        let millis = took.as_millis().max(1);
        let rate = u128::from(self.steps) * 1000 / millis;
        println!("seeds       {}", self.seeds);
        println!("steps       {} ({rate} a second)", self.steps);
        println!("world time  {} hours", self.world.as_secs() / 3600);
        println!("syncs       {}", self.syncs);
        // Nothing of a process ever ends in order: each restart is after a crash.
        let times = |fault| self.struck.get(&fault).copied().unwrap_or(0);
        let (syncs, failed) = (times(Fault::Crash), times(Fault::SyncFailed));
        println!(
            "restarts    {}, each after a crash: {syncs} in a sync, {failed} at a failed one",
            self.restarts
        );
        println!("images      {} of crashes in syncs, each started from twice", self.images);
        println!("settled     {} payments", self.payments);
        let (calls, lent, extended) = (self.calls, self.lent, self.extended);
        println!("by channel  {calls} calls, {lent} on credit, {extended} portions as they flowed");
        println!("faults and deeds");
        for fault in Fault::ALL {
            println!("  {:<18} {}", format!("{fault:?}"), times(fault));
        }
        println!("ends of requests");
        for (end, times) in &self.ends {
            println!("  {end:<26} {times}");
        }
        println!("traces      {}, all of them in whatever order", self.trace);
        println!("violations  {}", self.broken.len());
    }
}

impl Args {
    fn plan(&self, seed: u64) -> Plan {
        match (self.streams, self.credit, self.channels) {
            (true, ..) => Plan::drawn_flowing(seed),
            (false, true, _) => Plan::drawn_on_credit(seed),
            (false, false, true) => Plan::drawn_by_channel(seed),
            (false, false, false) => Plan::drawn(seed),
        }
    }

    const fn again(&self) -> &'static str {
        match (self.streams, self.credit, self.channels) {
            (true, ..) => " --streams",
            (false, true, _) => " --credit",
            (false, false, true) => " --channels",
            (false, false, false) => "",
        }
    }
}

/// All runs, shared by whoever does them.
struct Runs {
    args: Args,
    began: Timestamp,
    next: AtomicU64,
    total: Mutex<Total>,
}

impl Runs {
    /// Runs one seed after the other, until none is left or the time is up. A world and all its tasks stay
    /// on the thread that made it.
    fn work(&self) {
        let time = Duration::from_secs(self.args.minutes.saturating_mul(60));
        while SystemClock.now().since(self.began) < time {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.args.seeds.end {
                return;
            }
            let plan = self.args.plan(seed);
            let world = if self.args.tell { World::telling(plan) } else { World::new(plan) };
            let report = world.run();
            let mut total = self.total.lock().expect("nobody panics while counting");
            total.add(report);
            total.say_progress();
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.tell {
        tracing_subscriber::fmt().with_target(false).without_time().init();
    }
    let (began, jobs) = (SystemClock.now(), args.jobs);
    let total = Total { again: args.again(), said: began, ..Total::default() };
    let next = AtomicU64::new(args.seeds.start);
    let runs = Runs { args, began, next, total: Mutex::new(total) };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| runs.work());
        }
    });
    let total = runs.total.lock().expect("nobody panics while counting");
    total.print(SystemClock.now().since(began));
    if total.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
