//! Every bound of the HTTP doors, by name; heads and connections are the listener's to bound.

use std::time::Duration;

/// Longest target of a request, in bytes: its path and query. It becomes part of a `resource.url`.
pub const TARGET_LEN_MAX: usize = 1536;

/// Longest body of a request, in bytes: it is read whole before anything is bound to it.
pub const BODY_LEN_MAX: usize = 1024 * 1024;

/// How long a body may take to arrive, the wait for its turn included.
pub const BODY_READ_MAX: Duration = Duration::from_secs(30);

/// How much of a body arrives without a turn, in bytes: who sends little and slowly holds nobody up.
pub const BODY_BEGUN_MAX: usize = 16 * 1024;

/// Longer bodies that a process reads at once; the others wait for their turn. Each is as long as its door
/// lets it be, a mebibyte at most.
pub const BODIES_MAX: usize = 256;

/// Longest payment header that is read, in base64 characters.
pub const PAYMENT_TEXT_MAX: usize = 16 * 1024;

/// Longest offer that is sent, in base64 characters: programs in common use take 16 KiB of headers in all.
pub const OFFER_TEXT_MAX: usize = 12 * 1024;

/// Longest settlement header, in base64 characters.
pub const SETTLEMENT_TEXT_MAX: usize = 8 * 1024;
