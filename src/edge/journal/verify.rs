//! Verifying a whole journal: every hash from the first entry on, every event folded into a fresh
//! ledger, and the result held against the newest snapshot. Reads only, also beside a running node.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::chain::{self, Link};
use super::{file, projection, snapshots};
use crate::domain::ledger::{Bounds, Ledger};
use crate::domain::time::Timestamp;
use crate::ports::journal::{Entry, JournalError, Kept};

/// Entries that are read at a time.
const PAGE: u32 = 10_000;

/// What a journal was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Entries that are good, counted from the first.
    pub entries: u64,
    /// The last good entry's hash, in hexadecimal: it stands for all before it.
    pub head: String,
    /// The last good entry's time.
    pub at: Timestamp,
    /// The books' sums, account by account.
    pub books: Vec<BookRow>,
    /// Whether debits equal credits in every commodity.
    pub balanced: bool,
    /// What the newest snapshot is worth.
    pub snapshot: SnapshotCheck,
    /// The first entry that is not what was written; nothing after it can be trusted.
    pub damage: Option<Damage>,
}

/// One account's sums in one commodity, in atomic units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BookRow {
    /// What is counted: a token by its CAIP-19 name, or a network's native unit.
    pub commodity: String,
    /// The account.
    pub account: String,
    /// What entered, in all: decimal digits.
    pub debits: String,
    /// What left, in all: decimal digits.
    pub credits: String,
}

/// What a snapshot is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SnapshotCheck {
    /// There is none of this version that matches the chain.
    Absent,
    /// It is what the entries up to it give.
    Good {
        /// Its last entry.
        seq: u64,
    },
    /// It is not what the entries up to it give.
    Differs {
        /// Its last entry.
        seq: u64,
        /// In which parts.
        parts: Vec<&'static str>,
    },
    /// It lies beyond the damage, or cannot be read.
    Unreadable,
}

/// Where a journal is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The entry.
    pub seq: u64,
    /// What is wrong with it.
    pub problem: String,
}

impl VerifyReport {
    /// Whether there is nothing to say against it.
    pub const fn is_good(&self) -> bool {
        self.damage.is_none()
            && self.balanced
            && matches!(self.snapshot, SnapshotCheck::Absent | SnapshotCheck::Good { .. })
    }
}

/// Verifies the journal at `path`. Damage is what it reports, not an error.
///
/// # Errors
/// [`JournalError::Unfit`] where there is no journal, or one of a later version.
pub fn verify(path: &Path, bounds: Bounds) -> Result<VerifyReport, JournalError> {
    let conn = file::open_to_read(path)?;
    let snapshot = snapshots::load(&conn);
    let wanted = snapshot.as_ref().ok().and_then(Option::as_ref).map(|snapshot| snapshot.seq);
    let mut fold = Fold { ledger: Ledger::new(bounds), wanted, at_snapshot: None };
    let (end, damage) = fold_all(&conn, &mut fold);
    let snapshot = match (snapshot, fold.at_snapshot) {
        (Ok(None), _) => SnapshotCheck::Absent,
        (Ok(Some(snapshot)), Some(folded)) => match snapshot.read() {
            Kept::Ledger(kept) => compare(snapshot.seq, &folded, &kept.restored(bounds)),
            Kept::OtherVersion => SnapshotCheck::Absent,
            Kept::Unreadable => SnapshotCheck::Unreadable,
        },
        (Ok(Some(_)), None) | (Err(_), _) => SnapshotCheck::Unreadable,
    };
    let books = fold.ledger.books();
    Ok(VerifyReport {
        entries: end.seq,
        head: alloy::hex::encode(end.hash),
        at: end.at,
        books: books
            .iter()
            .map(|(commodity, account, sums)| BookRow {
                commodity: projection::books::commodity(commodity),
                account: projection::books::account(account).to_owned(),
                debits: sums.debits.to_string(),
                credits: sums.credits.to_string(),
            })
            .collect(),
        balanced: books.balanced(),
        snapshot,
        damage,
    })
}

struct Fold {
    ledger: Ledger,
    /// The entry at which the ledger is put aside, to be held against the snapshot.
    wanted: Option<u64>,
    at_snapshot: Option<Ledger>,
}

fn fold_all(conn: &Connection, fold: &mut Fold) -> (Link, Option<Damage>) {
    let mut end = Link::ORIGIN;
    loop {
        let mut page = Vec::new();
        let walked = chain::walk(conn, end, PAGE, |entry| page.push(entry));
        for entry in &page {
            if let Err(problem) = fold.take(entry) {
                let before = chain::find_link(conn, entry.seq.saturating_sub(1));
                let end = before.ok().flatten().unwrap_or(end);
                return (end, Some(Damage { seq: entry.seq, problem }));
            }
        }
        match walked {
            Ok(reached) if reached == end => return (end, None),
            Ok(reached) => end = reached,
            Err(JournalError::Damaged { seq, problem }) => {
                // What was read before it is good: its last link is the last that was checked.
                let good = page.last().map(|entry| chain::find_link(conn, entry.seq));
                let end = good.and_then(Result::ok).flatten().unwrap_or(end);
                return (end, Some(Damage { seq, problem }));
            }
            Err(other) => {
                let damage = Damage { seq: end.seq, problem: other.to_string() };
                return (end, Some(damage));
            }
        }
    }
}

impl Fold {
    /// Folds one entry. The ledger stops by panic at what cannot have happened: here that is a finding.
    fn take(&mut self, entry: &Entry) -> Result<(), String> {
        let evolved = catch_unwind(AssertUnwindSafe(|| self.ledger.evolve(entry.at, &entry.event)));
        evolved.map_err(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("it cannot have happened: {}", said.unwrap_or("the ledger does not take it"))
        })?;
        if self.wanted == Some(entry.seq) {
            self.at_snapshot = Some(self.ledger.clone());
        }
        Ok(())
    }
}

/// Compares part by part what money depends on. Not the remembered requests: how long they are
/// remembered is configuration, and may have been another when the snapshot was kept.
fn compare(seq: u64, folded: &Ledger, kept: &Ledger) -> SnapshotCheck {
    let now = folded.now();
    let parts = [
        ("time", now == kept.now()),
        ("policy", folded.policy() == kept.policy()),
        ("budgets", folded.caps() == kept.caps()),
        ("accounts", folded.accounts(now) == kept.accounts(now)),
        ("agents", folded.agents() == kept.agents()),
        ("wallets", folded.wallets() == kept.wallets()),
        ("pauses", folded.pauses().eq(kept.pauses())),
        ("holds", folded.holds() == kept.holds()),
        ("claims", folded.open_claims() == kept.open_claims()),
        ("books", folded.books() == kept.books()),
    ];
    let parts: Vec<&str> =
        parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect();
    if parts.is_empty() {
        SnapshotCheck::Good { seq }
    } else {
        SnapshotCheck::Differs { seq, parts }
    }
}
