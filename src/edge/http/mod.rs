//! The HTTP doors: conversions and transports. A door converts and calls; it decides nothing.

pub mod body;
pub mod first;
pub mod header;
pub mod limits;
mod listen;
pub mod openai;
mod sse;
pub mod upstream;

pub use listen::{ListenError, Listener, Peer};

#[cfg(test)]
mod tests;
