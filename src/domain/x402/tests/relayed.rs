//! What a payee tells its facilitator about channels, written and read, and every way in which its
//! signatures may be wrong.

use alloy::primitives::{Address, B256, Bytes, Signature, hex};
use serde_json::{Value, json};

use super::{PAY_TO, PAY_TO_KEY, PAYER_KEY, SERVICE, SERVICE_KEY, USDC, channel_terms, sign};
use crate::domain::channel::{Ceiling, ClaimRow};
use crate::domain::commitment::PayerWord;
use crate::domain::money::Amount;
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::authorized::{claim_digest, refund_digest};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::read::{VoucherWord, voucher_digest};
use crate::domain::x402::batch::refund::{RefundWord, read_refund, refund_wish};
use crate::domain::x402::batch::relayed::{
    Relayed, RelayedClaim, RelayedRefund, check_relayed, claim_payload, read_relayed,
    refund_payload, settle_payload,
};
use crate::domain::x402::batch::typed::{batch_domain, id_of};
use crate::domain::x402::signature::CONTRACT_SIGNATURE_LEN_MAX;

fn ceiling(salt: u8, amount: u128) -> Ceiling {
    Ceiling { channel: id_of(&channel_terms(salt)), amount: Amount::new(amount) }
}

fn row(salt: u8) -> ClaimRow {
    let separator = batch_domain(USDC.network).separator();
    ClaimRow {
        terms: channel_terms(salt),
        ceiling: Amount::new(60),
        signature: sign(PAYER_KEY, voucher_digest(separator, &ceiling(salt, 60))).into(),
        total: Amount::new(50),
    }
}

fn claim() -> RelayedClaim {
    let rows = vec![row(1), row(2)];
    let signature = Some(sign(SERVICE_KEY, claim_digest(&rows, USDC.network)));
    RelayedClaim { rows, signature }
}

fn refund() -> RelayedRefund {
    let separator = batch_domain(USDC.network).separator();
    let ceiling = ceiling(1, 50);
    let signature = sign(PAYER_KEY, voucher_digest(separator, &ceiling)).into();
    let voucher = VoucherWord { ceiling, signature };
    let (amount, rows) = (Amount::new(40), vec![row(1)]);
    let wish = RefundWord {
        terms: channel_terms(1),
        channel: ceiling.channel,
        voucher,
        amount: Some(amount),
    };
    let signature = Some(sign(SERVICE_KEY, claim_digest(&rows, USDC.network)));
    let claims = RelayedClaim { rows, signature };
    let signature = Some(sign(SERVICE_KEY, refund_digest(&channel_terms(1), 7, amount)));
    RelayedRefund { wish, amount, nonce: 7, claims, signature }
}

fn code(code: BatchCode) -> Result<Relayed, PaymentError> {
    Err(PaymentError::Batch(code))
}

#[test]
fn what_a_payee_tells_its_facilitator_is_read_as_it_was_written() {
    let claimed = read_relayed(&claim_payload(&claim()), USDC.network).unwrap();
    assert_eq!(check_relayed(claimed, None), Ok(Relayed::Claim(claim())));
    let refunded = read_relayed(&refund_payload(&refund()), USDC.network).unwrap();
    assert_eq!(check_relayed(refunded, None), Ok(Relayed::Refund(Box::new(refund()))));
    let swept = read_relayed(&settle_payload(PAY_TO, USDC), USDC.network).unwrap();
    assert_eq!(swept, Relayed::Settle { receiver: PAY_TO, asset: USDC });
}

#[test]
fn an_authorizers_word_is_needed_unless_the_facilitator_is_the_authorizer() {
    let delegated = Relayed::Claim(RelayedClaim { signature: None, ..claim() });
    assert_eq!(check_relayed(delegated.clone(), Some(SERVICE)), Ok(delegated.clone()));
    for own in [None, Some(PAY_TO)] {
        assert_eq!(check_relayed(delegated.clone(), own), code(BatchCode::Authorizer));
    }
    let by_another = sign(PAY_TO_KEY, claim_digest(&claim().rows, USDC.network));
    let forged = Relayed::Claim(RelayedClaim { signature: Some(by_another), ..claim() });
    assert_eq!(check_relayed(forged, Some(SERVICE)), code(BatchCode::Authorizer));
    let mut mixed = claim();
    mixed.rows[1].terms.receiver_authorizer = PAY_TO;
    assert_eq!(check_relayed(Relayed::Claim(mixed), None), code(BatchCode::Authorizer));
    let mut fewer = claim();
    fewer.rows.pop();
    assert_eq!(check_relayed(Relayed::Claim(fewer), None), code(BatchCode::Authorizer));
}

/// Up to the last unit of its voucher, and up to the last row.
#[test]
fn a_row_may_claim_all_of_its_voucher_and_a_claim_may_have_a_thousand_rows() {
    for (total, expected) in [(60, None), (61, Some(BatchCode::ChargeExceeds))] {
        let row = ClaimRow { total: Amount::new(total), ..row(1) };
        let delegated = RelayedClaim { rows: vec![row], signature: None };
        let checked = check_relayed(Relayed::Claim(delegated), Some(SERVICE));
        assert_eq!(checked.err(), expected.map(PaymentError::Batch), "{total}");
    }
    for (rows, good) in [(1_000, true), (1_001, false), (1_002, false)] {
        let claim = RelayedClaim { rows: vec![row(1); rows], signature: None };
        let read = read_relayed(&claim_payload(&claim), USDC.network);
        let found = read.map(|read| match read {
            Relayed::Claim(claim) => claim.rows.len(),
            other => panic!("{other:?}"),
        });
        let refused = Err(PaymentError::Batch(BatchCode::ClaimPayload));
        assert_eq!(found, if good { Ok(rows) } else { refused });
    }
}

/// What a contract would have to say is left for it, and only where no key is named.
#[test]
fn e21_what_no_key_signed_is_its_payers_account_to_answer_for_or_nobodys() {
    let shown = PayerWord::Contract(Bytes::from_static(&[7; 96]));
    let by_another = sign(SERVICE_KEY, B256::repeat_byte(1)).into();
    for word in [shown, by_another] {
        let mut claim = RelayedClaim { rows: vec![row(1)], signature: None };
        claim.rows[0].signature.clone_from(&word);
        let named = check_relayed(Relayed::Claim(claim.clone()), Some(SERVICE));
        assert_eq!(named, code(BatchCode::VoucherSignature));
        claim.rows[0].terms.payer_authorizer = Address::ZERO;
        let unnamed = check_relayed(Relayed::Claim(claim.clone()), Some(SERVICE));
        claim.rows[0].signature = PayerWord::Contract(word.to_bytes());
        assert_eq!(unnamed, Ok(Relayed::Claim(claim)));
    }
    let long = hex::encode_prefixed([7; CONTRACT_SIGNATURE_LEN_MAX + 1]);
    let mut payload = claim_payload(&claim());
    payload["claims"][0]["signature"] = json!(long);
    let found = read_relayed(&payload, USDC.network).unwrap_err();
    assert_eq!(found, PaymentError::Batch(BatchCode::ClaimPayload));
}

#[test]
fn e19_a_refund_needs_the_payers_voucher_and_the_authorizers_word_for_its_nonce() {
    type Change = fn(&mut RelayedRefund);
    let cases: [(Change, BatchCode); 5] = [
        (|refund| refund.nonce = 8, BatchCode::Authorizer),
        (|refund| refund.amount = Amount::new(41), BatchCode::Authorizer),
        (
            |refund| refund.wish.voucher.ceiling.amount = Amount::new(51),
            BatchCode::VoucherSignature,
        ),
        (|refund| refund.claims.rows[0].total = Amount::new(61), BatchCode::ChargeExceeds),
        (|refund| refund.claims.rows[0].terms.salt = B256::ZERO, BatchCode::ChannelId),
    ];
    for (change, expected) in cases {
        let mut refund = refund();
        change(&mut refund);
        assert_eq!(check_relayed(Relayed::Refund(Box::new(refund)), None), code(expected));
    }
}

#[test]
fn what_is_not_in_its_form_is_refused_by_its_types_code() {
    let payload = |value: Value| value.as_object().unwrap().clone();
    let read = |value: Value| read_relayed(&payload(value), USDC.network).unwrap_err();
    let batch = PaymentError::Batch;
    assert_eq!(read(json!({"type": "claim"})), batch(BatchCode::ClaimPayload));
    assert_eq!(read(json!({"type": "settle", "receiver": "0x1"})), batch(BatchCode::SettlePayload));
    assert_eq!(read(json!({"type": "refund"})), batch(BatchCode::RefundPayload));
    assert_eq!(read(json!({"type": "voucher"})), batch(BatchCode::PayloadType));
    assert_eq!(read(json!({})), batch(BatchCode::PayloadType));
    let mut refund = refund_payload(&refund());
    refund.insert("refundNonce".to_owned(), json!("07"));
    let found = read_relayed(&refund, USDC.network).unwrap_err();
    assert_eq!(found, batch(BatchCode::RefundPayload));
    refund.insert("amount".to_owned(), json!("0"));
    let found = read_relayed(&refund, USDC.network).unwrap_err();
    assert_eq!(found, batch(BatchCode::RefundAmount));
}

/// `null` once stood for all there is.
#[test]
fn c14_what_is_no_positive_number_of_units_is_refused_by_the_amounts_code_on_both_sides() {
    let relayed = refund_payload(&refund());
    let wish = &refund().wish;
    let PayerWord::Key(signature) = &wish.voucher.signature else { panic!("{wish:?}") };
    let wish = refund_wish(&wish.terms, &wish.voucher.ceiling, signature, None);
    let texts = ["", "0", "00", "-1", "+1", "1.5", "1e3", "0x10", "01", " 1", "1 ", "x", "\u{661}"];
    let above = "340282366920938463463374607431768211456";
    let texts = texts.into_iter().chain([above]).map(Value::from);
    let others =
        [json!(null), json!(0), json!(1), json!(-1), json!(1.5), json!(true), json!(["1"])];
    for amount in texts.chain(others).chain([json!({ "value": "1" })]) {
        for payload in [&wish, &relayed] {
            let mut payload = payload.clone();
            payload.insert("amount".to_owned(), amount.clone());
            let amount_code = PaymentError::Batch(BatchCode::RefundAmount);
            let found = read_refund::<Signature>(&payload, USDC.network).unwrap_err();
            assert_eq!(found, amount_code, "{amount}");
            let found = read_relayed(&payload, USDC.network).unwrap_err();
            assert_eq!(found, amount_code, "{amount}");
        }
    }
    assert_eq!(
        BatchCode::RefundAmount.as_str(),
        "invalid_batch_settlement_evm_refund_amount_invalid"
    );
    let all = read_refund::<Signature>(&wish, USDC.network).unwrap();
    assert_eq!(all.amount, None, "left out is all");
    let mut one = wish;
    one.insert("amount".to_owned(), json!("1"));
    let one = read_refund::<Signature>(&one, USDC.network).unwrap();
    assert_eq!(one.amount, Some(Amount::new(1)));
}
