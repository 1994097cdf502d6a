//! Find, quote, negotiate, compare: which signed offer is the best that may be paid.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use futures_util::future::join_all;

use crate::domain::asset::AssetRegistry;
use crate::domain::commitment::Scheme;
use crate::domain::id::{Name, WalletId};
use crate::domain::listing::{Query, SignedListing};
use crate::domain::money::{Amount, Nano};
use crate::domain::negotiation::{Move, Table, WayCost, WorstCase};
use crate::domain::order::Order;
use crate::domain::policy::RuleCheck;
use crate::domain::pricing::price;
use crate::domain::quote::{PayBy, SignedQuote};
use crate::domain::x402::TokenDomain;
use crate::domain::x402::digest::quote_hash;
use crate::domain::x402::quote::{QuoteError, check_listed_quote};
use crate::domain::x402::requirements::Requirement;
use crate::ports::paid_service::{Ask, PaidService, Quoted};
use crate::runtime::payer::error::QuoteProblem;
use crate::runtime::payer::{PROVIDERS_ASKED_MAX, PayError, Payer, Wish};

/// Ways that a decision remembers at most.
const WAYS_SHOWN_MAX: usize = 16;

/// A signed offer that checks out, and how to take it.
#[derive(Clone)]
pub(super) struct Candidate {
    pub quote: Arc<SignedQuote>,
    pub service: Arc<dyn PaidService>,
    /// The way of paying that was chosen among those offered.
    pub pay_by: PayBy,
    /// The EIP-712 domain that is pinned for its asset.
    pub token: Arc<TokenDomain>,
    /// The price of the order's stated maxima, in atomic units.
    pub amount: Amount,
    /// The same in the unit of account.
    pub nano: Nano,
    /// What this way is expected to cost, gas and locked capital with it.
    pub reckoned: WayCost,
    /// Whether the next call by it costs nothing, by the payee's word.
    pub free: bool,
    /// The quote's digest.
    pub hash: B256,
}

/// Takes a way out where another is left, which may do; whether one is.
pub(super) fn leave_out(candidates: &mut Vec<Candidate>, way: &Candidate) -> bool {
    let other = |other: &Candidate| !other.is_same_way(way);
    let is_left = candidates.iter().any(other);
    if is_left {
        candidates.retain(other);
    }
    is_left
}

impl Candidate {
    /// What it costs now, in the unit of account.
    pub(super) fn cost(&self) -> Nano {
        if self.free { Nano::ZERO } else { self.nano }
    }

    /// What it is expected to cost in all, gas and locked capital with it.
    pub(super) fn total(&self) -> u128 {
        if self.free { 0 } else { self.reckoned.total() }
    }

    /// Whether both are paid in one way to one provider.
    pub(super) fn is_same_way(&self, other: &Self) -> bool {
        self.pay_by == other.pay_by && self.quote.quote.provider == other.quote.quote.provider
    }

    /// Bytes that the payee keeps of `body`, where it has a price for that.
    pub(super) fn stored(&self, body: &[u8]) -> u64 {
        let priced = !self.quote.quote.terms.per_gb_stored.is_zero();
        if priced { u64::try_from(body.len()).unwrap_or(u64::MAX) } else { 0 }
    }
}

/// Who asks, and what for.
#[derive(Copy, Clone)]
pub(super) struct Asking<'a> {
    pub order: &'a Order,
    pub assets: &'a AssetRegistry,
    /// The wallet's address, told where a price depends on it and nowhere else.
    pub payer: Option<Address>,
}

impl Candidate {
    /// What it asks for.
    pub(super) fn requirement(&self) -> Requirement<'_> {
        Requirement { pay_by: self.pay_by, amount: self.amount, token: &self.token }
    }
}

impl Payer {
    /// The offers that could be paid, each in each way: the cheapest in all first, then the fastest by
    /// the payer's own measure. Among equals the payee's order counts.
    pub(super) async fn find_offers(
        &self,
        wish: &Wish,
        wallet: WalletId,
        assets: &AssetRegistry,
    ) -> Result<Vec<Candidate>, PayError> {
        let order = &wish.order;
        let asking = Asking { order, assets, payer: self.parts.signer.address(wallet) };
        let query = Query {
            capability: order.capability.clone(),
            model: order.model.clone(),
            price_max: None,
            networks: Vec::new(),
        };
        let book = &self.parts.book;
        let found = book.find(&query).await;
        let mut listings = found.map_err(|error| PayError::NoDirectory(error.to_string()))?;
        listings.retain(|signed| !wish.not_from.contains(&signed.listing.provider));
        if let Some(only) = &wish.provider {
            listings.retain(|signed| signed.listing.provider == *only);
        }
        let ranked = book.rank(listings, order, assets);
        let asked = ranked.into_iter().take(PROVIDERS_ASKED_MAX);
        let answers = join_all(asked.map(|listing| self.ask(listing, asking))).await;
        let mut candidates = Vec::new();
        let mut first_problem = None;
        for answer in answers {
            match answer {
                Ok(candidate) => candidates.extend(self.ways_of(candidate, assets)),
                Err(problem) => {
                    first_problem.get_or_insert(problem);
                }
            }
        }
        candidates.sort_by_key(|candidate| {
            let provider = candidate.quote.quote.provider.clone();
            (candidate.total(), book.latency(&provider), provider)
        });
        match (candidates.is_empty(), first_problem) {
            (false, _) => Ok(candidates),
            (true, Some((provider, problem))) => Err(PayError::NoQuote { provider, problem }),
            (true, None) => Err(PayError::NoProvider {
                capability: order.capability.clone(),
                model: order.model.clone(),
            }),
        }
    }

    /// The candidate in each of the offered ways that may be gone here, in the payee's order.
    fn ways_of(&self, candidate: Candidate, assets: &AssetRegistry) -> Vec<Candidate> {
        let ways = candidate.quote.quote.pay_by.iter();
        let ways = ways.filter(|way| self.is_payable(way));
        let of_way = |way: &PayBy| {
            let info = assets.find(way.asset)?;
            let (amount, nano) = (candidate.amount, info.rate.to_nano(candidate.amount)?);
            let reckoned = self.reckon(way, &candidate.quote, amount, nano);
            let known = candidate.token.is_of(info).then(|| Arc::clone(&candidate.token));
            Some(Candidate {
                pay_by: *way,
                token: known.unwrap_or_else(|| Arc::new(TokenDomain::of(info))),
                nano,
                reckoned,
                ..candidate.clone()
            })
        };
        ways.filter_map(of_way).collect()
    }

    /// What a way is expected to cost for a call of this worst case.
    fn reckon(&self, way: &PayBy, quote: &SignedQuote, amount: Amount, nano: Nano) -> WayCost {
        let worst = WorstCase { amount, nano, terms: &quote.quote.terms };
        self.parts.settings.reckoning.cost(way, &worst)
    }

    /// Whether this payer can pay in that way at all.
    pub(super) fn is_payable(&self, way: &PayBy) -> bool {
        match way.scheme {
            Scheme::Exact | Scheme::Upto { .. } if way.method.is_permit2() => {
                self.rails.iter().any(|rail| rail.network() == way.asset.network)
            }
            Scheme::Exact => true,
            // Only Permit2 moves less than was signed.
            Scheme::Upto { .. } => false,
            Scheme::BatchSettlement(_) => self.parts.channels.is_some(),
        }
    }

    async fn ask(
        &self,
        listing: Arc<SignedListing>,
        asking: Asking<'_>,
    ) -> Result<Candidate, (Name, QuoteProblem)> {
        if let Some(quoted) = self.find_quoted(&listing, &asking) {
            return Ok(quoted);
        }
        let provider = listing.listing.provider.clone();
        let asked = self.ask_in_time(&listing, asking).await;
        if asked.is_err() {
            self.parts.book.failed(&provider);
        }
        asked.map_err(|problem| (provider, problem))
    }

    async fn ask_in_time(
        &self,
        listing: &SignedListing,
        asking: Asking<'_>,
    ) -> Result<Candidate, QuoteProblem> {
        let until = self.parts.clock.now().after(self.parts.settings.quote_timeout);
        let endpoint = &listing.listing.endpoint;
        tokio::select! {
            biased;
            candidate = async {
                let service = self.parts.connector.connect(endpoint).await;
                let service = service.map_err(QuoteProblem::Service)?;
                self.negotiate(service, listing, asking).await
            } => candidate,
            () = self.parts.clock.sleep_until(until) => Err(QuoteProblem::TimedOut),
        }
    }

    /// Takes a quote, and answers it by the configured strategy until one side has had enough. Each
    /// quote on the way is checked; the best one checked is what may be paid.
    async fn negotiate(
        &self,
        service: Arc<dyn PaidService>,
        listing: &SignedListing,
        asking: Asking<'_>,
    ) -> Result<Candidate, QuoteProblem> {
        let tiered = listing.listing.wares.iter().any(|ware| !ware.tiers.is_none());
        let asking = Asking { payer: asking.payer.filter(|_| tiered), ..asking };
        let Asking { order, payer, .. } = asking;
        let ask = Ask { order: order.clone(), counter: None, payer };
        let mut quoted = service.quote(ask).await.map_err(QuoteProblem::Service)?;
        let mut best = self.check_quote(&service, listing, asking, &quoted)?;
        let Some(strategy) = self.parts.settings.negotiation.filter(|_| !best.free) else {
            return Ok(best);
        };
        let mut table = Table {
            list: quoted.quote.quote.terms,
            quoted: quoted.quote.quote.terms,
            verdict: quoted.verdict,
            round: 0,
        };
        loop {
            let counter = match strategy.next(&table) {
                Move::Counter(counter) => counter,
                Move::Take => return Ok(best),
                Move::Leave => return Err(QuoteProblem::NotAgreed),
            };
            let ask = Ask { order: order.clone(), counter: Some(counter), payer };
            // A payee that will not bargain any more still stands by the quote before.
            let Ok(next) = service.quote(ask).await else { return Ok(best) };
            quoted = next;
            let checked = self.check_quote(&service, listing, asking, &quoted)?;
            tracing::debug!(
                provider = %quoted.quote.quote.provider,
                round = counter.round,
                verdict = ?quoted.verdict,
                amount = %checked.amount,
                "counter-offer answered"
            );
            self.parts.book.bargained(&quoted.quote.quote.provider, quoted.verdict);
            if checked.nano <= best.nano {
                best = checked;
            }
            table.quoted = quoted.quote.quote.terms;
            table.verdict = quoted.verdict;
            table.round = counter.round;
        }
    }

    fn check_quote(
        &self,
        service: &Arc<dyn PaidService>,
        listing: &SignedListing,
        asking: Asking<'_>,
        quoted: &Quoted,
    ) -> Result<Candidate, QuoteProblem> {
        let Asking { order, assets, payer } = asking;
        let signed = &quoted.quote;
        check_listed_quote(signed, listing, order, self.parts.clock.now())?;
        let payer = payer.unwrap_or_default();
        if !signed.quote.is_for(payer) {
            return Err(QuoteError::NotFor(payer).into());
        }
        let amount = price(&signed.quote.terms, order).ok_or(QuoteProblem::PriceOutOfRange)?;
        // The first way of paying, in the payee's order, whose asset is pinned here.
        let ways = signed.quote.pay_by.iter();
        let mut payable = ways
            .filter(|way| self.is_payable(way))
            .filter_map(|way| assets.find(way.asset).map(|info| (*way, info)));
        let (pay_by, info) = payable.next().ok_or(QuoteProblem::UnknownAsset)?;
        let nano = info.rate.to_nano(amount).ok_or(QuoteProblem::PriceOutOfRange)?;
        let (service, token) = (Arc::clone(service), Arc::new(TokenDomain::of(info)));
        let (quote, free) = (Arc::new(signed.clone()), signed.quote.is_free_for(payer));
        let hash = quote_hash(&quote.quote);
        let reckoned = self.reckon(&pay_by, &quote, amount, nano);
        Ok(Candidate { quote, service, pay_by, token, amount, nano, reckoned, free, hash })
    }
}

/// Each way that could be gone with its numbers, for whoever asks why it was the one that it was.
pub(super) fn ways_looked_at(candidates: &[Candidate], taken: &Candidate) -> Vec<RuleCheck> {
    let shown = candidates.iter().take(WAYS_SHOWN_MAX).map(|candidate| {
        let WayCost { price, gas, capital } = candidate.reckoned;
        let total = Nano::new(u64::try_from(candidate.total()).unwrap_or(u64::MAX));
        let provider = &candidate.quote.quote.provider;
        let chosen = if candidate.is_same_way(taken) { "taken" } else { "not taken" };
        RuleCheck {
            rule: format!("way.{}", candidate.pay_by.scheme.as_str()),
            says: format!("price {price} + gas {gas} + locked capital {capital}"),
            found: format!("{provider} for {total} in all: {chosen}"),
            passed: true,
        }
    });
    shown.collect()
}
