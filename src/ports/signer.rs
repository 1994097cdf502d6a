//! Keys never leave the signer: it is asked by payment id, not by digest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alloy::primitives::{Address, B256, Signature, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::Secp256k1Signer;
use async_trait::async_trait;

use crate::domain::asset::AssetRegistry;
use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::commitment::{Authorization, Commitment, TokenPermit, TransferMethod};
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{Name, PaymentId, WalletId};
use crate::domain::ledger::claim::{Claim, ClaimState};
use crate::domain::quote::{Quote, SignedQuote};
use crate::domain::x402::batch::check::{deposit_digest, deposit_word};
use crate::domain::x402::batch::permitted::movement;
use crate::domain::x402::batch::read::{DepositWord, voucher_digest};
use crate::domain::x402::digest::{quote_hash, receipt_digest};
use crate::domain::x402::offer_receipt::{Artifact, OfferPayload, ReceiptPayload};
use crate::domain::x402::order::{Ordered, SignedOrder, order_digest};
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::domain::x402::{TokenDomain, TokenDomains};
use crate::ports::holds::{Holds, NotSignable, Released, ReleasedDeposit};

/// Why nothing was signed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The ledger does not allow it.
    #[error(transparent)]
    NotSignable(#[from] NotSignable),
    /// No key of ours belongs to this wallet.
    #[error("no key for {0}")]
    NoKey(WalletId),
    /// The asset's EIP-712 domain is not pinned, so its message cannot be built.
    #[error("the asset of {0} is not in the registry")]
    UnknownAsset(PaymentId),
    /// The same, of a channel's deposit.
    #[error("the asset of the channel {0} is not in the registry")]
    UnknownToken(ChannelId),
}

impl Fault for SignerError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotSignable(inner) => inner.code(),
            Self::NoKey(_) => "signer.no_key",
            Self::UnknownAsset(_) | Self::UnknownToken(_) => "signer.unknown_asset",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NotSignable(inner) => inner.class(),
            Self::NoKey(_) | Self::UnknownAsset(_) | Self::UnknownToken(_) => Class::Final,
        }
    }
}

/// Signs authorizations for wallets.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The signature over what the durable hold of `payment` commits to, which comes with it; a permit at
    /// the token that goes with it is signed in it. Deterministic (RFC 6979):
    /// the same hold gives the same bytes, so that nothing needs storing.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    async fn authorize(&self, payment: PaymentId) -> Result<(Commitment, Signature), SignerError>;

    /// The address of `wallet` on EVM networks.
    fn address(&self, wallet: WalletId) -> Option<Address>;

    /// The on-chain nonce for `payment`: a keyed function that only this signer can compute.
    fn nonce(&self, wallet: WalletId, payment: PaymentId) -> B256;

    /// The order of a free call under the wallet's key. It moves no money, so that no hold stands behind
    /// it; the message is built here all the same, and is never anything else. `None` where there is no
    /// key, or a signer that signs no orders.
    fn sign_order(
        &self,
        _wallet: WalletId,
        _ordered: &Ordered<'_>,
        _payment: PaymentId,
        _issued_at_s: u64,
    ) -> Option<SignedOrder> {
        None
    }
}

/// Signs for channels: vouchers by a session key, so that the wallet's own key signs deposits only.
#[async_trait]
pub trait ChannelSigner: Send + Sync {
    /// The session key's address: who signs the vouchers of every channel of ours.
    fn authorizer(&self) -> Address;

    /// What tells one channel, or one deposit, from another: a keyed function of the payment that it
    /// was made for.
    fn salt(&self, wallet: WalletId, payment: PaymentId) -> B256;

    /// The voucher that the durable hold of `payment` allows. Deterministic: the same again.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    async fn sign_voucher(&self, payment: PaymentId) -> Result<(Ceiling, Signature), SignerError>;

    /// What the durable hold of `payment` allows to be charged in all, for a call that goes on credit: no
    /// voucher is made for it, and everything else is as if one were.
    ///
    /// # Errors
    /// [`SignerError`], and then the call may not go.
    async fn let_charge(&self, payment: PaymentId) -> Result<Ceiling, SignerError>;

    /// A voucher for what was charged of `channel` and no more: it asks how the channel stands, or for
    /// what is left of it. Deterministic: the same again.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    async fn sign_charged(&self, channel: ChannelId) -> Result<(Ceiling, Signature), SignerError>;

    /// The deposit that is held for `channel`. Deterministic: the same again.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    async fn sign_deposit(&self, channel: ChannelId) -> Result<DepositWord, SignerError>;
}

/// Signs what a provider says: quotes and receipts, by the service key.
pub trait ServiceSigner: Send + Sync {
    /// The service key's address.
    fn address(&self) -> Address;
    /// The quote under the service key.
    fn sign_quote(&self, quote: Quote) -> SignedQuote;
    /// The receipt under the service key.
    fn sign_receipt(&self, receipt: Receipt) -> SignedReceipt;
    /// An offer in the form that strangers verify, under the service key.
    fn sign_offer(&self, offer: OfferPayload, accept_index: Option<u64>) -> Artifact<OfferPayload>;
    /// A receipt in the form that strangers verify, under the service key.
    fn sign_received(&self, receipt: ReceiptPayload) -> Artifact<ReceiptPayload>;
}

/// Signs what pays a due claim back, by the payTo key. It is asked by the claim, not by a digest.
pub trait RefundSigner: Send + Sync {
    /// The refund of `claim`, able to settle before `valid_before_s`; however often it is signed, it
    /// moves at most once. `None` for a claim that is not being refunded, or was paid to another key.
    fn sign_refund(&self, claim: &Claim, valid_before_s: u64) -> Option<Authorization>;
}

/// The commitment that pays `claim` back from `pay_to`, where it is being refunded.
pub fn refund_of(claim: &Claim, pay_to: Address, valid_before_s: u64) -> Option<Commitment> {
    let refunding = matches!(claim.state, ClaimState::Refunding { .. });
    let refund = claim.accepted.refund(valid_before_s);
    (refunding && refund.payer == pay_to).then_some(refund)
}

/// Signs with keys that follow from a seed: the in-memory twin. Not for keys that guard money.
pub struct SeededSigner {
    holds: Arc<dyn Holds>,
    tokens: TokenDomains,
    seed: u64,
    /// Made once each: a key's address costs more than a signature.
    keys: Mutex<BTreeMap<WalletId, Secp256k1Signer>>,
    session: Secp256k1Signer,
}

impl SeededSigner {
    /// The keys of `seed`: every wallet has one. Asks `holds` before each signature.
    pub fn new(holds: Arc<dyn Holds>, assets: &AssetRegistry, seed: u64) -> Self {
        let session = seeded_key(seed, b"session");
        Self { holds, tokens: TokenDomains::new(assets), seed, keys: Mutex::default(), session }
    }

    /// The address that `wallet` has under `seed`, before there is a signer.
    pub fn address_of(seed: u64, wallet: WalletId) -> Address {
        seeded_key(seed, wallet.as_bytes()).address()
    }

    fn key(&self, wallet: WalletId) -> Secp256k1Signer {
        let mut keys = self.keys.lock().expect("no holder of the keys panics");
        let made = || seeded_key(self.seed, wallet.as_bytes());
        keys.entry(wallet).or_insert_with(made).clone()
    }
}

#[async_trait]
impl ChannelSigner for SeededSigner {
    fn authorizer(&self) -> Address {
        self.session.address()
    }

    fn salt(&self, wallet: WalletId, payment: PaymentId) -> B256 {
        self.nonce(wallet, payment)
    }

    async fn sign_voucher(&self, payment: PaymentId) -> Result<(Ceiling, Signature), SignerError> {
        let released = self.holds.release_voucher(payment).await?;
        let channel = released.ceiling.channel;
        let token = self.tokens.find(released.asset).ok_or(SignerError::UnknownToken(channel))?;
        let digest = voucher_digest(token.batch_separator(), &released.ceiling);
        Ok((released.ceiling, sign(&self.session, digest)))
    }

    async fn let_charge(&self, payment: PaymentId) -> Result<Ceiling, SignerError> {
        Ok(self.holds.release_voucher(payment).await?.ceiling)
    }

    async fn sign_charged(&self, channel: ChannelId) -> Result<(Ceiling, Signature), SignerError> {
        let released = self.holds.release_charged(channel).await?;
        let token = self.tokens.find(released.asset).ok_or(SignerError::UnknownToken(channel))?;
        let digest = voucher_digest(token.batch_separator(), &released.ceiling);
        Ok((released.ceiling, sign(&self.session, digest)))
    }

    async fn sign_deposit(&self, channel: ChannelId) -> Result<DepositWord, SignerError> {
        let released = self.holds.release_deposit(channel).await?;
        let key = self.key(released.opened.wallet);
        let token = self.tokens.find(released.opened.terms.asset);
        let token = token.ok_or(SignerError::UnknownToken(channel))?;
        Ok(fill(&released, token, |digest| sign(&key, digest)))
    }
}

#[async_trait]
impl Signer for SeededSigner {
    async fn authorize(&self, payment: PaymentId) -> Result<(Commitment, Signature), SignerError> {
        let Released { wallet, commitment, permit: _permit } = self.holds.release(payment).await?;
        let key = self.key(wallet);
        if key.address() != commitment.payer {
            return Err(SignerError::NoKey(wallet));
        }
        let domain = self.tokens.find(commitment.asset);
        let domain = domain.ok_or(SignerError::UnknownAsset(payment))?;
        Ok(authorize(commitment, domain, |digest| sign(&key, digest)))
    }

    fn address(&self, wallet: WalletId) -> Option<Address> {
        Some(self.key(wallet).address())
    }

    fn nonce(&self, wallet: WalletId, payment: PaymentId) -> B256 {
        let seed = self.seed.to_be_bytes();
        keccak256([seed.as_slice(), wallet.as_bytes(), payment.as_bytes()].concat())
    }

    fn sign_order(
        &self,
        wallet: WalletId,
        ordered: &Ordered<'_>,
        payment: PaymentId,
        issued_at_s: u64,
    ) -> Option<SignedOrder> {
        let key = self.key(wallet);
        let payer = key.address();
        let signature = sign(&key, order_digest(ordered, payer, payment, issued_at_s));
        Some(SignedOrder { payer, payment, issued_at_s, signature })
    }
}

/// Signs what a provider says with a key that follows from a seed: the in-memory twin.
#[derive(Clone)]
pub struct SeededServiceSigner(Secp256k1Signer);

impl SeededServiceSigner {
    /// The service key of `seed` for the provider called `provider`.
    pub fn new(seed: u64, provider: &Name) -> Self {
        Self(seeded_key(seed, provider.as_str().as_bytes()))
    }

    /// The signature over any word of a service: a listing's digest, say.
    pub fn sign(&self, digest: B256) -> Signature {
        sign(&self.0, digest)
    }
}

/// Signs refunds without a key: for rails that look at no signature.
pub struct UnsignedRefunds(pub Address);

impl RefundSigner for UnsignedRefunds {
    fn sign_refund(&self, claim: &Claim, valid_before_s: u64) -> Option<Authorization> {
        let commitment = refund_of(claim, self.0, valid_before_s)?;
        Some(Authorization { commitment, signature: Signature::test_signature() })
    }
}

impl ServiceSigner for SeededServiceSigner {
    fn address(&self) -> Address {
        self.0.address()
    }

    fn sign_quote(&self, quote: Quote) -> SignedQuote {
        let signature = self.sign(quote_hash(&quote));
        SignedQuote { quote, service_key: self.0.address(), signature }
    }

    fn sign_receipt(&self, receipt: Receipt) -> SignedReceipt {
        let signature = self.sign(receipt_digest(&receipt));
        SignedReceipt { receipt, service_key: self.0.address(), signature }
    }

    fn sign_offer(&self, offer: OfferPayload, accept_index: Option<u64>) -> Artifact<OfferPayload> {
        let signature = self.sign(offer.digest());
        Artifact::new(offer, &signature, accept_index)
    }

    fn sign_received(&self, receipt: ReceiptPayload) -> Artifact<ReceiptPayload> {
        let signature = self.sign(receipt.digest());
        Artifact::new(receipt, &signature, None)
    }
}

/// The commitment as it leaves, and its signature: where a permit at the token goes with it, that is
/// signed as well.
pub fn authorize(
    mut commitment: Commitment,
    token: &TokenDomain,
    sign: impl Fn(B256) -> Signature,
) -> (Commitment, Signature) {
    let signature = sign(token.authorization_digest(&commitment));
    if let TransferMethod::Permit2By(permit) = commitment.method {
        let signed = sign(token.permit_digest(&commitment, &permit));
        let permit = TokenPermit { signature: Some(signed), ..permit };
        commitment.method = TransferMethod::Permit2By(permit);
    }
    (commitment, signature)
}

/// A deposit as it leaves: where a permit at the token goes with it, that is signed as well.
pub fn fill(
    released: &ReleasedDeposit,
    token: &TokenDomain,
    sign: impl Fn(B256) -> Signature,
) -> DepositWord {
    let ReleasedDeposit { opened, incoming, .. } = released;
    let digest = deposit_digest(token, opened.id, opened.terms.payer, incoming);
    let mut word = deposit_word(incoming, sign(digest));
    if let TransferMethod::Permit2By(permit) = word.method {
        let moved = movement(&opened.terms, incoming);
        let signed = sign(token.permit_digest(&moved, &permit));
        word.method = TransferMethod::Permit2By(TokenPermit { signature: Some(signed), ..permit });
    }
    word
}

fn seeded_key(seed: u64, whose: &[u8]) -> Secp256k1Signer {
    let bytes = keccak256([b"bursar seeded key".as_slice(), &seed.to_be_bytes(), whose].concat());
    // Not alloy's default: its own curve code is many times slower.
    Secp256k1Signer::from_bytes(&bytes).expect("a hash is above the curve's order once in 2^128")
}

fn sign(key: &Secp256k1Signer, digest: B256) -> Signature {
    let signature = key.sign_hash_sync(&digest).expect("a valid key signs every digest");
    #[cfg(feature = "sim")]
    crate::domain::x402::known::note(digest, &signature, key.address());
    signature
}
