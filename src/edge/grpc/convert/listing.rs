//! Listings and queries.

use super::{
    Malformed, address, bounded, nano, parse, parse_some, read, read_all, signature,
    signature_bytes, time, time_to_pb,
};
use crate::domain::listing::{Listing, Query, SignedListing, WARES_MAX, Ware};
use crate::domain::pricing::{STEPS_MAX, Step, Tiers};
use crate::edge::grpc::limits::{ENDPOINT_LEN_MAX, NETWORKS_MAX, PAY_BY_MAX};
use crate::edge::grpc::pb;

impl From<&Ware> for pb::Ware {
    fn from(ware: &Ware) -> Self {
        Self {
            capability: ware.capability.to_string(),
            model: ware.model.to_string(),
            terms: Some((&ware.terms).into()),
            free_calls: ware.tiers.free_calls,
            steps: ware.tiers.steps.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Ware> for Ware {
    type Error = Malformed;

    fn try_from(ware: pb::Ware) -> Result<Self, Malformed> {
        Ok(Self {
            capability: parse(&ware.capability, "capability")?,
            model: parse(&ware.model, "model")?,
            terms: read(ware.terms, "terms")?,
            tiers: Tiers {
                free_calls: ware.free_calls,
                steps: read_all(ware.steps, STEPS_MAX, "steps")?,
            },
        })
    }
}

impl From<&Step> for pb::PriceStep {
    fn from(step: &Step) -> Self {
        Self { after_calls: step.after_calls, flat: step.flat.to_string() }
    }
}

impl TryFrom<pb::PriceStep> for Step {
    type Error = Malformed;

    fn try_from(step: pb::PriceStep) -> Result<Self, Malformed> {
        Ok(Self { after_calls: step.after_calls, flat: parse(&step.flat, "flat")? })
    }
}

impl From<&Listing> for pb::Listing {
    fn from(listing: &Listing) -> Self {
        Self {
            provider: listing.provider.to_string(),
            endpoint: listing.endpoint.clone(),
            wares: listing.wares.iter().map(Into::into).collect(),
            pay_by: listing.pay_by.iter().map(Into::into).collect(),
            issued_at: Some(time_to_pb(listing.issued_at)),
            valid_until: Some(time_to_pb(listing.valid_until)),
        }
    }
}

impl TryFrom<pb::Listing> for Listing {
    type Error = Malformed;

    fn try_from(listing: pb::Listing) -> Result<Self, Malformed> {
        Ok(Self {
            provider: parse(&listing.provider, "provider")?,
            endpoint: bounded(listing.endpoint, ENDPOINT_LEN_MAX, "endpoint")?,
            wares: read_all(listing.wares, WARES_MAX, "wares")?,
            pay_by: read_all(listing.pay_by, PAY_BY_MAX, "pay_by")?,
            issued_at: time(listing.issued_at, "issued_at")?,
            valid_until: time(listing.valid_until, "valid_until")?,
        })
    }
}

impl From<&SignedListing> for pb::SignedListing {
    fn from(signed: &SignedListing) -> Self {
        Self {
            listing: Some((&signed.listing).into()),
            service_key: signed.service_key.to_string(),
            delegation: signature_bytes(&signed.delegation),
            signature: signature_bytes(&signed.signature),
        }
    }
}

impl TryFrom<pb::SignedListing> for SignedListing {
    type Error = Malformed;

    fn try_from(signed: pb::SignedListing) -> Result<Self, Malformed> {
        Ok(Self {
            listing: read(signed.listing, "listing")?,
            service_key: address(&signed.service_key, "service_key")?,
            delegation: signature(&signed.delegation, "delegation")?,
            signature: signature(&signed.signature, "signature")?,
        })
    }
}

impl From<&Query> for pb::FindRequest {
    /// The first page of what the query asks for.
    fn from(query: &Query) -> Self {
        Self {
            capability: query.capability.to_string(),
            model: query.model.as_ref().map(ToString::to_string),
            price_max_nano: query.price_max.map(|price| price.get().to_string()),
            networks: query.networks.iter().map(ToString::to_string).collect(),
            page_size: 0,
            page_token: String::new(),
        }
    }
}

impl TryFrom<pb::FindRequest> for Query {
    type Error = Malformed;

    fn try_from(request: pb::FindRequest) -> Result<Self, Malformed> {
        if request.networks.len() > NETWORKS_MAX {
            let problem = format_args!("has more than {NETWORKS_MAX} entries");
            return Err(Malformed::new("networks", problem));
        }
        let networks = request.networks.iter().map(|network| parse(network, "networks"));
        Ok(Self {
            capability: parse(&request.capability, "capability")?,
            model: parse_some(request.model.as_deref(), "model")?,
            price_max: request
                .price_max_nano
                .map(|text| nano(&text, "price_max_nano"))
                .transpose()?,
            networks: networks.collect::<Result<_, _>>()?,
        })
    }
}
