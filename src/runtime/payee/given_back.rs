//! A payer's wish to have back what was not charged: no work is done for it, and the chain pays it.
//!
//! Source: x402 scheme `batch-settlement` on EVM, cooperative refund; threats.md E19, C13.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;

use crate::domain::asset::Asset;
use crate::domain::commitment::{AuthorizationKey, Scheme};
use crate::domain::ledger::tab::Tab;
use crate::domain::money::Amount;
use crate::domain::order::Usage;
use crate::domain::quote::Quote;
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::refund::{RefundWord, check_refund};
use crate::domain::x402::batch::word;
use crate::domain::x402::check::Demand;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::wire::PaymentPayload;
use crate::ports::paid_service::{Answer, Closing, PaidCall, Piece, ServiceError};
use crate::ports::rail::{RefusedBy, Settlement};
use crate::runtime::payee::Desk;
use crate::runtime::payee::slots::within;
use crate::runtime::payee::stands::{state_of, unavailable};
use crate::runtime::payee::tabs::Channels;

/// What payers asked to have back that is under way at once: claims are sent one after the other with it, and may
/// not wait behind it for as long as a payer that leaves does.
pub(super) const GIVING_MAX: usize = 4;

/// How long a payer that asks waits for its turn.
const GIVING_TURN_MAX: Duration = Duration::from_secs(30);

/// What a refund that was made says.
struct Given {
    transaction: String,
    amount: Amount,
    refund_nonce: u64,
}

impl Desk {
    /// Gives back what a payer asks for, as far as it was not charged; what was is claimed in the same
    /// transaction.
    pub(super) async fn give_back_asked(
        &self,
        channels: &Channels,
        call: &PaidCall,
        payment: &PaymentPayload,
    ) -> Result<Answer, ServiceError> {
        let quote = match self.find_price(call)? {
            Ok(quote) => quote,
            Err(list) => return Err(self.refuse(&PaymentError::NotOffered, &list, &call.order)),
        };
        let wish = self.read_wish(call, payment, &quote)?;
        let refuse = |code| self.refuse(&PaymentError::Batch(code), &quote, &call.order);
        let (asset, payer) = (wish.terms.asset, wish.terms.payer);
        let key = AuthorizationKey { asset, payer, nonce: wish.channel.0 };
        // A call that is being served is not taken its channel from.
        let flight = self.flights.take(key).map_err(|_| refuse(BatchCode::ChannelBusy))?;
        let admitted = self.admit_payer(payer)?;
        let clock = self.parts.clock.as_ref();
        let Some(turn) = within(clock, GIVING_TURN_MAX, self.giving.acquire()).await else {
            return Err(unavailable("much is being given back at this moment: ask again"));
        };
        let tab = self.tab_for_refund(&wish).await?;
        // What it signs for is had, also where it counts otherwise: what was charged on credit, or a part.
        self.cover(Some(&tab), &wish.voucher).await?;
        let tab = self.find_tab(tab.id).await?.unwrap_or(tab);
        if wish.voucher.ceiling.amount != tab.charged {
            let error = PaymentError::Batch(BatchCode::Cumulative);
            return Err(self.correct(&error, &quote, &call.order, Some(&tab)));
        }
        let rest = tab.rest();
        let amount = wish.amount.map_or(rest, |wanted| wanted.min(rest));
        if amount.is_zero() {
            return Err(refuse(BatchCode::RefundNoBalance));
        }
        // A part is worth its transaction, as a deposit is; all that is left goes back whatever it is.
        if amount < rest && amount < self.deposit_min(asset) {
            return Err(refuse(BatchCode::RefundAmount));
        }
        let row = self.row_to_claim(&tab);
        let given = match self.give_back(channels, &tab, row.as_ref(), amount).await? {
            Settlement::Settled { transaction, amount, .. } => (transaction.to_string(), amount),
            Settlement::Refused(by) => {
                return Err(refuse(match by {
                    RefusedBy::InsufficientFunds => BatchCode::RefundNoBalance,
                    _ => BatchCode::RefundSimulation,
                }));
            }
            Settlement::Unknown { .. } => {
                return Err(unavailable("the refund is on its way, and was not seen yet"));
            }
        };
        let refund_nonce = self.look_for_nonce(tab.id).await?;
        if row.is_some() {
            self.sweep(channels, tab.terms.asset).await;
        }
        let tab = self.find_tab(tab.id).await?.unwrap_or(tab);
        drop((flight, admitted, turn));
        let (transaction, amount) = given;
        tracing::info!(channel = %tab.id, %transaction, %amount, "channel given back");
        Ok(answer(&tab, Given { transaction, amount, refund_nonce }))
    }

    fn read_wish(
        &self,
        call: &PaidCall,
        payment: &PaymentPayload,
        quote: &Quote,
    ) -> Result<RefundWord, ServiceError> {
        let offered = Requirement::of_quote(quote, &call.order, &self.tokens).unwrap_or_default();
        let demand = Demand {
            resource: &self.offering.resource,
            offered: &offered,
            now_s: self.parts.clock.now().as_secs(),
        };
        check_refund(payment, &demand).map_err(|error| self.refuse(&error, quote, &call.order))
    }

    /// The channel's tab, as the chain's newest block completes it; one that was forgotten begins with
    /// what was claimed, and one that nothing lies in is not opened for it.
    async fn tab_for_refund(&self, wish: &RefundWord) -> Result<Tab, ServiceError> {
        let (channel, terms) = (wish.channel, wish.terms);
        if self.find_tab(channel).await?.is_none() {
            let met = self.meet(&terms, channel).await?;
            return Ok(met.unwrap_or_else(|| self.blank_tab(channel, terms)));
        }
        self.look_at(&terms, channel).await?;
        let tab = self.find_tab(channel).await?;
        tab.ok_or_else(|| unavailable("the channel's tab is gone"))
    }

    /// The least that a channel in this asset is filled with, and that is given back of one but for its rest.
    fn deposit_min(&self, asset: Asset) -> Amount {
        let mut ways = self.offering.pay_by.iter().filter(|way| way.asset == asset);
        let min = ways.find_map(|way| match way.scheme {
            Scheme::BatchSettlement(offer) => Some(offer.deposit_min),
            Scheme::Exact | Scheme::Upto { .. } => None,
        });
        min.unwrap_or(Amount::ZERO)
    }
}

/// An answer without work: what was given back, and how the channel stands then.
fn answer(tab: &Tab, given: Given) -> Answer {
    let mut state = state_of(tab);
    state.refund_nonce = given.refund_nonce.to_string();
    let response = word::refunded(&tab.terms, state, given.transaction, given.amount);
    let closing = Closing { usage: Usage::default(), response, receipt: None };
    let pieces = stream::iter([Ok(Piece::Chunk(Bytes::new())), Ok(Piece::Done(Box::new(closing)))]);
    Answer {
        content_type: "application/octet-stream".to_owned(),
        model: String::new(),
        settled: None,
        pieces: pieces.boxed(),
    }
}
