//! How a sandbox begins: who owns what, the token and the contracts of x402 in their places.
//!
//! The genesis block holds no transactions. Its state is what is left when the faucet, a known key
//! without a past, deploys the token and mints for each wallet; so the token's address is the same
//! on every sandbox, and the genesis hash covers all code and everything that was given.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, Bytes, TxKind, U256, address, keccak256};
use alloy::signers::local::PrivateKeySigner;
use revm::context::TxEnv;

use super::block::{self, Block, GAS_MAX};
use super::contracts;
use super::error::SandboxError;
use super::execution::{self, Evm};
use super::state::{Changes, View};
use super::store::Store;
use super::token;

/// The chain id where nobody says otherwise: the one that development chains use.
pub const CHAIN_ID: u64 = 31_337;

/// Where the token is, on every sandbox: the first contract of the faucet.
pub const TOKEN: Address = address!("0x38A8007C027aC0B8f49bE7CDa4A1c29F4594a168");

/// What the faucet owns at first, in wei: more than it can ever spend.
const FAUCET_NATIVE: U256 = U256::from_limbs([0, 1 << 32, 0, 0]);

/// A wallet that has something from the start.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Funded {
    /// Whose.
    pub wallet: Address,
    /// In wei.
    pub native: U256,
    /// In the token's atomic units.
    pub token: U256,
}

/// How the chain begins. The same genesis gives the same hash, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// EIP-155; [`CHAIN_ID`] where nothing speaks against it.
    pub chain_id: u64,
    /// Who owns what. A wallet that is named twice owns the sum.
    pub funded: Vec<Funded>,
    /// The genesis block's time, in seconds since the epoch. Fixed for a file: it is in the hash.
    pub timestamp: u64,
}

/// The key that deployed the token and may mint. It is made from a public phrase and is no secret:
/// whoever reaches the sandbox may have as much of its money as they like.
pub fn faucet() -> PrivateKeySigner {
    static KEY: LazyLock<PrivateKeySigner> = LazyLock::new(|| {
        PrivateKeySigner::from_bytes(&keccak256("bursar sandbox faucet"))
            .expect("this hash is a valid key")
    });
    KEY.clone()
}

/// The genesis block and the state that it begins with. `empty` holds nothing.
pub(super) fn begin(genesis: &Genesis, empty: &Store) -> Result<(Block, Changes), SandboxError> {
    let faucet = faucet().address();
    let mut changes = Changes::default();
    for Funded { wallet, native, .. } in &genesis.funded {
        give(&mut changes, *wallet, *native);
    }
    give(&mut changes, faucet, FAUCET_NATIVE);
    contracts::place(&mut changes);

    let mut header = block::empty_header(B256::ZERO, 0, genesis.timestamp, B256::ZERO);
    let mut environment = block::environment(&header);
    environment.basefee = 0;
    let view = View { store: empty, cache: None, at: 0, changes };
    let mut evm = execution::evm(view, environment, genesis.chain_id);

    let mut calls = vec![(TxKind::Create, token::init_code(faucet))];
    for Funded { wallet, token, .. } in &genesis.funded {
        calls.push((TxKind::Call(TOKEN), token::mint_call(*wallet, *token)));
    }
    for (nonce, (kind, data)) in (0..).zip(calls) {
        act(&mut evm, genesis.chain_id, faucet, nonce, kind, data)?;
    }
    let mut changes = evm.ctx.journaled_state.database.changes;
    // Gas was free, but the EVM still looked at the account that would have been paid for it.
    changes.accounts.remove(&Address::ZERO);
    header.state_root = changes.state_root(B256::ZERO);
    let hash = header.hash_slow();
    Ok((Block { hash, header, mined: Vec::new() }, changes))
}

fn give(changes: &mut Changes, wallet: Address, native: U256) {
    let info = changes.accounts.entry(wallet).or_default();
    info.balance = info.balance.saturating_add(native);
    info.code = None;
}

fn act(
    evm: &mut Evm<'_>,
    chain_id: u64,
    faucet: Address,
    nonce: u64,
    kind: TxKind,
    data: Bytes,
) -> Result<(), SandboxError> {
    let act = TxEnv {
        caller: faucet,
        gas_limit: GAS_MAX,
        kind,
        data,
        nonce,
        chain_id: Some(chain_id),
        ..TxEnv::default()
    };
    let result = execution::run(evm, act)?;
    if let Some(created) = result.created_address() {
        assert_eq!(created, TOKEN, "the faucet's first contract is the token");
    }
    execution::output(result).map(|_| ())
}
