//! A payer's word about its channel: whose voucher it is, and what its sum has to be.

use alloy::primitives::B256;

use super::{
    NOW_S, PAYER_KEY, RESOURCE, SERVICE, SERVICE_KEY, TOKENS, USDC, channel_terms, order, quote,
    sign,
};
use crate::domain::channel::Ceiling;
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
