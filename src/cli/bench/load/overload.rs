//! `bursar bench overload`: ten times what the node can pay for, in turns with what it can; and its operator's
//! pause meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bursar::domain::ledger::audit::Audit;
use bursar::domain::ledger::channel::ChannelEvent;
use bursar::domain::ledger::event::Event;
use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;
use tokio::task::block_in_place;

use super::super::{Folder, TURNS, failed, millis};
use super::callers::{Callers, Seen, Tally};
use super::offer::offer;
use super::report::{self, Overload};
use super::watch::Held;
use super::{Ground, STEADY, within};
use crate::cli::args::BenchArgs;
use crate::cli::closing::read_all;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// How much more is offered than can be paid for.
const TIMES: u64 = 10;

/// Calls under way at once at most; what is due beyond them is withheld, and counted.
const AT_ONCE: usize = 1024;

/// How long the load lasts before it is measured.
const RISE: Duration = Duration::from_millis(300);

/// How long nothing may be paid for after a pause was answered.
const QUIET: Duration = Duration::from_millis(700);

/// How long paying may take to come back, after a resume and after the load.
const BACK_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Measures, and shows it.
pub fn run(args: &BenchArgs, output: &Output) -> Result<Exit, Failure> {
    let output = if args.json { Output::for_programs() } else { *output };
    let folder = Folder::make(args.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| failed(&problem))?;
    let span = Duration::from_millis(args.seconds.saturating_mul(1000) / TURNS);
    let measure = |folder: &Path| runtime.block_on(measure(folder, span, &output));
    let found = within(folder, measure, Overload::is_sound, &output)?;
    report::show_overload(&found, &output);
    Ok(if found.is_sound() { Exit::Done } else { Exit::Damaged })
}

async fn measure(folder: &Path, span: Duration, output: &Output) -> Result<Overload, Failure> {
    output.note("overload: a chain, a node and a provider, each a process of its own");
    let mut ground = Ground::open(folder, &[STEADY]).await?;
    let (callers, first) = ground.peak(output).await;
    let mut found = Overload { callers, ..Overload::default() };
    let mut most = first.rate();
    for turn in 1..=TURNS {
        let peak = ground.closed(callers, span).await;
        most = most.max(peak.paid(span).rate());
        found.peak.add(peak.paid(span));
        overload(&ground, most.saturating_mul(TIMES), span, &mut found).await?;
        output.note(&format!(
            "  turn {turn} of {TURNS}: {} and {} paid a second, paused within {} ms",
            found.peak.rate(),
            found.paid.rate(),
            found.paused_ms.last().copied().unwrap_or(0)
        ));
    }
    for provider in &mut ground.house.providers {
        provider.end().await;
    }
    ground.house.node.end().await;
    audit(&ground, &mut found).await?;
    Ok(found)
}

/// The load, and what came of it so far.
struct Storm {
    tally: Arc<Tally>,
    pauses: Arc<Pauses>,
}

/// Whether an operator's pause was answered and not taken back. Odd while it is so; another number each time.
#[derive(Debug, Default)]
struct Pauses {
    epoch: AtomicU64,
    paid_within: AtomicU64,
}

impl Pauses {
    fn turn(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn now(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

/// One turn of overload, with a pause in its end.
async fn overload(
    ground: &Ground,
    per_s: u64,
    span: Duration,
    found: &mut Overload,
) -> Result<(), Failure> {
    let clock = SystemClock;
    let storm = Storm { tally: Arc::default(), pauses: Arc::default() };
    let stop = Arc::new(AtomicBool::new(false));
    let call = storm.call(ground.callers.clone());
    let load = tokio::spawn(offer(per_s, AT_ONCE, Arc::clone(&stop), call));
    clock.sleep_until(clock.now().after(RISE)).await;
    storm.tally.take();
    let began = clock.now();
    clock.sleep_until(began.after(span)).await;
    let (seen, elapsed) = (storm.tally.take(), clock.now().since(began));
    found.note(&seen, elapsed);
    let held = Held::by(&ground.house.node, &ground.house.folder, "node.db")?;
    found.node_rss_kib = found.node_rss_kib.max(held.rss_kib);
    pause(ground, &storm, found).await?;
    stop.store(true, Ordering::Relaxed);
    let ended = clock.now();
    let offered = load.await.map_err(|problem| failed(&problem))?;
    found.offered.push(offered);
    found.back_ms.push(until_paid(ended, ground, &storm.tally).await?);
    let within = storm.pauses.paid_within.load(Ordering::Relaxed);
    found.paid_while_paused = found.paid_while_paused.saturating_add(within);
    Ok(())
}

impl Storm {
    /// One call of the load, each time it is asked for.
    fn call(
        &self,
        callers: Callers,
    ) -> impl Fn(u64) -> futures_util::future::BoxFuture<'static, ()> + Send + use<> {
        let (tally, pauses) = (Arc::clone(&self.tally), Arc::clone(&self.pauses));
        move |_| {
            let (callers, tally, pauses) = (callers.clone(), Arc::clone(&tally), pauses.clone());
            Box::pin(async move {
                let (caller, purchase) = (callers.next(), callers.purchase(STEADY));
                let (began, epoch) = (SystemClock.now(), pauses.now());
                let bought = caller.client.buy(purchase).await;
                tally.note(SystemClock.now().since(began), &bought);
                // Asked for and paid for within one pause: nothing must be.
                if bought.is_ok() && epoch % 2 == 1 && epoch == pauses.now() {
                    pauses.paid_within.fetch_add(1, Ordering::Relaxed);
                }
            })
        }
    }
}

/// The operator pauses everybody by the command, and resumes; each is timed from its start.
async fn pause(ground: &Ground, storm: &Storm, found: &mut Overload) -> Result<(), Failure> {
    let clock = SystemClock;
    let asked = clock.now();
    block_in_place(|| ground.house.command(&["pause", "all", "--reason", "overload"]))?;
    found.paused_ms.push(millis(clock.now().since(asked)));
    storm.pauses.turn();
    clock.sleep_until(clock.now().after(QUIET)).await;
    storm.pauses.turn();
    let asked = clock.now();
    storm.tally.take();
    block_in_place(|| ground.house.command(&["resume", "all"]))?;
    let until = clock.now().after(BACK_MAX);
    while storm.tally.paid() == 0 && clock.now() < until {
        clock.sleep_until(clock.now().after(LOOK_EVERY)).await;
    }
    found.resumed_ms.push(millis(clock.now().since(asked)));
    Ok(())
}

/// How long after the load's end a call is paid for that nobody else hinders.
async fn until_paid(
    ended: bursar::domain::time::Timestamp,
    ground: &Ground,
    tally: &Tally,
) -> Result<u64, Failure> {
    let clock = SystemClock;
    tally.take();
    while clock.now().since(ended) < BACK_MAX {
        let (caller, purchase) = (ground.callers.next(), ground.callers.purchase(STEADY));
        if caller.client.buy(purchase).await.is_ok() {
            return Ok(millis(clock.now().since(ended)));
        }
    }
    Err(failed(&format!("nothing was paid for within {BACK_MAX:?} after the load")))
}

/// Reads the node's journal: no cap was passed, and nothing was held between a pause and its end.
async fn audit(ground: &Ground, found: &mut Overload) -> Result<(), Failure> {
    let (mut audit, mut paused, mut held) = (Audit::default(), false, 0_u64);
    read_all(&ground.house.ledger(), |entry| {
        audit.see(entry.at, &entry.event);
        let signs = match &entry.event {
            Event::Paused { .. } => {
                paused = true;
                false
            }
            Event::Resumed { .. } => {
                paused = false;
                false
            }
            Event::Held(_)
            | Event::Channel(ChannelEvent::DepositHeld { .. } | ChannelEvent::Extended(_)) => true,
            Event::Channel(event) => event.drawn().is_some(),
            _ => false,
        };
        held = held.saturating_add(u64::from(signs && paused));
    })
    .await?;
    found.held_while_paused = held;
    found.over_limit_nano = audit.over_limit().get();
    Ok(())
}

impl Overload {
    fn note(&mut self, seen: &Seen, elapsed: Duration) {
        self.paid.add(seen.paid(elapsed));
        self.unpaid.add(seen.unpaid(elapsed));
        for (reason, count) in &seen.reasons {
            let sum = self.reasons.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}
