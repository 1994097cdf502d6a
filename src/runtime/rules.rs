//! The policy in force, as parsed from the ledger's own document.

use std::sync::{Arc, Mutex};

use crate::domain::policy::PolicyDocument;
use crate::domain::x402::TokenDomains;
use crate::runtime::treasury::{Refused, Treasury};

/// A policy and its version.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its version in the ledger.
    pub version: u32,
    /// The policy.
    pub policy: Arc<PolicyDocument>,
    /// The domains of its assets, hashed once.
    pub tokens: Arc<TokenDomains>,
}

/// Reads the policy in force; parses a document once.
#[derive(Clone)]
pub struct Rules {
    treasury: Treasury,
    parsed: Arc<Mutex<Option<InForce>>>,
}

impl Rules {
    /// The rules of this treasury's ledger.
    pub fn new(treasury: Treasury) -> Self {
        Self { treasury, parsed: Arc::default() }
    }

    /// The policy in force at this instant.
    ///
    /// # Errors
    /// [`Refused::Stopped`]. A ledger without a policy has one that allows nothing.
    pub async fn current(&self) -> Result<InForce, Refused> {
        let version = self.treasury.peek(|ledger| ledger.policy().version).await?;
        self.at(version).await
    }

    /// The policy that was read to be of `version` a moment ago.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn at(&self, version: u32) -> Result<InForce, Refused> {
        let known = self.parsed.lock().expect("no holder of the rules panics").clone();
        if let Some(known) = known
            && known.version == version
        {
            return Ok(known);
        }
        let policy = self.treasury.read(|ledger| ledger.policy().clone()).await?;
        let document = match policy.version {
            0 => PolicyDocument::default(),
            _ => serde_json::from_str(&policy.document)
                .expect("the ledger holds checked documents only"),
        };
        let tokens = Arc::new(TokenDomains::new(&document.assets));
        let parsed = InForce { version: policy.version, policy: Arc::new(document), tokens };
        *self.parsed.lock().expect("no holder of the rules panics") = Some(parsed.clone());
        Ok(parsed)
    }
}
