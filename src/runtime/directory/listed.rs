//! What is announced, as others list what is for sale over HTTP: each ware by its own path at its provider's
//! endpoint, priced for a thousand units in and a thousand out. The price is the quote's to say.

use serde_json::Map;

use crate::domain::listing::{Listing, Ware};
use crate::domain::order::{Maxima, Order, Units};
use crate::domain::pricing::price;
use crate::domain::x402::TokenDomains;
use crate::domain::x402::bazaar::{ACCEPTS_MAX, Discovered, Discovery, KEY, clean};
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::wire::X402_VERSION;
use crate::ports::catalogue::Catalogue;

use super::registry::Registry;

impl Catalogue for Registry {
    fn listed(&self) -> Vec<Discovered> {
        let (tokens, all) = (&self.tokens(), self.all());
        let wares = all.iter().flat_map(|signed| {
            let listing = &signed.listing;
            listing.wares.iter().filter_map(move |ware| discovered(listing, ware, tokens))
        });
        wares.collect()
    }
}

/// One ware, where it is sold over HTTP and in what this directory knows.
fn discovered(listing: &Listing, ware: &Ware, tokens: &TokenDomains) -> Option<Discovered> {
    if !listing.endpoint.starts_with("http") {
        return None;
    }
    let thousand = Units(1_000);
    let order = Order {
        capability: ware.capability.clone(),
        model: Some(ware.model.clone()),
        input_max: thousand,
        output_max: thousand,
        maxima: Maxima::default(),
    };
    let amount = price(&ware.terms, &order)?;
    let ways = listing.pay_by.iter().filter_map(|pay_by| {
        let token = tokens.find(pay_by.asset)?;
        Some(Requirement { pay_by: *pay_by, amount, token }.to_wire())
    });
    let accepts: Vec<_> = ways.take(ACCEPTS_MAX).collect();
    let endpoint = listing.endpoint.trim_end_matches('/');
    let declared = Discovery::default().declared("POST", None);
    (!accepts.is_empty()).then(|| Discovered {
        resource: format!("{endpoint}/{}/{}", ware.capability, ware.model),
        kind: "http".to_owned(),
        x402_version: X402_VERSION,
        accepts,
        last_updated: listing.issued_at.to_string(),
        description: clean(&format!("{} by {}", ware.capability, ware.model)),
        mime_type: None,
        service_name: clean(listing.provider.as_str()),
        tags: vec![ware.capability.to_string()],
        extensions: Map::from_iter([(KEY.to_owned(), declared)]),
    })
}
