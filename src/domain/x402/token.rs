//! The tokens' own EIP-712 domains, hashed once. An authorization is signed in the domain of the
//! token that it moves, and names and versions are pinned: a payee that names others is refused.

use alloy::primitives::{B256, b256, keccak256};

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry};
use crate::domain::commitment::{Commitment, TokenPermit, TransferMethod};
use crate::domain::x402::batch::typed::batch_domain;
use crate::domain::x402::digest::{Fields, signing_hash};
use crate::domain::x402::permit;

/// Type hash of EIP-712's domain with name, version, chain id and contract.
const DOMAIN_TYPE: B256 = b256!("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f");

/// Type hash of EIP-3009's message, as USDC states it.
const TRANSFER_TYPE: B256 =
    b256!("7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267");

/// One token's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDomain {
    asset: Asset,
    name: String,
    version: String,
    separator: B256,
    /// That of the contract that holds channels, on the token's network.
    batch_separator: B256,
    /// Permit2's domain on the same network.
    permit2: B256,
}

impl TokenDomain {
    /// The domain of `info`'s token.
    pub fn of(info: &AssetInfo) -> Self {
        let separator = Fields::new(DOMAIN_TYPE)
            .text(&info.eip712_name)
            .text(&info.eip712_version)
            .number(info.asset.network.chain_id())
            .address(info.asset.contract)
            .hash();
        Self {
            asset: info.asset,
            name: info.eip712_name.clone(),
            version: info.eip712_version.clone(),
            separator,
            batch_separator: batch_domain(info.asset.network).separator(),
            permit2: permit::permit2_separator(info.asset.network),
        }
    }

    /// Whether it is the domain of `info`'s token, as it is pinned there.
    pub fn is_of(&self, info: &AssetInfo) -> bool {
        self.asset == info.asset
            && self.name == info.eip712_name
            && self.version == info.eip712_version
    }

    /// The token.
    pub const fn asset(&self) -> Asset {
        self.asset
    }

    /// The pinned EIP-712 name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pinned EIP-712 version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether the token has a domain at all: what has none is moved by Permit2 only.
    pub fn is_named(&self) -> bool {
        !self.name.is_empty()
    }

    /// The domain separator.
    pub const fn separator(&self) -> B256 {
        self.separator
    }

    /// The domain separator of the contract that holds channels.
    pub const fn batch_separator(&self) -> B256 {
        self.batch_separator
    }

    /// The domain separator of Permit2.
    pub const fn permit2_separator(&self) -> B256 {
        self.permit2
    }

    /// What a payer signs for `commitment`, which has to be of this token, by its own method.
    pub fn authorization_digest(&self, commitment: &Commitment) -> B256 {
        match commitment.method {
            TransferMethod::Eip3009 => self.transfer_digest(commitment),
            TransferMethod::Permit2
            | TransferMethod::Permit2Sponsored
            | TransferMethod::Permit2By(_) => permit::transfer_digest(self.permit2, commitment),
        }
    }

    /// What a payer signs at this token for Permit2's allowance. Source: EIP-2612, `Permit`.
    pub fn permit_digest(&self, commitment: &Commitment, permit: &TokenPermit) -> B256 {
        permit::permit_digest(self.separator, commitment, permit)
    }

    /// What a payer signs for a `commitment` by EIP-3009, which has to be of this token. Source:
    /// EIP-3009, `TransferWithAuthorization`.
    pub fn transfer_digest(&self, commitment: &Commitment) -> B256 {
        // On every paid call: seven words on the stack, two hashes, no allocation.
        let mut words = [0; 7 * 32];
        let fields = [
            TRANSFER_TYPE,
            commitment.payer.into_word(),
            commitment.pay_to.into_word(),
            word(commitment.amount_max.get()),
            word(commitment.valid_after_s.into()),
            word(commitment.valid_before_s.into()),
            commitment.nonce,
        ];
        for (slot, field) in words.chunks_exact_mut(32).zip(&fields) {
            slot.copy_from_slice(field.as_slice());
        }
        signing_hash(self.separator, keccak256(words))
    }
}

fn word(value: u128) -> B256 {
    B256::left_padding_from(&value.to_be_bytes())
}

/// The domains of all assets of a registry, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenDomains(Vec<TokenDomain>);

impl TokenDomains {
    /// The domains of `assets`.
    pub fn new(assets: &AssetRegistry) -> Self {
        Self(assets.iter().map(TokenDomain::of).collect())
    }

    /// The domain of `asset`, where it is registered.
    pub fn find(&self, asset: Asset) -> Option<&TokenDomain> {
        self.0.iter().find(|domain| domain.asset == asset)
    }
}
