//! What `bursar bench overload` and `bursar bench soak` share: a house of real processes, agents that pay by
//! channel within budgets, and the most that the node pays for in a second.

mod callers;
mod offer;
mod overload;
mod report;
mod soak;
mod trouble;
mod watch;

use std::path::Path;
use std::time::Duration;

use bursar::domain::money::Amount;

pub use self::overload::run as run_overload;
pub use self::soak::run as run_soak;

use self::callers::{Callers, Seen};
use super::Folder;
use super::measure::Round;
use crate::cli::failure::Failure;
use crate::cli::house::{House, Plan, Sale};
use crate::cli::output::Output;

/// Who sells, and is never disturbed.
const STEADY: &str = "steady";

/// Who sells, and is killed now and then.
const SHAKY: &str = "shaky";

/// Agents that buy. What each may have under way at once is in [`RULES`]: their share of the most callers,
/// and two more, because a call's place is free a moment after its answer.
const AGENTS: u64 = 8;

/// Callers at once that are tried for the most calls a second.
const CALLERS: [u64; 3] = [16, 32, 64];

/// How long each number of callers is tried.
const TRY: Duration = Duration::from_secs(2);

/// How long it may take until the channels are filled: a deposit each, one after the other.
const WARM_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether they are.
const WARM: Duration = Duration::from_secs(1);

/// What the payers' wallet is given: more than any run spends.
const GIFT: Amount = Amount::new(1_000_000_000_000);

/// So many of the chain's newest blocks are not final.
const FINAL_AFTER: u64 = 2;

/// So few requests that they are full in minutes: what memory gains from then on, it gains for ever.
const REMEMBERS: &str = "requests_max = 200_000";

/// Calls cost ten atomic units each, and the one who is pressed may spend sixty calls' worth a minute.
const RULES: &str = r#"[channels]
per_provider = "10000 USD"
total = "10000 USD"
calls_per_deposit = 100000
at_once = 64
[budget.fleet]
applies_to = "*"
limit = "10000 USD"
window = { calendar = "day" }
[budget.agent]
applies_to = "role/caller"
per = "agent"
limit = "1000 USD"
window = { rolling = "1h" }
[budget.pressed]
applies_to = "role/pressed"
per = "agent"
limit = "0.0006 USD"
window = { rolling = "1m" }
[role.caller]
per_call_max = "0.01 USD"
rates = { concurrency = 10 }
allow_any = true
allow = { capabilities = ["*"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["batch-settlement"] }
[role.pressed]
per_call_max = "0.01 USD"
rates = { concurrency = 10 }
allow_any = true
allow = { capabilities = ["*"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["batch-settlement"] }
"#;

/// How both sell.
const TERMS: &str = r#"price = { call = "0.00001 USD" }
concurrency = 1024
quote_life = "10m"
authorization_life = "60s"
withdraw_delay = "15m"
claim_after = "5m"
"#;

/// A house, and those who buy in it.
struct Ground {
    house: House,
    callers: Callers,
}

impl Ground {
    /// Starts a house with these providers in `folder`, and fills the channels to the first.
    async fn open(folder: &Path, providers: &[&'static str]) -> Result<Self, Failure> {
        let sale = |name: &&'static str| Sale {
            name,
            engine: "librarian",
            capability: "search.query",
            model: "bursar-embed-1",
            terms: TERMS.to_owned(),
            by_facilitator: false,
        };
        let plan = Plan {
            final_after: FINAL_AFTER,
            gift: GIFT,
            ledger: REMEMBERS,
            log: "warn",
            rules: RULES.to_owned(),
            sales: providers.iter().map(sale).collect(),
        };
        let mut house = House::start(folder, &plan).await?;
        for number in 0..AGENTS {
            house.add_agent(&format!("caller-{number}"), "caller")?;
        }
        let callers = Callers::connect(&format!("http://{}", house.node_at), &house.tokens).await?;
        let ground = Self { house, callers };
        ground.warm().await;
        Ok(ground)
    }

    /// Lets the most callers buy until a second passes like the one before it, give or take a quarter.
    async fn warm(&self) {
        let most = CALLERS.into_iter().max().unwrap_or(1);
        let (mut before, mut left) = (0_u64, WARM_MAX.as_secs());
        while left > 0 {
            let rate = self.closed(most, WARM).await.paid(WARM).rate();
            let quarter = before / 4;
            if rate > 0 && rate.abs_diff(before) <= quarter {
                return;
            }
            (before, left) = (rate, left.saturating_sub(WARM.as_secs()));
        }
    }

    /// Lets `callers` buy, each as soon as it was answered, for `span`.
    async fn closed(&self, callers: u64, span: Duration) -> Seen {
        self.callers.closed(callers, span, STEADY).await
    }

    /// With how many callers the node pays for the most, and that round.
    async fn peak(&self, output: &Output) -> (u64, Round) {
        let mut best = (1, Round::default());
        for callers in CALLERS {
            let round = self.closed(callers, TRY).await.paid(TRY);
            output.note(&format!("  {callers} callers: {} paid a second", round.rate()));
            if round.rate() > best.1.rate() {
                best = (callers, round);
            }
        }
        best
    }
}

/// What `run` makes of a folder; it stays where the run failed, or found what must not be.
fn within<R>(
    folder: Folder,
    run: impl FnOnce(&Path) -> Result<R, Failure>,
    is_sound: impl FnOnce(&R) -> bool,
    output: &Output,
) -> Result<R, Failure> {
    let done = run(&folder.0);
    if !done.as_ref().is_ok_and(is_sound) {
        let path = folder.leave();
        output.note(&format!("ledgers and logs are left in {}", path.display()));
    }
    done
}
