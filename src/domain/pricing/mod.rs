//! Price terms and orders in, an amount out.
