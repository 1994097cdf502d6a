//! The decision: a role held against an offer, every rule looked at, the first that fails named.

use std::fmt;

use alloy::primitives::Address;

use crate::domain::asset::Asset;
use crate::domain::commitment::Scheme;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::Name;
use crate::domain::money::{Amount, Nano};
use crate::domain::order::{Order, Units};
use crate::domain::policy::RuleCheck;
use crate::domain::policy::pattern::Pattern;
use crate::domain::policy::role::{Lists, Role};

/// What would be paid, to whom, for what.
#[derive(Copy, Clone, Debug)]
pub struct Offer<'a> {
    /// What is wanted.
    pub order: &'a Order,
    /// Who sells.
    pub provider: &'a Name,
    /// With which model, by the quote.
    pub model: &'a Name,
    /// Who would be paid on the rail.
    pub pay_to: Address,
    /// In what, on which network.
    pub asset: Asset,
    /// By which scheme.
    pub scheme: Scheme,
    /// The worst case in atomic units.
    pub amount: Amount,
    /// The worst case in the unit of account.
    pub nano: Nano,
}

/// Which list of a role.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// Kinds of work.
    Capabilities,
    /// Models.
    Models,
    /// Providers' names.
    Providers,
    /// Addresses that are paid.
    Payees,
    /// Networks.
    Networks,
    /// Assets.
    Assets,
    /// x402 schemes.
    Schemes,
}

impl List {
    /// Every list, in the order in which they are looked at.
    pub const ALL: [Self; 7] = [
        Self::Capabilities,
        Self::Models,
        Self::Providers,
        Self::Payees,
        Self::Networks,
        Self::Assets,
        Self::Schemes,
    ];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Models => "models",
            Self::Providers => "providers",
            Self::Payees => "payees",
            Self::Networks => "networks",
            Self::Assets => "assets",
            Self::Schemes => "schemes",
        }
    }

    /// Its patterns.
    pub fn of(self, lists: &Lists) -> &[Pattern] {
        match self {
            Self::Capabilities => &lists.capabilities,
            Self::Models => &lists.models,
            Self::Providers => &lists.providers,
            Self::Payees => &lists.payees,
            Self::Networks => &lists.networks,
            Self::Assets => &lists.assets,
            Self::Schemes => &lists.schemes,
        }
    }

    fn found(self, offer: &Offer<'_>) -> String {
        match self {
            Self::Capabilities => offer.order.capability.to_string(),
            Self::Models => offer.model.to_string(),
            Self::Providers => offer.provider.to_string(),
            Self::Payees => offer.pay_to.to_string(),
            Self::Networks => offer.asset.network.to_string(),
            Self::Assets => offer.asset.to_string(),
            Self::Schemes => offer.scheme.as_str().to_owned(),
        }
    }

    fn find_match<'a>(self, lists: &'a Lists, found: &str) -> Option<&'a Pattern> {
        self.of(lists).iter().find(|pattern| match self {
            Self::Payees | Self::Assets => pattern.matches_any_case(found),
            _ => pattern.matches(found),
        })
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The rule that says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// A deny list names it.
    #[error("role {role} denies {found} in its {list} (`{pattern}`)")]
    Denied {
        /// Which role.
        role: Name,
        /// Which list.
        list: List,
        /// What was found there.
        pattern: Pattern,
        /// In the offer.
        found: String,
    },
    /// No allow list names it.
    #[error("role {role} does not allow {found} in its {list}")]
    NotAllowed {
        /// Which role.
        role: Name,
        /// Which list.
        list: List,
        /// In the offer.
        found: String,
    },
    /// One call would cost too much.
    #[error("role {role} allows at most {per_call_max} a call, this one may cost {asked}")]
    AbovePerCall {
        /// Which role.
        role: Name,
        /// The bound.
        per_call_max: Nano,
        /// The worst case.
        asked: Nano,
    },
    /// One call would produce too much.
    #[error("role {role} allows at most {} units of output a call, {} asked", .output_max.0, .asked.0)]
    AboveOutput {
        /// Which role.
        role: Name,
        /// The bound.
        output_max: Units,
        /// What the order asks for.
        asked: Units,
    },
    /// Its agents may not carve out budgets.
    #[error("role {role} does not delegate")]
    NoDelegation {
        /// Which role.
        role: Name,
    },
}

impl Fault for Denial {
    fn code(&self) -> &'static str {
        match self {
            Self::Denied { list, .. } => match list {
                List::Capabilities => "policy.capability_denied",
                List::Models => "policy.model_denied",
                List::Providers => "policy.provider_denied",
                List::Payees => "policy.payee_denied",
                List::Networks => "policy.network_denied",
                List::Assets => "policy.asset_denied",
                List::Schemes => "policy.scheme_denied",
            },
            Self::NotAllowed { list, .. } => match list {
                List::Capabilities => "policy.capability_not_allowed",
                List::Models => "policy.model_not_allowed",
                List::Providers => "policy.provider_not_allowed",
                List::Payees => "policy.payee_not_allowed",
                List::Networks => "policy.network_not_allowed",
                List::Assets => "policy.asset_not_allowed",
                List::Schemes => "policy.scheme_not_allowed",
            },
            Self::AbovePerCall { .. } => "policy.above_per_call",
            Self::AboveOutput { .. } => "policy.above_output",
            Self::NoDelegation { .. } => "policy.no_delegation",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// A denial, with every rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{denial}")]
pub struct Denied {
    /// The first rule that said no.
    pub denial: Denial,
    /// Every rule, in the order they were looked at.
    pub rules: Vec<RuleCheck>,
}

impl Fault for Denied {
    fn code(&self) -> &'static str {
        self.denial.code()
    }

    fn class(&self) -> Class {
        self.denial.class()
    }
}

/// Whether `role` lets `offer` pass. Every rule is looked at also after one said no, so that `bursar
/// why` shows all that would have to change.
///
/// # Errors
/// [`Denied`], with the first rule that said no.
pub fn decide(role: &Role, offer: &Offer<'_>) -> Result<Vec<RuleCheck>, Denied> {
    let mut asked = Asked { rules: Vec::new(), denial: None };
    for list in List::ALL {
        asked.look_at_list(role, list, &list.found(offer));
    }
    asked.look_at(
        "per_call_max",
        role.per_call_max.to_string(),
        offer.nano.to_string(),
        (offer.nano > role.per_call_max && !planted!("per_call_max_ignored")).then(|| {
            Denial::AbovePerCall {
                role: role.name.clone(),
                per_call_max: role.per_call_max,
                asked: offer.nano,
            }
        }),
    );
    if let Some(output_max) = role.output_max {
        let found = offer.order.output_max;
        asked.look_at(
            "output_max",
            output_max.0.to_string(),
            found.0.to_string(),
            (found > output_max).then(|| Denial::AboveOutput {
                role: role.name.clone(),
                output_max,
                asked: found,
            }),
        );
    }
    match asked.denial {
        None => Ok(asked.rules),
        Some(denial) => Err(Denied { denial, rules: asked.rules }),
    }
}

impl Role {
    /// Whether these of its lists let pass what was found, before anybody has named a price.
    ///
    /// # Errors
    /// [`Denial::Denied`], [`Denial::NotAllowed`].
    pub fn check_lists(&self, found: &[(List, &Name)]) -> Result<(), Denial> {
        let mut asked = Asked { rules: Vec::new(), denial: None };
        for (list, found) in found {
            asked.look_at_list(self, *list, found.as_str());
        }
        asked.denial.map_or(Ok(()), Err)
    }

    /// Whether its agents may carve budgets for sub-agents out of their own.
    ///
    /// # Errors
    /// [`Denial::NoDelegation`].
    pub fn check_delegation(&self) -> Result<(), Denial> {
        if self.can_delegate {
            Ok(())
        } else {
            Err(Denial::NoDelegation { role: self.name.clone() })
        }
    }
}

struct Asked {
    rules: Vec<RuleCheck>,
    denial: Option<Denial>,
}

impl Asked {
    fn look_at(&mut self, rule: &str, says: String, found: String, denial: Option<Denial>) {
        let passed = denial.is_none();
        self.rules.push(RuleCheck { rule: rule.to_owned(), says, found, passed });
        if self.denial.is_none() {
            self.denial = denial;
        }
    }

    /// Deny before allow: what is denied is denied, whatever else is written.
    fn look_at_list(&mut self, role: &Role, list: List, found: &str) {
        if !list.of(&role.deny).is_empty() && !planted!("deny_lists_ignored") {
            let denial = list.find_match(&role.deny, found).map(|pattern| Denial::Denied {
                role: role.name.clone(),
                list,
                pattern: pattern.clone(),
                found: found.to_owned(),
            });
            let says = shown(list.of(&role.deny));
            self.look_at(&format!("deny.{list}"), says, found.to_owned(), denial);
        }
        let denial = list.find_match(&role.allow, found).is_none().then(|| Denial::NotAllowed {
            role: role.name.clone(),
            list,
            found: found.to_owned(),
        });
        let says = shown(list.of(&role.allow));
        self.look_at(&format!("allow.{list}"), says, found.to_owned(), denial);
    }
}

fn shown(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        return "nothing".to_owned();
    }
    patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ")
}
