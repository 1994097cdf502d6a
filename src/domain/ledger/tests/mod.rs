//! The ledger's rules, one by one and all together.
