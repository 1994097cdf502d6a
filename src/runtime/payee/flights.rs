//! Single flight: one authorization is worked on by one task at a time, and whoever else presents it
//! waits for that one to land. Memory only; the ledger is what makes it true over restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::domain::commitment::AuthorizationKey;
use crate::ports::paid_service::ServiceError;
use crate::runtime::landing::{Landing, UnderWay};
use crate::runtime::payee::Desk;
use crate::runtime::payee::slots::within;

/// How long a repeated call waits for the first in all. Beneath what a gRPC client of ours waits.
const LANDING_WAIT_MAX: Duration = Duration::from_secs(100);

/// How many flights before its own a call waits for: those of others that repeat the same payment.
const LANDINGS_MAX: u32 = 64;

type InFlight = Arc<Mutex<BTreeMap<AuthorizationKey, Landing>>>;

/// Authorizations that are being worked on.
#[derive(Default)]
pub(super) struct Flights(InFlight);

/// The right to work on one authorization; dropping it lets the next one.
pub(super) struct Flight {
    key: AuthorizationKey,
    in_flight: InFlight,
    // Dropped after the key was taken out: then everybody who waits hears of it.
    _under_way: UnderWay,
}

impl Flights {
    /// The right to work on `key`, or what tells that whoever has it is done.
    pub(super) fn take(&self, key: AuthorizationKey) -> Result<Flight, Landing> {
        let mut in_flight = self.0.lock().expect("no holder of the flights panics");
        if let Some(landing) = in_flight.get(&key) {
            return Err(landing.clone());
        }
        let (under_way, landing) = UnderWay::begin();
        in_flight.insert(key, landing);
        Ok(Flight { key, in_flight: Arc::clone(&self.0), _under_way: under_way })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.in_flight.lock().expect("no holder of the flights panics").remove(&self.key);
    }
}

impl Desk {
    /// The right to work on `key`, once nobody else does.
    ///
    /// # Errors
    /// [`ServiceError::Unknown`] where that takes too long: the first call may have settled it.
    pub(super) async fn board(&self, key: AuthorizationKey) -> Result<Flight, ServiceError> {
        let boarded = async {
            for _ in 0..LANDINGS_MAX {
                match self.flights.take(key) {
                    Ok(flight) => return Some(flight),
                    Err(landing) => landing.wait().await,
                }
            }
            None
        };
        let boarded = within(self.parts.clock.as_ref(), LANDING_WAIT_MAX, boarded).await.flatten();
        let busy = "the same payment is being served at this moment: ask again with it";
        boarded.ok_or_else(|| ServiceError::Unknown(busy.to_owned()))
    }
}
