//! Calls that are paid by a maximum: charged once, what the meter counted, whatever fails on the way.

use alloy::primitives::Address;
use alloy::signers::SignerSync;
use bytes::Bytes;
use futures_util::future::join_all;

use super::super::Offering;
use super::world::{
    EngineFault, PAY_TO, PRICE, USDC, World, assets, call, code, collect, pay, streamed,
};
use crate::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::TokenDomains;
use crate::ports::clock::Clock as _;
use crate::ports::memory_rail::{FACILITATOR, RailFault};
use crate::ports::paid_service::{PaidCall, PaidService};
use crate::ports::rail::NonceState;

const ANSWER: Bytes = Bytes::from_static(b"you said: hello");

/// What the echo uses costs by the list: 100 + ceil((2 * 1000 + 3 * 2000) / 1000), of at most 150.
const CHARGED: u128 = 108;

fn upto(offering: &mut Offering) {
    offering.pay_by[0].scheme = Scheme::Upto { facilitator: FACILITATOR };
    offering.pay_by[0].method = TransferMethod::Permit2;
}

fn sign(world: &World, nonce: u8) -> Authorization {
    let commitment = Commitment {
        scheme: Scheme::Upto { facilitator: FACILITATOR },
        method: TransferMethod::Permit2,
        ..world.sign(nonce, PRICE).commitment
    };
    let digest = TokenDomains::new(&assets()).find(USDC).unwrap().authorization_digest(&commitment);
    Authorization { commitment, signature: world.payer.sign_hash_sync(&digest).unwrap() }
}

async fn paid(world: &World, nonce: u8) -> PaidCall {
    let offer = world.required(call()).await;
    PaidCall { payment: Some(pay(&offer, &sign(world, nonce))), ..call() }
}

fn earned(world: &World) -> Amount {
    world.rail.owned(USDC, PAY_TO)
}

#[tokio::test]
async fn whole_or_streamed_what_was_used_is_charged_and_receipted() {
    for is_streamed in [false, true] {
        let world = World::with(upto).await;
        let mut call = paid(&world, 1).await;
        call.streamed = is_streamed;
        let (body, closing) = collect(world.payee.infer(call).await).await.unwrap();
        assert_eq!(body, ANSWER);
        let receipt = closing.receipt.unwrap().receipt;
        assert_eq!(receipt.amount, Amount::new(CHARGED));
        assert!(receipt.transaction.is_some());
        assert_eq!(closing.response.amount.as_deref(), Some("108"));
        assert_eq!((earned(&world), world.state(1).await), (Amount::new(CHARGED), Some("served")));
    }
}

/// threats.md A04, A06: one authorization, one request, one charge.
#[tokio::test]
async fn a06_an_authorization_pays_the_first_request_that_it_came_with_and_no_other() {
    for is_streamed in [false, true] {
        let world = World::with(upto).await;
        let mut call = paid(&world, 1).await;
        call.streamed = is_streamed;
        collect(world.payee.infer(call.clone()).await).await.unwrap();
        let other = PaidCall { body: Bytes::from_static(b"more"), ..call.clone() };
        assert_eq!(code(world.payee.infer(other).await), "service.bound");
        for _ in 0..10 {
            let (again, _) = collect(world.payee.infer(call.clone()).await).await.unwrap();
            assert_eq!(again, ANSWER);
        }
        assert_eq!((world.runs(), world.rail.settled()), (1, 1));
        assert_eq!(earned(&world), Amount::new(CHARGED));
    }
}

/// threats.md A05.
#[tokio::test]
async fn a05_the_same_payment_many_times_at_once_is_served_and_charged_once() {
    let world = World::with(upto).await;
    let call = paid(&world, 1).await;
    let asked = (0..16).map(|_| async { collect(world.payee.infer(call.clone()).await).await });
    let answers = world.passing(join_all(asked)).await;
    assert!(answers.iter().flatten().all(|(body, _)| *body == ANSWER));
    assert!(answers.iter().any(Result::is_ok));
    assert_eq!((world.runs(), world.rail.settled()), (1, 1));
}

/// A call under way when the process dies was not served: it is not settled either.
#[tokio::test]
async fn a_crash_before_the_charge_is_taken_up_by_the_same_request_and_by_nothing_else() {
    let mut world = World::with(upto).await;
    let call = paid(&world, 1).await;
    world.fail([EngineFault::Stalls]);
    let (payee, asked) = (world.payee.clone(), call.clone());
    let caller = tokio::spawn(async move { collect(payee.infer(asked).await).await });
    while world.runs() == 0 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    let _ = caller.await;
    world.restart().await;
    let round = world.payee.round().await.unwrap();
    assert_eq!((round.settled, round.open, world.rail.settled()), (0, 1, 0));
    let (body, _) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!((body, earned(&world)), (ANSWER, Amount::new(CHARGED)));
}

#[tokio::test]
async fn a_crash_after_the_charge_settles_that_charge_and_gives_the_kept_answer() {
    for fault in [RailFault::MovedAndSilent, RailFault::LostAndSilent] {
        let mut world = World::with(upto).await;
        let call = paid(&world, 1).await;
        world.rail.script([fault]);
        let (payee, asked) = (world.payee.clone(), call.clone());
        let caller = tokio::spawn(async move { collect(payee.infer(asked).await).await });
        while world.state(1).await != Some("charged") {
            tokio::task::yield_now().await;
        }
        caller.abort();
        let _ = caller.await;
        world.restart().await;
        let round = world.payee.round().await.unwrap();
        assert_eq!((round.settled, world.state(1).await), (1, Some("due")), "{fault:?}");
        let (body, _) = collect(world.payee.infer(call).await).await.unwrap();
        assert_eq!((body, world.runs(), world.rail.settled()), (ANSWER, 1, 1), "{fault:?}");
        assert_eq!(earned(&world), Amount::new(CHARGED));
    }
}

/// threats.md B09: what ends while the engine works pays nobody, so the engine ends first.
#[tokio::test]
async fn b09_work_that_outlives_its_authorization_is_cut_and_not_charged() {
    for is_streamed in [false, true] {
        let world = World::with(upto).await;
        let mut call = paid(&world, 1).await;
        call.streamed = is_streamed;
        world.fail([EngineFault::Stalls]);
        let outcome = world.passing(async { collect(world.payee.infer(call).await).await }).await;
        assert!(outcome.is_err());
        let ends = sign(&world, 1).commitment.valid_before_s;
        assert!(world.clock.now().as_secs() < ends, "before the authorization did");
        assert_eq!((world.state(1).await, world.rail.settled()), (Some("released"), 0));
    }
}

/// threats.md D13: what is streamed before it is paid is within what the payer owns.
#[tokio::test]
async fn d13_nobody_is_streamed_more_than_it_can_pay_for() {
    let world = World::with(upto).await;
    let payer = world.payer.address();
    let rest = Amount::new(1_000_000 - PRICE - 50);
    world.rail.spend(USDC, payer, Address::repeat_byte(1), rest);
    // Its settlement hangs, so that the first stream's share stays taken.
    world.rail.script([RailFault::LostAndSilent]);
    let first = streamed(paid(&world, 1).await);
    let (payee, asked) = (world.payee.clone(), first);
    let hanging = tokio::spawn(async move { collect(payee.infer(asked).await).await });
    while world.state(1).await != Some("credited") {
        tokio::task::yield_now().await;
    }
    // 200 owned, 150 of them streamed to: the next 150 are settled before anything is released.
    let second = streamed(paid(&world, 2).await);
    collect(world.payee.infer(second).await).await.unwrap();
    assert_eq!(world.state(2).await, Some("served"));
    assert_eq!(earned(&world), Amount::new(CHARGED));
    hanging.abort();
}

/// threats.md D01, D14: a payer that empties its wallet while it is streamed to costs that stream, and is
/// streamed to no more.
#[tokio::test]
async fn d14_a_stream_that_is_not_paid_is_a_loss_that_happens_once() {
    let world = World::with(upto).await;
    let payer = world.payer.address();
    world.rail.script([RailFault::Unreachable]);
    let call = streamed(paid(&world, 1).await);
    let (payee, asked) = (world.payee.clone(), call);
    let caller = tokio::spawn(async move { collect(payee.infer(asked).await).await });
    while world.state(1).await != Some("credited") {
        tokio::task::yield_now().await;
    }
    world.rail.spend(USDC, payer, Address::repeat_byte(1), Amount::new(1_000_000));
    let outcome = world.passing(caller).await.unwrap();
    assert!(outcome.is_err());
    assert_eq!(world.state(1).await, Some("lost"));
    let owed = world.treasury.read(move |ledger| ledger.credit().of(USDC, payer)).await.unwrap();
    assert_eq!(owed.lost, Amount::new(CHARGED));

    // It has money again. What it asks for is settled before it is released.
    world.rail.fund(USDC, payer, Amount::new(1_000));
    let next = streamed(paid(&world, 2).await);
    collect(world.payee.infer(next).await).await.unwrap();
    assert_eq!(world.state(2).await, Some("served"));
    // And what was lost is paid after all, while its authorization lives.
    world.payee.round().await.unwrap();
    assert_eq!(earned(&world), Amount::new(2 * CHARGED));
}

#[tokio::test]
async fn without_an_allowance_nothing_is_bound_and_nothing_run() {
    let world = World::with(upto).await;
    world.rail.allow(USDC, world.payer.address(), Amount::new(PRICE - 1));
    let call = paid(&world, 1).await;
    let refused = world.payee.infer(call).await.err().unwrap();
    let crate::ports::paid_service::ServiceError::PaymentRequired(offer) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(offer.error.as_deref(), Some("permit2_allowance_required"));
    assert_eq!((world.runs(), world.state(1).await), (0, None));
}

/// What names somebody else could be settled by nobody here.
#[tokio::test]
async fn a_way_for_another_facilitator_is_not_offered() {
    let world = World::with(|offering| {
        upto(offering);
        offering.pay_by[0].scheme = Scheme::Upto { facilitator: Address::repeat_byte(9) };
    })
    .await;
    assert_eq!(code(world.payee.infer(call()).await), "service.unavailable");
    assert_eq!(world.rail.nonce(&sign(&world, 1).commitment.key()), NonceState::Unused);
}
