//! The seeded world: the runtime over in-memory twins, with faults and an auditor.
