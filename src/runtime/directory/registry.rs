//! Who sells what: listings in memory, each under a lease. Providers renew, so a restart loses nothing
//! for long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::Notify;

use crate::domain::asset::AssetRegistry;
use crate::domain::listing::{Query, SignedListing, Ware};
use crate::domain::money::Nano;
use crate::domain::order::{Maxima, Order, Units};
use crate::domain::pricing::price;
use crate::domain::time::Timestamp;
use crate::domain::x402::TokenDomains;
use crate::domain::x402::listing::check_listing;
use crate::ports::clock::Clock;
use crate::ports::directory::{Cursor, Directory, DirectoryError, Watch, Watched};

use super::changes::{CHANGES_MAX, Change, Changes, Read, WATCHERS_MAX};

/// Listings that are held at most.
pub const LISTINGS_MAX: usize = 10_000;

/// Listings in one answer at most.
const FOUND_MAX: usize = 100;

/// The longest lease, whatever a listing asks for.
const LEASE_MAX: Duration = Duration::from_secs(300);

/// Takes announcements and answers queries.
pub struct Registry {
    clock: Arc<dyn Clock>,
    assets: RwLock<AssetRegistry>,
    board: Arc<Board>,
}

/// What is listed and how it changed, with those that wait for changes.
struct Board {
    /// Which life of the directory: when it began.
    life: u64,
    changes: Mutex<Changes>,
    changed: Notify,
}

impl Board {
    /// What is listed, as of `now`.
    fn look(&self, now: Timestamp) -> MutexGuard<'_, Changes> {
        let mut changes = self.changes.lock().expect("no holder of the listings panics");
        if changes.sweep(now) {
            self.changed.notify_waiters();
        }
        changes
    }
}

impl Registry {
    /// A registry that counts prices in these assets.
    pub fn new(clock: Arc<dyn Clock>, assets: AssetRegistry) -> Self {
        let life = clock.now().as_nanos();
        let board = Board { life, changes: Mutex::default(), changed: Notify::new() };
        Self { clock, assets: RwLock::new(assets), board: Arc::new(board) }
    }

    /// Counts prices in the assets of a new policy.
    pub fn replace_assets(&self, assets: AssetRegistry) {
        *self.assets.write().expect("no holder of the assets panics") = assets;
    }

    /// What is listed now, by name.
    pub(super) fn all(&self) -> Vec<Arc<SignedListing>> {
        let changes = self.board.look(self.clock.now());
        changes.listed().values().map(|kept| Arc::clone(&kept.signed)).collect()
    }

    /// The tokens that it counts in.
    pub(super) fn tokens(&self) -> TokenDomains {
        TokenDomains::new(&self.assets.read().expect("no holder of the assets panics"))
    }

    /// Whether a ware costs at most `price_max` for a thousand units in and a thousand out.
    fn within(&self, signed: &SignedListing, ware: &Ware, price_max: Nano) -> bool {
        let thousand = Units(1000);
        let order = Order {
            capability: ware.capability.clone(),
            model: None,
            input_max: thousand,
            output_max: thousand,
            maxima: Maxima::default(),
        };
        let Some(amount) = price(&ware.terms, &order) else { return false };
        let known = self.assets.read().expect("no holder of the assets panics");
        let assets = signed.listing.pay_by.iter().map(|pay_by| pay_by.asset);
        assets
            .filter_map(|asset| known.to_nano(asset, amount))
            .min()
            .is_some_and(|nano| nano <= price_max)
    }

    fn matches(&self, signed: &SignedListing, query: &Query) -> bool {
        let wares = signed.listing.wares.iter();
        let mut wanted = wares.filter(|ware| {
            ware.capability == query.capability
                && query.model.as_ref().is_none_or(|model| *model == ware.model)
        });
        let sold =
            wanted.any(|ware| query.price_max.is_none_or(|price| self.within(signed, ware, price)));
        let mut networks = signed.listing.pay_by.iter().map(|pay_by| pay_by.asset.network);
        sold && (query.networks.is_empty()
            || networks.any(|network| query.networks.contains(&network)))
    }
}

#[async_trait]
impl Directory for Registry {
    async fn announce(&self, signed: SignedListing) -> Result<Timestamp, DirectoryError> {
        let now = self.clock.now();
        check_listing(&signed, now).map_err(|problem| DirectoryError::Refused {
            provider: signed.listing.provider.to_string(),
            problem: problem.to_string(),
        })?;
        let mut changes = self.board.look(now);
        let name = &signed.listing.provider;
        match changes.listed().get(name) {
            Some(kept) if kept.signed.service_key != signed.service_key => {
                let (provider, until) = (name.to_string(), kept.until);
                return Err(DirectoryError::NameTaken { provider, until });
            }
            // An old listing that somebody kept must not replace the one that came after it.
            Some(kept) if kept.signed.listing.issued_at > signed.listing.issued_at => {
                return Err(DirectoryError::Refused {
                    provider: name.to_string(),
                    problem: "a listing that was issued later is in force".to_owned(),
                });
            }
            None if changes.listed().len() >= LISTINGS_MAX => {
                let bound = u64::try_from(LISTINGS_MAX).unwrap_or(u64::MAX);
                return Err(DirectoryError::Full { bound });
            }
            Some(_) | None => {}
        }
        let until = signed.listing.valid_until.min(now.after(LEASE_MAX));
        changes.list(Arc::new(signed), until);
        drop(changes);
        self.board.changed.notify_waiters();
        Ok(until)
    }

    async fn find(&self, query: &Query) -> Result<Vec<SignedListing>, DirectoryError> {
        let now = self.clock.now();
        let changes = self.board.look(now);
        let found = changes.listed().values().filter(|kept| self.matches(&kept.signed, query));
        Ok(found.take(FOUND_MAX).map(|kept| kept.signed.as_ref().clone()).collect())
    }

    async fn watch(&self, after: Option<Cursor>) -> Result<Watch, DirectoryError> {
        let board = Arc::clone(&self.board);
        let mut changes = board.look(self.clock.now());
        let place = match after {
            None => changes.place(),
            Some(cursor) if cursor.life == board.life && changes.reaches(cursor.place) => {
                cursor.place
            }
            Some(_) => return Err(DirectoryError::CursorTooOld),
        };
        let bound = u64::try_from(WATCHERS_MAX).unwrap_or(u64::MAX);
        let name = changes.enter(place).ok_or(DirectoryError::TooManyWatchers { bound })?;
        let standing = match after {
            None => changes.listed().values().map(|kept| Arc::clone(&kept.signed)).collect(),
            Some(_) => VecDeque::new(),
        };
        drop(changes);
        let watcher = Watcher { board, clock: Arc::clone(&self.clock), name, place };
        let begin = if after.is_none() { Phase::Standing(standing) } else { Phase::Changes };
        let seen = stream::unfold((watcher, begin), |(mut watcher, phase)| async move {
            let (seen, phase) = watcher.next(phase).await?;
            Some((seen, (watcher, phase)))
        });
        Ok(seen.boxed())
    }
}

/// One watcher; its place is free again when it is dropped.
struct Watcher {
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
    name: u64,
    place: u64,
}

/// How far a watcher has come.
enum Phase {
    /// What was listed when it began still comes.
    Standing(VecDeque<Arc<SignedListing>>),
    Changes,
    Over,
}

impl Watcher {
    /// What it sees next, and how far it is then; nothing after an error.
    async fn next(&mut self, phase: Phase) -> Option<(Result<Watched, DirectoryError>, Phase)> {
        match phase {
            Phase::Standing(mut standing) => Some(match standing.pop_front() {
                Some(signed) => {
                    let seen = Watched::Standing(Box::new(signed.as_ref().clone()));
                    (Ok(seen), Phase::Standing(standing))
                }
                None => (Ok(Watched::Begun(self.cursor())), Phase::Changes),
            }),
            Phase::Changes => Some(match self.change().await {
                Ok(seen) => (Ok(seen), Phase::Changes),
                Err(error) => (Err(error), Phase::Over),
            }),
            Phase::Over => None,
        }
    }

    async fn change(&mut self) -> Result<Watched, DirectoryError> {
        let board = Arc::clone(&self.board);
        loop {
            let changed = board.changed.notified();
            tokio::pin!(changed);
            // Registered before the changes are read, so that none in between is missed.
            changed.as_mut().enable();
            let read = board.look(self.clock.now()).read(self.name);
            let until = match read {
                Read::Change(change) => {
                    self.place = self.place.saturating_add(1);
                    let cursor = self.cursor();
                    return Ok(match change {
                        Change::Listed(signed) => {
                            Watched::Listed(Box::new(signed.as_ref().clone()), cursor)
                        }
                        Change::Gone(name) => Watched::Gone(name, cursor),
                    });
                }
                Read::Lost => {
                    let bound = u64::try_from(CHANGES_MAX).unwrap_or(u64::MAX);
                    return Err(DirectoryError::TooSlow { bound });
                }
                Read::Wait(until) => until,
            };
            let over = async {
                match until {
                    Some(until) => self.clock.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = over => {}
            }
        }
    }

    fn cursor(&self) -> Cursor {
        Cursor { life: self.board.life, place: self.place }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Where a holder of the listings panicked, nobody watches any more.
        if let Ok(mut changes) = self.board.changes.lock() {
            changes.leave(self.name);
        }
    }
}
