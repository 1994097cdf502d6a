//! What a disk may hold after a crash: all that a sync came back for, and of the rest anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::trace::{FOLDER, Step};

/// A small generator of choices that a seed fixes (SplitMix64).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `most`, which is not zero.
    pub fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }
}

/// What became of that which no sync had come back for.
#[derive(Copy, Clone, Debug)]
pub enum Kind {
    Nothing,
    All,
    Prefix,
    Some,
    Torn,
}

const KINDS: [Kind; 5] = [Kind::Nothing, Kind::All, Kind::Prefix, Kind::Some, Kind::Torn];

/// A disk between two crashes.
#[derive(Default)]
pub struct Disk {
    /// What is there for sure.
    durable: BTreeMap<String, Vec<u8>>,
    /// What may be there, in the order in which it was written.
    pending: Vec<Step>,
    /// How much of `pending` each sync that has not come back is for.
    syncs: BTreeMap<u64, usize>,
    acked: u64,
}

/// What a crash left.
pub struct Left {
    files: BTreeMap<String, Vec<u8>>,
    pub kind: Kind,
    pub torn: bool,
    /// How much of what was not synced is there, and how much there was.
    there: (usize, usize),
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (there, of) = self.there;
        write!(f, "{:?}: {there} of {of} writes that were not synced", self.kind)
    }
}

impl Disk {
    /// The disk after these steps, and the newest entry that somebody was told of.
    pub fn after(steps: &[Step], acked: u64) -> (Self, u64) {
        let mut disk = Self { acked, ..Self::default() };
        disk.go_on(steps);
        let acked = disk.acked;
        (disk, acked)
    }

    /// Begins with what a crash left.
    pub fn begin_with(&mut self, left: &Left) {
        self.durable = left.files.clone();
    }

    pub fn go_on(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Write { .. } | Step::Length { .. } | Step::Remove { .. } => {
                    self.pending.push(step.clone());
                }
                Step::Syncs { call, .. } => {
                    self.syncs.insert(*call, self.pending.len());
                }
                Step::Synced { file, call } => self.synced(file, *call),
                Step::Answered { entry } => self.acked = self.acked.max(*entry),
            }
        }
    }

    fn synced(&mut self, file: &str, call: u64) {
        let upto = self.syncs.remove(&call).expect("a sync that comes back had begun");
        let mut rest = Vec::with_capacity(self.pending.len());
        let mut taken = Vec::new();
        for (nth, step) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if nth < upto && is_for(file, &step) {
                apply(&mut self.durable, &step);
                taken.push(nth);
            } else {
                rest.push(step);
            }
        }
        self.pending = rest;
        // Another sync that has not come back is for so many fewer of those that are left.
        for mark in self.syncs.values_mut() {
            *mark -= taken.iter().filter(|nth| *nth < mark).count();
        }
    }

    /// Crashes: what was synced is there, and of the rest what `nth` and chance say.
    pub fn crash(&self, nth: usize, chance: &mut Chance) -> Left {
        let mut files = self.durable.clone();
        let (kind, of) = (KINDS[nth % KINDS.len()], self.pending.len());
        let prefix = chance.below(of + 1);
        let mut there = 0;
        let mut torn = false;
        let mut removed = BTreeSet::new();
        for (nth, step) in self.pending.iter().enumerate() {
            let is_there = match kind {
                Kind::Nothing => false,
                Kind::All => true,
                Kind::Prefix => nth < prefix,
                Kind::Some => chance.below(2) == 0,
                Kind::Torn => nth <= prefix,
            };
            if !is_there {
                if let Step::Remove { file } = step {
                    removed.insert(file);
                }
                continue;
            }
            there += 1;
            // What is written into a new file of that name is not in the old one.
            if let Step::Write { file, .. } | Step::Length { file, .. } = step
                && removed.remove(file)
            {
                files.remove(file);
            }
            match step {
                Step::Write { file, at, bytes } if matches!(kind, Kind::Torn) && nth == prefix => {
                    let bytes = bytes[..chance.below(bytes.len())].to_vec();
                    apply(&mut files, &Step::Write { file: file.clone(), at: *at, bytes });
                    torn = true;
                }
                step => apply(&mut files, step),
            }
        }
        Left { files, kind, torn, there: (there, of) }
    }
}

impl Left {
    /// Writes it into an empty folder.
    pub fn lay_out(&self, folder: &Path) {
        if folder.exists() {
            std::fs::remove_dir_all(folder).unwrap();
        }
        std::fs::create_dir(folder).unwrap();
        for (name, bytes) in &self.files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// Whether a sync of `synced` makes this step durable.
fn is_for(synced: &str, step: &Step) -> bool {
    match step {
        Step::Write { file, .. } | Step::Length { file, .. } => file == synced,
        // A file of the same name that was synced since is another one, and has the name for sure.
        Step::Remove { file } => synced == FOLDER || file == synced,
        Step::Syncs { .. } | Step::Synced { .. } | Step::Answered { .. } => false,
    }
}

fn apply(files: &mut BTreeMap<String, Vec<u8>>, step: &Step) {
    match step {
        Step::Write { file, at, bytes } => {
            let file = files.entry(file.clone()).or_default();
            let end = at + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*at..end].copy_from_slice(bytes);
        }
        Step::Length { file, len, shrink } => {
            let file = files.entry(file.clone()).or_default();
            if *shrink || file.len() < *len {
                file.resize(*len, 0);
            }
        }
        Step::Remove { file } => {
            files.remove(file);
        }
        Step::Syncs { .. } | Step::Synced { .. } | Step::Answered { .. } => {}
    }
}
