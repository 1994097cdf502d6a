//! The signers of a node: keys in this process, behind the ports. The message is built here, from the
//! durable hold, so that nobody can have another one signed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use alloy::primitives::{Address, B256, Signature};
use async_trait::async_trait;

use crate::domain::asset::AssetRegistry;
use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::commitment::{Authorization, Commitment};
use crate::domain::id::{PaymentId, WalletId};
use crate::domain::ledger::claim::Claim;
use crate::domain::listing::{Listing, SignedListing};
use crate::domain::quote::{Quote, SignedQuote};
use crate::domain::x402::TokenDomains;
use crate::domain::x402::batch::read::{DepositWord, voucher_digest};
use crate::domain::x402::digest::{listing_digest, quote_hash, receipt_digest};
use crate::domain::x402::offer_receipt::{Artifact, OfferPayload, ReceiptPayload};
use crate::domain::x402::order::{Ordered, SignedOrder, order_digest};
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::edge::keys::key::SigningKey;
use crate::edge::keys::nonce::NonceSecret;
use crate::ports::holds::{Holds, Released};
use crate::ports::signer::{
    ChannelSigner, RefundSigner, ServiceSigner, Signer, SignerError, authorize, fill, refund_of,
};

/// Signs authorizations with keys in this process.
pub struct LocalSigner {
    holds: Arc<dyn Holds>,
    keys: BTreeMap<WalletId, SigningKey>,
    secret: NonceSecret,
    /// Signs vouchers; follows from the secret.
    session: SigningKey,
    tokens: RwLock<TokenDomains>,
}

impl LocalSigner {
    /// A signer for these wallets, which asks `holds` before each signature.
    pub fn new(
        holds: Arc<dyn Holds>,
        keys: impl IntoIterator<Item = (WalletId, SigningKey)>,
        secret: NonceSecret,
        assets: &AssetRegistry,
    ) -> Self {
        let keys = keys.into_iter().collect();
        let session = secret.session_key();
        Self { holds, keys, secret, session, tokens: RwLock::new(TokenDomains::new(assets)) }
    }

    /// Takes the assets of a new policy.
    pub fn replace_assets(&self, assets: &AssetRegistry) {
        *self.tokens.write().expect("no holder of the domains panics") = TokenDomains::new(assets);
    }
}

#[async_trait]
impl Signer for LocalSigner {
    async fn authorize(&self, payment: PaymentId) -> Result<(Commitment, Signature), SignerError> {
        // The permit lives to the end: once a pause is acknowledged, nothing is signed any more.
        let Released { wallet, commitment, permit: _permit } = self.holds.release(payment).await?;
        let key = self.keys.get(&wallet).filter(|key| key.address() == commitment.payer);
        let key = key.ok_or(SignerError::NoKey(wallet))?;
        let tokens = self.tokens.read().expect("no holder of the domains panics");
        let token = tokens.find(commitment.asset).ok_or(SignerError::UnknownAsset(payment))?;
        Ok(authorize(commitment, token, |digest| key.sign(digest)))
    }

    fn address(&self, wallet: WalletId) -> Option<Address> {
        self.keys.get(&wallet).map(SigningKey::address)
    }

    fn nonce(&self, wallet: WalletId, payment: PaymentId) -> B256 {
        self.secret.nonce(wallet, payment)
    }

    fn sign_order(
        &self,
        wallet: WalletId,
        ordered: &Ordered<'_>,
        payment: PaymentId,
        issued_at_s: u64,
    ) -> Option<SignedOrder> {
        let key = self.keys.get(&wallet)?;
        let payer = key.address();
        let signature = key.sign(order_digest(ordered, payer, payment, issued_at_s));
        Some(SignedOrder { payer, payment, issued_at_s, signature })
    }
}

#[async_trait]
impl ChannelSigner for LocalSigner {
    fn authorizer(&self) -> Address {
        self.session.address()
    }

    fn salt(&self, wallet: WalletId, payment: PaymentId) -> B256 {
        self.secret.nonce(wallet, payment)
    }

    async fn sign_voucher(&self, payment: PaymentId) -> Result<(Ceiling, Signature), SignerError> {
        let released = self.holds.release_voucher(payment).await?;
        let tokens = self.tokens.read().expect("no holder of the domains panics");
        let channel = released.ceiling.channel;
        let token = tokens.find(released.asset).ok_or(SignerError::UnknownToken(channel))?;
        let digest = voucher_digest(token.batch_separator(), &released.ceiling);
        Ok((released.ceiling, self.session.sign(digest)))
    }

    async fn let_charge(&self, payment: PaymentId) -> Result<Ceiling, SignerError> {
        Ok(self.holds.release_voucher(payment).await?.ceiling)
    }

    async fn sign_charged(&self, channel: ChannelId) -> Result<(Ceiling, Signature), SignerError> {
        let released = self.holds.release_charged(channel).await?;
        let tokens = self.tokens.read().expect("no holder of the domains panics");
        let token = tokens.find(released.asset).ok_or(SignerError::UnknownToken(channel))?;
        let digest = voucher_digest(token.batch_separator(), &released.ceiling);
        Ok((released.ceiling, self.session.sign(digest)))
    }

    async fn sign_deposit(&self, channel: ChannelId) -> Result<DepositWord, SignerError> {
        let released = self.holds.release_deposit(channel).await?;
        let opened = &released.opened;
        let key = self.keys.get(&opened.wallet).filter(|key| key.address() == opened.terms.payer);
        let key = key.ok_or(SignerError::NoKey(opened.wallet))?;
        let tokens = self.tokens.read().expect("no holder of the domains panics");
        let token = tokens.find(opened.terms.asset).ok_or(SignerError::UnknownToken(channel))?;
        Ok(fill(&released, token, |digest| key.sign(digest)))
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").field("wallets", &self.keys).finish_non_exhaustive()
    }
}

/// Signs refunds with the payTo key in this process.
#[derive(Debug)]
pub struct LocalRefundSigner {
    key: SigningKey,
    tokens: TokenDomains,
}

impl LocalRefundSigner {
    /// A signer with this payTo key.
    pub fn new(key: SigningKey, assets: &AssetRegistry) -> Self {
        Self { key, tokens: TokenDomains::new(assets) }
    }
}

impl RefundSigner for LocalRefundSigner {
    fn sign_refund(&self, claim: &Claim, valid_before_s: u64) -> Option<Authorization> {
        let commitment = refund_of(claim, self.key.address(), valid_before_s)?;
        let token = self.tokens.find(commitment.asset)?;
        let signature = self.key.sign(token.authorization_digest(&commitment));
        Some(Authorization { commitment, signature })
    }
}

/// Signs what a provider says, with the service key in this process.
#[derive(Debug)]
pub struct LocalServiceSigner {
    key: SigningKey,
}

impl LocalServiceSigner {
    /// A signer with this service key.
    pub fn new(key: SigningKey) -> Self {
        Self { key }
    }

    /// The listing under the service key, with the payTo key's `delegation` to it.
    pub fn sign_listing(&self, listing: Listing, delegation: Signature) -> SignedListing {
        let signature = self.key.sign(listing_digest(&listing));
        SignedListing { listing, service_key: self.key.address(), delegation, signature }
    }
}

impl ServiceSigner for LocalServiceSigner {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn sign_quote(&self, quote: Quote) -> SignedQuote {
        let signature = self.key.sign(quote_hash(&quote));
        SignedQuote { quote, service_key: self.key.address(), signature }
    }

    fn sign_receipt(&self, receipt: Receipt) -> SignedReceipt {
        let signature = self.key.sign(receipt_digest(&receipt));
        SignedReceipt { receipt, service_key: self.key.address(), signature }
    }

    fn sign_offer(&self, offer: OfferPayload, accept_index: Option<u64>) -> Artifact<OfferPayload> {
        let signature = self.key.sign(offer.digest());
        Artifact::new(offer, &signature, accept_index)
    }

    fn sign_received(&self, receipt: ReceiptPayload) -> Artifact<ReceiptPayload> {
        let signature = self.key.sign(receipt.digest());
        Artifact::new(receipt, &signature, None)
    }
}
