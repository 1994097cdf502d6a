//! Contracts that are nowhere: all that they do is in their constructors. What each does: contracts/README.md.

use std::sync::LazyLock;

use alloy::primitives::Bytes;
use serde::Deserialize;

macro_rules! code {
    ($name:literal) => {
        LazyLock::new(|| {
            read(include_str!(concat!("../../../contracts/artifacts/", $name, ".json")))
        })
    };
}

/// Makes a wallet and pays from it, both or neither.
pub(super) static FIRST_PAYMENT: LazyLock<Bytes> = code!("FirstPayment");

/// What a wallet says of a signature that may have to be made first.
pub(super) static FIRST_WORD: LazyLock<Bytes> = code!("FirstWord");

/// Tries calls out, each as if none of the others had been made.
pub(super) static TRIALS: LazyLock<Bytes> = code!("Trials");

/// What makes the contract of `code` with these arguments.
pub(super) fn with_code(code: &Bytes, arguments: &[u8]) -> Bytes {
    [code.as_ref(), arguments].concat().into()
}

fn read(artifact: &str) -> Bytes {
    /// What `contracts/build.js` wrote.
    #[derive(Deserialize)]
    struct Artifact {
        bytecode: Bytes,
    }
    let read: Result<Artifact, _> = serde_json::from_str(artifact);
    read.expect("the committed artifact is what the build script writes").bytecode
}
