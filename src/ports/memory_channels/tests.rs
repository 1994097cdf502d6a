#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
//! The twin keeps the contract's rules.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Signature};

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::ChannelTerms;
use crate::domain::commitment::TransferMethod;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::channel_rail::{
    ChannelEvidence, ChannelSettler, ClaimRow, Depth, SignedDeposit, Withdrawals,
};
use crate::ports::clock::ManualClock;
use crate::ports::memory_channels::{ChannelAccount, MemoryChannels};
use crate::ports::memory_rail::{MemoryRail, RailFault};
use crate::ports::rail::{Evidence, RefusedBy, Settlement};

const ASSET: Asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(9) };
const PAYER: Address = Address::repeat_byte(1);
const AUTHORIZER: Address = Address::repeat_byte(2);
const PAYEE: Address = Address::repeat_byte(3);
const SETTLER: Address = Address::repeat_byte(4);

struct World {
    clock: ManualClock,
    rail: MemoryRail,
    chain: MemoryChannels,
    payee: ChannelAccount,
    payer: ChannelAccount,
}

fn world() -> World {
    let clock = ManualClock::at(Timestamp::from_nanos(1_000_000_000_000));
    let shared: Arc<ManualClock> = Arc::new(clock.clone());
    let rail = MemoryRail::new(Network::SANDBOX, shared.clone());
    rail.fund(ASSET, PAYER, Amount::new(1_000));
    let chain = MemoryChannels::new(rail.clone(), shared);
    let (payee, payer) = (chain.by(SETTLER), chain.by(AUTHORIZER));
    World { clock, rail, chain, payee, payer }
}

fn terms(salt: u8) -> ChannelTerms {
    ChannelTerms {
        asset: ASSET,
        payer: PAYER,
        payer_authorizer: AUTHORIZER,
        receiver: PAYEE,
        receiver_authorizer: SETTLER,
        withdraw_delay_s: 900,
        salt: B256::repeat_byte(salt),
    }
}

fn signature() -> Signature {
    Signature::test_signature()
}

fn deposit(terms: ChannelTerms, amount: u128) -> SignedDeposit {
    let (amount, salt) = (Amount::new(amount), B256::repeat_byte(7));
    let (method, valid_before_s, signature) = (TransferMethod::Eip3009, 2_000, signature());
    SignedDeposit { terms, amount, method, valid_before_s, salt, signature }
}

fn row(terms: ChannelTerms, ceiling: u128, total: u128) -> ClaimRow {
    let (ceiling, total) = (Amount::new(ceiling), Amount::new(total));
    ClaimRow { terms, ceiling, signature: signature().into(), total }
}

fn moved(settlement: Settlement) -> u128 {
    let Settlement::Settled { amount, .. } = settlement else { panic!("{settlement:?}") };
    amount.get()
}

#[tokio::test]
async fn a_deposit_arrives_once_whatever_its_answer_was() {
    let World { rail, chain, payee, .. } = world();
    let (first, unknown) = (deposit(terms(1), 100), Settlement::Unknown { transaction: None });
    chain.script([RailFault::LostButUnknown, RailFault::MovedButUnknown]);
    assert_eq!(payee.deposit(&first).await.unwrap(), unknown);
    assert!(chain.sight(id_of(&first.terms)).balance.is_zero());
    for _ in 0..3 {
        payee.deposit(&first).await.unwrap();
        assert_eq!(chain.sight(id_of(&first.terms)).balance, Amount::new(100));
    }
    assert_eq!(rail.owned(ASSET, PAYER), Amount::new(900));
    let much = deposit(terms(2), 901);
    let refused = Settlement::Refused(RefusedBy::InsufficientFunds);
    assert_eq!(payee.deposit(&much).await.unwrap(), refused);
}

#[tokio::test]
async fn claims_rise_within_ceiling_and_balance_and_poison_is_left_out() {
    let World { rail, chain, payee, payer, .. } = world();
    for salt in 1..=4 {
        payee.deposit(&deposit(terms(salt), 100)).await.unwrap();
    }
    chain.set_poisoned(id_of(&terms(2)), true);
    let rows = [
        row(terms(1), 60, 50),
        row(terms(2), 60, 50),
        row(terms(3), 60, 61),
        row(terms(4), 200, 101),
    ];
    let claim = payee.claim(&rows).await.unwrap();
    assert_eq!((claim.claimed, claim.poisoned), (vec![0], vec![1, 2, 3]));
    let again = payee.claim(&rows[..1]).await.unwrap();
    assert_eq!((again.transaction, again.claimed), (None, vec![0]));
    // Whoever is not the receiver's authorizer claims nothing.
    assert_eq!(payer.claim(&rows[..1]).await.unwrap().poisoned, [0]);
    assert_eq!(moved(payee.sweep(PAYEE, ASSET).await.unwrap().unwrap()), 50);
    assert_eq!(payee.sweep(PAYEE, ASSET).await.unwrap(), None);
    assert_eq!(rail.owned(ASSET, PAYEE), Amount::new(50));
}

#[tokio::test]
async fn money_goes_back_by_consent_or_after_the_delay() {
    let World { clock, rail, chain, payee, payer } = world();
    let (one, two) = (terms(1), terms(2));
    payee.deposit(&deposit(one, 100)).await.unwrap();
    payee.deposit(&deposit(two, 100)).await.unwrap();
    let all = Amount::new(u128::MAX);
    let last = row(one, 30, 30);
    let given = payee.give_back(&one, Some(&last), all).await.unwrap();
    assert_eq!(moved(given), 70);
    assert_eq!(payee.give_back(&one, Some(&last), all).await.unwrap(), given);
    assert_eq!(rail.owned(ASSET, PAYER), Amount::new(870));

    let begun = payer.begin(&two).await.unwrap();
    assert_eq!(payer.begin(&two).await.unwrap(), begun);
    let early = Settlement::Refused(RefusedBy::NotYetValid);
    assert_eq!(payer.finish(&two).await.unwrap(), early);
    payee.claim(&[row(two, 40, 40)]).await.unwrap();
    clock.advance(Duration::from_secs(900));
    let out = payer.finish(&two).await.unwrap();
    assert_eq!(moved(out), 60);
    assert_eq!(payer.finish(&two).await.unwrap(), out);
    let seen = chain.look(&[id_of(&one), id_of(&two)], Depth::Final).await.unwrap().seen;
    assert!(seen.iter().all(|sight| sight.balance == sight.claimed));

    let told = rail.transfers(ASSET, PAYER, 0).await.unwrap().moved;
    let back: Vec<_> = told.iter().filter_map(|it| Some((it.amount.get(), it.channel?))).collect();
    assert_eq!(back, [(70, id_of(&one)), (60, id_of(&two))]);
}
