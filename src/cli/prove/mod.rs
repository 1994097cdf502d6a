//! `bursar prove`: real processes under real faults, agents that try to pass their caps in every way
//! that the API has, and in the end the books: what was admitted, what moved on the chain, and that no
//! cap was passed, nothing was lost and nothing was paid twice.

mod faults;
mod page;
mod report;
mod stage;
mod tries;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;
use futures_util::future::join_all;

use self::faults::Caps;
use self::report::Report;
use self::stage::{AGENTS, plan};
use self::tries::try_all;
use super::args::ProveArgs;
use super::closing::{self, Tried};
use super::exit::Exit;
use super::failure::Failure;
use super::folder::Folder;
use super::house::House;
use super::house::chance::Chance;
use super::output::Output;

/// What the cap is lowered to, in dollars: beneath what is spent after a moment.
const LOW: &str = "0.02";

/// Proves, and says what came of it. The exit status says whether it is sound.
pub fn run(args: &ProveArgs, output: &Output) -> Result<Exit, Failure> {
    check_budget(&args.budget)?;
    let folder = Folder::make(args.keep.as_deref(), "prove", "prove.folder_not_empty")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|problem| failed("starting the runtime", &problem))?;
    let say = |line: &str| {
        // Progress goes to standard error, so that standard output is the result alone.
        let _ = writeln!(std::io::stderr().lock(), "  {line}");
    };
    let report = runtime.block_on(prove(args, &folder.path, &say))?;
    if let Some(path) = &args.report {
        fs::write(path, page::page(&report)).map_err(|problem| failed("the page", &problem))?;
    }
    if args.json {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{}", report.to_json());
    } else {
        let shown: serde_json::Value =
            serde_json::from_str(&report.to_json()).expect("it was JSON a moment ago");
        output.show(&shown, || report.to_text());
    }
    let sound = report.is_sound();
    if !sound && !folder.keep {
        say("not sound: run it again with --keep DIR to look at the ledgers and logs");
    }
    Ok(if sound { Exit::Done } else { Exit::Damaged })
}

async fn prove(args: &ProveArgs, folder: &Path, say: &dyn Fn(&str)) -> Result<Report, Failure> {
    say("starting a chain, a directory, a node and two providers, each a process of its own");
    let mut house = House::start(folder, &plan(&args.budget, !args.no_channels)).await?;
    for number in 0..AGENTS {
        house.add_agent(&format!("prover-{number}"), "prover")?;
    }
    let clock = SystemClock;
    let began = clock.now();
    let stop = Arc::new(AtomicBool::new(false));
    let agents: Vec<_> = (1..)
        .zip(house.tokens.clone())
        .map(|(number, agent)| {
            let (endpoint, stop) = (house.agents_link.url(), Arc::clone(&stop));
            tokio::spawn(try_all(endpoint, agent, Chance::new(args.seed, number), stop))
        })
        .collect();
    let until = began.after(Duration::from_mins(args.minutes));
    let caps = Caps { whole: &args.budget, low: LOW };
    let mut chance = Chance::new(args.seed, 0);
    let faults = faults::go_wrong(&mut house, &caps, &mut chance, until, say).await;
    stop.store(true, Ordering::Relaxed);
    let faults = faults?;
    say("healing, and waiting until the chain has resolved what is open");
    closing::heal(&mut house).await?;
    let mut tried = Tried::default();
    for one in join_all(agents).await {
        tried.add(one.expect("no agent panics"));
    }
    closing::resolve(&house).await?;
    let books = closing::close(&mut house, &tried).await?;
    let (seed, minutes, budget) = (args.seed, args.minutes, args.budget.clone());
    Ok(Report { seed, minutes, budget, began, ended: clock.now(), faults, tried, books })
}

fn check_budget(text: &str) -> Result<(), Failure> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    if digits(whole) && digits(rest) && text != LOW {
        return Ok(());
    }
    let message =
        format!("`{text}` is not a budget: expected dollars, as in 1 or 0.5, and not {LOW} itself");
    Err(Failure::new(Exit::Config, "prove.bad_budget", message))
}

fn failed(what: &str, problem: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "prove.system", format!("{what}: {problem}"))
}
