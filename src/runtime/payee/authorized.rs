//! A receiver's authorizer that is a key of the payee's own, and sends nothing: it signs claims and
//! refunds, and a facilitator, or a gas account that may change, sends them.

use std::sync::Arc;

use alloy::primitives::{Address, Signature};
use async_trait::async_trait;

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::{ChannelTerms, ClaimRow, SignedRefund};
use crate::domain::money::Amount;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::channel_rail::{
    CLAIM_ROWS_MAX, ChannelEvidence, ChannelSettler, ClaimSettlement, Depth, SignedDeposit,
};
use crate::ports::rail::{RailError, RefusedBy, Settlement};
use crate::ports::receiver_signer::ReceiverSigner;

/// How often something is signed anew that the chain did not take as it was signed: without the rows
/// that spoil a claim, or with a refund's next nonce.
const TRIES_MAX: u32 = 3;

/// Acts on channels by the word of a key of ours, through somebody who sends it.
pub struct AuthorizedSettler {
    /// The authorizer.
    pub signer: Arc<dyn ReceiverSigner>,
    /// Who sends.
    pub relay: Arc<dyn ChannelSettler>,
    /// Tells a refund's next nonce: whoever sends is no witness.
    pub evidence: Arc<dyn ChannelEvidence>,
}

impl AuthorizedSettler {
    fn foreign(&self) -> Settlement {
        tracing::error!(authorizer = %self.signer.address(), "channel of another authorizer");
        Settlement::Refused(RefusedBy::BadSignature)
    }

    async fn give_back_once(
        &self,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        let sights = self.evidence.look(&[id_of(terms)], Depth::Newest).await?;
        let Some(sight) = sights.seen.first() else { return Ok(self.foreign()) };
        let network = self.network();
        // What is claimed already needs no word.
        let row = row.filter(|row| row.total > sight.claimed);
        let claim = match row {
            None => None,
            Some(row) => match self.signer.sign_claim(std::slice::from_ref(row), network) {
                Some(signature) => Some((row, signature)),
                None => return Ok(self.foreign()),
            },
        };
        let refund = self.signer.sign_refund(terms, sight.refund_nonce, amount);
        let Some(refund) = refund else { return Ok(self.foreign()) };
        let claim = claim.as_ref().map(|(row, signature)| (*row, signature));
        self.relay.give_back_signed(&refund, claim).await
    }
}

#[async_trait]
impl ChannelSettler for AuthorizedSettler {
    fn authorizer(&self) -> Address {
        self.signer.address()
    }

    fn network(&self) -> Network {
        self.relay.network()
    }

    async fn deposit(&self, deposit: &SignedDeposit) -> Result<Settlement, RailError> {
        self.relay.deposit(deposit).await
    }

    async fn claim(&self, rows: &[ClaimRow]) -> Result<ClaimSettlement, RailError> {
        let mut whole = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        let rows = rows.iter().take(CLAIM_ROWS_MAX).cloned().enumerate();
        let mut open: Vec<(usize, ClaimRow)> = rows.collect();
        for _ in 0..TRIES_MAX {
            let batch: Vec<ClaimRow> = open.iter().map(|(_, row)| row.clone()).collect();
            if batch.is_empty() {
                break;
            }
            let Some(signature) = self.signer.sign_claim(&batch, self.network()) else {
                self.foreign();
                whole.poisoned.extend(open.iter().map(|(place, _)| *place));
                break;
            };
            let done = self.relay.claim_signed(&batch, &signature).await?;
            let place = |at: &usize| open.get(*at).map(|(place, _)| *place);
            whole.transaction = done.transaction.or(whole.transaction);
            whole.claimed.extend(done.claimed.iter().filter_map(place));
            whole.poisoned.extend(done.poisoned.iter().filter_map(place));
            // Sent, or nothing was left to send: the signature covers rows that would have spoiled it.
            if done.transaction.is_some() || done.poisoned.is_empty() {
                break;
            }
            open.retain(|(place, _)| {
                !whole.poisoned.contains(place) && !whole.claimed.contains(place)
            });
        }
        whole.claimed.sort_unstable();
        whole.poisoned.sort_unstable();
        Ok(whole)
    }

    async fn sweep(
        &self,
        receiver: Address,
        asset: Asset,
    ) -> Result<Option<Settlement>, RailError> {
        self.relay.sweep(receiver, asset).await
    }

    async fn give_back(
        &self,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        let mut done = self.give_back_once(terms, row, amount).await?;
        for _ in 1..TRIES_MAX {
            // Another refund came in between: the next nonce is read anew.
            if done != Settlement::Refused(RefusedBy::NonceUsed) {
                break;
            }
            done = self.give_back_once(terms, row, amount).await?;
        }
        Ok(done)
    }

    async fn claim_signed(
        &self,
        rows: &[ClaimRow],
        signature: &Signature,
    ) -> Result<ClaimSettlement, RailError> {
        self.relay.claim_signed(rows, signature).await
    }

    async fn give_back_signed(
        &self,
        refund: &SignedRefund,
        claim: Option<(&ClaimRow, &Signature)>,
    ) -> Result<Settlement, RailError> {
        self.relay.give_back_signed(refund, claim).await
    }
}
