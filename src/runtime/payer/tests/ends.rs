//! Payments whose other side never comes to an end: they end all the same.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::stream;

use super::super::*;
use super::world::{Shop, breathe, build, by_channel, end, new_clock};
use crate::domain::commitment::Scheme;
use crate::domain::fault::Fault;
use crate::domain::money::Amount;
use crate::domain::order::Units;
use crate::domain::policy::Rates;
use crate::domain::quote::PriceTerms;
use crate::ports::paid_service::Piece;
use crate::runtime::channels::Retired;

/// How long a call may take in all.
const CALL_S: u64 = 60;

/// How long an agent may leave the last piece lying.
const AGENT_S: u64 = 30;

/// How long a payee that is told to stop has for its last word.
const STOP_S: u64 = 5;

/// Seconds that it may take until a task has begun and has ended.
const SLACK_S: u64 = 3;

/// A payee that is paid token by token, and a payer that is so many tokens ahead.
fn by_the_token(ahead: u64) -> Shop {
    let stride = |tokens| Stride { output: Units(tokens), bytes: 0, compute_ms: 0 };
    Shop {
        scheme: by_channel(),
        terms: PriceTerms { per_1k_output: Amount::new(1_000), ..PriceTerms::default() },
        stride: Some(stride(1)),
        settings: PayerSettings { stream: stride(ahead), ..PayerSettings::default() },
        ..Shop::default()
    }
}

/// Such a payee kept the call for ever: its channel could be neither lent nor given back, and the process
/// could not be drained.
#[tokio::test]
async fn a_payee_that_hears_no_vouchers_is_left_once_it_was_silent_for_too_long() {
    let world = build(&new_clock(), by_the_token(100), |_| {
        let used = stream::iter([Ok(Piece::Used(Usage::default()))]);
        Some(used.chain(stream::pending()).boxed())
    })
    .await;
    let wish = Wish { streamed: true, ..world.wish(1) };
    let mut purchase = world.payer.pay(wish).await.unwrap();
    let silence_s = PayerSettings::default().silence_max.as_secs();
    world.pass(silence_s + STOP_S + SLACK_S).await;
    assert_eq!(world.payer.running(), 0);
    let error = end(&mut purchase).await.unwrap_err();
    assert_eq!(error.code(), "payer.in_doubt", "{error}");
    let channels = world.fill_channels().await;
    let retired = world.keeper.as_ref().unwrap().retire(channels[0]).await.unwrap();
    assert!(matches!(retired, Retired::Ended(_)), "a call has it still");
}

/// Each piece takes a second, and none of them is worth anything.
#[tokio::test]
async fn pieces_that_never_stop_coming_outrun_no_deadline() {
    const FLOOD: u64 = 2_000;
    let usual = PayerSettings::default();
    let (silence, whole) = (usual.silence_max, usual.stream_max);
    for (silence_max, most) in [(silence, silence), (whole * 2, whole)] {
        let clock = new_clock();
        let taken = Arc::new(AtomicU64::new(0));
        let (hand, count) = (clock.clone(), Arc::clone(&taken));
        let shop = by_the_token(1);
        let settings = PayerSettings { silence_max, ..shop.settings.clone() };
        let world = build(&clock, Shop { settings, ..shop }, move |_| {
            let (hand, count) = (hand.clone(), Arc::clone(&count));
            let flood = stream::iter(0..FLOOD).map(move |_| {
                hand.advance(Duration::from_secs(1));
                count.fetch_add(1, Ordering::SeqCst);
                Ok(Piece::Used(Usage::default()))
            });
            Some(flood.boxed())
        })
        .await;
        let wish = Wish { streamed: true, ..world.wish(1) };
        let mut purchase = world.payer.pay(wish).await.unwrap();
        end(&mut purchase).await.unwrap_err();
        let taken = taken.load(Ordering::SeqCst);
        assert!((most.as_secs()..=most.as_secs() + STOP_S).contains(&taken), "{taken} in {most:?}");
    }
}

/// A paid answer had a deadline, and one that cost nothing had none.
#[tokio::test]
async fn a_free_answer_that_drips_for_ever_ends_when_a_paid_one_would() {
    let clock = new_clock();
    let hand = clock.clone();
    let shop = Shop { free_calls: 1, ..Shop::default() };
    let world = build(&clock, shop, move |_| {
        let drips = stream::unfold(hand.clone(), |hand| async move {
            hand.sleep_until(hand.now().after(Duration::from_secs(7))).await;
            Some((Ok(Piece::Chunk("drip".into())), hand))
        });
        Some(drips.boxed())
    })
    .await;
    let mut purchase = world.payer.pay(world.wish(1)).await.unwrap();
    world.pass(CALL_S + SLACK_S).await;
    assert_eq!(world.payer.running(), 0);
    let error = end(&mut purchase).await.unwrap_err();
    assert_eq!(error.code(), "payer.no_quote", "{error}");
}

/// It kept its task for as long as it lived, and with it one of its provider's places.
#[tokio::test]
async fn an_agent_that_reads_nothing_keeps_neither_its_payment_nor_its_providers_place() {
    for scheme in [Scheme::Exact, by_channel()] {
        let rates = Rates { concurrency: Some(1), ..Rates::default() };
        let shop = Shop { scheme, rates, ..Shop::default() };
        let world = build(&new_clock(), shop, |_| {
            let more = stream::iter((0..=PIECES_MAX).map(|_| Ok(Piece::Chunk("more".into()))));
            Some(more.chain(stream::pending()).boxed())
        })
        .await;
        let unread = world.payer.pay(world.wish(1)).await.unwrap();
        let error = world.payer.pay(world.wish(2)).await.unwrap_err();
        assert_eq!(error.code(), "limits.concurrency", "{scheme:?}: the provider works");
        world.pass(CALL_S + SLACK_S).await;
        let other = world.payer.pay(world.wish(3)).await.unwrap();
        world.pass(CALL_S + AGENT_S + SLACK_S).await;
        breathe().await;
        assert_eq!(world.payer.running(), 0, "{scheme:?}");
        drop((unread, other));
    }
}
