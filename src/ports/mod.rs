//! What the runtime needs of the world, each a trait and its in-memory twin.
//!
//! Ports name and never act: no socket, file, clock or environment is touched here.

pub mod archive;
pub mod catalogue;
pub mod channel_rail;
pub mod clock;
pub mod directory;
pub mod engine;
pub mod entropy;
pub mod history;
pub mod holds;
pub mod journal;
pub mod memory_channels;
pub mod memory_rail;
pub mod paid_service;
pub mod rail;
pub mod receiver_signer;
pub mod settlements;
pub mod signer;
pub mod usage;
