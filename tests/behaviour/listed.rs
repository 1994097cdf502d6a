//! Waits until a provider is listed.

use bursar::domain::listing::Query;
use bursar::ports::directory::Directory as _;
use bursar::runtime::directory::Registry;

use crate::market::name;

/// How often it is looked; one that is not listed is missed where it is wanted.
const LOOKS_MAX: usize = 100_000;

/// It announces itself in a task of its own; until then an earlier one of its name is found.
pub async fn listed(registry: &Registry, endpoint: &str) {
    let any = Query { capability: name("echo"), model: None, price_max: None, networks: vec![] };
    for _ in 0..LOOKS_MAX {
        let found = registry.find(&any).await.unwrap();
        if found.iter().any(|signed| signed.listing.endpoint == endpoint) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
