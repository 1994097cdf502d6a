//! Whether Permit2 may move what a payment needs, before anything is held: by what the wallet approved, or
//! by a permit at the token that goes with the payment.
//!
//! It never approves anything: an allowance is the operator's to give, and a permit is for one payment's
//! maximum. Source: threats.md F23.

use alloy::primitives::Address;

use crate::domain::asset::Asset;
use crate::domain::commitment::{Commitment, Scheme, TokenPermit, TransferMethod};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::channel::Channel;
use crate::domain::ledger::hold::{Hold, HoldState};
use crate::domain::money::Amount;
use crate::domain::policy::RuleCheck;
use crate::domain::x402::batch::funding::deposit_deadline_s;
use crate::domain::x402::permit::deadline_s;
use crate::ports::rail::Allowance;
use crate::runtime::channels::{Lease, NotLent};
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
        // A voucher moves nothing: its channel's deposit is looked at where one is due.
        let is_channel = matches!(commitment.scheme, Scheme::BatchSettlement(_));
        if is_channel || !commitment.method.is_permit2() {
            return Ok(commitment);
        }
        let (asset, payer) = (commitment.asset, commitment.payer);
        let (allowance, open) = self.look_at_allowance(asset, payer).await;
        let allowed = allowance.map_or(Amount::ZERO, |allowance| allowance.amount);
        let needed = commitment.amount_max.checked_add(open.held).unwrap_or(Amount::MAX);
        if allowed >= needed {
            return Ok(Commitment { method: TransferMethod::Permit2, ..commitment });
        }
        let nonce = allowance.and_then(|allowance| allowance.permit_nonce);
        match (commitment.method, nonce) {
            // Permits at a token are used in their order: one at a time.
            (TransferMethod::Permit2Sponsored, Some(nonce)) if open.is_turn_of(nonce) => {
                let deadline_s = deadline_s(&commitment);
                let permit = TokenPermit { nonce, deadline_s, signature: None };
                Ok(Commitment { method: TransferMethod::Permit2By(permit), ..commitment })
            }
            _ => Err(PayError::Allowance { asset, payer, allowed, needed }),
        }
    }

    /// Finds how the deposit that goes with a call is really moved, where Permit2 does; one that the allowance
    /// is short for is made smaller, down to the least that does.
    ///
    /// # Errors
    /// [`NotLent::NotAllowed`] where Permit2 may not move so much and no permit can be sent;
    /// [`NotLent::Busy`] while another permit is on its way.
    pub(super) async fn allow_deposit(&self, lease: &mut Lease) -> Result<(), NotLent> {
        if !lease.method().is_permit2() {
            return Ok(());
        }
        let Some((wanted, least)) = lease.wanted() else {
            lease.set_method(TransferMethod::Permit2);
            return Ok(());
        };
        let (asset, payer) = (lease.terms.asset, lease.terms.payer);
        let (allowance, open) = self.look_at_allowance(asset, payer).await;
        let allowed = allowance.map_or(Amount::ZERO, |allowance| allowance.amount);
        let left = allowed.checked_sub(open.held).unwrap_or(Amount::ZERO);
        let nonce = allowance.and_then(|allowance| allowance.permit_nonce);
        let sponsored = lease.method() == TransferMethod::Permit2Sponsored;
        match nonce.filter(|_| sponsored && left < wanted.amount) {
            Some(nonce) if open.is_turn_of(nonce) => {
                let deadline_s = deposit_deadline_s(wanted.valid_before_s);
                let permit = TokenPermit { nonce, deadline_s, signature: None };
                lease.set_method(TransferMethod::Permit2By(permit));
            }
            _ if left >= least => {
                lease.put_in_at_most(left);
                lease.set_method(TransferMethod::Permit2);
            }
            // Permits at a token are used in their order: this one's turn comes.
            Some(_) => return Err(NotLent::Busy),
            None => {
                let needed = least.checked_add(open.held).unwrap_or(Amount::MAX);
                return Err(NotLent::NotAllowed { allowed, needed });
            }
        }
        Ok(())
    }

    /// What Permit2 may move, and what of that is spoken for.
    async fn look_at_allowance(&self, asset: Asset, payer: Address) -> (Option<Allowance>, Open) {
        let allowance = self.find_allowance(asset, payer).await;
        let open = move |ledger: &Ledger| Open::of(ledger, asset, payer);
        (allowance, self.parts.treasury.read(open).await.unwrap_or(Open::UNKNOWN))
    }

    async fn find_allowance(&self, asset: Asset, payer: Address) -> Option<Allowance> {
        let network = asset.network;
        let rail = self.rails.iter().find(|rail| rail.network() == network)?;
        let until = self.parts.clock.now().after(self.parts.settings.quote_timeout);
        let asked = rail.allowance(asset, payer);
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
    /// The highest nonce of a permit at the token that is on its way, where one is.
    permit: Option<u64>,
}

impl Open {
    const UNKNOWN: Self = Self { held: Amount::MAX, permit: Some(u64::MAX) };

    /// Whether the token wants a permit with this nonce next: permits are used in their order, one at a time,
    /// and one that is behind the token's own count was used.
    const fn is_turn_of(&self, nonce: u64) -> bool {
        match self.permit {
            None => true,
            Some(other) => other < nonce,
        }
    }

    fn of(ledger: &Ledger, asset: Asset, payer: Address) -> Self {
        let same = |hold: &&Hold| {
            let other = &hold.held.commitment;
            (other.asset, other.payer) == (asset, payer)
                && !matches!(hold.state, HoldState::Captured { .. })
        };
        let none = Self { held: Amount::ZERO, permit: None };
        let holds = ledger.holds();
        let held = holds.iter().copied().filter(same).map(|hold| {
            let held = &hold.held.commitment;
            (held.method, held.amount_max)
        });
        let coming = |channel: &Channel| {
            let terms = &channel.opened.terms;
            let ours = (terms.asset, terms.payer) == (asset, payer);
            let coming = channel.pending.filter(|_| ours)?;
            Some((coming.method, coming.deposit.amount))
        };
        let coming = ledger.channels().filter_map(coming);
        held.chain(coming).fold(none, |open, (method, amount)| match method {
            TransferMethod::Permit2 => {
                let sum = open.held.checked_add(amount).unwrap_or(Amount::MAX);
                Self { held: sum, ..open }
            }
            TransferMethod::Permit2By(permit) => {
                Self { permit: open.permit.max(Some(permit.nonce)), ..open }
            }
            TransferMethod::Eip3009 | TransferMethod::Permit2Sponsored => open,
        })
    }
}
