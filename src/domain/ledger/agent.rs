//! Agents, delegations and pauses as the ledger knows them.

use std::fmt;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::id::{AgentId, DelegationId, GroupId, Name, RoleId, WalletId};
use crate::domain::ledger::budget::Terms;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;

/// A token's SHA-256: tokens themselves are never kept.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(pub [u8; 32]);

/// What proves that its bearer is an agent, or the operator: shown once, never kept, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// What an agent's token begins with, so that one that leaks is found by who scans for it.
    pub const AGENT: &'static str = "bat_";

    /// What the operator's token begins with.
    pub const OPERATOR: &'static str = "bop_";

    /// The token of the agent called `name`: `bat_NAME_` and 43 characters of this randomness.
    pub fn for_agent(name: &Name, random: [u8; 32]) -> Self {
        let random = Zeroizing::new(random);
        let end = Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice()));
        Self(Zeroizing::new(format!("{}{name}_{}", Self::AGENT, end.as_str())))
    }

    /// The operator's token: `bop_` and 43 characters of this randomness.
    pub fn for_operator(random: [u8; 32]) -> Self {
        let random = Zeroizing::new(random);
        let end = Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice()));
        Self(Zeroizing::new(format!("{}{}", Self::OPERATOR, end.as_str())))
    }

    /// A token as it was shown, by whoever bears it now; any text may be tried.
    pub fn shown(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// Its text, for the one time that it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it. One SHA-256 is enough: nobody guesses 256 random bits.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// An agent: who it is, what it may do by its role, and from which wallet it pays.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Agent {
    /// Its name.
    pub name: Name,
    /// Its role's name.
    pub role: Name,
    /// Its group's name.
    pub group: Name,
    /// Its wallet's name.
    pub wallet: Name,
    /// What proves that it is itself.
    pub token: TokenHash,
    /// For a sub-agent: the delegated budget that it spends from.
    pub delegation: Option<DelegationId>,
}

impl Agent {
    /// Its id.
    pub fn id(&self) -> AgentId {
        AgentId::named(&self.name)
    }

    /// Its role's id.
    pub fn role_id(&self) -> RoleId {
        RoleId::named(&self.role)
    }

    /// Its group's id.
    pub fn group_id(&self) -> GroupId {
        GroupId::named(&self.group)
    }

    /// Its wallet's id.
    pub fn wallet_id(&self) -> WalletId {
        WalletId::named(&self.wallet)
    }
}

/// A sub-budget that an agent carved out of its own: what is spent from it counts in every budget of
/// the parent too, so that fan-out cannot multiply spend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delegation {
    /// Who carved it out.
    pub parent: AgentId,
    /// Who spends from it.
    pub child: AgentId,
    /// How much, for its whole life.
    pub limit: Nano,
    /// Until when.
    pub until: Timestamp,
}

impl Delegation {
    /// What its account is held to.
    pub(super) fn terms(&self) -> Terms<'_> {
        static NAME: LazyLock<Name> =
            LazyLock::new(|| "delegation".parse().expect("a literal name"));
        Terms { name: &NAME, limit: self.limit, window: &WindowSpec::Lifetime, newest: None }
    }
}

/// What a pause stops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Every signature.
    All,
    /// Those of a group's agents.
    Group(Name),
    /// Those of a role's agents.
    Role(Name),
    /// Those of an agent and of its sub-agents.
    Agent(Name),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Group(name) => write!(f, "group/{name}"),
            Self::Role(name) => write!(f, "role/{name}"),
            Self::Agent(name) => write!(f, "agent/{name}"),
        }
    }
}

/// Who asked for a change that is not a payment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Principal {
    /// The operator, by socket or token.
    Operator,
    /// An agent, by its token.
    Agent(AgentId),
    /// The node itself: start-up, reconciliation, keeper.
    Node,
}
