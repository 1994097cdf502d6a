//! A provider over gRPC: is it there, does it quote, do its signatures hold, and does it ask for money
//! before it works.

use bursar::domain::id::Name;
use bursar::domain::listing::Query;
use bursar::domain::order::{Maxima, Order, Units};
use bursar::domain::quote::SignedQuote;
use bursar::domain::x402::listing::check_listing;
use bursar::domain::x402::quote::{check_listed_quote, check_quote};
use bursar::edge::clock::SystemClock;
use bursar::edge::config::Config;
use bursar::edge::grpc::{GrpcDirectory, GrpcPaidService, Reach, connect_one};
use bursar::ports::clock::Clock;
use bursar::ports::directory::Directory;
use bursar::ports::paid_service::{Ask, PaidCall, PaidService, ServiceError};
use bytes::Bytes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{Findings, SKEW_MAX_S, assets, look_at_offer};
use crate::cli::running;

/// The longest that a quote should hold, in seconds.
const QUOTE_LIFE_MAX_S: u64 = 3600;

/// What a health check answers for who serves.
const SERVING: i32 = 1;

pub async fn probe(
    config: &Config,
    endpoint: &str,
    reach: &Reach,
    capability: &Name,
    findings: &mut Findings,
) {
    let began = SystemClock.now();
    let connected = connect_one(endpoint, reach.clone()).await;
    let Some(channel) = findings.settle("reach", connected, |_| {
        format!("connected in {} ms", SystemClock.now().since(began).as_millis())
    }) else {
        return;
    };
    let request = HealthCheckRequest { service: "bursar.v1.InferenceService".to_owned() };
    match HealthClient::new(channel.clone()).check(request).await {
        Ok(answer) if answer.get_ref().status == SERVING => findings.good("health", "serving"),
        Ok(answer) => findings.wrong("health", format!("status {}", answer.get_ref().status)),
        Err(status) => findings.warn("health", format!("no answer: {}", status.code())),
    }
    let service = GrpcPaidService::new(vec![channel]);
    let order = Order {
        capability: capability.clone(),
        model: None,
        input_max: Units(64),
        output_max: Units(16),
        maxima: Maxima::default(),
    };
    let ask = Ask { order: order.clone(), counter: None, payer: None };
    let quoted = service.quote(ask).await;
    let Some(quoted) = findings.settle("quote", quoted, |quoted| {
        let quote = &quoted.quote.quote;
        format!("{} sells {} by {}", quote.provider, quote.capability, quote.model)
    }) else {
        return;
    };
    look_at_quote(&quoted.quote, &order, endpoint, findings);
    look_at_listing((config, reach), &quoted.quote, &order, endpoint, findings).await;
    look_at_price(config, &service, quoted.quote, order, findings).await;
}

fn look_at_quote(signed: &SignedQuote, order: &Order, endpoint: &str, findings: &mut Findings) {
    let now = SystemClock.now();
    let checked = check_quote(signed, signed.service_key, order, now);
    findings.settle("signature", checked, |()| format!("by {}", signed.service_key));
    let left_s = signed.quote.valid_until.since(now).as_secs();
    if signed.quote.valid_until <= now {
        findings.wrong("clock", "its quote is over already: its clock or this one is wrong");
    } else if left_s > QUOTE_LIFE_MAX_S.saturating_add(SKEW_MAX_S) {
        findings.warn("clock", format!("its quote holds for {left_s} s: is its clock ahead?"));
    } else {
        findings.good("clock", format!("its quote holds for {left_s} s"));
    }
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let resource = &signed.quote.resource;
    let named = format!("grpc://{}/", authority.trim_end_matches('/'));
    if resource.starts_with(&named) {
        findings.good("resource", resource);
    } else {
        let what = format!("its quote is for {resource}: payers who came by {endpoint} refuse it");
        findings.wrong("resource", what);
    }
}

/// Whether it is listed, and lets the service key speak for whom it pays.
async fn look_at_listing(
    (config, reach): (&Config, &Reach),
    signed: &SignedQuote,
    order: &Order,
    endpoint: &str,
    findings: &mut Findings,
) {
    let directories = match config.directory.connect.is_empty() {
        true => running::endpoints(config),
        false => config.directory.connect.clone(),
    };
    let query = Query {
        capability: order.capability.clone(),
        model: None,
        price_max: None,
        networks: Vec::new(),
    };
    for directory in directories {
        let Ok(channel) = connect_one(&directory, reach.clone()).await else { continue };
        let Ok(listed) = GrpcDirectory::new(channel).find(&query).await else { continue };
        let own = |listing: &&bursar::domain::listing::SignedListing| {
            listing.listing.provider == signed.quote.provider
        };
        let Some(listing) = listed.iter().find(own) else {
            findings
                .wrong("listing", format!("{directory} does not list it: payers never find it"));
            return;
        };
        let now = SystemClock.now();
        let checked = check_listing(listing, now);
        findings.settle("delegation", checked, |()| {
            format!("{} speaks for its payTo address", listing.service_key)
        });
        let kept = check_listed_quote(signed, listing, order, now);
        findings.settle("listing", kept, |()| format!("the quote keeps what {directory} lists"));
        if listing.listing.endpoint.trim_end_matches('/') != endpoint.trim_end_matches('/') {
            findings.warn("endpoint", format!("it is listed at {}", listing.listing.endpoint));
        }
        return;
    }
    findings.warn("listing", "no directory answers: whether it is listed is not known");
}

/// A call without a payment has to be told a price, whatever its body says.
async fn look_at_price(
    config: &Config,
    service: &GrpcPaidService,
    quote: SignedQuote,
    order: Order,
    findings: &mut Findings,
) {
    let resource = quote.quote.resource.clone();
    let call = PaidCall {
        order,
        quote: Some(quote),
        content_type: "application/json".to_owned(),
        body: Bytes::from_static(b"no request at all"),
        payment: None,
        signed_order: None,
        peer: None,
        streamed: false,
    };
    match service.infer(call).await {
        Err(ServiceError::PaymentRequired(offer)) => {
            findings.good("paywall", "a call without a payment is told what to pay");
            look_at_offer(assets(config), &offer, &resource, findings);
        }
        Err(other) => {
            findings.wrong("paywall", format!("a call without a payment is told: {other}"));
        }
        Ok(_) => findings.wrong("paywall", "it works for nothing"),
    }
}
