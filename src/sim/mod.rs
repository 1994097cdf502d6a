//! The seeded world: the runtime over in-memory twins, with faults, an operator, a street and an oracle.
//!
//! One seed decides everything: who waits how long, which message is lost, which sync fails, where a
//! process dies. Time is the world's own and moves only when nobody can do anything more, so a run is
//! the same run every time, and an hour of it takes a moment. Nothing here touches a clock, a file or a
//! socket, and nothing in the library knows that it is here but [`crate::domain::x402::known`], which
//! spares it the curve.

pub mod acting;
pub mod asking;
pub mod channels;
pub mod clock;
pub mod disk;
mod draws;
pub mod echo;
pub mod fate;
pub mod flowing;
pub mod founding;
pub mod network;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod rail;
pub mod roles;
pub mod street;
pub mod world;
