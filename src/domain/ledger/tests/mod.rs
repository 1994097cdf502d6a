//! The ledger's rules, one by one and all together.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "tests fail by panicking, and say what they are by their names"
)]

mod audits;
pub mod channels;
mod channels_bounded;
mod channels_drawn;
mod channels_funded;
mod claims;
mod delegations;
pub mod fixture;
mod fleet;
mod grants;
mod holds;
mod looked;
mod maxima;
mod oracle;
mod payments;
mod policies;
mod properties;
mod refusals;
mod requests;
mod snapshots;
mod tabs;
mod tabs_flowing;
mod tabs_given;
mod tabs_kept;
mod windows;
