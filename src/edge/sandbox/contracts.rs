//! The contracts of x402 on every sandbox, at the addresses that they have on public chains: our own
//! code, put there by the genesis. None of them has storage at first or needs a constructor.

use std::sync::LazyLock;

use alloy::primitives::{Address, Bytes};
use revm::state::{AccountInfo, Bytecode};
use serde::Deserialize;

use super::state::Changes;
use crate::domain::x402::batch::typed::{BATCH_SETTLEMENT, ERC3009_COLLECTOR, PERMIT2_COLLECTOR};
use crate::domain::x402::permit2::{EXACT_PROXY, PERMIT2};
use crate::domain::x402::upto::UPTO_PROXY;

/// What `contracts/build.js` wrote.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Artifact {
    pub(super) bytecode: Bytes,
    deployed_bytecode: Bytes,
}

macro_rules! artifact {
    ($name:literal) => {
        Artifact::read(include_str!(concat!("../../../contracts/artifacts/", $name, ".json")))
    };
}

impl Artifact {
    /// The sandbox's token.
    pub(super) fn token() -> Self {
        artifact!("SandboxUsdc")
    }

    fn read(text: &str) -> Self {
        serde_json::from_str(text).expect("the committed artifact is what the build script writes")
    }
}

static PLACED: LazyLock<[(Address, Bytecode); 6]> = LazyLock::new(|| {
    let code = |artifact: Artifact| Bytecode::new_legacy(artifact.deployed_bytecode);
    [
        (PERMIT2, code(artifact!("Permit2"))),
        (EXACT_PROXY, code(artifact!("X402ExactPermit2Proxy"))),
        (UPTO_PROXY, code(artifact!("X402UptoPermit2Proxy"))),
        (BATCH_SETTLEMENT, code(artifact!("X402BatchSettlement"))),
        (ERC3009_COLLECTOR, code(artifact!("Erc3009DepositCollector"))),
        (PERMIT2_COLLECTOR, code(artifact!("Permit2DepositCollector"))),
    ]
});

/// Puts each contract where it belongs. The nonce is that of a contract that made no other.
/// Source: EIP-161.
pub(super) fn place(changes: &mut Changes) {
    for (address, code) in &*PLACED {
        let code_hash = code.hash_slow();
        let info = AccountInfo { nonce: 1, code_hash, code: None, ..AccountInfo::default() };
        changes.accounts.insert(*address, info);
        changes.codes.insert(code_hash, code.clone());
    }
}
