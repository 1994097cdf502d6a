//! The checks of a signed listing: by its service key, and by a payTo key that lets it speak.

use std::time::Duration;

use alloy::primitives::Address;

use crate::domain::fault::{Class, Fault};
use crate::domain::listing::{Listing, SignedListing, WARES_MAX};
use crate::domain::pricing::TiersError;
use crate::domain::quote::PayBy;
use crate::domain::time::Timestamp;
use crate::domain::x402::digest::{Delegation, delegation_digest, listing_digest};
use crate::domain::x402::signature::is_signed_by;

/// Most ways to pay in one listing.
pub const PAY_BY_MAX: usize = 16;

/// Longest endpoint, in bytes.
pub const ENDPOINT_LEN_MAX: usize = 1024;

/// How far a listing may be issued in the future, in seconds: clocks differ.
pub const CLOCK_SKEW_MAX_S: u64 = 60;

/// Longest life of a listing, in seconds: it is renewed, and a lost key's last one ends.
pub const LIFE_MAX_S: u64 = 30 * 24 * 60 * 60;

/// Why a listing is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// Nothing for sale, or more than one listing may hold.
    #[error("{0} wares, expected 1 to 64")]
    Wares(usize),
    /// The same model is listed twice for the same work.
    #[error("a ware is listed twice")]
    SameWare,
    /// The tiers of a ware make no sense.
    #[error(transparent)]
    Tiers(TiersError),
    /// No way to pay, or more than one listing may hold.
    #[error("{0} ways to pay, expected 1 to 16")]
    PayBys(usize),
    /// The ways to pay go to different payees, and one key delegates.
    #[error("ways to pay go to different payees")]
    Payees,
    /// A way to pay gives no time to settle in.
    #[error("a way to pay has no time limit to settle in")]
    Timeout,
    /// An endpoint that nobody can call.
    #[error("the endpoint is none of https://host:port, http://host:port and unix:/path")]
    Endpoint,
    /// Its time has passed, or it ends before it begins.
    #[error("the listing was valid until {0}")]
    Expired(Timestamp),
    /// Issued in the future.
    #[error("the listing is issued at {0}, in the future")]
    Early(Timestamp),
    /// It lives too long.
    #[error("the listing is valid until {0}, more than 30 days")]
    TooLong(Timestamp),
    /// The service key did not sign it.
    #[error("the listing's signature is not that of {0}")]
    Signature(Address),
    /// The payTo key did not delegate the service key.
    #[error("the delegation's signature is not that of {0}")]
    Delegation(Address),
}

impl Fault for ListingError {
    fn code(&self) -> &'static str {
        match self {
            Self::Wares(_) => "listing.wares",
            Self::SameWare => "listing.same_ware",
            Self::Tiers(_) => "listing.tiers",
            Self::PayBys(_) => "listing.pay_bys",
            Self::Payees => "listing.payees",
            Self::Timeout => "listing.timeout",
            Self::Endpoint => "listing.endpoint",
            Self::Expired(_) => "listing.expired",
            Self::Early(_) => "listing.early",
            Self::TooLong(_) => "listing.too_long",
            Self::Signature(_) => "listing.signature",
            Self::Delegation(_) => "listing.delegation",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Early(_) => Class::Later,
            Self::Wares(_)
            | Self::SameWare
            | Self::Tiers(_)
            | Self::PayBys(_)
            | Self::Payees
            | Self::Timeout
            | Self::Endpoint
            | Self::Expired(_)
            | Self::TooLong(_)
            | Self::Signature(_)
            | Self::Delegation(_) => Class::Final,
        }
    }
}

/// Whether `signed` is a listing that may be believed now. Whose name it is, and whether its endpoint
/// may be called, others say.
///
/// # Errors
/// [`ListingError`], the signatures last.
pub fn check_listing(signed: &SignedListing, now: Timestamp) -> Result<(), ListingError> {
    let listing = &signed.listing;
    check_wares(listing)?;
    let pay_to = check_pay_by(&listing.pay_by)?;
    check_endpoint(&listing.endpoint)?;
    check_times(listing, now)?;
    let service_key = signed.service_key;
    let delegation = delegation_digest(&Delegation { pay_to, service_key });
    if !is_signed_by(pay_to, delegation, &signed.delegation) {
        return Err(ListingError::Delegation(pay_to));
    }
    if !is_signed_by(service_key, listing_digest(listing), &signed.signature) {
        return Err(ListingError::Signature(service_key));
    }
    Ok(())
}

fn check_wares(listing: &Listing) -> Result<(), ListingError> {
    let wares = &listing.wares;
    if wares.is_empty() || wares.len() > WARES_MAX {
        return Err(ListingError::Wares(wares.len()));
    }
    for ware in wares {
        ware.tiers.check(ware.terms.flat).map_err(ListingError::Tiers)?;
    }
    let mut sold: Vec<_> = wares.iter().map(|ware| (&ware.capability, &ware.model)).collect();
    sold.sort_unstable();
    let twice = sold.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    if twice { Err(ListingError::SameWare) } else { Ok(()) }
}

/// The one payee of all ways to pay.
fn check_pay_by(ways: &[PayBy]) -> Result<Address, ListingError> {
    let pay_to = match ways.first() {
        Some(first) if ways.len() <= PAY_BY_MAX => first.pay_to,
        _ => return Err(ListingError::PayBys(ways.len())),
    };
    if ways.iter().any(|way| way.pay_to != pay_to) {
        return Err(ListingError::Payees);
    }
    if ways.iter().any(|way| way.timeout_s == 0) {
        return Err(ListingError::Timeout);
    }
    Ok(pay_to)
}

fn check_endpoint(endpoint: &str) -> Result<(), ListingError> {
    let schemes = ["https://", "http://", "unix:"];
    let rest = schemes.iter().find_map(|scheme| endpoint.strip_prefix(scheme));
    let callable = rest.is_some_and(|rest| !rest.is_empty())
        && endpoint.len() <= ENDPOINT_LEN_MAX
        && endpoint.bytes().all(|b| b.is_ascii_graphic());
    if callable { Ok(()) } else { Err(ListingError::Endpoint) }
}

fn check_times(listing: &Listing, now: Timestamp) -> Result<(), ListingError> {
    let (issued_at, valid_until) = (listing.issued_at, listing.valid_until);
    if issued_at > now.after(Duration::from_secs(CLOCK_SKEW_MAX_S)) {
        return Err(ListingError::Early(issued_at));
    }
    if now >= valid_until || issued_at >= valid_until {
        return Err(ListingError::Expired(valid_until));
    }
    if valid_until > issued_at.after(Duration::from_secs(LIFE_MAX_S)) {
        return Err(ListingError::TooLong(valid_until));
    }
    Ok(())
}
