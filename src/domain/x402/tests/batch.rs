//! A payer's word about its channel: whose voucher it is, and what its sum has to be.

use alloy::primitives::{Address, B256};

use super::{
    NOW_S, PAYER_KEY, RESOURCE, SERVICE, SERVICE_KEY, TOKENS, USDC, channel_terms, order, quote,
    sign,
};
use crate::domain::asset::Network;
use crate::domain::channel::{Ceiling, ChannelTerms};
use crate::domain::commitment::{ChannelOffer, Scheme};
use crate::domain::money::Amount;
use crate::domain::quote::{PayBy, Quote};
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::check::{Known, check_sum, check_word};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::read::{BatchWord, VoucherWord, voucher_digest};
use crate::domain::x402::batch::typed::{batch_domain, id_of};
use crate::domain::x402::check::Demand;
use crate::domain::x402::requirements::Requirement;

fn word(key: B256, said: u128, signed: u128) -> BatchWord {
    let terms = channel_terms(1);
    let channel = id_of(&terms);
    let digest = |amount| {
        let ceiling = Ceiling { channel, amount: Amount::new(amount) };
        voucher_digest(batch_domain(USDC.network).separator(), &ceiling)
    };
    let ceiling = Ceiling { channel, amount: Amount::new(said) };
    let voucher = VoucherWord { ceiling, signature: sign(key, digest(signed)) };
    BatchWord { terms, channel, voucher, deposit: None }
}

fn check(word: BatchWord) -> Result<(), PaymentError> {
    let offer = ChannelOffer {
        receiver_authorizer: SERVICE,
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    };
    let way = PayBy { scheme: Scheme::BatchSettlement(offer), ..super::pay_by() };
    let quote = Quote { pay_by: vec![way], ..quote() };
    let offered = Requirement::of_quote(&quote, &order(), &TOKENS).unwrap();
    let demand = Demand { resource: RESOURCE, offered: &offered, now_s: NOW_S };
    check_word(word, &demand).map(|_| ())
}

/// Server rule 2 of the scheme: a channel's terms are those of the offer, and each says by its own code that
/// it is not. A word that is one of several ways is refused as the last of them.
#[test]
fn a_channels_terms_are_those_of_the_way_that_was_offered() {
    let other = Address::repeat_byte(0xaa);
    type Change = fn(&mut ChannelTerms, Address);
    let cases: [(Change, BatchCode); 6] = [
        (|terms, other| terms.asset.contract = other, BatchCode::Token),
        (|terms, _| terms.asset.network = Network::SANDBOX, BatchCode::Token),
        (|terms, other| terms.receiver = other, BatchCode::Receiver),
        (|terms, other| terms.receiver_authorizer = other, BatchCode::ReceiverAuthorizer),
        (|terms, _| terms.withdraw_delay_s = 899, BatchCode::DelayRange),
        (|terms, _| terms.withdraw_delay_s = 901, BatchCode::WithdrawDelay),
    ];
    for (at, (change, code)) in cases.into_iter().enumerate() {
        let mut word = word(PAYER_KEY, 50, 50);
        change(&mut word.terms, other);
        assert_eq!(check(word), Err(PaymentError::Batch(code)), "case {at}");
    }
    let exact = [super::requirement()];
    let demand = Demand { resource: RESOURCE, offered: &exact, now_s: NOW_S };
    let checked = check_word(word(PAYER_KEY, 50, 50), &demand).map(|_| ());
    assert_eq!(checked, Err(PaymentError::Scheme));
    let none = Demand { offered: &[], ..demand };
    let checked = check_word(word(PAYER_KEY, 50, 50), &none).map(|_| ());
    assert_eq!(checked, Err(PaymentError::NotOffered));
}

#[test]
fn e03_a_voucher_is_good_only_by_its_payers_key_and_for_just_its_sum() {
    let wrong = Err(PaymentError::Batch(BatchCode::VoucherSignature));
    check(word(PAYER_KEY, 50, 50)).unwrap();
    assert_eq!(check(word(SERVICE_KEY, 50, 50)), wrong);
    assert_eq!(check(word(PAYER_KEY, 51, 50)), wrong);
}

#[test]
fn e02_e05_a_vouchers_sum_is_what_was_charged_and_the_price_within_what_lies_there() {
    let known = |charged, balance, claimed| Known {
        charged: Amount::new(charged),
        balance: Amount::new(balance),
        claimed: Amount::new(claimed),
    };
    let sum = |ceiling, price, known: Known| {
        check_sum(Amount::new(ceiling), Amount::new(price), &known).err()
    };
    let code = |code| Some(PaymentError::Batch(code));
    assert_eq!(sum(60, 10, known(50, 60, 50)), None, "up to the last unit");
    assert_eq!(sum(50, 10, known(50, 60, 0)), code(BatchCode::Cumulative), "said before");
    assert_eq!(sum(61, 10, known(50, 100, 0)), code(BatchCode::Cumulative), "more than the price");
    assert_eq!(sum(59, 10, known(50, 100, 0)), code(BatchCode::Cumulative), "less than the price");
    assert_eq!(sum(60, 10, known(50, 59, 0)), code(BatchCode::ExceedsBalance), "not there");
    assert_eq!(sum(60, 10, known(50, 60, 60)), code(BatchCode::BelowClaimed), "claimed already");
    assert_eq!(sum(60, u128::MAX >> 1, known(u128::MAX >> 1, 60, 0)), code(BatchCode::Cumulative));
}
