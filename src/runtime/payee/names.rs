//! Names that payers give their payments: the same name again is the same payment.
//!
//! A name binds what it first came with. With another request it is refused; with the same request and
//! another authorization the first one counts, so that a payer that forgot what it signed pays once. Names
//! are a payer's own, and known for as long as this process lives and has room for them: the authorization
//! itself is bound durably, whatever its name. Source: x402 extension payment-identifier; threats.md A25.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use alloy::primitives::Address;

use crate::domain::commitment::Authorization;
use crate::domain::id::Fingerprint;
use crate::domain::x402::identifier;
use crate::ports::paid_service::{PaidCall, ServiceError};
use crate::runtime::payee::Desk;
use crate::runtime::payee::check::Presented;

/// Names that are remembered; the oldest makes room.
pub(super) const NAMES_MAX: usize = 65_536;

type Key = (Address, String);

/// What a name first came with.
#[derive(Copy, Clone)]
struct Bound {
    authorization: Authorization,
    fingerprint: Fingerprint,
}

/// The names.
#[derive(Default)]
pub(super) struct Names(Mutex<Known>);

#[derive(Default)]
struct Known {
    bound: BTreeMap<Key, Bound>,
    oldest: VecDeque<Key>,
}

impl Names {
    /// What the name is bound to: what it comes with now, where it is new.
    fn bind(&self, key: Key, comes_with: Bound) -> Bound {
        let mut known = self.0.lock().expect("no holder of the names panics");
        if let Some(bound) = known.bound.get(&key) {
            return *bound;
        }
        if known.bound.len() >= NAMES_MAX
            && let Some(oldest) = known.oldest.pop_front()
        {
            known.bound.remove(&oldest);
        }
        known.oldest.push_back(key.clone());
        known.bound.insert(key, comes_with);
        comes_with
    }

    /// Binds it anew: what it was bound to came to nothing.
    fn rebind(&self, key: &Key, comes_with: Bound) {
        let mut known = self.0.lock().expect("no holder of the names panics");
        if let Some(bound) = known.bound.get_mut(key) {
            *bound = comes_with;
        }
    }
}

impl Desk {
    /// The payment that is meant by a name: the first that it came with.
    ///
    /// # Errors
    /// [`ServiceError::Bound`] where it came with another request.
    pub(super) async fn name(
        &self,
        presented: Presented,
        call: &PaidCall,
    ) -> Result<Presented, ServiceError> {
        let Some(payment) = &call.payment else { return Ok(presented) };
        let Ok(Some(name)) = identifier::find_name(payment) else { return Ok(presented) };
        let key = (presented.authorization.commitment.payer, name.to_owned());
        let Presented { authorization, fingerprint, .. } = presented;
        let comes_with = Bound { authorization, fingerprint };
        let bound = self.names.bind(key.clone(), comes_with);
        if bound.fingerprint != fingerprint {
            return Err(ServiceError::Bound);
        }
        if bound.authorization == authorization {
            return Ok(presented);
        }
        // Only who could pay for it again is given what it was paid for.
        let quote = self.find_price(call)?.unwrap_or_else(|list| list);
        self.check(payment, &quote, &call.order)?;
        let first = bound.authorization.commitment.key();
        // Whoever is being served under this name is waited for.
        drop(self.board(first).await?);
        let found = self.parts.treasury.read(move |ledger| ledger.find_claim(&first).is_some());
        match found.await {
            Ok(true) => Ok(Presented { authorization: bound.authorization, ..presented }),
            Ok(false) => {
                self.names.rebind(&key, comes_with);
                Ok(presented)
            }
            Err(refused) => Err(ServiceError::Unavailable(refused.to_string())),
        }
    }
}
