//! The HTTP doors: conversions and transports. A door converts and calls; it decides nothing.

pub mod openai;
mod sse;
pub mod upstream;
