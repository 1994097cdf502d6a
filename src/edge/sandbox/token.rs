//! The sandbox's token as its genesis and its faucet speak to it, and its compiled code.
//!
//! The rail has an interface of its own: it must not know what it pays with here.

use std::sync::LazyLock;

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::{SolCall, SolValue};

use super::contracts::Artifact;

alloy::sol! {
    function mint(address to, uint256 value) external returns (bool);
}

static ARTIFACT: LazyLock<Artifact> = LazyLock::new(Artifact::token);

/// The code that deploys the token with `owner` as the one who may mint.
pub(super) fn init_code(owner: Address) -> Bytes {
    [ARTIFACT.bytecode.as_ref(), owner.abi_encode().as_slice()].concat().into()
}

/// The call by which the owner gives `to` so many atomic units more.
pub(super) fn mint_call(to: Address, value: U256) -> Bytes {
    mintCall { to, value }.abi_encode().into()
}
