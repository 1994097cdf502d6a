//! Deposits and wishes for a refund of our own making, at the step where each is taken no more.

use super::*;
use crate::domain::channel::{Ceiling, Incoming};
use crate::domain::commitment::{ChannelOffer, TokenPermit};
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::check::{check_batch, deposit_digest};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::permitted::{extensions, movement};
use crate::domain::x402::batch::read::{BatchWord, DepositWord, voucher_digest};
use crate::domain::x402::batch::refund::{RefundWord, check_refund, is_refund, refund_wish};
use crate::domain::x402::batch::typed::{batch_domain, id_of};
use crate::domain::x402::batch::word;
use crate::domain::x402::check::Demand;

/// The last second that a payee waits for, and as long as it asked for: 60 s and what clocks may differ by.
const VALID_BEFORE_S: u64 = NOW_S + 60;

fn token() -> &'static crate::domain::x402::token::TokenDomain {
    TOKENS.find(USDC).unwrap()
}

fn way(method: TransferMethod, deposit_min: u128) -> Requirement<'static> {
    let scheme = Scheme::BatchSettlement(ChannelOffer {
        receiver_authorizer: SERVICE,
        withdraw_delay_s: 900,
        deposit_min: Amount::new(deposit_min),
    });
    let pay_by = PayBy { scheme, method, ..pay_by() };
    Requirement { pay_by, amount: Amount::new(50), token: token() }
}

fn voucher() -> (Ceiling, Signature) {
    let ceiling = Ceiling { channel: id_of(&channel_terms(1)), amount: Amount::new(50) };
    (ceiling, sign(PAYER_KEY, voucher_digest(batch_domain(USDC.network).separator(), &ceiling)))
}

fn to_pay(
    requirement: &Requirement<'_>,
    payload: serde_json::Map<String, serde_json::Value>,
) -> PaymentPayload {
    PaymentPayload {
        x402_version: 2,
        resource: Some(grpc_resource(RESOURCE)),
        accepted: requirement.to_wire(),
        payload,
        extensions: None,
    }
}

/// A first call with its deposit, signed as it has to be.
fn deposited(requirement: &Requirement<'_>, amount: u128, permit_s: Option<u64>) -> PaymentPayload {
    let (terms, (ceiling, signature)) = (channel_terms(1), voucher());
    let method = match permit_s {
        Some(deadline_s) => {
            TransferMethod::Permit2By(TokenPermit { nonce: 3, deadline_s, signature: None })
        }
        None => requirement.pay_by.method,
    };
    let mut deposit = DepositWord {
        amount: Amount::new(amount),
        method,
        valid_before_s: VALID_BEFORE_S,
        salt: B256::repeat_byte(2),
        signature,
    };
    let incoming: Incoming = deposit.incoming(ceiling.channel);
    let digest = deposit_digest(token(), ceiling.channel, PAYER, &incoming);
    deposit.signature = sign(PAYER_KEY, digest);
    if let TransferMethod::Permit2By(permit) = &mut deposit.method {
        let digest = token().permit_digest(&movement(&terms, &incoming), permit);
        permit.signature = Some(sign(PAYER_KEY, digest));
    }
    let payload = word::payload(&terms, &ceiling, &signature, Some(&deposit));
    let extensions = extensions(&terms, ceiling.channel, Some(&deposit), None);
    PaymentPayload { extensions, ..to_pay(requirement, payload) }
}

fn check(payload: &PaymentPayload, way: Requirement<'static>, now_s: u64) -> Option<PaymentError> {
    let offered = [way];
    let demand = Demand { resource: RESOURCE, offered: &offered, now_s };
    let checked = check_batch(payload, &demand).map(|checked| -> BatchWord { checked.word });
    checked.err()
}

fn code(code: BatchCode) -> Option<PaymentError> {
    Some(PaymentError::Batch(code))
}

#[test]
fn a_deposit_is_at_least_what_was_offered_and_never_nothing() {
    for (amount, least, expected) in [
        (100, 0, None),
        (100, 99, None),
        (100, 100, None),
        (100, 101, code(BatchCode::DepositBelowMin)),
        (1, 0, None),
        (0, 0, code(BatchCode::DepositBelowMin)),
        (0, 1, code(BatchCode::DepositBelowMin)),
    ] {
        let way = way(TransferMethod::Eip3009, least);
        let found = check(&deposited(&way, amount, None), way, NOW_S);
        assert_eq!(found, expected, "{amount} of {least}");
    }
}

/// threats.md B01: six seconds are left to settle in.
#[test]
fn b01_a_permit_is_taken_as_long_as_there_is_time_to_hand_it_in() {
    let way = way(TransferMethod::Permit2Sponsored, 0);
    for (left_s, expected) in [
        (7, None),
        (6, None),
        (5, code(BatchCode::PermitDeadline)),
        (0, code(BatchCode::PermitDeadline)),
    ] {
        let found = check(&deposited(&way, 100, Some(NOW_S + left_s)), way, NOW_S);
        assert_eq!(found, expected, "{left_s} s left");
    }
}

#[test]
fn a_channels_word_is_for_the_resource_that_was_called_in_the_version_that_is_read() {
    let way = way(TransferMethod::Eip3009, 0);
    let good = deposited(&way, 100, None);
    assert_eq!(check(&good, way, NOW_S), None);
    let unnamed = PaymentPayload { resource: None, ..good.clone() };
    assert_eq!(check(&unnamed, way, NOW_S), None);
    let resource = Some(grpc_resource("grpc://elsewhere/Infer"));
    let other = PaymentPayload { resource, ..good.clone() };
    assert_eq!(check(&other, way, NOW_S), Some(PaymentError::Resource));
    for version in [1, 3] {
        let other = PaymentPayload { x402_version: version, ..good.clone() };
        let found = Some(u64::from(version));
        let expected = PaymentError::Version { found };
        assert_eq!(check(&other, way, NOW_S), Some(expected));
    }
}

#[test]
fn a_wish_for_a_refund_is_told_by_its_type_and_read_in_version_2_alone() {
    let way = way(TransferMethod::Eip3009, 0);
    let (ceiling, signature) = voucher();
    let wish = refund_wish(&channel_terms(1), &ceiling, &signature, Some(Amount::new(7)));
    let wish = to_pay(&way, wish);
    assert!(is_refund(&wish));
    assert!(!is_refund(&deposited(&way, 100, None)));
    assert!(!is_refund(&payload()), "a payment without a type");
    let offered = [way];
    let demand = Demand { resource: RESOURCE, offered: &offered, now_s: NOW_S };
    let read: RefundWord = check_refund(&wish, &demand).unwrap();
    assert_eq!((read.channel, read.amount), (ceiling.channel, Some(Amount::new(7))));
    for version in [1, 3] {
        let other = PaymentPayload { x402_version: version, ..wish.clone() };
        let refused = check_refund::<Signature>(&other, &demand).unwrap_err();
        assert_eq!(refused, PaymentError::Version { found: Some(u64::from(version)) });
    }
}
