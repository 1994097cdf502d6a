//! One paid call at a time, and several at once, over twins.
