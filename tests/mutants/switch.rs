//! Which change is switched on, and which changed functions a test reaches.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{LazyLock, Mutex};

static ON: LazyLock<u32> =
    LazyLock::new(|| std::env::var("MUTANT").map_or(0, |on| on.parse().unwrap()));

static REACHED: LazyLock<Option<Mutex<(File, BTreeSet<u32>)>>> = LazyLock::new(|| {
    let path = std::env::var("MUTANTS_REACHED").ok()?;
    let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    Some(Mutex::new((file, BTreeSet::new())))
});

/// The change that is switched on, asked by a function of this number.
pub(crate) fn on(function: u32) -> u32 {
    if let Some(reached) = &*REACHED {
        let mut reached = reached.lock().unwrap();
        if reached.1.insert(function) {
            writeln!(reached.0, "{function}").unwrap();
        }
    }
    *ON
}
