//! Logs by the configuration, and the numbers of a running node for Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bursar::domain::ledger::Ledger;
use bursar::domain::ledger::budget::BudgetCheck;
use bursar::domain::ledger::hold::HoldState;
use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::edge::config::{Config, LogFormat, Telemetry};
use bursar::edge::telemetry::{Listener, Scrape, Server, start_logs};
use bursar::node::PayerNode;
use bursar::ports::clock::Clock;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::exit::Exit;
use super::failure::Failure;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<u64, AtomicU64>>;

/// Writes logs as the configuration says.
pub fn start(telemetry: &Telemetry) {
    start_logs(&telemetry.log, telemetry.format == LogFormat::Json);
}

/// The metrics that are being served.
pub struct Metrics(Server);

impl Metrics {
    /// Where they are.
    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.0.address())
    }
}

/// Takes the address for the node's numbers, where the configuration has one: before anything starts.
pub async fn listen(config: &Config) -> Result<Option<Listener>, Failure> {
    let Some(listen) = config.server.metrics else { return Ok(None) };
    let bound = Listener::bind(listen).await.map_err(|problem| {
        let taken = problem.kind() == std::io::ErrorKind::AddrInUse;
        let what = if taken { "is taken by another process" } else { "cannot be listened on" };
        let message = format!("{listen} {what}, and /metrics is to be there: {problem}");
        Failure::new(Exit::Failed, "cli.metrics", message)
            .help("choose another with --metrics, or metrics = \"off\" in [server]")
    })?;
    Ok(Some(bound))
}

/// Serves the node's numbers.
pub fn serve(listener: Listener, node: &PayerNode) -> Metrics {
    let treasury = node.treasury.clone();
    let scrape: Scrape = Arc::new(move || {
        let treasury = treasury.clone();
        Box::pin(async move {
            let now = SystemClock.now();
            treasury.read(move |ledger| registry(ledger, now)).await.ok()
        })
    });
    Metrics(listener.serve(scrape))
}

/// The ledger's numbers at `now`.
fn registry(ledger: &Ledger, now: Timestamp) -> Registry {
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
