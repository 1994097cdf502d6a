//! `bursar bench`: what the runtime costs, each figure beside what the same machine reaches without it
//! in the same run. Only the ratios mean anything: an absolute number says how busy the machine was.

mod channels;
mod durable;
mod holds;
mod http;
mod load;
mod measure;
mod pay;
mod restart;
mod settled;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bursar::domain::ledger::Bounds;
use bursar::domain::ledger::budget::{BudgetDef, Per, Selector};
use serde::Serialize;

use self::channels::Harbour;
use self::durable::{Desk, RECORD_LEN, RawLog};
use self::holds::{World, budget, bytes_a_wallet, four_levels, name};
use self::measure::{Round, permille, shown};
use self::restart::History;
use self::settled::{Market, Way};
use super::args::{BenchArgs, Measurement};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};
use bursar::domain::id::RoleId;

pub use self::pay::Mode;
pub use self::pay::run_part;

/// Wallets of the large ledgers.
const WALLETS: u64 = 1_000_000;

/// Agents of the durable measurements.
const AGENTS: u64 = 10_000;

/// Open channels on one payee.
const CHANNELS: u64 = 10_000;

/// Entries of the journal that a restart reads.
const ENTRIES: u64 = 10_000_000;

/// Turns that measurements beside each other take: so that a busy moment hits both.
const TURNS: u64 = 4;

/// How much longer a slow disk's sync takes.
const SLOW_SYNC: Duration = Duration::from_millis(2);

/// One figure.
#[derive(Debug, Serialize)]
struct Row {
    /// Which measurement.
    name: &'static str,
    /// What was measured, and what it is held against.
    what: String,
    /// The figure: of ratios the thousandths.
    figure: u64,
    /// `permille`, `per_second`, `bytes`, `us`, `ms`.
    unit: &'static str,
    /// At least, or at most, that much; `None` where it is only reported.
    target: Option<Target>,
    /// Whether it is met.
    met: Option<bool>,
}

#[derive(Copy, Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    AtLeast(u64),
    AtMost(u64),
}

impl Row {
    fn new(name: &'static str, what: impl Into<String>, figure: u64, unit: &'static str) -> Self {
        Self { name, what: what.into(), figure, unit, target: None, met: None }
    }

    fn ratio(name: &'static str, what: impl Into<String>, a: u64, b: u64, target: Target) -> Self {
        Self::new(name, what, permille(a, b), "permille").held_to(target)
    }

    fn held_to(mut self, target: Target) -> Self {
        self.met = Some(match target {
            Target::AtLeast(least) => self.figure >= least,
            Target::AtMost(most) => self.figure <= most,
        });
        self.target = Some(target);
        self
    }

    fn line(&self) -> [String; 5] {
        let figure = |figure| {
            if self.unit == "permille" { shown(figure) } else { format!("{figure} {}", self.unit) }
        };
        let target = match self.target {
            None => String::new(),
            Some(Target::AtLeast(least)) => format!("at least {}", figure(least)),
            Some(Target::AtMost(most)) => format!("at most {}", figure(most)),
        };
        let met = match self.met {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        [self.name.to_owned(), self.what.clone(), figure(self.figure), target, met.to_owned()]
    }
}

/// Where files go, and for how long each side of a measurement runs.
struct Bench {
    folder: Folder,
    span: Duration,
}

/// A new folder, which goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn make(within: Option<&Path>) -> Result<Self, Failure> {
        let within = within.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = within.join(format!("bursar-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|problem| failed(&problem))?;
        Ok(Self(path))
    }

    /// Leaves it where it is, for somebody to look into.
    fn leave(mut self) -> PathBuf {
        let path = std::mem::take(&mut self.0);
        std::mem::forget(self);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures what was asked for, and shows it.
pub fn run(args: &BenchArgs, output: &Output) -> Result<Exit, Failure> {
    match args.only {
        Some(Measurement::Pay) => return pay::run(args, output),
        Some(Measurement::Http) => return http::run(args),
        Some(Measurement::Overload) => return load::run_overload(args, output),
        Some(Measurement::Soak) => return load::run_soak(args, output),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| failed(&problem))?;
    let folder = Folder::make(args.dir.as_deref())?;
    let bench =
        Bench { folder, span: Duration::from_millis(args.seconds.saturating_mul(1000) / TURNS) };
    let wanted = |name: Measurement| args.only.is_none_or(|only| only == name);
    let mut rows = Vec::new();
    // The ledger's bytes first: what others leave in the heap would be counted as less.
    if wanted(Measurement::Ledger) {
        output.note("ledger: a million wallets in memory");
        rows.extend(ledger());
    }
    if wanted(Measurement::Verify) {
        output.note("verify: checks beside bare recoveries");
        rows.extend(verified());
    }
    if wanted(Measurement::Durable) {
        output.note("durable: holds beside raw appends");
        rows.extend(runtime.block_on(bench.durable())?);
    }
    if wanted(Measurement::Hot) {
        output.note("hot: one budget beside ten thousand");
        rows.extend(runtime.block_on(bench.hot())?);
    }
    if wanted(Measurement::Slow) {
        output.note("slow: a disk whose sync takes two milliseconds more");
        rows.extend(runtime.block_on(bench.slow())?);
    }
    if wanted(Measurement::Many) {
        output.note("many: a million wallets beside a thousand, durable");
        rows.extend(runtime.block_on(bench.many())?);
    }
    if wanted(Measurement::Settled) {
        output.note(
            "settled: payments on the sandbox, exact and by channel, beside the same for nothing",
        );
        rows.extend(runtime.block_on(bench.settled())?);
    }
    if wanted(Measurement::Channels) {
        output.note("channels: ten thousand on one payee, each with a deposit on the sandbox");
        rows.extend(runtime.block_on(bench.channels())?);
    }
    if wanted(Measurement::Restart) {
        output.note("restart: a journal of ten million entries, which takes minutes to write");
        rows.extend(runtime.block_on(bench.restart())?);
    }
    output.show(&rows, || {
        table(["name", "what", "figure>", "target>", ""], rows.iter().map(Row::line))
    });
    Ok(Exit::Done)
}

fn failed(problem: &impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, "cli.bench", problem)
}

fn ledger() -> Vec<Row> {
    let bytes = bytes_a_wallet(WALLETS);
    let mut world = World::of(WALLETS, Bounds::default());
    let holds = WALLETS / 4;
    // The first rounds hold from every wallet for the first time; the best of the others is the machine
    // at its least disturbed.
    let rate = (0..8).map(|_| {
        let nanos = world.place(holds).as_nanos().max(1);
        let rate = u128::from(holds).saturating_mul(1_000_000_000).checked_div(nanos);
        u64::try_from(rate.unwrap_or(0)).unwrap_or(u64::MAX)
    });
    let rate = rate.max().unwrap_or(0);
    vec![
        Row::new(
            "ledger",
            "decide and evolve of a hold in four budgets, one core, 1,000,000 wallets",
            rate,
            "per_second",
        )
        .held_to(Target::AtLeast(1_000_000)),
        Row::new(
            "ledger",
            "memory a wallet, with an agent and a calendar budget's account",
            bytes,
            "bytes",
        )
        .held_to(Target::AtMost(500)),
    ]
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn verified() -> Vec<Row> {
    let sums = verify::verify(400);
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let bare = micros(sums.bare);
    vec![
        Row::ratio(
            "verify",
            "`exact` checked without the chain / bare libsecp256k1 recovery",
            bare,
            micros(sums.parsed),
            Target::AtLeast(800),
        ),
        Row::new(
            "verify",
            "the same from a header's text",
            permille(bare, micros(sums.text)),
            "permille",
        ),
    ]
}

impl Bench {
    fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.0.join(name);
        std::fs::create_dir(&path).map_err(|problem| failed(&problem))?;
        Ok(path)
    }

    async fn desk(
        &self,
        place: &str,
        wallets: u64,
        budgets: Vec<BudgetDef>,
        delay: Option<Duration>,
    ) -> Result<Desk, Failure> {
        Ok(Desk::open(&self.place(place)?, wallets, budgets, delay).await?)
    }

    async fn durable(&self) -> Result<Vec<Row>, Failure> {
        let desk = self.desk("durable", AGENTS, four_levels(), None).await?;
        let raw = RawLog::create(&self.folder.0).map_err(|problem| failed(&problem))?;
        let mut rows = Vec::new();
        for callers in [64, 256] {
            let (mut ours, mut theirs) = (Round::default(), Round::default());
            let mut behind = Duration::ZERO;
            for _ in 0..TURNS {
                theirs.add(raw.append(callers, self.span).await);
                ours.add(desk.hold(callers, self.span).await);
                behind = behind.max(desk.catch_up().await?);
            }
            let what =
                format!("durable holds / raw appends of {RECORD_LEN} bytes, {callers} callers");
            rows.push(Row::ratio(
                "durable",
                what,
                ours.rate(),
                theirs.rate(),
                Target::AtLeast(500),
            ));
            rows.push(Row::new(
                "durable",
                format!("durable holds, {callers} callers"),
                ours.rate(),
                "per_second",
            ));
            rows.push(Row::new(
                "durable",
                format!("p50 of a durable hold, {callers} callers"),
                ours.at_permille(500),
                "us",
            ));
            rows.push(Row::new(
                "durable",
                format!("raw appends, {callers} callers"),
                theirs.rate(),
                "per_second",
            ));
            rows.push(Row::new(
                "durable",
                format!("the tables needed to know the last turn's holds, {callers} callers"),
                millis(behind),
                "ms",
            ));
            let (p99, raw_p99) = (ours.at_permille(990), theirs.at_permille(990));
            let what = format!("p99 of durable holds / of raw appends, {callers} callers");
            let row = Row::new("durable", what, permille(p99, raw_p99), "permille");
            rows.push(if callers == 64 { row.held_to(Target::AtMost(3000)) } else { row });
        }
        desk.close().await;
        Ok(rows)
    }

    async fn hot(&self) -> Result<Vec<Row>, Failure> {
        let role = RoleId::named(&name("scout"));
        let separate = vec![budget("agent", Selector::Role(role), Per::Agent)];
        let one = self
            .desk("hot", AGENTS, vec![budget("fleet", Selector::Fleet, Per::All)], None)
            .await?;
        let many = self.desk("separate", AGENTS, separate, None).await?;
        let (mut hot, mut cold) = (Round::default(), Round::default());
        for _ in 0..TURNS {
            cold.add(many.hold(64, self.span).await);
            many.catch_up().await?;
            hot.add(one.hold(64, self.span).await);
            one.catch_up().await?;
        }
        one.close().await;
        many.close().await;
        let what = "one hot budget / ten thousand separate ones, 64 callers";
        Ok(vec![Row::ratio("hot", what, hot.rate(), cold.rate(), Target::AtLeast(900))])
    }

    async fn slow(&self) -> Result<Vec<Row>, Failure> {
        let desk = self.desk("slow", 256, four_levels(), Some(SLOW_SYNC)).await?;
        let mut rows = Vec::new();
        for callers in [64, 256] {
            let before = desk.syncs();
            let held = desk.hold(callers, self.span).await;
            let syncs = desk.syncs().saturating_sub(before);
            let what = format!("holds a sync / {callers} callers, with 2 ms added to each sync");
            let of = syncs.saturating_mul(callers);
            rows.push(Row::ratio("slow", what, held.count(), of, Target::AtLeast(500)));
        }
        desk.close().await;
        Ok(rows)
    }

    async fn many(&self) -> Result<Vec<Row>, Failure> {
        let few = self.desk("few", 1_000, four_levels(), None).await?;
        let many = self.desk("many", WALLETS, four_levels(), None).await?;
        let (mut small, mut large) = (Round::default(), Round::default());
        for _ in 0..TURNS {
            small.add(few.hold(64, self.span).await);
            few.catch_up().await?;
            large.add(many.hold(64, self.span).await);
            many.catch_up().await?;
        }
        few.close().await;
        many.close().await;
        let what = "p50 of a durable hold, 1,000,000 wallets / 1,000, 64 callers";
        let (large, small) = (large.at_permille(500), small.at_permille(500));
        Ok(vec![Row::ratio("many", what, large, small, Target::AtMost(1500))])
    }

    async fn settled(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = self.beside(Way::Exact, "exact").await?;
        rows.extend(self.beside(Way::Channel, "by channel").await?);
        Ok(rows)
    }

    async fn channels(&self) -> Result<Vec<Row>, Failure> {
        let opened = Harbour::open(self.place("channels")?, CHANNELS).await;
        let measured = opened.map_err(|error| Failure::of(&error))?.measure().await;
        let cost = measured.map_err(|error| Failure::of(&error))?;
        let row = |what: &str, figure, unit| Row::new("channels", what, figure, unit);
        Ok(vec![
            row("memory of a channel in the payee's ledger, 10,000 open", cost.bytes, "bytes"),
            row("a payee's start with 10,000 open channels", millis(cost.restart), "ms")
                .held_to(Target::AtMost(5_000)),
            row("vouchers claimed, a hundred in a transaction", cost.claimed, "channels"),
            row("claiming them all, what the chain then shows included", millis(cost.claim), "ms"),
        ])
    }

    async fn restart(&self) -> Result<Vec<Row>, Failure> {
        let history = History::write(&self.place("restart")?, ENTRIES, AGENTS).await?;
        let mut rows = Vec::new();
        // The first start keeps the snapshot that is due, so that the second has no entry to read.
        for from in ["a snapshot a million entries back", "the snapshot that the first one kept"] {
            let took = millis(history.restart().await?);
            let what = format!(
                "from the open of a journal of {} entries until its ledger answers, by {from}",
                history.len(),
            );
            rows.push(Row::new("restart", what, took, "ms").held_to(Target::AtMost(15_000)));
        }
        Ok(rows)
    }

    /// Paid in one way, beside the same for nothing.
    async fn beside(&self, way: Way, called: &str) -> Result<Vec<Row>, Failure> {
        let place = self.place(&format!("settled {called}"))?;
        let opened = Market::open(Path::new(&place), way).await;
        let market = opened.map_err(|error| Failure::of(&error))?;
        // The first payment asks for the quote that the others go by.
        market.paid(1, Duration::ZERO).await;
        market.paid(1, Duration::from_millis(200)).await;
        let mut rows = Vec::new();
        for callers in [1, 16, 64] {
            let (mut paid, mut unpaid) = (Round::default(), Round::default());
            for _ in 0..TURNS {
                unpaid.add(market.unpaid(callers, self.span).await);
                paid.add(market.paid(callers, self.span).await);
            }
            let with = |what: &str| format!("{what}, {called}, {callers} at once");
            rows.push(Row::new("settled", with("paid"), paid.rate(), "per_second"));
            rows.push(Row::new("settled", with("p50 paid"), paid.at_permille(500), "us"));
            rows.push(Row::new("settled", with("p99 paid"), paid.at_permille(990), "us"));
            rows.push(Row::new("settled", with("p50 unpaid"), unpaid.at_permille(500), "us"));
            rows.push(Row::new(
                "settled",
                with("paid / unpaid"),
                permille(paid.rate(), unpaid.rate()),
                "permille",
            ));
        }
        market.close().await;
        Ok(rows)
    }
}
