//! Whose turn it is: a round looks at some of the tabs, and the rounds after it at the others.

use std::sync::Mutex;

use alloy::primitives::B256;

use crate::domain::channel::ChannelId;
use crate::domain::ledger::Ledger;
use crate::domain::ledger::tab::Tab;

/// Where the rounds are.
#[derive(Default)]
pub(super) struct Turns {
    /// Among the tabs that are watched.
    pub open: Turn,
    /// Among those at rest.
    pub rested: Turn,
    /// Among those that are claimed.
    pub due: Turn,
    /// Among those that are given back.
    pub idle: Turn,
}

/// The last channel that a round came to: the next one goes on behind it.
pub(super) struct Turn(Mutex<ChannelId>);

impl Default for Turn {
    fn default() -> Self {
        Self(Mutex::new(ChannelId(B256::ZERO)))
    }
}

impl Turn {
    pub(super) fn last(&self) -> ChannelId {
        *self.0.lock().expect("nobody panics with a name in hand")
    }

    pub(super) fn set(&self, last: ChannelId) {
        *self.0.lock().expect("nobody panics with a name in hand") = last;
    }
}

/// At most `most` of the tabs that are `wanted`, in the order of their names, and where the next round goes on.
/// Those whose payers asked for their money come first, but for a quarter that the others have where there are
/// so many; of both those behind `after`, and then from the beginning.
pub(super) fn choose(
    ledger: &Ledger,
    (after, most): (ChannelId, usize),
    wanted: impl Fn(&Tab) -> bool,
) -> (Vec<&Tab>, ChannelId) {
    let before = ledger.tabs().take_while(|tab| tab.id <= after);
    let in_turn = ledger.tabs_after(after).chain(before).filter(|tab| wanted(tab));
    let (mut leaving, mut staying) = (Vec::new(), Vec::new());
    for tab in in_turn {
        let kind = if tab.withdrawable_at_s.is_some() { &mut leaving } else { &mut staying };
        if kind.len() < most {
            kind.push(tab);
        }
    }
    leaving.truncate(most.saturating_sub(staying.len().min(most.div_euclid(4))));
    staying.truncate(most.saturating_sub(leaving.len()));
    let last = staying.last().or(leaving.last()).map_or(after, |tab| tab.id);
    let mut chosen = leaving;
    chosen.append(&mut staying);
    chosen.sort_unstable_by_key(|tab| tab.id);
    (chosen, last)
}
