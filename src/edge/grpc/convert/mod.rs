//! Between the domain's types and the messages of `bursar.v1`. Reading is strict: one spelling for
//! each value, nothing defaulted, unknown enum values refused. Nothing here decides.

mod answer;
mod listing;
mod offer;

use std::fmt::Display;
use std::str::FromStr;

use alloy::primitives::{Address, B256, Signature};
use bytes::Bytes;

use crate::domain::asset::{Asset, Network};
use crate::domain::fault::{Class, Fault};
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;
use crate::edge::grpc::limits::TEXT_LEN_MAX;

/// A message that does not say what it has to: which field, what was wrong, what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct Malformed {
    /// The field, with the path to it.
    pub field: String,
    /// What was wrong and what would be right.
    pub problem: String,
}

impl Malformed {
    /// A complaint about `field`.
    pub fn new(field: &str, problem: impl Display) -> Self {
        Self { field: field.to_owned(), problem: problem.to_string() }
    }

    /// The same, seen from the message that has it as `field`.
    pub fn under(self, field: &str) -> Self {
        Self { field: format!("{field}.{}", self.field), problem: self.problem }
    }
}

impl Fault for Malformed {
    fn code(&self) -> &'static str {
        "grpc.malformed"
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// The message in `value`, read; its complaints carry the path.
pub(super) fn read<P, T>(value: Option<P>, field: &str) -> Result<T, Malformed>
where
    T: TryFrom<P, Error = Malformed>,
{
    let value = value.ok_or_else(|| Malformed::new(field, "is missing"))?;
    T::try_from(value).map_err(|problem| problem.under(field))
}

/// The messages in `values`, read; at most `most` of them.
pub(super) fn read_all<P, T>(values: Vec<P>, most: usize, field: &str) -> Result<Vec<T>, Malformed>
where
    T: TryFrom<P, Error = Malformed>,
{
    if values.len() > most {
        return Err(Malformed::new(field, format_args!("has more than {most} entries")));
    }
    values
        .into_iter()
        .map(T::try_from)
        .collect::<Result<_, _>>()
        .map_err(|problem: Malformed| problem.under(field))
}

/// A value by its one spelling.
pub(super) fn parse<T>(text: &str, field: &str) -> Result<T, Malformed>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|problem| Malformed::new(field, problem))
}

/// A value by its one spelling, where there is one.
pub(super) fn parse_some<T>(text: Option<&str>, field: &str) -> Result<Option<T>, Malformed>
where
    T: FromStr<Err: Display>,
{
    text.map(|text| parse(text, field)).transpose()
}

/// A text of at most `most` bytes without control characters.
pub(super) fn bounded(text: String, most: usize, field: &str) -> Result<String, Malformed> {
    if text.len() > most || text.chars().any(char::is_control) {
        Err(Malformed::new(
            field,
            format_args!("expected at most {most} bytes without control characters"),
        ))
    } else {
        Ok(text)
    }
}

/// A content type, model description or the like.
pub(super) fn text(value: String, field: &str) -> Result<String, Malformed> {
    bounded(value, TEXT_LEN_MAX, field)
}

/// An address: `0x` and 40 hexadecimal digits.
pub(super) fn address(text: &str, field: &str) -> Result<Address, Malformed> {
    let whole = text.len() == 42 && text.starts_with("0x");
    whole
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| Malformed::new(field, "expected 0x and 40 hexadecimal digits"))
}

/// A hash: `0x` and 64 hexadecimal digits.
pub(super) fn hash(text: &str, field: &str) -> Result<B256, Malformed> {
    let whole = text.len() == 66 && text.starts_with("0x");
    whole
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| Malformed::new(field, "expected 0x and 64 hexadecimal digits"))
}

/// A signature: 65 bytes, r, s and v.
pub(super) fn signature(bytes: &[u8], field: &str) -> Result<Signature, Malformed> {
    <&[u8; 65]>::try_from(bytes)
        .ok()
        .and_then(|raw| Signature::from_raw_array(raw).ok())
        .ok_or_else(|| Malformed::new(field, "expected 65 bytes: r, s and v of 27 or 28"))
}

/// A signature's bytes.
pub(super) fn signature_bytes(signature: &Signature) -> Bytes {
    Bytes::copy_from_slice(&signature.as_bytes())
}

/// An asset by CAIP-19, as [`Asset`] shows itself.
pub(super) fn asset(text: &str, field: &str) -> Result<Asset, Malformed> {
    let (network, contract) = text
        .split_once("/erc20:")
        .ok_or_else(|| Malformed::new(field, "expected eip155:<chain id>/erc20:<address>"))?;
    let network: Network = parse(network, field)?;
    Ok(Asset { network, contract: address(contract, field)? })
}

/// Nano-units of account in their one spelling, at most [`Nano::MAX`].
pub(super) fn nano(text: &str, field: &str) -> Result<Nano, Malformed> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    let value = if canonical { text.parse().ok().map(Nano::new) } else { None };
    value.filter(|nano| *nano <= Nano::MAX).ok_or_else(|| {
        Malformed::new(field, "expected nano-units as digits without a leading zero")
    })
}

/// Nanoseconds in a second.
const NANOS_PER_S: u64 = 1_000_000_000;

/// A time as the well-known type has it.
pub(super) fn time_to_pb(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanos().checked_rem(NANOS_PER_S).unwrap_or(0);
    prost_types::Timestamp {
        seconds: i64::try_from(time.as_secs()).expect("u64 nanoseconds are few enough seconds"),
        nanos: i32::try_from(nanos).expect("a remainder is below a billion"),
    }
}

/// A time from the well-known type, exact to the nanosecond: signatures cover it.
pub(super) fn time(
    value: Option<prost_types::Timestamp>,
    field: &str,
) -> Result<Timestamp, Malformed> {
    let value = value.ok_or_else(|| Malformed::new(field, "is missing"))?;
    let seconds = u64::try_from(value.seconds).ok();
    let nanos = u64::try_from(value.nanos).ok().filter(|nanos| *nanos < NANOS_PER_S);
    seconds
        .and_then(|seconds| seconds.checked_mul(NANOS_PER_S))
        .zip(nanos)
        .and_then(|(whole, nanos)| whole.checked_add(nanos))
        .map(Timestamp::from_nanos)
        .ok_or_else(|| Malformed::new(field, "expected a time from 1970 to 2554"))
}

#[cfg(test)]
pub(super) mod tests;
