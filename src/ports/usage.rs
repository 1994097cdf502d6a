//! Usage, for showing: what was used, summed by whoever is asked about, between two instants. Nothing is
//! decided by what is read here.

use serde::Serialize;

use crate::domain::id::Name;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// What usage is summed by.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageBy {
    /// Who bought.
    Agent,
    /// As which role it did.
    Role,
    /// In which group it was.
    Group,
    /// Who sold.
    Provider,
    /// To whom it was sold or given, by the key on the rail.
    Payer,
    /// What kind of work.
    Capability,
    /// With which model.
    Model,
}

impl UsageBy {
    /// Its name on the command line and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Role => "role",
            Self::Group => "group",
            Self::Provider => "provider",
            Self::Payer => "payer",
            Self::Capability => "capability",
            Self::Model => "model",
        }
    }
}

/// Which usage is asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// From this instant on.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    /// Of this agent.
    pub agent: Option<Name>,
    /// Of this group, as it was then.
    pub group: Option<Name>,
    /// From this provider.
    pub provider: Option<Name>,
}

/// What somebody used of one asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// Of whom; empty for what belongs to nobody of the kind.
    pub who: String,
    /// On which side: `bought`, `sold`, or `granted` for what was given away.
    pub side: String,
    /// Where the money is, by CAIP-2.
    pub network: String,
    /// The token.
    pub asset: String,
    /// Calls.
    pub calls: u64,
    /// Input tokens.
    pub input_units: u64,
    /// Output tokens.
    pub output_units: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Milliseconds that engines worked.
    pub compute_ms: u64,
    /// Bytes that are kept.
    pub stored_bytes: u64,
    /// What was charged, in atomic units.
    pub amount: Amount,
}
