//! The chain speaks, the ledger concludes.
