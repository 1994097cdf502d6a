//! What was measured, as a table and as one object for programs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Number;

use super::super::measure::{Round, permille, shown};
use super::part::{Counts, Mode};
use crate::cli::output::{Output, table};

/// One way to pay at so many calls at once.
pub struct Measured {
    /// Which.
    pub mode: Mode,
    /// How many.
    pub concurrency: u64,
    /// Its calls.
    pub round: Round,
    /// What they took all processes together.
    pub counts: Counts,
}

/// All of it.
#[derive(Serialize)]
struct Report {
    runs: Vec<Run>,
    /// Of the calls of unpaid, by mode and calls at once.
    ratios: Ratios,
    /// Vouchers that two cores sign and verify in a second, and do nothing else.
    signature_limit_per_s: u64,
    /// Of that limit, by mode and streams at once.
    of_signature_limit: Ratios,
}

type Ratios = BTreeMap<&'static str, BTreeMap<u64, Number>>;

#[derive(Serialize)]
struct Run {
    mode: &'static str,
    concurrency: u64,
    calls_per_s: u64,
    p50_us: u64,
    p99_us: u64,
    cpu_us_per_call: Number,
    signatures_per_call: Number,
    syncs_per_call: Number,
}

/// Shows it: as one object where that was asked for, else as the output has it.
pub fn show(measured: &[Measured], limit_per_s: u64, json: bool, output: &Output) {
    let report = report(measured, limit_per_s);
    let output = if json { Output::for_programs() } else { *output };
    output.show(&report, || lines(&report, measured));
}

fn report(measured: &[Measured], limit_per_s: u64) -> Report {
    let (mut ratios, mut of_limit) = (Ratios::new(), Ratios::new());
    for one in measured.iter().filter(|one| one.mode.streams()) {
        let ratio = number(permille(one.round.rate(), limit_per_s));
        of_limit.entry(one.mode.as_str()).or_default().insert(one.concurrency, ratio);
    }
    for one in measured.iter().filter(|one| one.mode != Mode::Unpaid) {
        let same =
            |other: &&Measured| other.mode == Mode::Unpaid && other.concurrency == one.concurrency;
        if let Some(unpaid) = measured.iter().find(same) {
            let ratio = number(permille(one.round.rate(), unpaid.round.rate()));
            ratios.entry(one.mode.as_str()).or_default().insert(one.concurrency, ratio);
        }
    }
    Report {
        runs: measured.iter().map(run).collect(),
        ratios,
        signature_limit_per_s: limit_per_s,
        of_signature_limit: of_limit,
    }
}

fn run(one: &Measured) -> Run {
    let Measured { mode, concurrency, round, counts } = one;
    let per_call = |sum| number(permille(sum, round.count()));
    Run {
        mode: mode.as_str(),
        concurrency: *concurrency,
        calls_per_s: round.rate(),
        p50_us: round.at_permille(500),
        p99_us: round.at_permille(990),
        cpu_us_per_call: per_call(counts.cpu_us),
        signatures_per_call: per_call(counts.signatures),
        syncs_per_call: per_call(counts.syncs),
    }
}

/// Thousandths as a number.
fn number(permille: u64) -> Number {
    shown(permille).parse().expect("digits around a point are a number")
}

fn lines(report: &Report, measured: &[Measured]) -> String {
    let rows = report.runs.iter().zip(measured).map(|(run, one)| {
        let ratio = report.ratios.get(run.mode).and_then(|of| of.get(&run.concurrency));
        let limits = report.of_signature_limit.get(run.mode);
        let of_limit = limits.and_then(|of| of.get(&run.concurrency));
        let sync_us = one.counts.sync_us.checked_div(one.counts.syncs).unwrap_or(0);
        [
            run.mode.to_owned(),
            run.concurrency.to_string(),
            run.calls_per_s.to_string(),
            ratio.map_or_else(String::new, Number::to_string),
            run.p50_us.to_string(),
            run.p99_us.to_string(),
            run.cpu_us_per_call.to_string(),
            run.signatures_per_call.to_string(),
            run.syncs_per_call.to_string(),
            sync_us.to_string(),
            of_limit.map_or_else(String::new, Number::to_string),
        ]
    });
    let heads = [
        "paid",
        "at once>",
        "calls/s>",
        "of unpaid>",
        "p50 us>",
        "p99 us>",
        "cpu us/call>",
        "signatures/call>",
        "syncs/call>",
        "us/sync>",
        "of signing>",
    ];
    table(heads, rows)
}
