//! The whole policy as one document: what the journal keeps, and what gives roles back after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::asset::AssetRegistry;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{Name, RoleId};
use crate::domain::ledger::budget::BudgetDef;
use crate::domain::policy::role::{Rates, Role};

/// Every rule in force. The same rules give the same text, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// The unit of account of every limit: `USD`.
    pub currency: String,
    /// By name.
    pub roles: BTreeMap<Name, Role>,
    /// As the operator states them, by name; those that follow from roles are not among them.
    pub budgets: Vec<BudgetDef>,
    /// How fast a provider may be called by everybody together.
    pub provider_rates: BTreeMap<Name, Rates>,
    /// What may be paid with, and how it counts.
    pub assets: AssetRegistry,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Another version wrote it, or it was changed by hand.
    #[error("the policy document cannot be read: {0}")]
    Unreadable(String),
}

impl Fault for PolicyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "policy.unreadable",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

impl PolicyDocument {
    /// Its text, without spaces, maps in the order of their keys.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a policy has text keys and no floats")
    }

    /// The policy of this text.
    ///
    /// # Errors
    /// [`PolicyError::Unreadable`].
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        serde_json::from_str(text).map_err(|error| PolicyError::Unreadable(error.to_string()))
    }

    /// Every budget: the operator's, then those that roles and provider rates amount to. This is what
    /// the ledger counts in.
    pub fn all_budgets(&self) -> Vec<BudgetDef> {
        let of_roles = self.roles.values().flat_map(Role::budgets);
        let of_providers =
            self.provider_rates.iter().filter_map(|(name, rates)| rates.provider_budget(name));
        self.budgets.iter().cloned().chain(of_roles).chain(of_providers).collect()
    }

    /// The role of this name.
    pub fn find_role(&self, name: &Name) -> Option<&Role> {
        self.roles.get(name)
    }

    /// The name of the role with this id.
    pub fn find_role_name(&self, id: RoleId) -> Option<&Name> {
        self.roles.keys().find(|name| RoleId::named(name) == id)
    }
}
