//! The HTTP doors: conversions and transports. A door converts and calls; it decides nothing.

pub mod bazaar;
pub mod body;
pub mod client;
mod echo;
pub mod first;
pub mod header;
pub mod layer;
pub mod limits;
mod listen;
pub mod openai;
pub mod refuse;
pub mod sell;
mod sse;
pub mod tell;
pub mod upstream;

pub use listen::{ListenError, Listener, Peer};

#[cfg(test)]
mod tests;
