//! x402: requirements, payloads, receipts, EIP-712 digests, and every check in order.
//!
//! Pure: what has to be known of the time comes in as an argument, what a chain says comes in later,
//! and nothing here holds a key.

pub mod batch;
pub mod bazaar;
pub mod check;
pub mod code;
pub mod digest;
pub mod error;
mod extended;
pub mod facilitate;
pub mod identifier;
#[cfg(feature = "sim")]
pub mod known;
pub mod listing;
pub mod offer;
pub mod offer_receipt;
pub mod order;
pub mod payload;
pub mod permit;
pub mod permit2;
mod permitted;
pub mod quote;
pub mod read;
pub mod receipt;
pub mod requirements;
pub mod settlement;
pub mod signature;
pub mod sponsoring;
pub mod token;
pub mod upto;
pub mod wire;

pub use check::check_payment;
pub use code::PaymentCode;
pub use error::PaymentError;
pub use token::{TokenDomain, TokenDomains};

#[cfg(test)]
mod tests;
