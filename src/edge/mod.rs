//! Touches the world: sockets, files, clocks, keys, chains. Its rooms do not import each other.

pub mod clock;
<<<<<<< HEAD
pub mod config;
=======
pub mod evm;
>>>>>>> 272aed8 (Settle by EIP-3009 on an EVM chain, and read what it shows)
pub mod grpc;
pub mod journal;
pub mod sandbox;
