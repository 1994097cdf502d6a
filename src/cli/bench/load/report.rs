//! What came of an overload and of a soak: rows with their targets for people, and one object for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::measure::{Round, permille};
use super::super::{Row, Target};
use super::offer::Offered;
use super::trouble::Wrong;
use super::watch::{Course, Sample};
use crate::cli::closing::Books;
use crate::cli::output::{Output, table};

/// From so many minutes on a soak is held to its targets: before, what fills up once is most of what grows.
const HELD_TO_FROM: u64 = 60;

/// Handles that a busy moment may open beyond those of the first half.
const HANDLES_MORE: u64 = 8;

/// What came of an overload.
#[derive(Debug, Default)]
pub struct Overload {
    /// Callers with whom the node paid for the most.
    pub callers: u64,
    /// Paid at that many callers.
    pub peak: Round,
    /// Paid under the load.
    pub paid: Round,
    /// Not paid under the load.
    pub unpaid: Round,
    /// Why.
    pub reasons: BTreeMap<String, u64>,
    /// The load of each turn.
    pub offered: Vec<Offered>,
    /// From each pause's start until it was answered, in milliseconds.
    pub paused_ms: Vec<u64>,
    /// From each resume's start until something was paid for.
    pub resumed_ms: Vec<u64>,
    /// From each load's end until a call was paid for.
    pub back_ms: Vec<u64>,
    /// Calls that were asked for and paid for within one pause.
    pub paid_while_paused: u64,
    /// Holds, by the node's journal, between a pause and its end.
    pub held_while_paused: u64,
    /// The most by which any cap was passed.
    pub over_limit_nano: u64,
    /// The node's memory under the load, at its most.
    pub node_rss_kib: u64,
}

#[derive(Serialize)]
struct ShownOverload<'o> {
    callers: u64,
    peak_per_s: u64,
    paid_per_s: u64,
    offered_per_s: u64,
    withheld: u64,
    refused: u64,
    refused_by_reason: &'o BTreeMap<String, u64>,
    paused_ms: &'o [u64],
    resumed_ms: &'o [u64],
    back_ms: &'o [u64],
    paid_while_paused: u64,
    held_while_paused: u64,
    over_limit_nano: u64,
    node_rss_kib: u64,
    rows: &'o [Row],
}

impl Overload {
    /// Whether nothing happened that must not.
    pub const fn is_sound(&self) -> bool {
        self.paid_while_paused == 0 && self.held_while_paused == 0 && self.over_limit_nano == 0
    }

    fn offered_per_s(&self) -> u64 {
        let begun = self.offered.iter().map(|one| one.begun.saturating_add(one.withheld)).sum();
        let millis = self.offered.iter().map(|one| one.millis).sum();
        Offered { begun, withheld: 0, millis }.rate()
    }

    fn rows(&self) -> Vec<Row> {
        let row = |what: &str, figure, unit| Row::new("overload", what, figure, unit);
        let most = |all: &[u64]| all.iter().copied().max().unwrap_or(0);
        let (peak, paid) = (self.peak.rate(), self.paid.rate());
        let goodput = "paid under ten times the load / at the peak";
        vec![
            row(&format!("paid, {} callers", self.callers), peak, "per_second"),
            row("offered under the load", self.offered_per_s(), "per_second"),
            row("paid under the load", paid, "per_second"),
            Row::ratio("overload", goodput, paid, peak, Target::AtLeast(800)),
            row("p50 of a paid call at the peak", self.peak.at_permille(500), "us"),
            row("p50 of a paid call under the load", self.paid.at_permille(500), "us"),
            row("p99 of a paid call under the load", self.paid.at_permille(990), "us"),
            row("p50 of a refusal under the load", self.unpaid.at_permille(500), "us"),
            row("p99 of a refusal under the load", self.unpaid.at_permille(990), "us"),
            row("`pause all` until it was answered, the slowest", most(&self.paused_ms), "ms")
                .held_to(Target::AtMost(1000)),
            row("`resume all` until a call was paid, the slowest", most(&self.resumed_ms), "ms"),
            row("the load's end until a call was paid, the slowest", most(&self.back_ms), "ms")
                .held_to(Target::AtMost(10_000)),
            row("calls asked for and paid within a pause", self.paid_while_paused, "calls")
                .held_to(Target::AtMost(0)),
            row("holds within a pause, by the journal", self.held_while_paused, "holds")
                .held_to(Target::AtMost(0)),
            row("over limit", self.over_limit_nano, "nano").held_to(Target::AtMost(0)),
            row("the node's resident memory under the load", self.node_rss_kib, "KiB"),
        ]
    }
}

/// Shows an overload.
pub fn show_overload(found: &Overload, output: &Output) {
    let rows = found.rows();
    let withheld = found.offered.iter().map(|one| one.withheld).sum();
    let shown = ShownOverload {
        callers: found.callers,
        peak_per_s: found.peak.rate(),
        paid_per_s: found.paid.rate(),
        offered_per_s: found.offered_per_s(),
        withheld,
        refused: found.unpaid.count(),
        refused_by_reason: &found.reasons,
        paused_ms: &found.paused_ms,
        resumed_ms: &found.resumed_ms,
        back_ms: &found.back_ms,
        paid_while_paused: found.paid_while_paused,
        held_while_paused: found.held_while_paused,
        over_limit_nano: found.over_limit_nano,
        node_rss_kib: found.node_rss_kib,
        rows: &rows,
    };
    output.show(&shown, || lines(&rows, &found.reasons));
}

/// What came of a soak.
#[derive(Debug, Default)]
pub struct Soak {
    /// For how long.
    pub minutes: u64,
    /// What chose the faults.
    pub seed: u64,
    /// The most that was paid for in a second before.
    pub peak_per_s: u64,
    /// What was to be offered.
    pub offered_per_s: u64,
    /// What was.
    pub offered: Offered,
    /// Calls that were paid and answered the first time.
    pub paid: Round,
    /// Why others were not.
    pub reasons: BTreeMap<String, u64>,
    /// What went wrong.
    pub wrong: Wrong,
    /// What was seen meanwhile, in order.
    pub samples: Vec<Sample>,
    /// The books in the end.
    pub books: Books,
}

#[derive(Serialize)]
struct ShownSoak<'s> {
    minutes: u64,
    seed: u64,
    peak_per_s: u64,
    offered_per_s: u64,
    offered: Offered,
    paid: u64,
    refused_by_reason: &'s BTreeMap<String, u64>,
    wrong: Wrong,
    samples: usize,
    first: Option<&'s Sample>,
    last: Option<&'s Sample>,
    node: Course,
    provider: Course,
    violations: Violations,
    ledger_atomic: String,
    chain_atomic: String,
    books_match: bool,
    damaged: Vec<&'s String>,
    ledger_hash: &'s str,
    sound: bool,
    rows: &'s [Row],
}

/// What must not be, each counted.
#[derive(Copy, Clone, Serialize)]
struct Violations {
    over_limit_nano: u64,
    lost: u64,
    paid_twice: u64,
    unknown: u64,
    books_differ: u64,
}

impl Violations {
    fn of(books: &Books) -> Self {
        Self {
            over_limit_nano: books.over_limit_nano,
            lost: books.lost,
            paid_twice: books.paid_twice(),
            unknown: books.unknown,
            books_differ: u64::from(!books.books_match()),
        }
    }
}

impl Soak {
    /// Whether nothing happened that must not.
    pub fn is_sound(&self) -> bool {
        self.books.is_sound()
    }

    fn courses(&self) -> [(&'static str, Course); 2] {
        [
            ("node", Course::of(&self.samples, |sample| sample.node)),
            ("provider", Course::of(&self.samples, |sample| sample.provider)),
        ]
    }

    /// Held to `target`, where the run was long enough for that.
    fn held(&self, row: Row, target: Target) -> Row {
        if self.minutes >= HELD_TO_FROM { row.held_to(target) } else { row }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |what: &str, figure, unit| Row::new("soak", what, figure, unit);
        let wrong = self.wrong.walked_away.saturating_add(self.wrong.cut);
        let mut rows = vec![
            row("the most that was paid before", self.peak_per_s, "per_second"),
            row("calls begun", self.offered.rate(), "per_second"),
            row("paid and answered the first time", self.paid.rate(), "per_second"),
            row("p50 of a paid call", self.paid.at_permille(500), "us"),
            row("p99 of a paid call", self.paid.at_permille(990), "us"),
            Row::new(
                "soak",
                "faulty calls / calls",
                permille(wrong, self.offered.begun),
                "permille",
            ),
            row("a provider killed and started again", self.wrong.kills, "times"),
        ];
        for (name, course) in self.courses() {
            rows.extend(self.course(name, &course));
        }
        let Violations { over_limit_nano, lost, paid_twice, unknown, books_differ } =
            Violations::of(&self.books);
        let none = [
            ("over limit", over_limit_nano, "nano"),
            ("answers that the journal knows nothing of", lost, "answers"),
            ("requests paid twice", paid_twice, "requests"),
            ("payments left open", unknown, "payments"),
            ("books that differ from the chain", books_differ, "books"),
        ];
        let none = none.map(|(what, figure, unit)| row(what, figure, unit));
        rows.extend(none.map(|row| row.held_to(Target::AtMost(0))));
        rows
    }

    fn course(&self, name: &str, course: &Course) -> Vec<Row> {
        let row =
            |what: &str, figure, unit| Row::new("soak", format!("{name}: {what}"), figure, unit);
        // What went down gained nothing.
        let gained = |slope: i128| u64::try_from(slope).unwrap_or(0);
        let [_, most, last] = course.rss_kib;
        let [[_, before], [least, handles]] = course.handles;
        let [all, second] = course.ledger_bytes_a_call;
        vec![
            row("resident memory in the end", last, "KiB"),
            row("resident memory at its most", most, "KiB"),
            self.held(
                row("memory gained, second half", gained(course.rss_kib_an_hour), "KiB/h"),
                Target::AtMost(1024),
            ),
            row("open handles at their fewest, second half", least, "handles"),
            self.held(
                row("open handles at their most, second half", handles, "handles"),
                Target::AtMost(before.saturating_add(HANDLES_MORE)),
            ),
            row("bytes of ledger for each paid call", all, "bytes"),
            self.held(
                row("the same in the second half / over all", permille(second, all), "permille"),
                Target::AtMost(1100),
            ),
        ]
    }
}

/// Shows a soak.
pub fn show_soak(found: &Soak, output: &Output) {
    let rows = found.rows();
    let [(_, node), (_, provider)] = found.courses();
    let shown = ShownSoak {
        minutes: found.minutes,
        seed: found.seed,
        peak_per_s: found.peak_per_s,
        offered_per_s: found.offered_per_s,
        offered: found.offered,
        paid: found.paid.count(),
        refused_by_reason: &found.reasons,
        wrong: found.wrong,
        samples: found.samples.len(),
        first: found.samples.first(),
        last: found.samples.last(),
        node,
        provider,
        violations: Violations::of(&found.books),
        ledger_atomic: found.books.ledger_atomic.to_string(),
        chain_atomic: found.books.chain_atomic.to_string(),
        books_match: found.books.books_match(),
        damaged: found.books.damaged.iter().chain(&found.books.channels.wrong).collect(),
        ledger_hash: &found.books.ledger_hash,
        sound: found.is_sound(),
        rows: &rows,
    };
    output.show(&shown, || {
        let problems = shown.damaged.iter().map(|problem| format!("\nDAMAGED {problem}"));
        format!("{}{}", lines(&rows, &found.reasons), problems.collect::<String>())
    });
}

/// Rows as a table, and beneath it why calls were not paid.
fn lines(rows: &[Row], reasons: &BTreeMap<String, u64>) -> String {
    let shown = table(["name", "what", "figure>", "target>", ""], rows.iter().map(Row::line));
    let refused = reasons.iter().map(|(reason, count)| format!("\n{reason:<32} {count:>9}"));
    format!("{shown}{}", refused.collect::<String>())
}
