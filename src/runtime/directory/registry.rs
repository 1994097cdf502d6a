//! Who sells what: listings in memory, each under a lease. Providers renew, so a restart loses nothing
//! for long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::asset::AssetRegistry;
use crate::domain::id::Name;
use crate::domain::listing::{Query, SignedListing, Ware};
use crate::domain::money::Nano;
use crate::domain::order::{Maxima, Order, Units};
use crate::domain::pricing::price;
use crate::domain::time::Timestamp;
use crate::domain::x402::listing::check_listing;
use crate::ports::clock::Clock;
use crate::ports::directory::{Directory, DirectoryError};

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
    listed: Mutex<BTreeMap<Name, Listed>>,
}

struct Listed {
    signed: SignedListing,
    until: Timestamp,
}

impl Registry {
    /// A registry that counts prices in these assets.
    pub fn new(clock: Arc<dyn Clock>, assets: AssetRegistry) -> Self {
        Self { clock, assets: RwLock::new(assets), listed: Mutex::default() }
    }

    /// Counts prices in the assets of a new policy.
    pub fn replace_assets(&self, assets: AssetRegistry) {
        *self.assets.write().expect("no holder of the assets panics") = assets;
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
        let mut listed = self.listed.lock().expect("no holder of the listings panics");
        listed.retain(|_, kept| kept.until > now);
        let name = signed.listing.provider.clone();
        match listed.get(&name) {
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
            None if listed.len() >= LISTINGS_MAX => {
                let bound = u64::try_from(LISTINGS_MAX).unwrap_or(u64::MAX);
                return Err(DirectoryError::Full { bound });
            }
            Some(_) | None => {}
        }
        let until = signed.listing.valid_until.min(now.after(LEASE_MAX));
        listed.insert(name, Listed { signed, until });
        Ok(until)
    }

    async fn find(&self, query: &Query) -> Result<Vec<SignedListing>, DirectoryError> {
        let now = self.clock.now();
        let listed = self.listed.lock().expect("no holder of the listings panics");
        let running = listed.values().filter(|kept| kept.until > now);
        let found = running.filter(|kept| self.matches(&kept.signed, query));
        Ok(found.take(FOUND_MAX).map(|kept| kept.signed.clone()).collect())
    }
}
