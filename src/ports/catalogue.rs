//! What is listed for whoever looks for an x402 resource.

use crate::domain::x402::bazaar::Discovered;

/// Lists resources. All of it is strangers' text, and nothing is paid by it.
pub trait Catalogue: Send + Sync {
    /// All that is listed now, in an order that stays while nothing changes.
    fn listed(&self) -> Vec<Discovered>;
}
