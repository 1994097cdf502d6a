//! The gRPC doors: conversions and transports. A door converts and calls; it decides nothing.

pub mod convert;
mod limits;
pub mod pb;
