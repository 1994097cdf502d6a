//! What every error of ours tells a program: a stable code, and whether trying again can help.

/// Whether trying again can help.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Never with the same words: something about the request or the rules has to change.
    Final,
    /// Later, when a window resets, a rate refills, or a dependency is back.
    Later,
    /// Nobody knows yet whether money moves. Ask for the payment; never pay again.
    InDoubt,
}

/// An error with a stable code.
pub trait Fault: std::error::Error {
    /// The stable code, listed in `tests/codes.txt`: `<module>.<what>`.
    fn code(&self) -> &'static str;
    /// Whether trying again can help.
    fn class(&self) -> Class;
}
