//! Offers that channels have paid: the same URL is paid at once the next time, and is not asked first what it
//! costs. Whoever asks for something else by then takes nothing, and says so; a price may hang on the body, so
//! that such a URL is asked each time for a while.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::Method;

use super::HttpCall;
use crate::domain::id::AgentId;
use crate::domain::time::Timestamp;
use crate::domain::x402::offer::HeardOffer;

/// Offers that are kept at most.
const KEPT_MAX: usize = 1024;

/// How long an offer is kept after it was heard: who has become cheaper is asked again by then.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// Offers by whom they were made to, and the method and the URL that they are for.
#[derive(Default)]
pub(super) struct KeptOffers(Mutex<HashMap<Key, Kept>>);

type Key = (AgentId, Method, String);

struct Kept {
    since: Timestamp,
    /// `None` where another one was asked for than was kept.
    offer: Option<HeardOffer>,
}

impl Kept {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.since) < KEPT_FOR
    }
}

impl KeptOffers {
    /// What was offered for such a call and has been paid by channel.
    pub(super) fn find(
        &self,
        agent: AgentId,
        call: &HttpCall,
        now: Timestamp,
    ) -> Option<HeardOffer> {
        let offers = self.0.lock().expect("no holder of the offers panics");
        offers.get(&key_of(agent, call)).filter(|kept| kept.is_fresh(now))?.offer.clone()
    }

    /// Keeps an offer that was heard then and has been paid.
    pub(super) fn keep(
        &self,
        agent: AgentId,
        call: &HttpCall,
        offer: HeardOffer,
        heard: Timestamp,
    ) {
        self.put(key_of(agent, call), Kept { since: heard, offer: Some(offer) });
    }

    /// What was kept is not what is asked for.
    pub(super) fn give_up(&self, agent: AgentId, call: &HttpCall, now: Timestamp) {
        let key = key_of(agent, call);
        self.0.lock().expect("no holder of the offers panics").remove(&key);
        self.put(key, Kept { since: now, offer: None });
    }

    fn put(&self, key: Key, kept: Kept) {
        let mut offers = self.0.lock().expect("no holder of the offers panics");
        if offers.len() >= KEPT_MAX {
            offers.retain(|_, other| other.is_fresh(kept.since));
        }
        if offers.get(&key).is_some_and(|other| other.is_fresh(kept.since)) {
            return;
        }
        if offers.len() < KEPT_MAX {
            offers.insert(key, kept);
        }
    }
}

fn key_of(agent: AgentId, call: &HttpCall) -> Key {
    (agent, call.method.clone(), call.url.clone())
}
