//! Bursar: a payment runtime for AI agents.
