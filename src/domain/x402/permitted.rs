//! The payload of schemes `exact` and `upto` by Permit2: its JSON and the typed authorization.

use alloy::primitives::{Address, B256, U256};
use serde_json::{Map, Value};

use crate::domain::commitment::{Commitment, Scheme, TransferMethod};
use crate::domain::money::{Amount, AmountError};
use crate::domain::quote::PayBy;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::payload::read_time;
use crate::domain::x402::permit::{deadline_s, spender};
use crate::domain::x402::permit2::{ExactWitness, Permit2Authorization, Permitted};
use crate::domain::x402::requirements::read_address;
use crate::domain::x402::sponsoring;
use crate::domain::x402::upto::{UptoAuthorization, UptoWitness};
use crate::domain::x402::wire::PaymentPayload;

/// The key that the authorization is under.
pub(super) const KEY: &str = "permit2Authorization";

/// Characters of a nonce at most: 256 bits in decimal digits.
const NONCE_LEN_MAX: usize = 78;

fn wrong(field: &'static str) -> PaymentError {
    PaymentError::Field { message: Message::Payload, field }
}

/// An object's fields as texts, each read once and none left over.
struct Fields<'p>(&'p Map<String, Value>);

impl<'p> Fields<'p> {
    /// The object at `key`, with so many fields: what nobody here reads could mean something to another
    /// reader of the same payment.
    fn of(
        all: &'p Map<String, Value>,
        key: &str,
        len: usize,
        field: &'static str,
    ) -> Result<Self, PaymentError> {
        match all.get(key) {
            Some(Value::Object(fields)) if fields.len() == len => Ok(Self(fields)),
            _ => Err(wrong(field)),
        }
    }

    fn text(&self, key: &str, field: &'static str) -> Result<&'p str, PaymentError> {
        self.0.get(key).and_then(Value::as_str).ok_or(wrong(field))
    }

    fn address(&self, key: &str, field: &'static str) -> Result<Address, PaymentError> {
        read_address(self.text(key, field)?).ok_or(wrong(field))
    }

    fn time(&self, key: &str, field: &'static str) -> Result<u64, PaymentError> {
        read_time(self.text(key, field)?).ok_or(wrong(field))
    }
}

/// What is said to be signed for Permit2 in a payment, and the text of its signature, where `accepted` was
/// found to be `way`.
///
/// # Errors
/// [`PaymentError::Field`] for a field that is missing, not in its one spelling, or unknown,
/// [`PaymentError::Spender`], [`PaymentError::Facilitator`], [`PaymentError::NotOffered`] for another
/// token, [`PaymentError::ValueTooLarge`]; those of a permit that came with it.
pub(super) fn read_permit2<'p>(
    payment: &'p PaymentPayload,
    way: &PayBy,
) -> Result<(Commitment, &'p str), PaymentError> {
    let payload = &payment.payload;
    if payload.len() != 2 {
        return Err(wrong("payload"));
    }
    let fields = Fields::of(payload, KEY, 6, "payload.permit2Authorization")?;
    let permitted = Fields::of(fields.0, "permitted", 2, "payload.permit2Authorization.permitted")?;
    let witness_len = match way.scheme {
        Scheme::Upto { .. } => 3,
        Scheme::Exact | Scheme::BatchSettlement(_) => 2,
    };
    let witness =
        Fields::of(fields.0, "witness", witness_len, "payload.permit2Authorization.witness")?;

    let payer = fields.address("from", "payload.permit2Authorization.from")?;
    let found = fields.address("spender", "payload.permit2Authorization.spender")?;
    if found != spender(way.scheme) {
        return Err(PaymentError::Spender { expected: spender(way.scheme), found });
    }
    let token = permitted.address("token", "payload.permit2Authorization.permitted.token")?;
    if token != way.asset.contract {
        return Err(PaymentError::NotOffered);
    }
    if let Scheme::Upto { facilitator: expected } = way.scheme {
        let field = "payload.permit2Authorization.witness.facilitator";
        let found = witness.address("facilitator", field)?;
        if found != expected {
            return Err(PaymentError::Facilitator { expected, found });
        }
    }
    let deadline = fields.time("deadline", "payload.permit2Authorization.deadline")?;
    let nonce = fields.text("nonce", "payload.permit2Authorization.nonce")?;
    let mut commitment = Commitment {
        scheme: way.scheme,
        method: TransferMethod::Permit2,
        asset: way.asset,
        payer,
        pay_to: witness.address("to", "payload.permit2Authorization.witness.to")?,
        amount_max: read_amount(&permitted)?,
        valid_after_s: witness
            .time("validAfter", "payload.permit2Authorization.witness.validAfter")?,
        valid_before_s: deadline
            .checked_add(1)
            .ok_or(wrong("payload.permit2Authorization.deadline"))?,
        nonce: read_nonce(nonce).ok_or(wrong("payload.permit2Authorization.nonce"))?,
    };
    let signed =
        payload.get("signature").and_then(Value::as_str).ok_or(wrong("payload.signature"))?;
    if let Some(permit) = sponsoring::find_permit(payment, &commitment)? {
        commitment.method = TransferMethod::Permit2By(permit);
    }
    Ok((commitment, signed))
}

fn read_amount(permitted: &Fields<'_>) -> Result<Amount, PaymentError> {
    let field = "payload.permit2Authorization.permitted.amount";
    match permitted.text("amount", field)?.parse() {
        Ok(amount) => Ok(amount),
        Err(AmountError::TooLarge) => Err(PaymentError::ValueTooLarge),
        Err(AmountError::NotCanonical) => Err(wrong(field)),
    }
}

/// A nonce in its one spelling: decimal digits, none of them a leading zero.
pub(super) fn read_nonce(text: &str) -> Option<B256> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.len() <= NONCE_LEN_MAX && text.bytes().all(|b| b.is_ascii_digit());
    let nonce = (canonical && digits && !text.is_empty()).then(|| text.parse::<U256>().ok())?;
    nonce.map(B256::from)
}

/// What was signed, as JSON.
pub(super) fn write_permit2(commitment: &Commitment) -> Value {
    let from = commitment.payer.to_string();
    let permitted = Permitted {
        token: commitment.asset.contract.to_string(),
        amount: commitment.amount_max.to_string(),
    };
    let spender = spender(commitment.scheme).to_string();
    let nonce = U256::from_be_bytes(commitment.nonce.0).to_string();
    let deadline = deadline_s(commitment).to_string();
    let (to, valid_after) = (commitment.pay_to.to_string(), commitment.valid_after_s.to_string());
    let written = match commitment.scheme {
        Scheme::Upto { facilitator } => {
            let witness = UptoWitness { to, facilitator: facilitator.to_string(), valid_after };
            serde_json::to_value(UptoAuthorization {
                from,
                permitted,
                spender,
                nonce,
                deadline,
                witness,
            })
        }
        Scheme::Exact | Scheme::BatchSettlement(_) => {
            let witness = ExactWitness { to, valid_after };
            serde_json::to_value(Permit2Authorization {
                from,
                permitted,
                spender,
                nonce,
                deadline,
                witness,
            })
        }
    };
    written.expect("texts under text keys are JSON")
}
