//! The ledger: budgets, wallets, holds and claims, as a pure machine of two functions.
//!
//! [`Ledger::decide`] may refuse and changes nothing; [`Ledger::evolve`] cannot fail and is the only
//! way anything changes. Replaying the journal's events gives the ledger again. A hold counts in every
//! budget that applies, or it is refused whole. Nothing here reads a clock or draws a number.

pub mod agent;
pub mod budget;
pub mod claim;
pub mod command;
pub mod event;
pub mod hold;
pub mod rejection;
pub mod window;

pub use command::Command;
pub use event::Event;
pub use rejection::Rejection;
