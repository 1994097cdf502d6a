//! `bursar demo`: agents discover providers, bargain, pay per inference on a real EVM, and a runaway is
//! stopped at its cap. One process, real sockets, real tokens.

mod books;
mod fleet;
mod plan;
mod report;
mod saved;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bursar::domain::ledger::agent::{Principal, Scope};

use self::fleet::{Fleet, Work};
use self::report::Report;
use super::args::DemoArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::folder::Folder;

/// How long everything may take to come to its end after the first Ctrl-C.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Runs the demo.
pub fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let folder = Folder::make(args.keep.as_deref(), "demo", "demo.folder_not_empty")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|problem| failed("starting the runtime", &problem))?;
    let (report, interrupted) = runtime.block_on(demo(args, &folder.path))?;
    let shown = if args.json { report.to_json() } else { report.to_text() };
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone away is no failure of the demo.
    let _ = writeln!(stdout, "{shown}");
    drop(folder);
    Ok(match (report.sound(), interrupted) {
        (false, _) => Exit::Damaged,
        (true, true) => Exit::Interrupted,
        (true, false) => Exit::Done,
    })
}

async fn demo(args: &DemoArgs, folder: &Path) -> Result<(Report, bool), Failure> {
    let progress = Progress::new(args.json);
    progress.say("starting the sandbox chain, a directory, four providers and a node");
    let fleet = Fleet::start(args.seed, folder).await.map_err(|error| Failure::of(&error))?;
    progress.say(&format!("chain {}  node {}", fleet.chain.url(), fleet.node.endpoint()));
    for provider in &fleet.providers {
        progress.say(&format!("provider {:<13} {}", provider.name, provider.endpoint));
    }

    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::new(AtomicBool::new(false));
    let signals = tokio::spawn(watch_signals(
        fleet.node.operator.clone(),
        Arc::clone(&stop),
        Arc::clone(&interrupted),
    ));
    let work = fleet.work(args.seed, Arc::clone(&stop));
    let work = watched(work, &fleet, &progress).await;
    let report = fleet.finish(args.seed, work, DRAIN_MAX).await;
    signals.abort();
    Ok((report.map_err(|error| Failure::of(&error))?, interrupted.load(Ordering::SeqCst)))
}

/// The first Ctrl-C stops every new signature and lets what runs come to its end; the second ends it.
async fn watch_signals(
    operator: bursar::runtime::operator::Operator,
    stop: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
) {
    let mut seen = 0_u32;
    while tokio::signal::ctrl_c().await.is_ok() {
        seen = seen.saturating_add(1);
        if seen > 1 {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        interrupted.store(true, Ordering::SeqCst);
        stop.store(true, Ordering::SeqCst);
        let reason = "interrupted".to_owned();
        // Nothing to be done where it fails: the work stops all the same.
        let _ = operator.pause(Scope::All, reason, Principal::Operator).await;
    }
}

/// Shows how far the runaway has come while the work goes on.
async fn watched(work: impl Future<Output = Work>, fleet: &Fleet, progress: &Progress) -> Work {
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                if let Some(line) = fleet.progress().await {
                    progress.say(&line);
                }
            }
        }
    }
}

/// Progress goes to standard error, so that standard output is the result alone.
struct Progress {
    quiet: bool,
}

impl Progress {
    fn new(json: bool) -> Self {
        Self { quiet: json && !std::io::stderr().is_terminal() }
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "  {line}");
        }
    }
}

fn failed(what: &str, problem: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "demo.system", format!("{what}: {problem}"))
}
