//! Whether Permit2 may move what a payment needs, before anything is held: by what the wallet approved, or
//! by a permit at the token that goes with the payment.
//!
//! It never approves anything: an allowance is the operator's to give, and a permit is for one payment's
//! maximum. Source: threats.md F23.

use crate::domain::commitment::{Commitment, TokenPermit, TransferMethod};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::hold::{Hold, HoldState};
use crate::domain::money::Amount;
use crate::domain::policy::RuleCheck;
use crate::domain::x402::permit::deadline_s;
use crate::ports::rail::Allowance;
use crate::runtime::payer::offers::Candidate;
use crate::runtime::payer::pay::Prepared;
use crate::runtime::payer::{PayError, Payer};
use crate::runtime::rules::InForce;

impl Payer {
    /// The first candidate that the rules let pass and that can be paid in its way, and what is signed
    /// for it; those that cannot are taken out.
    ///
    /// # Errors
    /// As `choose`; [`PayError::Allowance`] where nothing else stood against one.
    pub(super) async fn choose_allowed(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(Candidate, Vec<RuleCheck>, Commitment), PayError> {
        let mut not_allowed = None;
        loop {
            let chosen = self.choose(prepared, rules, candidates);
            let chosen = chosen.map_err(|error| not_allowed.take().unwrap_or(error))?;
            let (candidate, checks) = chosen;
            let commitment = self.commit(prepared, &candidate.pay_by, candidate.amount)?;
            match self.with_method(commitment).await {
                Ok(commitment) => return Ok((candidate, checks, commitment)),
                Err(error) => {
                    // Another way may do.
                    candidates.retain(|other| !other.is_same_way(&candidate));
                    not_allowed.get_or_insert(error);
                }
            }
        }
    }

    /// The same commitment, with how its asset is really moved.
    ///
    /// # Errors
    /// [`PayError::Allowance`] where Permit2 may not move so much and no permit can be sent.
    pub(super) async fn with_method(&self, commitment: Commitment) -> Result<Commitment, PayError> {
        if !commitment.method.is_permit2() {
            return Ok(commitment);
        }
        let allowance = self.find_allowance(&commitment).await;
        let open = move |ledger: &Ledger| Open::of(ledger, &commitment);
        let open = self.parts.treasury.read(open).await.unwrap_or(Open::UNKNOWN);
        let allowed = allowance.map_or(Amount::ZERO, |allowance| allowance.amount);
        let needed = commitment.amount_max.checked_add(open.held).unwrap_or(Amount::MAX);
        if allowed >= needed {
            return Ok(Commitment { method: TransferMethod::Permit2, ..commitment });
        }
        let nonce = allowance.and_then(|allowance| allowance.permit_nonce);
        match (commitment.method, nonce) {
            // Permits at a token are used in their order: one at a time.
            (TransferMethod::Permit2Sponsored, Some(nonce)) if !open.permits => {
                let deadline_s = deadline_s(&commitment);
                let permit = TokenPermit { nonce, deadline_s, signature: None };
                Ok(Commitment { method: TransferMethod::Permit2By(permit), ..commitment })
            }
            _ => {
                let (asset, payer) = (commitment.asset, commitment.payer);
                Err(PayError::Allowance { asset, payer, allowed, needed })
            }
        }
    }

    async fn find_allowance(&self, commitment: &Commitment) -> Option<Allowance> {
        let network = commitment.asset.network;
        let rail = self.rails.iter().find(|rail| rail.network() == network)?;
        let until = self.parts.clock.now().after(self.parts.settings.quote_timeout);
        let asked = rail.allowance(commitment.asset, commitment.payer);
        tokio::select! {
            biased;
            allowance = asked => allowance.ok().flatten(),
            () = self.parts.clock.sleep_until(until) => None,
        }
    }
}

/// What is under way in the same asset from the same wallet.
#[derive(Copy, Clone, Debug)]
struct Open {
    /// What is held for Permit2 to move by its allowance.
    held: Amount,
    /// Whether a permit at the token is.
    permits: bool,
}

impl Open {
    const UNKNOWN: Self = Self { held: Amount::MAX, permits: true };

    fn of(ledger: &Ledger, commitment: &Commitment) -> Self {
        let same = |hold: &&Hold| {
            let other = &hold.held.commitment;
            (other.asset, other.payer) == (commitment.asset, commitment.payer)
                && !matches!(hold.state, HoldState::Captured { .. })
        };
        let none = Self { held: Amount::ZERO, permits: false };
        ledger.holds().into_iter().filter(same).fold(none, |open, hold| {
            let held = &hold.held.commitment;
            match held.method {
                TransferMethod::Permit2 => {
                    let sum = open.held.checked_add(held.amount_max).unwrap_or(Amount::MAX);
                    Self { held: sum, ..open }
                }
                TransferMethod::Permit2By(_) => Self { permits: true, ..open },
                TransferMethod::Eip3009 | TransferMethod::Permit2Sponsored => open,
            }
        })
    }
}
