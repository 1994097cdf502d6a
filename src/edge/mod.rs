//! Touches the world: sockets, files, clocks, keys, chains. Its rooms do not import each other.

pub mod clock;
pub mod config;
pub mod evm;
pub mod grpc;
pub mod http;
pub mod journal;
pub mod keys;
pub mod sandbox;
pub mod settlements;
pub mod telemetry;
pub mod tls;
