//! A newtype for every id, and the names that people give.
//!
//! Ids are sixteen bytes. Those of named things are the first half of a SHA-256 over kind and name,
//! so that a ledger of millions stays small and no name can pass for another kind's.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use alloy::primitives::hex;
use arcstr::ArcStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// Bytes of every id.
pub const ID_LEN: usize = 16;

/// Longest name of an agent, role, group, budget, provider, capability, model or session, in bytes.
pub const NAME_LEN_MAX: usize = 64;

/// A name that people give: 1 to [`NAME_LEN_MAX`] of `a-z A-Z 0-9 . _ - :`, first a letter or digit.
// One word, not a pointer and a length: a wallet and its agent have five, there are millions of both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(ArcStr);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: expected 1 to 64 of a-z A-Z 0-9 . _ - : with a letter or digit first"
)]
pub struct NameError(pub String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':'));
        if first && rest && text.len() <= NAME_LEN_MAX {
            Ok(Self(text.into()))
        } else {
            Err(NameError(text.chars().take(NAME_LEN_MAX).collect()))
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id: expected {prefix} and 32 hexadecimal digits")]
pub struct IdError {
    /// What was read.
    pub text: String,
    /// What it should have begun with.
    pub prefix: &'static str,
}

fn digest(kind: &str, parts: &[&[u8]]) -> [u8; ID_LEN] {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    for part in parts {
        // The length keeps neighbours apart: ("ab", "c") and ("a", "bc") are different things.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let full: [u8; 32] = hash.finalize().into();
    let mut id = [0; ID_LEN];
    id.copy_from_slice(full.split_at(ID_LEN).0);
    id
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name([u8; ID_LEN]);

        // As one number: a hasher takes it in one step.
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u128(u128::from_ne_bytes(self.0));
            }
        }

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// The id of these bytes.
            pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }

            /// The id of what is known by these parts: the same parts, the same id, for ever.
            pub fn of(parts: &[&[u8]]) -> Self {
                Self(digest($prefix, parts))
            }

            /// The id of what has this name.
            pub fn named(name: &Name) -> Self {
                Self::of(&[name.as_str().as_bytes()])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(hex::Buffer::<ID_LEN>::new().format(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong =
                    || IdError { text: text.chars().take(64).collect(), prefix: $prefix };
                let hex = text.strip_prefix($prefix).ok_or_else(wrong)?;
                let lower = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !lower || hex.len() != 32 {
                    return Err(wrong());
                }
                u128::from_str_radix(hex, 16).map(|n| Self(n.to_be_bytes())).map_err(|_| wrong())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    <[u8; ID_LEN]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id!(
    /// One payment's only name, made by the payer from agent, request and attempt; its text is a
    /// valid x402 payment-identifier (`pay_` and 32 hexadecimal digits).
    PaymentId,
    "pay_"
);
id!(
    /// An agent.
    AgentId,
    "agt_"
);
id!(
    /// A role.
    RoleId,
    "rol_"
);
id!(
    /// A group: the isolation boundary.
    GroupId,
    "grp_"
);
id!(
    /// A wallet.
    WalletId,
    "wal_"
);
id!(
    /// A provider.
    ProviderId,
    "prv_"
);
id!(
    /// A session: an agent's name for a span of work, so it holds the agent too.
    SessionId,
    "ses_"
);
id!(
    /// A delegated budget.
    DelegationId,
    "dlg_"
);
id!(
    /// A caller's request: a UUIDv7, so that its age can be read from it.
    RequestId,
    "req_"
);
id!(
    /// Where a call comes from, condensed: one caller's network address.
    PeerId,
    "per_"
);
id!(
    /// What a request says, condensed: same id with another fingerprint is another request.
    Fingerprint,
    "fpr_"
);

impl PaymentId {
    /// The payment of `attempt` (0 first) at `request` by `agent`. Derived, so that even a ledger
    /// restored from an old backup makes the same id, the same nonce, and a collision on chain
    /// instead of a second payment.
    pub fn derive(agent: AgentId, request: RequestId, attempt: u32) -> Self {
        Self::of(&[agent.as_bytes(), request.as_bytes(), &attempt.to_be_bytes()])
    }
}

impl SessionId {
    /// The session that `agent` calls `name`.
    pub fn of_agent(agent: AgentId, name: &Name) -> Self {
        Self::of(&[agent.as_bytes(), name.as_str().as_bytes()])
    }
}

impl RequestId {
    /// When it was made, by its own word: milliseconds since the epoch in the first 48 bits.
    /// `None` where it is not a UUIDv7. Source: RFC 9562 section 5.7.
    pub fn made_at_ms(&self) -> Option<u64> {
        let uuid = uuid::Uuid::from_bytes(self.0);
        if uuid.get_version_num() != 7 {
            return None;
        }
        Some(u64::from_be_bytes([
            0, 0, self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5],
        ]))
    }

    /// The id with this time and this randomness. Source: RFC 9562 section 5.7.
    pub fn new(made_at_ms: u64, random: [u8; 10]) -> Self {
        Self(*uuid::Builder::from_unix_timestamp_millis(made_at_ms, &random).as_uuid().as_bytes())
    }
}
