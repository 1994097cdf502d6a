//! What was paid for: the resources of payments that settled here, where the payment says how each is called.
//!
//! A listing costs a settled payment, and names who was paid: whoever pays itself for somebody else's URL
//! stands beside it under its own address, and in its place nowhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::domain::x402::bazaar::{ACCEPTS_MAX, Discovered, find_discovered, find_tool};
use crate::domain::x402::wire::{PaymentPayload, PaymentRequirements};
use crate::ports::catalogue::Catalogue;
use crate::ports::clock::Clock;

/// Resources that are listed at most; beyond that the one that was paid for longest ago is forgotten.
pub const RESOURCES_MAX: usize = 10_000;

/// Resources of one payee at most, by the same rule.
pub const RESOURCES_PER_PAYEE_MAX: usize = 64;

/// How long a resource is listed after it was paid for last.
const LISTED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who was paid, where, and for which tool.
type Key = (String, String, String);

struct Kept {
    listed: Discovered,
    seen: Timestamp,
}

/// The resources that were paid for.
pub struct Catalog {
    clock: Arc<dyn Clock>,
    kept: Mutex<BTreeMap<Key, Kept>>,
}

impl Catalog {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// Lists what a settled payment says of its resource, where it says anything that can be listed.
    pub fn add(&self, payment: &PaymentPayload) {
        let now = self.clock.now();
        let Some(found) = find_discovered(payment, &now.to_string()) else { return };
        let payee = payment.accepted.pay_to.to_ascii_lowercase();
        let tool = find_tool(&found).unwrap_or_default().to_owned();
        let key = (payee, found.resource.clone(), tool);
        let mut kept = self.kept.lock().expect("no holder of the catalogue panics");
        let mut listed = found;
        if let Some(before) = kept.remove(&key) {
            let is_same = |way: &PaymentRequirements| {
                let is = |one: &PaymentRequirements| {
                    (&one.scheme, &one.network, &one.asset)
                        == (&way.scheme, &way.network, &way.asset)
                };
                listed.accepts.iter().any(is)
            };
            let others: Vec<_> =
                before.listed.accepts.into_iter().filter(|way| !is_same(way)).collect();
            listed.accepts.extend(others);
            listed.accepts.truncate(ACCEPTS_MAX);
        } else {
            let payee = &key.0;
            let many = kept.keys().filter(|(other, ..)| other == payee).count();
            if many >= RESOURCES_PER_PAYEE_MAX {
                forget_oldest(&mut kept, |(other, ..)| other == payee);
            } else if kept.len() >= RESOURCES_MAX {
                forget_oldest(&mut kept, |_| true);
            }
        }
        kept.insert(key, Kept { listed, seen: now });
    }
}

fn forget_oldest(kept: &mut BTreeMap<Key, Kept>, of: impl Fn(&Key) -> bool) {
    let some = kept.iter().filter(|(key, _)| of(key));
    if let Some(key) = some.min_by_key(|(_, kept)| kept.seen).map(|(key, _)| key.clone()) {
        kept.remove(&key);
    }
}

impl Catalogue for Catalog {
    fn listed(&self) -> Vec<Discovered> {
        let oldest = self.clock.now().before(LISTED_FOR);
        let mut kept = self.kept.lock().expect("no holder of the catalogue panics");
        kept.retain(|_, kept| kept.seen >= oldest);
        kept.values().map(|kept| kept.listed.clone()).collect()
    }
}
