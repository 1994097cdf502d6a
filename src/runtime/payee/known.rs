//! Vouchers of peers of ours, which leave out their channels' terms: the terms are those under which the
//! channel paid before, and its name is their hash, so that no other terms can be meant.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::money::Amount;
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::check::{CheckedWord, check_known, check_word};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::read::{BatchWord, VoucherWord};
use crate::domain::x402::check::Demand;
use crate::domain::x402::requirements::Requirement;
use crate::ports::paid_service::{PaidCall, ServiceError};
use crate::runtime::payee::Desk;
use crate::runtime::payee::tabs::Worded;

/// Channels whose terms are kept at hand; those of others are looked up in the ledger.
const KNOWN_MAX: usize = 16_384;

/// Terms at hand.
#[derive(Default)]
pub(super) struct KnownTerms(Mutex<BTreeMap<ChannelId, ChannelTerms>>);

impl KnownTerms {
    fn find(&self, channel: ChannelId) -> Option<ChannelTerms> {
        self.0.lock().expect("no holder of the terms panics").get(&channel).copied()
    }

    fn keep(&self, channel: ChannelId, terms: ChannelTerms) {
        let mut known = self.0.lock().expect("no holder of the terms panics");
        if known.len() >= KNOWN_MAX {
            known.pop_first();
        }
        known.insert(channel, terms);
    }
}

impl Desk {
    /// Checks a voucher that came without its channel's terms, as far as that needs no chain. On credit it is
    /// one that was checked before, and what had been charged comes with it.
    pub(super) async fn read_known_word(
        &self,
        call: &PaidCall,
        voucher: VoucherWord,
        on_credit: Option<Amount>,
    ) -> Result<Worded, ServiceError> {
        let quote = match self.find_price(call)? {
            Ok(quote) => quote,
            Err(list) => return Err(self.refuse(&PaymentError::NotOffered, &list, &call.order)),
        };
        let channel = voucher.ceiling.channel;
        let Some(terms) = self.find_terms(channel).await? else {
            let unknown = PaymentError::Batch(BatchCode::ChannelId);
            return Err(self.refuse(&unknown, &quote, &call.order));
        };
        let offered = Requirement::of_quote(&quote, &call.order, &self.tokens).unwrap_or_default();
        let demand = Demand {
            resource: &self.offering.resource,
            offered: &offered,
            now_s: self.parts.clock.now().as_secs(),
        };
        let word = BatchWord { terms, channel, voucher, deposit: None };
        let checked = match on_credit {
            Some(_) => check_known(word, &demand),
            None => check_word(word, &demand),
        };
        let CheckedWord { word, requirement } =
            checked.map_err(|error| self.refuse(&error, &quote, &call.order))?;
        let price = requirement.amount;
        Ok(Worded { word, price, quote, brief: true, on_credit })
    }

    pub(super) async fn find_terms(
        &self,
        channel: ChannelId,
    ) -> Result<Option<ChannelTerms>, ServiceError> {
        if let Some(known) = self.terms.find(channel) {
            return Ok(Some(known));
        }
        let terms = self.find_tab(channel).await?.map(|tab| tab.terms);
        if let Some(terms) = terms {
            self.terms.keep(channel, terms);
        }
        Ok(terms)
    }
}
