//! Discovery on both sides: the registry that providers announce to, the announcer that renews a
//! listing, and the payer's book of what it found and measured itself. Ranking never overrides policy.

mod announcer;
mod book;
mod changes;
mod listed;
mod registry;

pub use announcer::{Announcer, Lister};
pub use book::{Bargains, Book};
pub use changes::{CHANGES_MAX, WATCHERS_MAX};
pub use registry::{LISTINGS_MAX, Registry};

#[cfg(test)]
mod tests;
