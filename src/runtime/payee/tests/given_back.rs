//! Channels that a payee gives back: what may be gone pays no call, whatever died in between.

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;

use super::super::*;
use super::world::{AUTHORIZER, NOW_S, PAY_TO, PRICE, USDC, World, assets, call, collect};
use crate::domain::channel::{Ceiling, ChannelTerms};
use crate::domain::commitment::{ChannelOffer, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::voucher_digest;
use crate::domain::x402::batch::typed::id_of;
use crate::domain::x402::batch::word;
use crate::domain::x402::payload::voucher_payload;
use crate::ports::channel_rail::{ChannelSettler, SignedDeposit};
use crate::ports::memory_rail::RailFault;
use crate::ports::paid_service::PaidService;
use crate::ports::rail::RefusedBy;

/// What a call costs: 100 + ceil((2 * 1000 + 3 * 2000) / 1000).
const CHARGED: u128 = 108;

const BUSY: &str = "invalid_batch_settlement_evm_channel_busy";
const EMPTY: &str = "invalid_batch_settlement_evm_cumulative_exceeds_balance";

fn terms(payer: Address) -> ChannelTerms {
    ChannelTerms {
        asset: USDC,
        payer,
        payer_authorizer: payer,
        receiver: PAY_TO,
        receiver_authorizer: AUTHORIZER,
        withdraw_delay_s: 900,
        salt: B256::repeat_byte(1),
    }
}

/// A payee with one channel, in which ten calls' worth lies and by which one was paid.
async fn served_once() -> World {
    let world = World::with(|offering| {
        offering.pay_by[0].scheme = Scheme::BatchSettlement(ChannelOffer {
            receiver_authorizer: AUTHORIZER,
            withdraw_delay_s: 900,
            deposit_min: Amount::ZERO,
        });
    })
    .await;
    put_in(&world, 10 * PRICE, 2).await;
    assert_eq!(say(&world, PRICE).await, Ok(()));
    world
}

async fn put_in(world: &World, amount: u128, salt: u8) {
    let deposit = SignedDeposit {
        terms: terms(world.payer.address()),
        amount: Amount::new(amount),
        method: TransferMethod::Eip3009,
        valid_before_s: NOW_S + 1_000_000,
        salt: B256::repeat_byte(salt),
        // The twin of the contract verifies none.
        signature: world.payer.sign_hash_sync(&B256::ZERO).unwrap(),
    };
    world.channels.by(AUTHORIZER).deposit(&deposit).await.unwrap();
}

/// A call by a voucher for so much in all; else the code of the refusal.
async fn say(world: &World, amount: u128) -> Result<(), String> {
    let terms = terms(world.payer.address());
    let ceiling = Ceiling { channel: id_of(&terms), amount: Amount::new(amount) };
    let tokens = TokenDomains::new(&assets());
    let separator = tokens.find(USDC).unwrap().batch_separator();
    let signature = world.payer.sign_hash_sync(&voucher_digest(separator, &ceiling)).unwrap();
    let offer = world.required(call()).await;
    let payload = word::payload(&terms, &ceiling, &signature, None);
    let accepted = offer.accepts[0].clone();
    let payment = voucher_payload(offer.resource.clone(), accepted, payload, None, None);
    match world.payee.infer(PaidCall { payment: Some(payment), ..call() }).await {
        Ok(answer) => collect(Ok(answer)).await.map(drop).map_err(|error| error.to_string()),
        Err(ServiceError::PaymentRequired(offer)) => Err(offer.error.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}

async fn give_back(world: &World) -> u64 {
    world.payee.give_back_idle(Duration::ZERO).await.unwrap()
}

/// Found by the simulator: what was on its way back was known to the process alone that had sent it.
#[tokio::test]
async fn e04_what_went_back_before_a_crash_pays_no_call_after_it() {
    for fault in [RailFault::MovedButUnknown, RailFault::LostButUnknown] {
        let mut world = served_once().await;
        world.channels.script([fault]);
        assert_eq!(give_back(&world).await, 0, "nobody saw it");
        world.restart().await;
        let late = say(&world, CHARGED + PRICE).await;
        let moved = fault == RailFault::MovedButUnknown;
        assert_eq!(late, Err(if moved { EMPTY } else { BUSY }.to_owned()), "{fault:?}");
        assert_eq!(world.runs(), 1);
        // What never went goes in the end, and new money pays again.
        let again = u64::from(!moved);
        assert_eq!(give_back(&world).await, again, "{fault:?}");
        put_in(&world, 10 * PRICE, 3).await;
        assert_eq!(say(&world, CHARGED + PRICE).await, Ok(()), "{fault:?}");
    }
}

/// The first may arrive yet: that the second was refused says nothing of it.
#[tokio::test]
async fn e04_a_second_refund_that_is_refused_does_not_end_the_first() {
    let world = served_once().await;
    // With nothing to claim, nothing but refunds is sent.
    world.payee.claim_round(true).await.unwrap();
    world.channels.script([
        RailFault::LostButUnknown,
        RailFault::Refused(RefusedBy::Reverted),
        RailFault::Unreachable,
    ]);
    for _ in 0..3 {
        assert_eq!(give_back(&world).await, 0);
        assert_eq!(say(&world, CHARGED + PRICE).await, Err(BUSY.to_owned()));
    }
}

#[tokio::test]
async fn a_refund_that_was_never_sent_ends_nothing() {
    for fault in [RailFault::Unreachable, RailFault::Refused(RefusedBy::Reverted)] {
        let world = served_once().await;
        world.channels.script([fault]);
        assert_eq!(give_back(&world).await, 0);
        assert_eq!(say(&world, CHARGED + PRICE).await, Ok(()), "{fault:?}");
    }
}
