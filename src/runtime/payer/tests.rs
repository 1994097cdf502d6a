//! One payment at a time.
