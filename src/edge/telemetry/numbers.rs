//! The numbers of one ledger's process for Prometheus: what the ledger says, and what was counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::ledger::Ledger;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::ledger::hold::HoldState;
use crate::domain::time::Timestamp;
use crate::edge::telemetry::metrics::Scrape;
use crate::ports::clock::Clock;
use crate::runtime::meters::{BUCKETS_US, Counts, Phase, Timings};
use crate::runtime::treasury::Treasury;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<u64, AtomicU64>>;

/// What `/metrics` says of the ledger behind `treasury`, at the moment it is asked.
pub fn scrape(treasury: Treasury, clock: Arc<dyn Clock>) -> Scrape {
    Arc::new(move || {
        let (treasury, clock) = (treasury.clone(), Arc::clone(&clock));
        Box::pin(async move {
            let now = clock.now();
            let looked = treasury.read(move |ledger| of_ledger(ledger, now)).await;
            let mut registry = looked.ok()?;
            let meters = treasury.meters();
            let counted = Counted { counts: meters.counts(), timings: meters.timings().collect() };
            registry.register_collector(Box::new(counted));
            Some(registry)
        })
    })
}

/// The ledger's numbers at `now`.
fn of_ledger(ledger: &Ledger, now: Timestamp) -> Registry {
    let mut registry = Registry::with_prefix("bursar");
    let holds = gauges(&mut registry, "payments_open", "Open payments, by state");
    for state in ["signable", "unknown", "captured"] {
        holds.get_or_create(&vec![("state", state.to_owned())]).set(0);
    }
    for hold in ledger.holds() {
        let state = match hold.state {
            HoldState::Signable => "signable",
            HoldState::Unknown => "unknown",
            HoldState::Captured { .. } => "captured",
        };
        holds.get_or_create(&vec![("state", state.to_owned())]).inc();
    }
    let claims = gauges(&mut registry, "claims_open", "Open claims, by state");
    for claim in ledger.open_claims() {
        claims.get_or_create(&vec![("state", claim.state.as_str().to_owned())]).inc();
    }
    let sums = sums(ledger.accounts(now));
    let help = ["Caps", "Captured in the window", "Held in the window", "Left in the window"];
    let names = ["budget_limit_nano", "budget_spent_nano", "budget_held_nano", "budget_left_nano"];
    for (place, (name, help)) in names.into_iter().zip(help).enumerate() {
        let family = gauges(&mut registry, name, help);
        for (budget, numbers) in &sums {
            let value = numbers.get(place).copied().unwrap_or(0);
            family.get_or_create(&vec![("budget", budget.clone())]).set(value);
        }
    }
    let policy = gauges(&mut registry, "policy_version", "The policy in force");
    policy.get_or_create(&Vec::new()).set(u64::from(ledger.policy().version));
    let pauses = gauges(&mut registry, "scopes_paused", "Scopes that sign nothing");
    pauses.get_or_create(&Vec::new()).set(u64::try_from(ledger.pauses().count()).unwrap_or(0));
    registry
}

/// Limit, spent, held and left of each budget, over all its accounts.
fn sums(checks: Vec<BudgetCheck>) -> BTreeMap<String, [u64; 4]> {
    let mut sums: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    for check in checks {
        let numbers = [check.limit, check.spent, check.held, check.left()];
        let sum = sums.entry(check.budget.to_string()).or_default();
        for (total, number) in sum.iter_mut().zip(numbers) {
            *total = total.saturating_add(number.get());
        }
    }
    sums
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Gauges {
    let family = Gauges::default();
    registry.register(name, help, family.clone());
    family
}

/// What was counted since the process began, at one moment.
#[derive(Debug)]
struct Counted {
    counts: Counts,
    timings: Vec<(Phase, Timings)>,
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Counts { decisions, events, spent, reversed } = &self.counts;
        let help = "Wishes by what was decided: allowed, repeated, or the code that refused";
        counters(&mut encoder, "decisions", help, ("decision", None), decisions)?;
        counters(&mut encoder, "events", "Ledger events", ("kind", None), events)?;
        let nano = Some(Unit::Other("nano".to_owned()));
        let help = "Captured, by role";
        counters(&mut encoder, "spent", help, ("role", nano.as_ref()), spent)?;
        let help = "Captures that were taken back, by role";
        counters(&mut encoder, "reversed", help, ("role", nano.as_ref()), reversed)?;
        let help = "How long each phase of a payment took";
        let kind = MetricType::Histogram;
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("phase", help, unit, kind)?;
        for (phase, timings) in &self.timings {
            let bounds = BUCKETS_US.map(|us| Duration::from_micros(us).as_secs_f64());
            let bounds = bounds.into_iter().chain(std::iter::once(f64::MAX));
            let buckets: Vec<(f64, u64)> = bounds.zip(timings.counts).collect();
            let sum = Duration::from_micros(timings.sum_us).as_secs_f64();
            let count = timings.counts.iter().sum();
            let label = [("phase", phase.as_str())];
            let mut one = family.encode_family(&label)?;
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn counters<W: ToString>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    (label, unit): (&str, Option<&Unit>),
    counts: &BTreeMap<W, u64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (word, count) in counts {
        let labels = [(label, word.to_string())];
        ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
