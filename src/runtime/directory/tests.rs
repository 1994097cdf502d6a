//! Listings under leases, found and ranked.
