//! The ledger: budgets, wallets, holds, channels and claims, as a pure machine of two functions.
//!
//! [`Ledger::decide`] may refuse and changes nothing; [`Ledger::evolve`] cannot fail and is the only
//! way anything changes. Replaying the journal's events gives the ledger again. A hold counts in every
//! budget that applies, or it is refused whole. Nothing here reads a clock or draws a number.

pub mod account;
pub mod agent;
mod agents;
mod ahead;
pub mod audit;
pub mod books;
pub mod budget;
pub mod caps;
pub mod channel;
pub mod claim;
pub mod command;
pub mod credit;
mod decide;
pub mod event;
mod evolve;
pub mod grants;
pub mod hold;
pub mod metered;
pub mod rejection;
pub mod requests;
pub mod state;
pub mod tab;
mod table;
pub mod wallet;
pub mod window;

pub use command::Command;
pub use decide::{Decided, Refusal};
pub use event::Event;
pub use rejection::Rejection;
pub use state::{Bounds, Ledger};

#[cfg(test)]
pub(crate) mod tests;
