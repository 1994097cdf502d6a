//! Decides: a command in, an event or a named refusal out. Changes nothing.
//!
//! Each decision is a list of refusals in a fixed order; what is left after the last one succeeds.

mod claims;
mod fleet;
mod holds;
mod payments;

pub(super) use holds::{Source, full};

use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::ledger::command::Command;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::time::Timestamp;

/// What a command becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What happens.
    pub event: Event,
    /// What every budget said, where budgets were asked.
    pub checks: Vec<BudgetCheck>,
}

/// A command that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub rejection: Rejection,
    /// What every budget said, where budgets were asked.
    pub checks: Vec<BudgetCheck>,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, checks: Vec::new() }
    }
}

impl From<Event> for Decided {
    fn from(event: Event) -> Self {
        Self { event, checks: Vec::new() }
    }
}

impl Ledger {
    /// What `command` becomes at `now`, which is later than every event so far.
    ///
    /// # Errors
    /// [`Refusal`] with the rejection that comes first; the ledger is unchanged either way.
    pub fn decide(&self, now: Timestamp, command: Command) -> Result<Decided, Refusal> {
        match command {
            Command::Hold(ask) => self.decide_hold(now, *ask),
            Command::Channel(command) => self.decide_channel(now, command),
            Command::Tab(command) => Ok(Event::Tab(self.decide_tab(command)?).into()),
            Command::Doubt { payment } => Ok(self.decide_doubt(payment)?.into()),
            Command::Capture { payment, amount, transaction, proof } => {
                Ok(self.decide_capture(payment, amount, transaction, proof)?.into())
            }
            Command::Verify { payment, transaction, amount, block } => {
                Ok(self.decide_verify(payment, transaction, amount, block)?.into())
            }
            Command::Void { payment, proof, boot } => {
                Ok(self.decide_void(payment, proof, boot)?.into())
            }
            Command::Expire { payment, block } => Ok(self.decide_expire(payment, block)?.into()),
            Command::Grant { grant, allowance } => {
                Ok(self.decide_grant(now, grant, &allowance)?.into())
            }
            Command::Meter(metered) => Ok(self.decide_meter(metered)?.into()),
            claim @ (Command::Accept(_)
            | Command::DoubtClaim { .. }
            | Command::ChargeClaim { .. }
            | Command::SettleClaim { .. }
            | Command::Serve { .. }
            | Command::ServeOnCredit { .. }
            | Command::ReleaseClaim { .. }
            | Command::KillClaim { .. }
            | Command::BeginRefund { .. }
            | Command::Refund { .. }) => Ok(self.decide_claim(now, claim)?.into()),
            fleet @ (Command::PinRail { .. }
            | Command::ApplyPolicy { .. }
            | Command::AddAgent { .. }
            | Command::ReplaceToken { .. }
            | Command::OpenWallet { .. }
            | Command::SeeFunds { .. }
            | Command::Delegate { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::SpendGas { .. }) => Ok(self.decide_fleet(now, fleet)?.into()),
        }
    }
}
