//! `bursar bench soak`: half of what the node can pay for, for a long time, with faults; what the processes
//! hold meanwhile, and the books in the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;

use super::super::{Folder, failed, millis};
use super::callers::Caller;
use super::offer::offer;
use super::report::{self, Soak};
use super::trouble::Fleet;
use super::watch::{Held, Sample};
use super::{Ground, SHAKY, STEADY, within};
use crate::cli::args::BenchArgs;
use crate::cli::closing;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::house::chance::Chance;
use crate::cli::house::proxy::Link;
use crate::cli::output::Output;

/// Calls under way at once at most: those that wait to be asked again among them.
const AT_ONCE: usize = 1024;

/// How often everything is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a provider stays dead.
const DEAD: Duration = Duration::from_secs(1);

/// Kills in one run, and the least and the most time between two.
const KILLS: u32 = 6;
const CALM_MIN: Duration = Duration::from_secs(15);
const CALM_MAX: Duration = Duration::from_mins(10);

/// Measures, and shows it. The exit status says whether the books are sound.
pub fn run(args: &BenchArgs, output: &Output) -> Result<Exit, Failure> {
    let output = if args.json { Output::for_programs() } else { *output };
    let folder = Folder::make(args.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| failed(&problem))?;
    let measure = |folder: &Path| runtime.block_on(measure(folder, args, &output));
    let found = within(folder, measure, Soak::is_sound, &output)?;
    report::show_soak(&found, &output);
    Ok(if found.is_sound() { Exit::Done } else { Exit::Damaged })
}

async fn measure(folder: &Path, args: &BenchArgs, output: &Output) -> Result<Soak, Failure> {
    output.note("soak: a chain, a node and two providers, each a process of its own");
    let mut ground = Ground::open(folder, &[STEADY, SHAKY]).await?;
    let (_, peak) = ground.peak(output).await;
    let mut found = Soak { minutes: args.minutes, seed: args.seed, ..Soak::default() };
    found.peak_per_s = peak.rate();
    found.offered_per_s = (peak.rate() / 2).max(1);
    let fleet = Arc::new(fleet(&mut ground, args.seed).await?);
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::clone(&fleet);
    let call = move |number| Arc::clone(&calls).call(number);
    output.note(&format!("  {} calls a second for {} minutes", found.offered_per_s, args.minutes));
    let load = tokio::spawn(offer(found.offered_per_s, AT_ONCE, Arc::clone(&stop), call));
    let watched = watch(&mut ground, &fleet, Duration::from_mins(args.minutes)).await;
    stop.store(true, Ordering::Relaxed);
    found.offered = load.await.map_err(|problem| failed(&problem))?;
    found.samples = watched?;
    let seen = fleet.tally.take();
    found.paid = seen.paid(Duration::from_millis(found.offered.millis));
    found.reasons = seen.reasons;
    output.note("  closing the channels, and the books");
    closing::heal(&mut ground.house).await?;
    closing::resolve(&ground.house).await?;
    let (tried, wrong) = fleet.told();
    found.wrong = wrong;
    found.books = closing::close(&mut ground.house, &tried).await?;
    Ok(found)
}

async fn fleet(ground: &mut Ground, seed: u64) -> Result<Fleet, Failure> {
    let house = &mut ground.house;
    house.add_agent("pressed", "pressed")?;
    house.add_agent("cut", "caller")?;
    let of = |called: &str| house.tokens.iter().find(|(name, _)| name == called).cloned();
    let (pressed, cut) = (of("pressed"), of("cut"));
    let ((pressed, token), (cut, its)) = pressed.zip(cut).expect("both were added a moment ago");
    let endpoint = ground.callers.endpoint().to_owned();
    let pressed = Caller::connect(&endpoint, &pressed, &token).await;
    let pressed = pressed.map_err(|problem| failed(&problem))?;
    let link = Link::to(house.node_at).await.map_err(|problem| failed(&problem))?;
    Ok(Fleet::new(ground.callers.clone(), pressed, (link, cut, its), Chance::new(seed, 0)))
}

/// Looks at everything again and again, and kills a provider now and then.
async fn watch(ground: &mut Ground, fleet: &Fleet, span: Duration) -> Result<Vec<Sample>, Failure> {
    let clock = SystemClock;
    let calm = span.checked_div(KILLS).unwrap_or(span).clamp(CALM_MIN, CALM_MAX);
    let (began, mut samples) = (clock.now(), Vec::new());
    let mut kill_at = began.after(calm);
    while clock.now().since(began) < span {
        samples.push(sample(ground, fleet, began)?);
        if clock.now() >= kill_at {
            fleet.count(|wrong| &mut wrong.kills);
            let shaky = ground.house.providers.last_mut().expect("there are two providers");
            shaky.kill();
            clock.sleep_until(clock.now().after(DEAD)).await;
            shaky.start(&[]).await?;
            kill_at = clock.now().after(calm);
        }
        clock.sleep_until(clock.now().after(LOOK_EVERY)).await;
    }
    samples.push(sample(ground, fleet, began)?);
    Ok(samples)
}

fn sample(ground: &Ground, fleet: &Fleet, began: Timestamp) -> Result<Sample, Failure> {
    let house = &ground.house;
    let steady = house.providers.first().expect("there are two providers");
    Ok(Sample {
        at_ms: millis(SystemClock.now().since(began)),
        paid: fleet.tally.paid(),
        node: Held::by(&house.node, &house.folder, "node.db")?,
        provider: Held::by(steady, &house.folder, &format!("{STEADY}.{STEADY}.db"))?,
    })
}
