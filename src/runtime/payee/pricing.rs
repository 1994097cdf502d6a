//! What an order costs here: quotes, the list price, and quotes of our own that come back.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::domain::negotiation::Verdict;
use crate::domain::order::{Maxima, Order};
use crate::domain::pricing::price;
use crate::domain::quote::{PriceTerms, Quote, SignedQuote, Standing, Stride};
use crate::domain::time::Timestamp;
use crate::domain::x402::PaymentCode;
use crate::domain::x402::quote::{QuoteError, check_quote, check_quote_again};
use crate::domain::x402::requirements::payment_required;
use crate::domain::x402::wire::PaymentRequired;
use crate::ports::paid_service::{Ask, PaidCall, Quoted, ServiceError};
use crate::runtime::payee::serve::RUN_MAX;
use crate::runtime::payee::slots::within;
use crate::runtime::payee::work::STREAMED_LEN_MAX;
use crate::runtime::payee::{Desk, OfferedWare, draining};

/// How long the settler's word that it is ready counts.
const READY_FRESH: Duration = Duration::from_secs(1);

/// How long the settler may take to say so.
const READY_WAIT_MAX: Duration = Duration::from_secs(5);

/// What the settler last said of itself, and when.
#[derive(Default)]
pub(super) struct Ready(Mutex<Option<(Timestamp, Result<(), String>)>>);

/// Why a quote that came back does not do.
enum NotOurs {
    /// It was ours, and its time has passed or we no longer offer it.
    Over,
    /// It never was, or is for something else.
    Wrong(QuoteError),
}

impl Desk {
    /// The price of an order, signed.
    pub(super) async fn quote(&self, ask: &Ask) -> Result<Quoted, ServiceError> {
        let ware = self.find_ware(&ask.order)?;
        // A payee that is full says so before anybody signs for it.
        self.slots.check()?;
        self.check_ready().await?;
        let counted = self.find_counted(ware, ask.payer).await?;
        let calls = counted.map_or(0, |(_, counted)| counted.calls);
        let reached = ware.terms.with_list(ware.tiers.terms_after(calls, &ware.terms.list));
        let (terms, verdict) = reached.answer(ask.counter.as_ref(), self.slots.load());
        let rounds = match verdict {
            Verdict::List => 0,
            _ => ask.counter.as_ref().map_or(0, |counter| counter.round),
        };
        let free = self.offering.free.is_some();
        let standing = counted.map(|(payer, counted)| Standing {
            payer,
            free_left: if free { ware.tiers.free_left(counted.free_used) } else { 0 },
        });
        let quote = Quote { rounds, standing, ..self.quote_of(ware, terms) };
        self.offer(&quote, &ask.order, None)?;
        Ok(Quoted { quote: self.parts.signer.sign_quote(quote), verdict })
    }

    /// What a call without a payment has to pay, or why it could not be served at all.
    pub(super) async fn ask_payment(&self, call: &PaidCall) -> ServiceError {
        let asked = async {
            let (quote, error) = match self.find_price(call)? {
                Ok(quote) => (quote, None),
                Err(list) => (list, Some(PaymentCode::Requirements)),
            };
            self.slots.check()?;
            self.check_ready().await?;
            self.offer(&quote, &call.order, error)
        };
        match asked.await {
            Ok(offer) => ServiceError::PaymentRequired(Box::new(offer)),
            Err(error) => error,
        }
    }

    /// By what the call is priced: the quote that it presents, or the list. The inner error is the
    /// list price for a quote of ours that is over.
    ///
    /// # Errors
    /// [`ServiceError::Malformed`] for what is not sold, and for a quote that never was ours.
    pub(super) fn find_price(&self, call: &PaidCall) -> Result<Result<Quote, Quote>, ServiceError> {
        let ware = self.find_ware(&call.order)?;
        let list = || self.quote_of(ware, ware.terms.list);
        let Some(presented) = &call.quote else {
            return Ok(Ok(list()));
        };
        match self.check_own(presented, &call.order) {
            Ok(()) => Ok(Ok(presented.quote.clone())),
            Err(NotOurs::Over) => Ok(Err(list())),
            Err(NotOurs::Wrong(error)) => Err(malformed("quote", error)),
        }
    }

    /// The offer by which `quote` is paid.
    ///
    /// # Errors
    /// [`ServiceError::Malformed`] for an order that has no price, [`ServiceError::Unavailable`] where
    /// no way to pay is left.
    pub(super) fn offer(
        &self,
        quote: &Quote,
        order: &Order,
        error: Option<PaymentCode>,
    ) -> Result<PaymentRequired, ServiceError> {
        if price(&quote.terms, order).is_none_or(|amount| amount.is_zero()) {
            let problem = "its price is outside what can be paid: change the stated maxima";
            return Err(malformed("order", problem));
        }
        payment_required(quote, order, &self.tokens, error)
            .ok_or_else(|| ServiceError::Unavailable("no way to pay is offered".to_owned()))
    }

    /// Whether new work is taken: settlements can be paid for, and nobody drains.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub(super) async fn check_ready(&self) -> Result<(), ServiceError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(draining());
        }
        let clock = self.parts.clock.as_ref();
        let now = clock.now();
        let known = self.ready.0.lock().expect("no holder of the answer panics").clone();
        let answer = match known {
            Some((seen, answer)) if now.since(seen) < READY_FRESH => answer,
            _ => {
                let asked = within(clock, READY_WAIT_MAX, self.parts.settler.check_ready()).await;
                let answer = match asked {
                    Some(answer) => answer.map_err(|problem| problem.to_string()),
                    None => Err("the rail does not answer in time".to_owned()),
                };
                if let Err(problem) = &answer {
                    tracing::warn!(problem, "settler not ready");
                }
                let said = Some((clock.now(), answer.clone()));
                *self.ready.0.lock().expect("no holder of the answer panics") = said;
                answer
            }
        };
        answer.map_err(ServiceError::Unavailable)
    }

    /// What is sold for `order`.
    fn find_ware(&self, order: &Order) -> Result<&OfferedWare, ServiceError> {
        let fits = |ware: &&OfferedWare| {
            ware.capability == order.capability
                && order.model.as_ref().is_none_or(|model| *model == ware.model)
        };
        let Some(ware) = self.offering.wares.iter().find(fits) else {
            let (capability, provider) = (&order.capability, &self.offering.provider);
            let problem = match &order.model {
                Some(model) => format!("{provider} does not sell {capability} by {model}"),
                None => format!("{provider} does not sell {capability}"),
            };
            return Err(malformed("order.capability", problem));
        };
        let bounds = [
            ("order.input_max", order.input_max, self.offering.input_max),
            ("order.output_max", order.output_max, self.offering.output_max),
        ];
        for (field, asked, bound) in bounds {
            if asked > bound {
                return Err(malformed(field, format_args!("expected at most {}", bound.0)));
            }
        }
        check_maxima(&ware.terms.list, &order.maxima)?;
        Ok(ware)
    }

    fn quote_of(&self, ware: &OfferedWare, terms: PriceTerms) -> Quote {
        Quote {
            provider: self.offering.provider.clone(),
            resource: self.offering.resource.clone(),
            capability: ware.capability.clone(),
            model: ware.model.clone(),
            terms,
            pay_by: self.offering.pay_by.clone(),
            output_max: self.offering.output_max.0,
            valid_until: self.parts.clock.now().after(self.offering.quote_ttl),
            rounds: 0,
            standing: None,
            stride: self.stride_of(&terms),
        }
    }

    /// How an answer by these terms is paid while it flows, where that can be.
    fn stride_of(&self, terms: &PriceTerms) -> Option<Stride> {
        let stride = self.channels.as_ref()?.flowing?.stride;
        stride.carries(terms).then_some(stride)
    }

    fn check_own(&self, signed: &SignedQuote, order: &Order) -> Result<(), NotOurs> {
        let (quote, offering) = (&signed.quote, &self.offering);
        let (service_key, now) = (self.parts.signer.address(), self.parts.clock.now());
        let known = self.own.knows(signed);
        let checked = if known {
            check_quote_again(signed, service_key, order, now)
        } else {
            check_quote(signed, service_key, order, now)
        };
        checked.map_err(|error| match error {
            QuoteError::Expired(_) => NotOurs::Over,
            error => NotOurs::Wrong(error),
        })?;
        if !known {
            self.own.remember(signed);
        }
        let is_sold =
            |ware: &OfferedWare| ware.capability == quote.capability && ware.model == quote.model;
        let stands = quote.provider == offering.provider
            && quote.resource == offering.resource
            && offering.wares.iter().any(is_sold)
            && quote.pay_by.iter().all(|way| offering.pay_by.contains(way));
        // Signed by us under another configuration: what stood then does not stand any more.
        if stands { Ok(()) } else { Err(NotOurs::Over) }
    }
}

/// Whether what is priced beside tokens is stated, and no more of it than one call may have. What is not
/// stated would be served for nothing.
fn check_maxima(list: &PriceTerms, maxima: &Maxima) -> Result<(), ServiceError> {
    let run_max_ms = u64::try_from(RUN_MAX.as_millis()).unwrap_or(u64::MAX);
    let answer_max = u64::try_from(STREAMED_LEN_MAX).unwrap_or(u64::MAX);
    for (field, price, stated, most) in [
        ("order.bytes_max", list.per_gb, maxima.bytes, answer_max),
        ("order.compute_ms_max", list.per_s, maxima.compute_ms, run_max_ms),
        ("order.stored_max", list.per_gb_stored, maxima.stored, u64::MAX),
    ] {
        if stated > most || (stated == 0 && !price.is_zero()) {
            return Err(malformed(field, format_args!("expected 1 to {most}: it is priced")));
        }
    }
    Ok(())
}

/// A request that is none.
pub(super) fn malformed(field: &str, problem: impl std::fmt::Display) -> ServiceError {
    ServiceError::Malformed { field: field.to_owned(), problem: problem.to_string() }
}
