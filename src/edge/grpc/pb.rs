//! What `build.rs` generates from `proto/bursar/v1`. Nothing is written here by hand.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "generated code follows its generator"
)]

tonic::include_proto!("bursar.v1");

/// Every file of the package with what it imports, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/bursar_descriptor.bin"));
