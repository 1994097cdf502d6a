//! The payee over twins: what is bound, paid, served and owed, whatever fails on the way.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

mod doubted;
mod given;
mod given_back;
mod lent;
mod lined_up;
mod maximum;
mod metered;
mod opened;
mod priced;
mod refunded;
mod served;
mod turns;
mod world;
