//! Free calls: an order is worth one call, its payer's and nobody else's.

use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bytes::Bytes;

use super::super::FreeBounds;
use super::world::{PAY_TO, USDC, World, call, code, collect, name, order};
use crate::domain::id::PaymentId;
use crate::domain::money::Amount;
use crate::domain::pricing::Tiers;
use crate::domain::quote::SignedQuote;
use crate::domain::x402::order::{ORDER_AGE_MAX_S, Ordered, SignedOrder, order_digest};
use crate::ports::clock::Clock;
use crate::ports::paid_service::{Ask, PaidCall, PaidService};

async fn giving(calls: u64) -> World {
    World::with(|offering| {
        offering.wares[0].tiers = Tiers { free_calls: calls, steps: Vec::new() };
        offering.free = Some(FreeBounds { peer_per_day: 3, per_day: 100, payers_max: 100 });
    })
    .await
}

async fn quoted(world: &World) -> SignedQuote {
    let ask = Ask { order: order(), counter: None, payer: Some(world.payer.address()) };
    world.payee.quote(ask).await.unwrap().quote
}

/// The call under the payer's key.
fn signed(world: &World, key: &PrivateKeySigner, quote: &SignedQuote, payment: u8) -> PaidCall {
    let call = PaidCall { quote: Some(quote.clone()), ..call() };
    let (payer, payment) = (world.payer.address(), PaymentId::from_bytes([payment; 16]));
    let ordered = Ordered {
        quote: &quote.quote,
        order: &call.order,
        content_type: &call.content_type,
        body: &call.body,
    };
    let issued_at_s = world.clock.now().as_secs();
    let digest = order_digest(&ordered, payer, payment, issued_at_s);
    let signature = key.sign_hash_sync(&digest).unwrap();
    let signed_order = Some(SignedOrder { payer, payment, issued_at_s, signature });
    PaidCall { signed_order, ..call }
}

async fn outcome(world: &World, call: PaidCall) -> &'static str {
    code(collect(world.payee.infer(call).await).await)
}

#[tokio::test]
async fn a_signed_order_is_served_for_nothing_once_and_again_the_same() {
    let world = giving(1).await;
    let quote = quoted(&world).await;
    assert_eq!(quote.quote.standing.unwrap().free_left, 1);
    let call = signed(&world, &world.payer, &quote, 1);
    let (body, closing) = collect(world.payee.infer(call.clone()).await).await.unwrap();
    assert_eq!(body, Bytes::from_static(b"you said: hello"));
    assert_eq!(closing.receipt.unwrap().receipt.amount, Amount::ZERO);
    let (again, _) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!((again, world.runs()), (body, 1));
    assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::ZERO);
    let kinds: Vec<_> = world.journal.entries().iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds, ["granted", "usage_metered"]);
    // Another order is one too many, also by the quote that promised one.
    let more = signed(&world, &world.payer, &quote, 2);
    assert_eq!(outcome(&world, more).await, "service.payment_required");
    assert_eq!(quoted(&world).await.quote.standing.unwrap().free_left, 0);
}

#[tokio::test]
async fn an_order_that_is_changed_stale_or_anothers_gets_nothing() {
    let world = giving(5).await;
    let quote = quoted(&world).await;
    let good = signed(&world, &world.payer, &quote, 1);
    let mut other_payer = good.clone();
    other_payer.signed_order.as_mut().unwrap().payer = PAY_TO;
    let mut other_name = good.clone();
    other_name.signed_order.as_mut().unwrap().payment = PaymentId::from_bytes([9; 16]);
    let body = PaidCall { body: Bytes::from_static(b"other"), ..good.clone() };
    let content = PaidCall { content_type: "text/html".to_owned(), ..good.clone() };
    let unquoted = PaidCall { quote: None, ..good.clone() };
    let stranger = signed(&world, &PrivateKeySigner::random(), &quote, 1);
    for (call, expected) in [
        (body, "service.malformed"),
        (content, "service.malformed"),
        (other_name, "service.malformed"),
        (stranger, "service.malformed"),
        // Nothing is free for whom the quote does not name, nor without a quote.
        (other_payer, "service.payment_required"),
        (unquoted, "service.payment_required"),
    ] {
        assert_eq!(outcome(&world, call).await, expected);
    }
    world.clock.advance(std::time::Duration::from_secs(ORDER_AGE_MAX_S + 1));
    // The quote is over as well by then: what it costs is the answer.
    assert_eq!(outcome(&world, good).await, "service.payment_required");
    assert_eq!(world.runs(), 0);
}

#[tokio::test]
async fn a_name_that_was_used_stands_for_no_other_call() {
    let world = giving(5).await;
    let quote = quoted(&world).await;
    assert_eq!(outcome(&world, signed(&world, &world.payer, &quote, 1)).await, "served");
    let mut other = signed(&world, &world.payer, &quote, 1);
    other.body = Bytes::from_static(b"other");
    let ordered = Ordered {
        quote: &quote.quote,
        order: &other.order,
        content_type: &other.content_type,
        body: &other.body,
    };
    let signed_order = other.signed_order.as_mut().unwrap();
    let SignedOrder { payer, payment, issued_at_s, .. } = *signed_order;
    let digest = order_digest(&ordered, payer, payment, issued_at_s);
    signed_order.signature = world.payer.sign_hash_sync(&digest).unwrap();
    assert_eq!(outcome(&world, other).await, "service.bound");
}

#[tokio::test]
async fn one_address_has_its_bound_and_half_of_an_ipv6_address_is_one() {
    let world = giving(50).await;
    let quote = quoted(&world).await;
    let from = |payment: u8, peer: &str| PaidCall {
        peer: Some(peer.parse().unwrap()),
        ..signed(&world, &world.payer, &quote, payment)
    };
    for (payment, peer, expected) in [
        (1, "2001:db8::1", "served"),
        (2, "2001:db8::2", "served"),
        (3, "2001:db8::ffff:3", "served"),
        (4, "2001:db8::4", "service.payment_required"),
        (5, "2001:db8:0:1::1", "served"),
        (6, "10.0.0.1", "served"),
        (7, "::ffff:10.0.0.1", "served"),
        (8, "10.0.0.1", "served"),
        (9, "::ffff:10.0.0.1", "service.payment_required"),
        (10, "10.0.0.2", "served"),
    ] {
        assert_eq!(outcome(&world, from(payment, peer)).await, expected, "{payment} from {peer}");
    }
}

#[tokio::test]
async fn a_quote_for_one_payer_is_paid_by_no_other() {
    let world = giving(5).await;
    let stranger = Ask { order: order(), counter: None, payer: Some(PAY_TO) };
    let quote = world.payee.quote(stranger).await.unwrap().quote;
    let call = PaidCall { quote: Some(quote), ..call() };
    let offer = world.required(call.clone()).await;
    let payment = Some(super::world::pay(&offer, &world.sign(1, super::world::PRICE)));
    let paid = PaidCall { payment, ..call };
    assert_eq!(outcome(&world, paid).await, "service.payment_required");
    assert_eq!(world.offering.provider, name("echoer"));
}

#[tokio::test]
async fn what_was_granted_and_not_served_is_served_after_a_crash() {
    let mut world = giving(1).await;
    let quote = quoted(&world).await;
    let call = signed(&world, &world.payer, &quote, 1);
    world.fail([super::world::EngineFault::AtOnce]);
    assert_eq!(outcome(&world, call.clone()).await, "engine.failed");
    world.restart().await;
    assert_eq!(outcome(&world, call).await, "served");
}
