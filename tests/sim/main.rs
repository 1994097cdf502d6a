//! Scenarios of the seeded world. `SEED=7 cargo test --features sim --test sim` runs one seed again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say their seed"
)]

mod rollback;
mod scripted;

use std::collections::BTreeMap;

use bursar::sim::disk::CrashAt;
use bursar::sim::fate::{Fault, Odds};
use bursar::sim::plan::Plan;
use bursar::sim::world::{Report, World};

/// Runs a plan; whatever must not happen did not.
fn run(plan: Plan) -> Report {
    println!("SEED={}", plan.seed);
    let report = World::new(plan.clone()).run();
    assert!(report.broken.is_empty(), "SEED={} {plan:?}\n{report:#?}", plan.seed);
    if !plan.odds.contains_key(&Fault::CapRaised) {
        let cap = u128::from(plan.calls_max * 10);
        assert!(report.spent_nano <= cap, "SEED={} passed the cap: {report:#?}", plan.seed);
    }
    assert_eq!(report.ends.values().sum::<u64>(), u64::try_from(plan.wishes).unwrap());
    report
}

fn seeds(most: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (1..=most).collect(),
    }
}

fn all_faults() -> Odds {
    BTreeMap::from([
        (Fault::LostRequest, 12),
        (Fault::LostReply, 12),
        (Fault::DoubledRequest, 8),
        (Fault::LateReply, 16),
        (Fault::SettlementUnknown, 6),
        (Fault::SettlementSilent, 12),
        (Fault::RailSilent, 15),
        (Fault::SyncFailed, 60),
        (Fault::Crash, 40),
    ])
}

#[test]
fn without_faults_every_call_under_the_cap_is_paid_once_and_no_other() {
    for seed in seeds(4) {
        let report = run(Plan { seed, wishes: 30, calls_max: 20, ..Plan::default() });
        assert_eq!(report.ends["paid"], 20, "{report:#?}");
        assert_eq!(report.ends["ledger.over_budget"], 10);
        assert_eq!((report.settled, report.spent_nano), (20, 200));
        assert_eq!(report.starts, (1, 1));
        assert!(report.struck.is_empty());
    }
}

#[test]
fn whatever_goes_wrong_no_cap_is_passed_and_everything_ends() {
    let mut struck: BTreeMap<Fault, u64> = BTreeMap::new();
    let (mut restarts, mut settled) = (0, 0);
    for seed in seeds(24) {
        let odds = all_faults();
        let report = run(Plan { seed, odds, wishes: 30, calls_max: 20, ..Plan::default() });
        for (fault, times) in report.struck {
            *struck.entry(fault).or_default() += times;
        }
        restarts += report.starts.0 + report.starts.1 - 2;
        settled += report.settled;
    }
    println!("{struck:?}, {restarts} restarts, {settled} settled");
    if std::env::var("SEED").is_err() {
        for fault in all_faults().keys() {
            assert!(struck.contains_key(fault), "{fault:?} never struck: {struck:?}");
        }
        assert!(restarts > 0 && settled > 0);
    }
}

/// Swarm testing: which faults there are, which of the operator's and the street's deeds, and how
/// often, is drawn for each run. Over all of them each has to come about.
#[test]
fn whatever_is_drawn_no_invariant_breaks_and_everything_happens() {
    let mut struck: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let (mut steps, mut restarts) = (0, 0);
    for seed in seeds(100) {
        let report = run(Plan::drawn(seed));
        for (fault, times) in report.struck {
            *struck.entry(fault).or_default() += times;
        }
        for (end, times) in report.ends {
            *ends.entry(end).or_default() += times;
        }
        steps += report.steps;
        restarts += report.starts.0 + report.starts.1 - 2;
    }
    println!("{steps} steps, {restarts} restarts, {struck:?}, {ends:?}");
    if std::env::var("SEED").is_err() {
        for fault in Fault::ALL.into_iter().filter(|fault| !fault.is_of_channels()) {
            assert!(struck.contains_key(&fault), "{fault:?} never came about: {struck:?}");
        }
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let whole =
        |seed| Plan { odds: all_faults(), wishes: 12, calls_max: 10, seed, ..Plan::default() };
    let three = |seed| [whole(seed), Plan::drawn(seed), Plan::drawn_flowing(seed)];
    for plan in seeds(8).into_iter().flat_map(three) {
        let seed = plan.seed;
        let (one, other) = (run(plan.clone()), run(plan));
        assert_eq!(one, other, "SEED={seed}");
        assert_ne!(one.trace, alloy::primitives::B256::ZERO);
    }
}

/// Two calls with one payment wait for a third, and who of them is woken first decides how the run goes on.
#[test]
fn who_is_woken_first_is_the_same_every_time() {
    let first = run(Plan::drawn(20_041));
    for _ in 0..12 {
        assert_eq!(run(Plan::drawn(20_041)), first);
    }
}

#[test]
fn a_settlement_that_never_answers_ends_all_the_same() {
    for seed in seeds(6) {
        let odds = BTreeMap::from([(Fault::SettlementSilent, 1)]);
        let report = run(Plan { seed, odds, wishes: 6, calls_max: 20, ..Plan::default() });
        assert!(report.struck[&Fault::SettlementSilent] > 0);
    }
}

/// Money that moves at the last moment, in a block that is final only after its time limit.
#[test]
fn a_rail_that_hardly_answers_is_counted_to_the_unit() {
    for seed in seeds(40) {
        let odds = BTreeMap::from([
            (Fault::SettlementUnknown, 2),
            (Fault::RailSilent, 2),
            (Fault::LostReply, 3),
        ]);
        let report = run(Plan { seed, odds, wishes: 30, calls_max: 20, ..Plan::default() });
        assert!(report.struck[&Fault::RailSilent] > 10 && report.settled > 0);
    }
}

/// A process dies during each of its syncs in turn, and its last batch is durable or is not.
#[test]
fn a_crash_at_any_sync_loses_nothing_and_doubles_nothing() {
    let plan = Plan { seed: 11, wishes: 4, calls_max: 3, ..Plan::default() };
    let whole = run(plan.clone());
    assert!(whole.syncs.0 > 10 && whole.syncs.1 > 5, "{whole:#?}");
    for kept in [false, true] {
        for sync in 1..=whole.syncs.0 {
            let payer_dies = Some(CrashAt { sync, kept });
            let report = run(Plan { payer_dies, ..plan.clone() });
            assert_eq!((report.starts.0, report.struck[&Fault::Crash]), (2, 1), "{sync} {kept}");
            assert!(report.settled <= 3);
        }
        for sync in 1..=whole.syncs.1 {
            let payee_dies = Some(CrashAt { sync, kept });
            let report = run(Plan { payee_dies, ..plan.clone() });
            assert_eq!((report.starts.1, report.struck[&Fault::Crash]), (2, 1), "{sync} {kept}");
            assert!(report.settled <= 3);
        }
    }
}

/// Calls by channel: metered charges, deposits, claims, sweeps, refunds, and what goes wrong with them.
#[test]
fn by_channel_what_a_payee_could_take_is_held_and_everything_comes_back() {
    let mut struck: BTreeMap<Fault, u64> = BTreeMap::new();
    let (mut calls, mut settled) = (0, 0);
    for seed in seeds(24) {
        let mut odds = all_faults();
        odds.extend([(Fault::Overclaimed, 6), (Fault::Lied, 12), (Fault::Withdrawn, 8)]);
        odds.insert(Fault::EngineFailed, 10);
        let plan =
            Plan { seed, odds, wishes: 30, calls_max: 20, by_channel: true, ..Plan::default() };
        let report = run(plan);
        for (fault, times) in report.struck {
            *struck.entry(fault).or_default() += times;
        }
        calls += report.calls;
        settled += report.settled;
    }
    println!("{struck:?}, {calls} calls by channel, {settled} by themselves");
    if std::env::var("SEED").is_err() {
        for fault in [Fault::Overclaimed, Fault::Lied, Fault::Withdrawn, Fault::SettlementUnknown] {
            assert!(struck.contains_key(&fault), "{fault:?} never struck: {struck:?}");
        }
        assert!(calls > 100 && settled > 0);
    }
}

#[test]
fn by_channel_without_faults_all_calls_under_the_cap_are_charged_for_what_they_used() {
    for seed in seeds(4) {
        let plan = Plan { seed, wishes: 30, calls_max: 20, by_channel: true, ..Plan::default() };
        let report = run(plan);
        // What is not used of a maximum makes room for more.
        assert!(report.ends["paid"] >= 20, "{report:#?}");
        assert!(report.calls >= 15 && report.spent_nano <= 200, "{report:#?}");
        assert_eq!(report.starts, (1, 1));
    }
}

/// Calls on credit, by vouchers as peers say them: what is owed stays within what is lent, what a payer
/// owes it pays as the channel ends, and no call is served on money that is on its way back.
#[test]
fn on_credit_what_is_owed_is_bounded_and_paid_and_nothing_is_served_on_money_that_goes_back() {
    let (mut calls, mut lent) = (0, 0);
    for seed in seeds(80) {
        let report = run(Plan::drawn_on_credit(seed));
        calls += report.calls;
        lent += report.lent;
    }
    println!("{calls} calls by channel, {lent} of them on credit");
    if std::env::var("SEED").is_err() {
        assert!(calls > 300 && lent > 50, "{calls} calls, {lent} on credit");
    }
}

/// Calls on credit of as many seeds as said, with these odds.
fn run_on_credit(most: u64, odds: &[(Fault, u64)]) {
    for seed in seeds(most) {
        let odds = odds.iter().copied().collect();
        let plan =
            Plan { seed, odds, wishes: 30, calls_max: 20, by_channel: true, ..Plan::default() };
        run(Plan { on_credit: true, ..plan });
    }
}

/// A channel's rest goes back while the chain does not say so, and a call of it comes late.
#[test]
fn on_credit_no_call_is_served_on_money_that_is_on_its_way_back() {
    let odds = [
        (Fault::RailSilent, 2),
        (Fault::SettlementUnknown, 3),
        (Fault::DoubledRequest, 2),
        (Fault::LateReply, 2),
        (Fault::LostReply, 3),
    ];
    run_on_credit(100, &odds);
}

/// The same, and the payee dies between what it sent and the block that shows it.
#[test]
fn on_credit_no_call_is_served_on_what_went_back_before_a_crash() {
    let odds = [
        (Fault::RailSilent, 3),
        (Fault::SettlementUnknown, 3),
        (Fault::DoubledRequest, 2),
        (Fault::LateReply, 3),
        (Fault::LostReply, 4),
        (Fault::Killed, 15),
    ];
    run_on_credit(30, &odds);
}

/// Streams: each portion is held before it is signed, what is signed stays near what has arrived, and what is
/// charged only grows, whatever breaks off in the midst.
#[test]
fn while_it_flows_no_portion_passes_a_cap_and_no_more_is_signed_than_arrives_and_the_payers_limit()
{
    let (mut calls, mut extended, mut broken) = (0, 0, 0);
    for seed in seeds(60) {
        let report = run(Plan::drawn_flowing(seed));
        calls += report.calls;
        extended += report.extended;
        broken += report.struck.get(&Fault::BrokenStream).unwrap_or(&0);
    }
    println!("{calls} calls by channel, {extended} portions, {broken} streams broke");
    if std::env::var("SEED").is_err() {
        assert!(calls > 300 && extended > 200 && broken > 40, "{calls} {extended} {broken}");
    }
}

/// A rail that does not answer holds up the giving back of one idle channel while another is called upon.
#[test]
fn by_channel_a_rest_goes_back_as_it_is_then_and_not_as_it_was_found() {
    let odds = [
        (Fault::SettlementSilent, 2),
        (Fault::LateReply, 2),
        (Fault::DoubledRequest, 2),
        (Fault::LostReply, 3),
    ];
    for seed in seeds(40) {
        let odds = odds.into_iter().collect();
        let plan =
            Plan { seed, odds, wishes: 30, calls_max: 30, by_channel: true, ..Plan::default() };
        run(Plan { on_credit: seed.is_multiple_of(2), ..plan });
    }
}

/// A process that carries channels dies during each of its syncs in turn.
#[test]
fn by_channel_a_crash_at_any_sync_loses_nothing_and_doubles_nothing() {
    crash_at_any_sync(false);
}

/// The same while answers are paid as they flow.
#[test]
fn while_it_flows_a_crash_at_any_sync_loses_nothing_and_doubles_nothing() {
    crash_at_any_sync(true);
}

fn crash_at_any_sync(flows: bool) {
    let plan =
        Plan { seed: 11, wishes: 4, calls_max: 3, by_channel: true, flows, ..Plan::default() };
    let whole = run(plan.clone());
    assert!(whole.syncs.0 > 10 && whole.syncs.1 > 5, "{whole:#?}");
    assert_eq!(whole.extended > 0, flows, "{whole:#?}");
    for kept in [false, true] {
        for sync in 1..=whole.syncs.0 {
            let payer_dies = Some(CrashAt { sync, kept });
            let report = run(Plan { payer_dies, ..plan.clone() });
            assert_eq!((report.starts.0, report.struck[&Fault::Crash]), (2, 1), "{sync} {kept}");
        }
        for sync in 1..=whole.syncs.1 {
            let payee_dies = Some(CrashAt { sync, kept });
            let report = run(Plan { payee_dies, ..plan.clone() });
            assert_eq!((report.starts.1, report.struck[&Fault::Crash]), (2, 1), "{sync} {kept}");
        }
    }
}
