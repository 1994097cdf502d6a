//! The sandbox as its clients see it: alloy's provider over HTTP, and the chain itself.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

mod client;
mod contract;
mod keeping;
mod refusals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{Eip712Domain, SolCall, SolStruct, eip712_domain};

use super::*;

/// When the tests' chains begin.
const START_S: u64 = 1_800_000_000;

alloy::sol! {
    struct TransferWithAuthorization {
        address from; address to; uint256 value;
        uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    struct ReceiveWithAuthorization {
        address from; address to; uint256 value;
        uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    struct CancelAuthorization { address authorizer; bytes32 nonce; }
    struct Permit {
        address owner; address spender; uint256 value; uint256 nonce; uint256 deadline;
    }

    #[derive(Debug)]
    interface Token {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

        function balanceOf(address holder) external view returns (uint256);
        function totalSupply() external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function mint(address to, uint256 value) external returns (bool);
        function transfer(address to, uint256 value) external returns (bool);
        function transferWithAuthorization(address from, address to, uint256 value,
            uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes memory signature) external;
        function receiveWithAuthorization(address from, address to, uint256 value,
            uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes memory signature) external;
        function cancelAuthorization(address authorizer, bytes32 nonce, bytes memory signature)
            external;
        function permit(address owner, address spender, uint256 value, uint256 deadline,
            bytes memory signature) external;
    }

    interface TokenSplit {
        function transferWithAuthorization(address from, address to, uint256 value,
            uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)
            external;
    }
}

/// A clock that is set by hand.
#[derive(Clone)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn at(seconds: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seconds)))
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    fn clock(&self) -> NowSeconds {
        let hand = self.0.clone();
        Arc::new(move || hand.load(Ordering::SeqCst))
    }
}

/// The key with this number; worth nothing anywhere.
fn key(number: u64) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(number.to_be_bytes())).unwrap()
}

fn payer() -> PrivateKeySigner {
    key(1)
}

/// Pays for gas.
fn sender() -> PrivateKeySigner {
    key(2)
}

fn payee() -> Address {
    key(3).address()
}

fn genesis() -> Genesis {
    let ether = U256::from(10).pow(U256::from(18));
    Genesis {
        chain_id: CHAIN_ID,
        funded: vec![
            Funded { wallet: payer().address(), native: U256::ZERO, token: U256::from(5_000_000) },
            Funded { wallet: sender().address(), native: ether, token: U256::ZERO },
        ],
        timestamp: START_S,
    }
}

fn sandbox() -> (Sandbox, Hand) {
    let hand = Hand::at(START_S);
    (Sandbox::open(&Place::Memory, &genesis(), hand.clock()).unwrap(), hand)
}

async fn serve(sandbox: &Sandbox) -> Server {
    sandbox.serve(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

fn provider(server: &Server) -> impl Provider + Clone + use<> {
    let wallet = EthereumWallet::from(sender());
    ProviderBuilder::new().wallet(wallet).connect_http(server.url().parse().unwrap())
}

fn domain() -> Eip712Domain {
    eip712_domain! {
        name: "USDC", version: "2", chain_id: CHAIN_ID, verifying_contract: TOKEN,
    }
}

fn sign(signer: &PrivateKeySigner, content: &impl SolStruct) -> Bytes {
    let digest = content.eip712_signing_hash(&domain());
    signer.sign_hash_sync(&digest).unwrap().as_bytes().into()
}

/// `value` from the payer to the payee, valid for a minute from the start.
fn authorization(value: u64, nonce: u64) -> TransferWithAuthorization {
    TransferWithAuthorization {
        from: payer().address(),
        to: payee(),
        value: U256::from(value),
        validAfter: U256::ZERO,
        validBefore: U256::from(START_S + 60),
        nonce: B256::from(U256::from(nonce)),
    }
}

fn settle_call(terms: &TransferWithAuthorization, signature: Bytes) -> Bytes {
    let TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce } = *terms;
    Token::transferWithAuthorizationCall {
        from,
        to,
        value,
        validAfter,
        validBefore,
        nonce,
        signature,
    }
    .abi_encode()
    .into()
}

/// A signed transaction of the sender, for the token, with this nonce and call.
fn raw(nonce: u64, input: Bytes) -> Vec<u8> {
    raw_for(CHAIN_ID, nonce, TOKEN, input)
}

fn raw_for(chain_id: u64, nonce: u64, to: Address, input: Bytes) -> Vec<u8> {
    use alloy::eips::Encodable2718;
    use alloy::network::TxSignerSync;
    let mut unsigned = alloy::consensus::TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 150_000,
        max_fee_per_gas: 2_000_000_000,
        to: to.into(),
        input,
        ..Default::default()
    };
    let signature = sender().sign_transaction_sync(&mut unsigned).unwrap();
    let signed = alloy::consensus::SignableTransaction::into_signed(unsigned, signature);
    alloy::consensus::TxEnvelope::from(signed).encoded_2718()
}

async fn view<C: SolCall>(sandbox: &Sandbox, call: C) -> C::Return {
    let request = TransactionRequest::default().with_to(TOKEN).with_input(call.abi_encode());
    let output = sandbox.call(request, Default::default()).await.unwrap();
    C::abi_decode_returns(&output).unwrap()
}
