//! The payer's book: who was found, and what the payer measured of them itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::domain::asset::AssetRegistry;
use crate::domain::id::Name;
use crate::domain::listing::{Query, SignedListing};
use crate::domain::money::Nano;
use crate::domain::negotiation::Verdict;
use crate::domain::order::Order;
use crate::domain::pricing::price;
use crate::domain::time::Timestamp;
use crate::domain::x402::listing::check_listing;
use crate::ports::clock::Clock;
use crate::ports::directory::{Directory, DirectoryError};

/// How long an answer of the directory is used again.
const FOUND_TTL: Duration = Duration::from_secs(2);

/// Queries whose answers are kept at most.
const QUERIES_MAX: usize = 256;

/// Providers that are measured at most.
const MEASURED_MAX: usize = 1024;

/// Failures in a row after which a provider is left alone for a while.
const FAILURES_MAX: u32 = 5;

/// How long it is left alone.
const REST: Duration = Duration::from_secs(10);

/// What was measured of one provider.
#[derive(Copy, Clone, Debug, Default)]
struct Measured {
    /// Moving average, in microseconds; each new call counts an eighth.
    latency_us: u64,
    failures: u32,
    rest_until: Timestamp,
    bargains: Bargains,
}

/// What became of counter-offers, counted.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Bargains {
    /// Taken as offered.
    pub accepted: u64,
    /// Answered with a lower price than before.
    pub countered: u64,
    /// Refused: beneath the floor.
    pub at_floor: u64,
}

/// What was found, and until when it is used again.
type Found = (Timestamp, Vec<Arc<SignedListing>>);

/// Finds, remembers and ranks.
pub struct Book {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    found: Mutex<BTreeMap<String, Found>>,
    measured: Mutex<BTreeMap<Name, Measured>>,
}

impl Book {
    /// An empty book at this directory.
    pub fn new(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Self {
        Self { directory, clock, found: Mutex::default(), measured: Mutex::default() }
    }

    /// The listings that match and check out; a listing that does not is left out.
    ///
    /// # Errors
    /// As the directory says, where nothing is remembered.
    pub async fn find(&self, query: &Query) -> Result<Vec<Arc<SignedListing>>, DirectoryError> {
        let now = self.clock.now();
        let key = serde_json::to_string(query).expect("a query has text keys only");
        {
            let found = self.found.lock().expect("no holder of the book panics");
            if let Some((until, listings)) = found.get(&key)
                && *until > now
            {
                return Ok(listings.clone());
            }
        }
        let listings = self.directory.find(query).await?;
        let mut listings: Vec<_> = listings.into_iter().map(Arc::new).collect();
        listings.retain(|signed| match check_listing(signed, now) {
            Ok(()) => true,
            Err(problem) => {
                tracing::warn!(provider = %signed.listing.provider, %problem, "listing refused");
                false
            }
        });
        let mut found = self.found.lock().expect("no holder of the book panics");
        found.retain(|_, (until, _)| *until > now);
        // An empty answer is not kept: the provider may be announcing itself at this moment.
        if found.len() < QUERIES_MAX && !listings.is_empty() {
            found.insert(key, (now.after(FOUND_TTL), listings.clone()));
        }
        Ok(listings)
    }

    /// Cheapest by list price first, then fastest by own measure, then by name. Who failed too often in
    /// a row comes last, for a while.
    pub fn rank(
        &self,
        listings: Vec<Arc<SignedListing>>,
        order: &Order,
        assets: &AssetRegistry,
    ) -> Vec<Arc<SignedListing>> {
        let now = self.clock.now();
        let measured = self.measured.lock().expect("no holder of the book panics");
        let mut ranked: Vec<_> = listings
            .into_iter()
            .map(|signed| {
                let seen = measured.get(&signed.listing.provider).copied().unwrap_or_default();
                let rests = seen.rest_until > now;
                let listed = list_price(&signed, order, assets).unwrap_or(Nano::MAX);
                let name = signed.listing.provider.clone();
                ((rests, listed, seen.latency_us, name), signed)
            })
            .collect();
        ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
        ranked.into_iter().map(|(_, signed)| signed).collect()
    }

    /// The measured latency; zero where nothing was measured yet.
    pub fn latency(&self, provider: &Name) -> Duration {
        let measured = self.measured.lock().expect("no holder of the book panics");
        Duration::from_micros(measured.get(provider).map_or(0, |seen| seen.latency_us))
    }

    /// Whether the provider failed so often in a row that it is left alone for now.
    pub fn rests(&self, provider: &Name) -> bool {
        let now = self.clock.now();
        let measured = self.measured.lock().expect("no holder of the book panics");
        measured.get(provider).is_some_and(|seen| seen.rest_until > now)
    }

    /// Notes a good answer.
    pub fn answered(&self, provider: &Name, latency: Duration) {
        let took_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.measure(provider, |seen, _| {
            let older = seen.latency_us.saturating_sub(seen.latency_us.div_euclid(8));
            seen.latency_us = match seen.latency_us {
                0 => took_us.max(1),
                _ => older.saturating_add(took_us.div_euclid(8)).max(1),
            };
            seen.failures = 0;
            seen.rest_until = Timestamp::ZERO;
        });
    }

    /// Notes a failure.
    pub fn failed(&self, provider: &Name) {
        self.measure(provider, |seen, now| {
            seen.failures = seen.failures.saturating_add(1);
            if seen.failures >= FAILURES_MAX {
                // One try after each rest: a single success forgets the failures, another one rests again.
                seen.rest_until = now.after(REST);
            }
        });
    }

    /// Notes what became of a counter-offer.
    pub fn bargained(&self, provider: &Name, verdict: Verdict) {
        self.measure(provider, |seen, _| {
            let counter = match verdict {
                Verdict::Accepted => &mut seen.bargains.accepted,
                Verdict::Countered => &mut seen.bargains.countered,
                Verdict::Floor => &mut seen.bargains.at_floor,
                Verdict::List => return,
            };
            *counter = counter.saturating_add(1);
        });
    }

    /// What became of counter-offers to a provider.
    pub fn bargains(&self, provider: &Name) -> Bargains {
        let measured = self.measured.lock().expect("no holder of the book panics");
        measured.get(provider).map(|seen| seen.bargains).unwrap_or_default()
    }

    fn measure(&self, provider: &Name, change: impl FnOnce(&mut Measured, Timestamp)) {
        let now = self.clock.now();
        let mut measured = self.measured.lock().expect("no holder of the book panics");
        if measured.len() >= MEASURED_MAX && !measured.contains_key(provider) {
            measured.pop_first();
        }
        change(measured.entry(provider.clone()).or_default(), now);
    }
}

fn list_price(signed: &SignedListing, order: &Order, assets: &AssetRegistry) -> Option<Nano> {
    let wares = signed.listing.wares.iter().filter(|ware| {
        ware.capability == order.capability
            && order.model.as_ref().is_none_or(|model| *model == ware.model)
    });
    let amounts: Vec<_> = wares.filter_map(|ware| price(&ware.terms, order)).collect();
    let assets_taken = signed.listing.pay_by.iter().map(|pay_by| pay_by.asset);
    let prices = assets_taken
        .flat_map(|asset| amounts.iter().filter_map(move |amount| assets.to_nano(asset, *amount)));
    prices.min()
}
