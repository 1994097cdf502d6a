//! What came of it: for people, for programs, and whether it is sound.

use std::collections::BTreeMap;

use bursar::domain::time::Timestamp;
use serde_json::json;

use super::super::closing::{Books, Tried};
use super::faults::Fault;

/// Everything that is said in the end.
pub struct Report {
    /// What was chosen by.
    pub seed: u64,
    /// For how long there were faults, in minutes.
    pub minutes: u64,
    /// The cap of all agents together, in dollars.
    pub budget: String,
    /// When it began.
    pub began: Timestamp,
    /// When everything had ended.
    pub ended: Timestamp,
    /// What went wrong, in order.
    pub faults: Vec<Fault>,
    /// What the agents tried.
    pub tried: Tried,
    /// The books.
    pub books: Books,
}

impl Report {
    /// Whether nothing happened that must not.
    pub fn is_sound(&self) -> bool {
        self.books.is_sound()
    }

    /// How often each kind of fault was.
    pub fn kinds(&self) -> BTreeMap<&'static str, u64> {
        let mut kinds = BTreeMap::new();
        for fault in &self.faults {
            let count: &mut u64 = kinds.entry(fault.kind.as_str()).or_default();
            *count = count.saturating_add(1);
        }
        kinds
    }

    /// Refusals in all.
    pub fn refused(&self) -> u64 {
        self.tried.refused.values().sum()
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        let books = &self.books;
        let object = json!({
            "seed": self.seed,
            "minutes": self.minutes,
            "admitted": books.admitted,
            "refused": self.refused(),
            "refused_by_reason": self.tried.refused,
            "answered": self.tried.told.len(),
            "left_waiting": self.tried.left,
            "settled_nano": books.settled_nano.to_string(),
            "held_nano": books.held_nano.to_string(),
            "unknown": books.unknown,
            "over_limit_nano": books.over_limit_nano,
            "lost": books.lost,
            "paid_twice": books.paid_twice(),
            "paid_twice_by": books.paid_twice,
            "books_match": books.books_match(),
            "ledger_atomic": books.ledger_atomic.to_string(),
            "chain_atomic": books.chain_atomic.to_string(),
            "paid_by_scheme": books.paid_by_scheme,
            "channels": books.channels,
            "damaged": books.damaged,
            "faults": self.kinds(),
            "ledger_hash": books.ledger_hash,
            "sound": self.is_sound(),
        });
        serde_json::to_string_pretty(&object).expect("an object of texts and numbers")
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let books = &self.books;
        let faults = self.kinds();
        let faults = faults.iter().map(|(kind, count)| format!("  {kind:<20} {count:>6}"));
        let mut reasons: Vec<_> = self.tried.refused.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let refused = reasons.iter().map(|(reason, count)| format!("  {reason:<38} {count:>6}"));
        let yes = |is| if is { "yes" } else { "NO" };
        let mut lines = vec!["FAULTS".to_owned()];
        lines.extend(faults);
        lines.push("REFUSED".to_owned());
        lines.extend(refused);
        lines.extend([
            "BOOKS".to_owned(),
            format!("  admitted      {}", books.admitted),
            format!(
                "  answered      {}, and {} walked away from",
                self.tried.told.len(),
                self.tried.left
            ),
            format!("  settled       {} nano-USD", books.settled_nano),
            format!("  held          {} nano-USD", books.held_nano),
            format!("  unknown       {}", books.unknown),
            format!("  over limit    {} nano-USD", books.over_limit_nano),
            format!("  lost          {}", books.lost),
            format!("  paid twice    {}", books.paid_twice()),
            format!("  ledger        {} atomic units", books.ledger_atomic),
            format!("  chain         {} atomic units, claimed or not", books.chain_atomic),
            format!("  by channel    {}", self.of_channels()),
            format!("  books match   {}", yes(books.books_match())),
            format!("  ledger hash   {}", books.ledger_hash),
        ]);
        let problems = books.damaged.iter().chain(&books.channels.wrong);
        lines.extend(problems.map(|problem| format!("  DAMAGED       {problem}")));
        lines.join("\n")
    }

    /// What channels paid, in a line.
    fn of_channels(&self) -> String {
        let paid = |scheme| self.books.paid_by_scheme.get(scheme).copied().unwrap_or(0);
        let channels = &self.books.channels;
        format!(
            "{} payments of {}, in {} channels: {} deposited, {} claimed, {} not yet, {} came back",
            paid("batch-settlement"),
            paid("batch-settlement").saturating_add(paid("exact")),
            channels.opened,
            channels.deposited,
            channels.claimed,
            channels.unclaimed,
            channels.returned
        )
    }
}
