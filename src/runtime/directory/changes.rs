//! What is listed and how it changed, for those that watch: the newest changes, each with its place, and who
//! has read up to where. Pure but for the time that comes in.
//!
//! Nothing is kept for one watcher: it reads from the changes that all read from. Whoever falls behind the
//! oldest one loses its place at that moment, however long it does not ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::domain::id::Name;
use crate::domain::listing::SignedListing;
use crate::domain::time::Timestamp;

/// Changes that are kept at most: so far a watcher may fall behind, and so far back a cursor leads.
pub const CHANGES_MAX: usize = 4_096;

/// Watchers at once at most.
pub const WATCHERS_MAX: usize = 256;

/// A listing and how long it is shown.
pub(super) struct Listed {
    pub(super) signed: Arc<SignedListing>,
    pub(super) until: Timestamp,
}

/// One change.
#[derive(Clone)]
pub(super) enum Change {
    Listed(Arc<SignedListing>),
    Gone(Name),
}

/// What a watcher reads next.
pub(super) enum Read {
    Change(Change),
    /// Nothing yet; a lease runs out at that time, where there is one.
    Wait(Option<Timestamp>),
    Lost,
}

/// What is listed, and the newest changes.
#[derive(Default)]
pub(super) struct Changes {
    listed: BTreeMap<Name, Listed>,
    newest: VecDeque<Change>,
    /// How many came before the oldest that is kept.
    forgotten: u64,
    /// How many each watcher has read.
    watchers: BTreeMap<u64, u64>,
    watchers_named: u64,
}

impl Changes {
    /// How many changes there were.
    pub(super) fn place(&self) -> u64 {
        self.forgotten.saturating_add(u64::try_from(self.newest.len()).unwrap_or(u64::MAX))
    }

    /// What is listed, by name.
    pub(super) const fn listed(&self) -> &BTreeMap<Name, Listed> {
        &self.listed
    }

    /// Lists, in the place of what had the name before.
    pub(super) fn list(&mut self, signed: Arc<SignedListing>, until: Timestamp) {
        let name = signed.listing.provider.clone();
        self.listed.insert(name, Listed { signed: Arc::clone(&signed), until });
        self.add(Change::Listed(signed));
    }

    /// Takes away whose lease has run out; whether anything was.
    pub(super) fn sweep(&mut self, now: Timestamp) -> bool {
        let over = self.listed.iter().filter(|(_, kept)| kept.until <= now);
        let over: Vec<Name> = over.map(|(name, _)| name.clone()).collect();
        for name in &over {
            self.listed.remove(name);
            self.add(Change::Gone(name.clone()));
        }
        !over.is_empty()
    }

    fn add(&mut self, change: Change) {
        self.newest.push_back(change);
        if self.newest.len() > CHANGES_MAX {
            self.newest.pop_front();
            self.forgotten = self.forgotten.saturating_add(1);
            let forgotten = self.forgotten;
            self.watchers.retain(|_, place| *place >= forgotten);
        }
    }

    /// Whether a watcher can go on from `place`.
    pub(super) fn reaches(&self, place: u64) -> bool {
        (self.forgotten..=self.place()).contains(&place)
    }

    /// Takes in a watcher that has read up to `place`; nothing where there are too many.
    pub(super) fn enter(&mut self, place: u64) -> Option<u64> {
        if self.watchers.len() >= WATCHERS_MAX {
            return None;
        }
        let name = self.watchers_named;
        self.watchers_named = name.saturating_add(1);
        self.watchers.insert(name, place);
        Some(name)
    }

    /// What a watcher reads next.
    pub(super) fn read(&mut self, watcher: u64) -> Read {
        let forgotten = self.forgotten;
        let Some(place) = self.watchers.get_mut(&watcher) else { return Read::Lost };
        let behind = usize::try_from(place.saturating_sub(forgotten)).unwrap_or(usize::MAX);
        match self.newest.get(behind) {
            Some(change) => {
                *place = place.saturating_add(1);
                Read::Change(change.clone())
            }
            None => Read::Wait(self.listed.values().map(|kept| kept.until).min()),
        }
    }

    /// Forgets a watcher.
    pub(super) fn leave(&mut self, watcher: u64) {
        self.watchers.remove(&watcher);
    }
}
