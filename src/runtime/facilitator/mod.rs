//! Verifies and settles for payees elsewhere. Whoever asks brings the requirements; what is believed of them
//! is what the registry pins and what the chain shows.
//!
//! - Nothing is sent before it is written down, for how much: the first charge stands.
//! - A payment is told as settled once. Who asks again is told that its nonce was used, and by which
//!   transaction: a payee that serves by the answer alone must not serve twice.
//! - What can be seen without a chain is looked at first, and one payer's payments cost the chain so many
//!   questions a minute and no more.
//! - What may have been sent and is not seen is `settlement_pending`, never a failure; who asks again then
//!   gets the outcome.
//!
//! It never signs a payment, holds nobody's money, and keeps no ledger.

mod answer;
mod catalog;
mod channels;
mod payments;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use alloy::primitives::Address;

use crate::domain::asset::{AssetRegistry, Network};
use crate::domain::commitment::AuthorizationKey;
use crate::domain::policy::Rates;
use crate::domain::x402::TokenDomains;
use crate::domain::x402::bazaar;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::facilitate::Step;
use crate::domain::x402::sponsoring;
use crate::domain::x402::wire::{Supported, SupportedKind, X402_VERSION};
use crate::ports::clock::Clock;
use crate::ports::rail::{Evidence, Settler};
use crate::ports::settlements::Settlements;
use crate::runtime::limits::{Admission, Key, Limits};

use answer::Refusal;

pub use answer::{Answer, Standing};
pub use catalog::{Catalog, RESOURCES_MAX, RESOURCES_PER_PAYEE_MAX};

/// How fast one payer's payments may be verified, and how fast settled, where nobody says otherwise: each asks
/// the chain a few questions. Source: threats.md T10.
pub const PAYER_RATES: Rates =
    Rates { calls_per_minute: Some(600), concurrency: Some(64), nano_per_minute: None };

/// The pattern under which the gas accounts are told.
const SIGNERS: &str = "eip155:*";

/// A network to settle on.
#[derive(Clone)]
pub struct Rail {
    /// Settles there.
    pub settler: Arc<dyn Settler>,
    /// Bears witness there.
    pub evidence: Arc<dyn Evidence>,
}

/// What a facilitator is made of.
pub struct Parts {
    /// One for each network.
    pub rails: Vec<Rail>,
    /// What may be paid with.
    pub assets: AssetRegistry,
    /// What was settled before.
    pub settlements: Arc<dyn Settlements>,
    /// How fast one payer's payments are looked into: those that are verified and those that are settled are
    /// counted apart, so that what was verified and served can be settled.
    pub payer_rates: Rates,
    /// Payees whose channels name a gas account of this facilitator as their authorizer and are claimed by
    /// somebody else: nothing is given back to their payers on this facilitator's word.
    pub own: BTreeSet<Address>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Verifies and settles.
pub struct Facilitator {
    rails: Vec<Rail>,
    tokens: TokenDomains,
    settlements: Arc<dyn Settlements>,
    catalog: Arc<Catalog>,
    payer_rates: Rates,
    own: BTreeSet<Address>,
    verifying: Limits,
    settling: Limits,
    clock: Arc<dyn Clock>,
    under_way: Mutex<BTreeSet<AuthorizationKey>>,
}

impl Facilitator {
    /// A facilitator of `parts`.
    pub fn new(parts: Parts) -> Self {
        Self {
            rails: parts.rails,
            tokens: TokenDomains::new(&parts.assets),
            settlements: parts.settlements,
            catalog: Arc::new(Catalog::new(Arc::clone(&parts.clock))),
            payer_rates: parts.payer_rates,
            own: parts.own,
            verifying: Limits::new(Arc::clone(&parts.clock)),
            settling: Limits::new(Arc::clone(&parts.clock)),
            clock: parts.clock,
            under_way: Mutex::default(),
        }
    }

    /// What it does. Source: x402 v2 section 7.3.
    pub fn supported(&self) -> Supported {
        let mut kinds = Vec::new();
        let mut accounts = BTreeSet::new();
        for Rail { settler, .. } in &self.rails {
            let network = settler.network().to_string();
            let kind = |scheme: &str, extra| SupportedKind {
                x402_version: X402_VERSION,
                scheme: scheme.to_owned(),
                network: network.clone(),
                extra,
            };
            kinds.push(kind("exact", None));
            if let Some(account) = settler.facilitator() {
                accounts.insert(account);
                kinds.push(kind("upto", Some(extra("facilitatorAddress", account))));
            }
            if let Some(channels) = Arc::clone(settler).channels() {
                let authorizer = extra("receiverAuthorizer", channels.authorizer());
                kinds.push(kind(channels::SCHEME, Some(authorizer)));
            }
        }
        let accounts: Vec<String> = accounts.iter().map(Address::to_string).collect();
        let extensions = [sponsoring::KEY, bazaar::KEY].map(ToOwned::to_owned).to_vec();
        Supported { kinds, extensions, signers: [(SIGNERS.to_owned(), accounts)].into() }
    }

    /// What was paid for here.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// Whether every rail can settle now.
    pub async fn is_ready(&self) -> bool {
        for Rail { settler, .. } in &self.rails {
            if settler.check_ready().await.is_err() {
                return false;
            }
        }
        true
    }

    /// Leave to ask the chain about a payment of `payer`'s.
    fn admit(&self, step: Step, payer: Address) -> Result<Admission, Refusal> {
        let limits = match step {
            Step::Verify => &self.verifying,
            Step::Settle => &self.settling,
        };
        let admitted = limits.admit(&[(Key::Payer(payer), self.payer_rates)]);
        admitted.map_err(|limited| Refusal::limited(limited, payer))
    }

    fn rail(&self, network: Network) -> Result<&Rail, PaymentError> {
        let found = self.rails.iter().find(|rail| rail.settler.network() == network);
        found.ok_or(PaymentError::Network)
    }
}

fn extra(key: &str, account: Address) -> serde_json::Map<String, serde_json::Value> {
    [(key.to_owned(), account.to_string().into())].into_iter().collect()
}

/// Marks an authorization while it is being settled; gone when dropped.
struct UnderWay<'f> {
    facilitator: &'f Facilitator,
    key: AuthorizationKey,
}

impl Facilitator {
    /// Marks `key`; nothing where somebody else settles it now.
    fn enter(&self, key: AuthorizationKey) -> Option<UnderWay<'_>> {
        let mut under_way = self.under_way.lock().expect("no holder of the marks panics");
        // Made only where it is due: its end takes the mark away.
        under_way.insert(key).then(|| UnderWay { facilitator: self, key })
    }

    fn is_under_way(&self, key: AuthorizationKey) -> bool {
        self.under_way.lock().expect("no holder of the marks panics").contains(&key)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way =
            self.facilitator.under_way.lock().expect("no holder of the marks panics");
        under_way.remove(&self.key);
    }
}
