//! More channels than a round looks at: the rounds come to all of them.

use std::collections::BTreeMap;

use alloy::primitives::{B256, Signature, U256};

use super::super::*;
use super::world::{AUTHORIZER, NOW_S, PAY_TO, PRICE, USDC, World, name};
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::commitment::{ChannelOffer, TransferMethod};
use crate::domain::id::Fingerprint;
use crate::domain::ledger::Command;
use crate::domain::ledger::claim::Delivery;
use crate::domain::ledger::tab::{Charged, Sight, Standing, TabCommand};
use crate::domain::money::Amount;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::channel_rail::{CLAIM_ROWS_MAX, ChannelSettler, SignedDeposit, Withdrawals};
use crate::ports::memory_rail::RailFault;
use crate::ports::rail::RefusedBy;
use crate::runtime::payee::claiming::{GIVEN_BACK_MAX, WATCHED_MAX};

/// What was charged on each.
const CHARGED: Amount = Amount::new(7);

type Opened = BTreeMap<ChannelId, ChannelTerms>;

/// The twin of the contract verifies none.
fn signature() -> Signature {
    Signature::new(U256::from(1), U256::from(1), false)
}

/// A payee with so many channels, on each of which something was charged, or nothing; in the order of their
/// names.
async fn open(count: usize, charged: bool) -> (World, Opened) {
    let world = World::with(|offering| {
        offering.pay_by[0].scheme = Scheme::BatchSettlement(ChannelOffer {
            receiver_authorizer: AUTHORIZER,
            withdraw_delay_s: 900,
            deposit_min: Amount::ZERO,
        });
    })
    .await;
    let mut opened = Opened::new();
    for number in 0..count {
        let terms = ChannelTerms {
            asset: USDC,
            payer: world.payer.address(),
            payer_authorizer: world.payer.address(),
            receiver: PAY_TO,
            receiver_authorizer: AUTHORIZER,
            withdraw_delay_s: 900,
            salt: B256::from(U256::from(number)),
        };
        let deposit = SignedDeposit {
            terms,
            amount: Amount::new(PRICE),
            method: TransferMethod::Eip3009,
            valid_before_s: NOW_S + 1_000_000,
            salt: B256::repeat_byte(2),
            signature: signature(),
        };
        world.channels.by(AUTHORIZER).deposit(&deposit).await.unwrap();
        let commands = know(terms).into_iter().chain(charged.then(|| charge(terms)));
        for command in commands {
            world.treasury.execute(Command::Tab(command)).await.unwrap();
        }
        opened.insert(id_of(&terms), terms);
    }
    (world, opened)
}

fn know(terms: ChannelTerms) -> [TabCommand; 2] {
    let channel = id_of(&terms);
    let before = Sight { newest: Standing::EMPTY, withdrawable_at_s: None };
    let newest = Standing { balance: Amount::new(PRICE), claimed: Amount::ZERO };
    let look = TabCommand::Look { channel, before, sight: Sight { newest, ..before } };
    [TabCommand::Open { channel, terms }, look]
}

fn charge(terms: ChannelTerms) -> TabCommand {
    TabCommand::Charge(Box::new(Charged {
        channel: id_of(&terms),
        asset: USDC,
        base: Amount::ZERO,
        amount: CHARGED,
        ceiling: CHARGED,
        signature: signature(),
        fingerprint: Fingerprint::from_bytes([1; 16]),
        payment: None,
        provider: name("echoer"),
        capability: name("echo"),
        model: name("echo-1"),
        delivery: Delivery::default(),
    }))
}

/// The last of them in the order of their names was looked at by no round.
#[tokio::test]
async fn e15_a_payer_that_leaves_is_seen_among_more_channels_than_a_round_looks_at() {
    let (world, opened) = open(WATCHED_MAX + 1, true).await;
    let (last, terms) = opened.last_key_value().unwrap();
    world.channels.by(world.payer.address()).begin(terms).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.payee.claim_round(false).await.unwrap().silent, None);
    }
    assert_eq!(world.channels.sight(*last).claimed, CHARGED);
    let claimed = |channel: &&ChannelId| !world.channels.sight(**channel).claimed.is_zero();
    assert_eq!(opened.keys().filter(claimed).count(), 1, "nothing else is due");
}

#[tokio::test]
async fn a_channel_is_claimed_behind_as_many_as_one_claim_takes_that_cannot_be() {
    let (world, opened) = open(CLAIM_ROWS_MAX + 1, true).await;
    for channel in opened.keys().take(CLAIM_ROWS_MAX) {
        world.channels.set_poisoned(*channel, true);
    }
    let rounds = [
        world.payee.claim_round(true).await.unwrap(),
        world.payee.claim_round(true).await.unwrap(),
    ];
    assert!(rounds.iter().all(|round| round.silent.is_none()), "{rounds:?}");
    let (last, _) = opened.last_key_value().unwrap();
    assert_eq!(world.channels.sight(*last).claimed, CHARGED);
}

#[tokio::test]
async fn an_idle_channel_is_given_back_behind_as_many_as_a_round_tries_that_are_not() {
    let (world, opened) = open(GIVEN_BACK_MAX + 1, false).await;
    world.channels.script([RailFault::Refused(RefusedBy::Reverted); GIVEN_BACK_MAX]);
    let mut given = 0;
    for _ in 0..2 {
        given += world.payee.give_back_idle(Duration::ZERO).await.unwrap();
    }
    assert_eq!(given, u64::try_from(GIVEN_BACK_MAX).unwrap());
    let (last, _) = opened.last_key_value().unwrap();
    assert_eq!(world.channels.sight(*last).balance, Amount::ZERO);
}
