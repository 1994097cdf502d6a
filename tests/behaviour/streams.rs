//! Streams that a channel pays while they flow, over gRPC, on a real EVM, with journals on disk. Row ids
//! are those of the threat model.

mod scene;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bursar::domain::ledger::agent::{Principal, Scope};
use bursar::domain::ledger::channel::{ChannelEvent, Extended};
use bursar::domain::ledger::tab::TabEvent;
use bursar::domain::ledger::{Event, Ledger};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::order::{Maxima, Order, Units};
use bursar::domain::quote::{PriceTerms, Stride};
use bursar::domain::x402::batch::read::VoucherWord;
use bursar::edge::grpc::{Purchase, pb};
use bursar::ports::paid_service::{Piece, Said};
use futures_util::StreamExt;
use tonic_types::StatusExt;

use crate::apart::{apart, crash, within};
use crate::channels::{Stranger, charged, until};
use crate::market::{POLICY, Shop, echo, name};
use scene::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_paid_while_it_flows_and_neither_side_is_ahead_by_more_than_a_stride() {
    let scene = open().await;
    let bought = scene.client().await.buy(wish("drip 22")).await.unwrap();
    assert_eq!(bought.body.len(), 22 * 4);
    scene.agree_on(22 * TOKEN).await;
    // Six portions of four tokens: each is held, before it is signed, and never more than one is out.
    let extended: Vec<Extended> = scene
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::Channel(ChannelEvent::Extended(extended)) => Some(extended),
            _ => None,
        })
        .collect();
    assert_eq!(extended.len(), 5);
    let stride = u128::from(STRIDE) * TOKEN;
    for (step, extended) in (2..).zip(&extended) {
        assert_eq!(extended.ceiling.get(), stride * step);
    }
    // On the payee's side each voucher stands before what it pays for is charged.
    let mut steps = 0;
    for event in scene.provider_events().await {
        if let Event::Tab(TabEvent::Stepped(stepped)) = event {
            let ahead = stepped.call.ceiling.get() - stepped.call.amount.get();
            assert!(ahead <= stride, "{ahead} were paid and not delivered");
            steps += 1;
        }
    }
    assert_eq!(steps, 7, "one record for each voucher, and one for the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_with_a_wider_limit_has_several_portions_on_their_way() {
    let ahead = Stride { output: Units(4 * STRIDE), bytes: 4000, compute_ms: 4000 };
    let scene = open_with(Shop { ahead, ..Shop::default() }).await;
    let mut pieces = scene.client().await.stream(wish("gated 40")).await.unwrap();
    scene.drip.gate.add_permits(1);
    assert_eq!(read(&mut pieces, 4).await, 4);
    let limit = u128::from(4 * STRIDE) * TOKEN;
    // One token came, so that three portions are out and a fourth would be one token too many.
    until(async || scene.paid().await.1 == limit).await;
    scene.drip.gate.add_permits(39);
    assert_eq!(read(&mut pieces, 39 * 4).await, 39 * 4);
    while let Ok(Some(_)) = pieces.message().await {}
    scene.agree_on(40 * TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_signs_no_more_when_tokens_stop_coming() {
    let scene = open().await;
    let mut pieces = scene.client().await.stream(wish("gated 100")).await.unwrap();
    scene.drip.gate.add_permits(6);
    assert_eq!(read(&mut pieces, 6 * 4).await, 6 * 4);
    let two = 2 * u128::from(STRIDE) * TOKEN;
    assert_eq!(scene.paid().await.1, two, "two portions for six tokens");
    until(async || scene.drip.waiting.load(Ordering::SeqCst) == 7).await;
    assert_eq!(scene.paid().await.1, two, "nothing more is signed while nothing comes");
    // The agent has enough of it: what came is paid, and not one token more.
    drop(pieces);
    scene.drip.gate.add_permits(1);
    until(async || charged(&scene.market).await > 0 && scene.market.node().payer.running() == 0)
        .await;
    scene.agree_on(charged(&scene.market).await).await;
    assert!(charged(&scene.market).await <= 7 * TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payee_that_falls_silent_is_told_to_stop_and_paid_for_what_came() {
    let scene = open().await;
    let mut pieces = scene.client().await.stream(wish("gated 100")).await.unwrap();
    scene.drip.gate.add_permits(6);
    assert_eq!(read(&mut pieces, 6 * 4).await, 6 * 4);
    until(async || scene.drip.waiting.load(Ordering::SeqCst) == 7).await;
    // Longer than a payer waits for the next token, and shorter than a payee works on one call.
    scene.market.hand.forward(31);
    let cut = loop {
        match pieces.message().await {
            Ok(Some(_)) => {}
            ended => break ended.expect_err("an answer that was cut is not whole"),
        }
    };
    assert_eq!(bursar_reason(&cut), "PAYER_STREAM_CUT");
    scene.agree_on(6 * TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_midway_is_paid_for_what_came() {
    let scene = open().await;
    let mut pieces = scene.client().await.stream(wish("failing 7")).await.unwrap();
    let mut came = 0;
    let cut = loop {
        match pieces.message().await {
            Ok(Some(message)) => {
                if let Some(pb::pay_response::Piece::Chunk(chunk)) = message.piece {
                    came += chunk.len();
                }
            }
            ended => break ended.expect_err("an answer that was cut is not whole"),
        }
    };
    assert_eq!((bursar_reason(&cut).as_str(), came), ("PAYER_STREAM_CUT", 7 * 4));
    scene.agree_on(7 * TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_budget_has_no_more_room_for_ends_with_what_was_paid_for() {
    let mut scene = open().await;
    // Ten portions of forty units fit into it.
    let policy = POLICY.replace("limit = \"0.02 USD\"", "limit = \"0.0004 USD\"");
    scene.market.restart_node(&policy).await;
    let mut pieces = scene.client().await.stream(wish("drip 50")).await.unwrap();
    let (mut came, mut refused) = (0, None);
    loop {
        match pieces.message().await {
            Ok(Some(message)) => {
                if let Some(pb::pay_response::Piece::Chunk(chunk)) = message.piece {
                    came += chunk.len();
                }
            }
            Ok(None) => break,
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    let refused = refused.expect("the end says why");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    let quota = refused.get_details_quota_failure().expect("it names the budget");
    assert!(quota.violations[0].subject.contains("agent"), "{quota:?}");
    assert_eq!(came, 40 * 4, "what was paid for came");
    assert_eq!(scene.market.left("worker").await, Nano::ZERO);
    scene.agree_on(came as u128 / 4 * TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_a_pause_ends_a_stream_with_what_was_paid_for() {
    let scene = open().await;
    let mut pieces = scene.client().await.stream(wish("gated 100")).await.unwrap();
    scene.drip.gate.add_permits(6);
    assert_eq!(read(&mut pieces, 6 * 4).await, 6 * 4);
    let signed = scene.paid().await.1;
    let operator = &scene.market.node().operator;
    let reason = "it streams too much".to_owned();
    operator.pause(Scope::Role(name("worker")), reason, Principal::Operator).await.unwrap();
    scene.drip.gate.add_permits(94);
    assert_eq!(read(&mut pieces, usize::MAX).await, 2 * 4, "what was paid for came");
    assert_eq!(scene.paid().await.1, signed, "nothing was signed after the pause");
    scene.agree_on(8 * TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payee_that_comes_back_midway_has_charged_what_it_had_written_and_both_books_agree() {
    let mut scene = open().await;
    scene.market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    let apart = apart();
    within(&apart, scene.market.start_provider());
    let purchase = wish("gated 100");
    let mut pieces = scene.client().await.stream(purchase.clone()).await.unwrap();
    scene.drip.gate.add_permits(10);
    assert_eq!(read(&mut pieces, 10 * 4).await, 10 * 4);
    scene.market.provider = None;
    crash(apart);
    while let Ok(Some(_)) = pieces.message().await {}
    scene.market.start_provider().await;
    // Eight tokens were delivered when the third voucher was written: the two after it are its loss.
    assert_eq!(charged(&scene.market).await, 8 * TOKEN);
    // What a payer found is asked for anew: the payee has another address since.
    scene.market.hand.forward(3);
    let again = scene.client().await.buy(purchase).await;
    assert_eq!(again.unwrap_err().reason, "PAYER_STREAM_CUT");
    scene.agree_on(8 * TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_that_comes_back_midway_finds_out_what_was_charged() {
    let mut scene = open().await;
    scene.market.node.take().unwrap().drain(Duration::from_secs(20)).await;
    let apart = apart();
    within(&apart, scene.market.start_node(POLICY));
    let purchase = wish("gated 100");
    let mut pieces = scene.client().await.stream(purchase.clone()).await.unwrap();
    scene.drip.gate.add_permits(10);
    assert_eq!(read(&mut pieces, 10 * 4).await, 10 * 4);
    drop(pieces);
    scene.market.node = None;
    crash(apart);
    scene.drip.gate.add_permits(1);
    scene.market.start_node(POLICY).await;
    let treasury = &scene.market.provider.as_ref().unwrap().treasury;
    let flows = |ledger: &Ledger| ledger.tabs().any(|tab| tab.last.is_some_and(|last| last.flows));
    until(async || !treasury.read(flows).await.unwrap()).await;
    let cost = charged(&scene.market).await;
    assert!((10 * TOKEN..=12 * TOKEN).contains(&cost), "{cost} for ten tokens that came");
    let again = scene.client().await.buy(purchase).await;
    assert_eq!(again.unwrap_err().reason, "PAYER_STREAM_CUT");
    scene.agree_on(cost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_paid_by_the_byte_while_it_flows() {
    // Two thousandths of a dollar for a megabyte, in portions of a thousand bytes.
    let per_gb = Amount::new(2_000_000);
    let terms = PriceTerms { per_gb, ..PriceTerms::default() };
    let scene = open_with(Shop { terms, ..Shop::default() }).await;
    let order = Order {
        output_max: Units(0),
        maxima: Maxima { bytes: 2_000_000, ..Maxima::default() },
        ..echo("").order
    };
    let purchase = Purchase { order, ..wish("bytes 1000000") };
    let bought = scene.client().await.buy(purchase).await.unwrap();
    assert_eq!(bought.body.len(), 1_000_000);
    scene.agree_on(2_000).await;
    for event in scene.provider_events().await {
        if let Event::Tab(TabEvent::Stepped(stepped)) = event {
            let ahead = stepped.call.ceiling.get() - stepped.call.amount.get();
            assert!(ahead <= 3, "{ahead} units were paid and not delivered");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_paid_by_the_millisecond_while_it_is_done() {
    // A second costs a thousand units, and is what is paid at a time.
    let terms = PriceTerms { per_s: Amount::new(1000), ..PriceTerms::default() };
    let scene = open_with(Shop { terms, ..Shop::default() }).await;
    let order = Order {
        output_max: Units(10),
        maxima: Maxima { compute_ms: 4_000, ..Maxima::default() },
        ..echo("").order
    };
    let purchase = Purchase { order, ..wish("work 1") };
    let mut pieces = scene.client().await.stream(purchase).await.unwrap();
    until(async || scene.drip.waiting.load(Ordering::SeqCst) == 1).await;
    assert_eq!(scene.paid().await.1, 1000);
    scene.market.hand.forward(1);
    until(async || scene.paid().await.1 == 2000).await;
    scene.drip.gate.add_permits(1);
    while let Ok(Some(_)) = pieces.message().await {}
    until(async || scene.market.node().payer.running() == 0).await;
    let cost = charged(&scene.market).await;
    assert!((1000..=4000).contains(&cost), "{cost} for a second and some");
    scene.agree_on(cost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_used_up_what_was_paid_does_not_hold_up_the_next_token() {
    let per_1k_output = Amount::new(TOKEN * 1000);
    let terms = PriceTerms { per_1k_output, per_s: Amount::new(1000), ..PriceTerms::default() };
    let scene = open_with(Shop { terms, ..Shop::default() }).await;
    let order = Order {
        output_max: Units(10),
        maxima: Maxima { compute_ms: 4_000, ..Maxima::default() },
        ..echo("").order
    };
    let mut pieces =
        scene.client().await.stream(Purchase { order, ..wish("gated 3") }).await.unwrap();
    // Each token comes as soon as a second has passed, before anybody was told of that second.
    for second in [0, 1, 1] {
        scene.market.hand.forward(second);
        scene.drip.gate.add_permits(1);
        assert_eq!(read(&mut pieces, 4).await, 4);
    }
    while let Some(message) = pieces.message().await.unwrap() {
        drop(message);
    }
    let cost = charged(&scene.market).await;
    assert!((3 * TOKEN + 2000..=4100).contains(&cost), "{cost} for three tokens and two seconds");
    scene.agree_on(cost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e22_a_payee_sends_what_is_paid_and_stops_there() {
    let scene = open().await;
    let stranger = Stranger::new(&scene.market).await;
    let stride = u128::from(STRIDE) * TOKEN;
    let (answer, saying) = stranger_stream(&scene, &stranger, (stride, 10_000), "drip 50").await;
    let (ceiling, signature) = stranger.voucher(2 * stride);
    saying.send(Said::Voucher(VoucherWord { ceiling, signature })).await.unwrap();
    // Nothing more is said, and the line stays open: the payee waits for its time, and ends.
    let (came, last) = finish(answer.unwrap()).await;
    assert_eq!(came, 8 * 4, "eight tokens were paid");
    assert!(matches!(last, Some(Piece::Cut(_))), "{last:?}");
    assert!(scene.drip.made() <= 9, "one token is made ahead at most");
    assert_eq!(charged(&scene.market).await, 8 * TOKEN);
    drop(saying);
}

#[tokio::test(flavor = "multi_thread")]
async fn d11_a_stream_whose_payer_stops_is_charged_for_what_was_delivered() {
    let scene = open().await;
    let stranger = Stranger::new(&scene.market).await;
    let stride = u128::from(STRIDE) * TOKEN;
    let (answer, saying) = stranger_stream(&scene, &stranger, (stride, 10_000), "gated 50").await;
    scene.drip.gate.add_permits(2);
    let mut answer = answer.unwrap();
    let mut came = 0;
    while came < 8 {
        if let Piece::Chunk(chunk) = answer.pieces.next().await.unwrap().unwrap() {
            came += chunk.len();
        }
    }
    saying.send(Said::Stop).await.unwrap();
    let (more, last) = finish(answer).await;
    assert_eq!(more, 0);
    assert!(matches!(last, Some(Piece::Cut(_))), "{last:?}");
    assert_eq!(charged(&scene.market).await, 2 * TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn e03_a_voucher_on_a_stream_that_does_not_do_pays_for_nothing() {
    let stride = u128::from(STRIDE) * TOKEN;
    // Too little, less than before, beyond what lies there, or beyond the order.
    for wrong in [stride + 1, stride / 2, 1_000_000] {
        let scene = open().await;
        let stranger = Stranger::new(&scene.market).await;
        let (answer, saying) =
            stranger_stream(&scene, &stranger, (stride, 10_000), "drip 50").await;
        let (ceiling, signature) = stranger.voucher(wrong);
        saying.send(Said::Voucher(VoucherWord { ceiling, signature })).await.unwrap();
        let (came, last) = finish(answer.unwrap()).await;
        assert!(came <= 16, "{came} bytes for one portion");
        assert!(matches!(last, Some(Piece::Cut(_))), "{last:?}");
    }
    let scene = open().await;
    let stranger = Stranger::new(&scene.market).await;
    let (answer, saying) = stranger_stream(&scene, &stranger, (stride, 10_000), "drip 50").await;
    // Another sum under a signature for this one.
    let (_, signature) = stranger.voucher(stride);
    let (ceiling, _) = stranger.voucher(2 * stride);
    saying.send(Said::Voucher(VoucherWord { ceiling, signature })).await.unwrap();
    let (came, last) = finish(answer.unwrap()).await;
    assert!(came <= 16 && matches!(last, Some(Piece::Cut(_))), "{came} {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voucher_for_the_whole_order_is_served_as_ever() {
    let scene = open().await;
    let stranger = Stranger::new(&scene.market).await;
    let price = 100 * TOKEN;
    let (answer, saying) = stranger_stream(&scene, &stranger, (price, 10_000), "drip 30").await;
    drop(saying);
    let (came, last) = finish(answer.unwrap()).await;
    assert_eq!(came, 30 * 4);
    assert!(matches!(last, Some(Piece::Done(_))), "{last:?}");
    assert_eq!(charged(&scene.market).await, 30 * TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payee_that_wants_more_at_a_time_than_the_payer_risks_is_not_paid_at_all() {
    let ahead = Stride { output: Units(STRIDE - 1), bytes: 1000, compute_ms: 1000 };
    let scene = open_with(Shop { ahead, ..Shop::default() }).await;
    let refused = scene.client().await.buy(wish("drip 22")).await.unwrap_err();
    assert_eq!(refused.reason, "PAYER_STRIDE_TOO_LONG");
    assert_eq!(scene.paid().await.1, 0, "nothing was signed");
}
