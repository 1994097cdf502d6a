//! The seeded world by scripts of bytes, which a failing run is shortened by. What was found worth keeping is
//! in `tests/fuzz/kept`.

use std::path::Path;

use bursar::sim::fate::Fault;
use bursar::sim::plan::Plan;
use bursar::sim::world::World;
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../fuzz/targets.rs"]
mod targets;

/// What is kept for a target, with its name.
fn kept_of(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/kept").join(target);
    let files = std::fs::read_dir(folder).unwrap();
    let mut kept: Vec<_> = files
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    kept.sort();
    assert!(!kept.is_empty(), "nothing is kept for {target}");
    kept
}

#[test]
fn what_was_kept_of_fuzzing_holds() {
    for (name, script) in kept_of("consistency") {
        println!("consistency/{name}");
        targets::consistency(&script);
    }
    type Target = fn(&[u8]);
    let others: [(_, Target); 3] =
        [("wire", targets::wire), ("settings", targets::settings), ("journal", targets::journal)];
    for (target, run) in others {
        for (name, bytes) in kept_of(target) {
            println!("{target}/{name}");
            run(&bytes);
        }
    }
}

#[test]
fn a_script_of_nothing_but_zeros_is_a_day_without_faults() {
    for kind in 0..4 {
        let mut script = vec![0; 500];
        script[0] = kind;
        let report = World::new(Plan::scripted(&script)).run();
        let mut struck = report.struck.keys();
        let harmless = struck.all(|what| matches!(what, Fault::Delegated | Fault::InSession));
        assert!(harmless && report.broken.is_empty(), "{report:#?}");
        assert_eq!(report.starts, (1, 1));
    }
}

/// A byte of each number, by Knuth's multiplicative hash.
fn mixed(number: u32) -> u8 {
    number.wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

#[test]
fn a_script_is_the_same_run_every_time() {
    for kind in 0..4 {
        let script: Vec<u8> = (0..2_000_u32).map(mixed).collect();
        let script = [&[kind], &script[..]].concat();
        let run = || World::new(Plan::scripted(&script)).run();
        let first = run();
        assert!(!first.struck.is_empty(), "{first:#?}");
        assert_eq!(first, run());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    // threats.md FZ8. What breaks is shown as a script that is cut off where it still breaks.
    #[test]
    fn whatever_a_script_says_no_invariant_breaks(
        (len, script) in (0..3_000_usize, vec(any::<u8>(), 3_000))
    ) {
        targets::consistency(&script[..len]);
    }
}

/// A file that is right, with pieces of itself in the place of others.
fn patched(file: &[u8], patches: &[(usize, usize, usize)]) -> Vec<u8> {
    let mut file = file.to_vec();
    for (from, to, len) in patches {
        let (from, to) = (from % file.len(), to % file.len());
        let piece = file[from..(from + len).min(file.len())].to_vec();
        file.splice(to..(to + len).min(file.len()), piece);
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    // threats.md FZ12.
    #[test]
    fn whatever_a_node_s_file_says_it_is_taken_or_each_problem_is_named(
        patches in vec((any::<usize>(), any::<usize>(), 1..24_usize), 0..6)
    ) {
        for (_, file) in kept_of("settings") {
            targets::settings(&patched(&file, &patches));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    // threats.md FZ9.
    #[test]
    fn whatever_becomes_of_a_journal_s_file_nothing_is_read_that_was_not_written(
        bytes in vec(any::<u8>(), 0..120)
    ) {
        targets::journal(&bytes);
    }
}
