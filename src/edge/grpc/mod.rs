//! The gRPC doors: conversions and transports. A door converts and calls; it decides nothing.

mod agent;
mod client;
mod connect;
pub mod convert;
mod directory;
mod facilitator;
mod flow;
mod guard;
mod inference;
pub mod layer;
mod limits;
mod listen;
pub mod node;
mod page;
pub mod pb;
mod permissions;
mod serve;
pub mod status;
mod trailers;
pub mod x402;

pub use agent::{AgentClient, AgentError, Bought, Purchase, charged};
pub use client::GrpcPaidService;
pub use connect::{Checked, GrpcConnector, Reach, Secured, check_endpoint, connect_one, is_public};
pub use directory::{DirectoryDoor, GrpcDirectory, serve_directory};
pub use facilitator::{FacilitatorDoor, serve_facilitator};
pub use guard::{Caller, GuardError, Guarded, LedgerTokens, Tokens};
pub use inference::{InferenceDoor, serve_paid_service};
pub use listen::{Address, ListenError, Listener, Origin, Peer};
pub use permissions::{May, check_permissions, find_permission};
pub use serve::{Doors, ServeError};
pub use trailers::{Trailers, WithTrailers};

#[cfg(test)]
mod tests;
