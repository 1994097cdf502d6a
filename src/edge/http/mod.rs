//! The HTTP doors: conversions and transports. A door converts and calls; it decides nothing.

pub mod bazaar;
pub mod body;
mod caller;
pub mod client;
pub mod discovery;
mod echo;
pub mod facilitator;
pub mod fetch;
pub mod first;
pub mod gateway;
pub mod header;
pub mod layer;
pub mod limits;
pub mod openai;
pub mod refuse;
pub mod remote;
pub mod search;
pub mod sell;
mod sse;
pub mod tell;
pub mod upstream;

#[cfg(test)]
mod tests;
