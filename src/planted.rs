//! Bugs that are planted on purpose, to see that the tests find them.
//!
//! `planted!("name")` is false in every build but one with feature `sim`, which is for tests; there it is
//! true while the environment's `BURSAR_PLANTED` is that name. `tests/planted.tsv` lists every bug and the
//! test that finds it, `scripts/planted` plants each in turn, and `tests/tidy` sees that both agree.

/// Whether the bug of this name is planted.
#[cfg(not(feature = "sim"))]
macro_rules! planted {
    ($bug:literal) => {
        false
    };
}

/// Whether the bug of this name is planted.
#[cfg(feature = "sim")]
macro_rules! planted {
    ($bug:literal) => {
        $crate::planted::is($bug)
    };
}

#[cfg(feature = "sim")]
pub(crate) fn is(bug: &str) -> bool {
    static PLANTED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("BURSAR_PLANTED").ok());
    PLANTED.as_deref() == Some(bug)
}
