//! Crash consistency of a real process's journal: its writes and syncs are recorded with strace, the
//! record is cut anywhere, and whatever a disk may hold then has to open as a prefix of what was
//! written, with all that was answered for.
//!
//! `SEED=7` repeats the choice of images, `CRASH_IMAGES=20000` checks more of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say their seed"
)]

mod checked;
mod disk;
mod trace;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use checked::Truth;
use disk::{Chance, Disk, Left};
use trace::{Step, read_trace};

/// Images of the first crash in an ordinary run, and of crashes inside the recovery from one.
const IMAGES: usize = 300;
const RECOVERIES: usize = 3;
const IMAGES_A_RECOVERY: usize = 25;
/// Images within which a journal that answers too early has to be found out.
const IMAGES_OF_CONTROL: usize = 100;

/// What the traced process is told: its folder, and whether it works or only recovers.
const FOLDER: &str = "CRASH_FOLDER";
const RECOVERS: &str = "CRASH_RECOVERS";

fn seed() -> u64 {
    std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"))
}

fn images() -> usize {
    let asked = std::env::var("CRASH_IMAGES");
    asked.map_or(IMAGES, |images| images.parse().expect("CRASH_IMAGES is a number"))
}

/// The process that is traced below. By itself it shows that its journal reads back as it was written.
#[test]
fn a_journal_that_was_closed_reads_back_whole() {
    if let Ok(folder) = std::env::var(FOLDER) {
        if std::env::var(RECOVERS).is_ok() {
            work::recover(&folder);
        } else {
            work::write(&folder);
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let answered = work::write(folder.path());
    let truth = Truth::read(&work::journal_in(folder.path()));
    assert_eq!(truth.end(), answered, "everything that was answered for is there");
    assert!(answered >= 1_000, "the work is worth a trace");
}

#[test]
fn s01_s04_whatever_a_crash_leaves_holds_all_that_was_answered_for() {
    let seed = seed();
    println!("SEED={seed}");
    let Some(strace) = find_strace() else { return };
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let steps = traced(&strace, &home, false);
    let truth = Truth::read(&work::journal_in(&home));
    check_trace(&steps);
    let mut chance = Chance::new(seed);
    let image = folder.path().join("image");
    let mut seen = Seen::default();
    for nth in 0..images() {
        let cut = chance.below(steps.len() + 1);
        let (disk, acked) = Disk::after(&steps[..cut], 0);
        let left = disk.crash(nth, &mut chance);
        let what = format!("SEED={seed} image {nth}, cut at {cut} of {}, {left:?}", steps.len());
        left.lay_out(&image);
        let end = truth.check(&work::journal_in(&image), acked);
        let end = end.unwrap_or_else(|problem| panic!("{what}: {problem}"));
        seen.count(&left, end, acked);
    }
    seen.say();
    find_out_who_answers_early(&steps, &truth, &image, &mut chance);
    assert!(seen.more_than_acked > 0 && seen.torn > 0, "some images held what nobody was told yet");
    for nth in 0..RECOVERIES {
        let cut = chance.below(steps.len() + 1);
        let (disk, acked) = Disk::after(&steps[..cut], 0);
        let left = disk.crash(nth, &mut chance);
        crash_inside_recovery(&strace, folder.path(), &left, acked, &truth, &mut chance);
    }
}

/// Opens what a crash left, records that too, and crashes in the middle of it.
fn crash_inside_recovery(
    strace: &Path,
    folder: &Path,
    left: &Left,
    acked: u64,
    truth: &Truth,
    chance: &mut Chance,
) {
    let home = folder.join("recovering");
    left.lay_out(&home);
    let steps = traced(strace, &home, true);
    let image = folder.join("image");
    for nth in 0..IMAGES_A_RECOVERY {
        let cut = chance.below(steps.len() + 1);
        let (mut disk, _) = Disk::after(&[], acked);
        disk.begin_with(left);
        disk.go_on(&steps[..cut]);
        let left_again = disk.crash(nth, chance);
        left_again.lay_out(&image);
        let what = format!("recovery cut at {cut} of {}, {left_again:?}", steps.len());
        let checked = truth.check(&work::journal_in(&image), acked);
        checked.unwrap_or_else(|problem| panic!("{what}: {problem}"));
    }
}

/// The check itself is checked: had each answer left before its sync came back, images would show it.
fn find_out_who_answers_early(steps: &[Step], truth: &Truth, image: &Path, chance: &mut Chance) {
    let mut early: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        early.push(step.clone());
        let answered = matches!(step, Step::Answered { .. });
        let synced = early.iter().rposition(|step| matches!(step, Step::Synced { .. }));
        if let (true, Some(synced)) = (answered, synced) {
            let answer = early.pop().unwrap();
            early.insert(synced, answer);
        }
    }
    let found = (0..IMAGES_OF_CONTROL).any(|_| {
        let cut = chance.below(early.len() + 1);
        let (disk, acked) = Disk::after(&early[..cut], 0);
        disk.crash(0, chance).lay_out(image);
        truth.check(&work::journal_in(image), acked).is_err()
    });
    assert!(found, "a journal that answers before its sync is found out");
}

/// Runs the process above under strace and reads what it wrote, when it synced and what it answered.
fn traced(strace: &Path, home: &Path, recovers: bool) -> Vec<Step> {
    let record = home.with_extension("trace");
    let mut command = Command::new(strace);
    command
        .args(["-f", "-qq", "-y", "-xx", "-s", "1048576", "-o"])
        .arg(&record)
        .args([
            "-e",
            "trace=openat,lseek,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,unlink",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["a_journal_that_was_closed_reads_back_whole", "--exact", "--nocapture"])
        .env(FOLDER, home)
        .stdout(Stdio::null());
    if recovers {
        command.env(RECOVERS, "yes");
    }
    assert!(command.status().unwrap().success(), "the traced process failed");
    let steps = read_trace(&std::fs::read_to_string(&record).unwrap(), home);
    std::fs::remove_file(record).unwrap();
    steps
}

/// strace, or nothing where it is missing and nobody said that it must be there.
fn find_strace() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("strace"));
    let found = found.into_iter().find(|file| file.is_file());
    let required = std::env::var("BURSAR_TEST_STRACE").is_ok_and(|said| said == "required");
    assert!(found.is_some() || !required, "BURSAR_TEST_STRACE says that strace must be there");
    if found.is_none() {
        println!("strace is not here: nothing was recorded");
    }
    found
}

/// A record without writes, syncs, answers and a checkpoint would prove nothing.
fn check_trace(steps: &[Step]) {
    let count = |is: fn(&Step) -> bool| steps.iter().filter(|step| is(step)).count();
    let to =
        |step: &Step, end: &str| matches!(step, Step::Write { file, .. } if file.ends_with(end));
    assert!(count(|step| matches!(step, Step::Synced { .. })) > 100, "it synced");
    assert!(count(|step| matches!(step, Step::Answered { .. })) > 1_000, "it answered");
    assert!(steps.iter().any(|step| to(step, "journal.db-wal")), "it wrote the log");
    assert!(steps.iter().any(|step| to(step, "journal.db")), "it moved the log into the file");
}

#[derive(Default)]
struct Seen {
    images: usize,
    more_than_acked: usize,
    torn: usize,
    crashes: [usize; 5],
}

impl Seen {
    fn count(&mut self, left: &Left, end: u64, acked: u64) {
        self.images += 1;
        self.more_than_acked += usize::from(end > acked);
        self.torn += usize::from(left.torn);
        self.crashes[left.kind as usize] += 1;
    }

    fn say(&self) {
        let [nothing, all, prefix, some, torn] = self.crashes;
        println!(
            "{} images: {nothing} without what was not synced, {all} with all of it, {prefix} with its \
             beginning, {some} with any part of it, {torn} torn; {} held more than was answered for",
            self.images, self.more_than_acked
        );
    }
}
