//! Strict reading: bytes from a stranger become an x402 object, or one named refusal.
//!
//! The bounds come first: size before base64, base64 before JSON, then one pass for depth and keys
//! that are there twice, then the version, then the shape. Source: threats.md P01 to P06.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};

use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::wire::{
    PaymentPayload, PaymentRequired, Resource, SettlementResponse, X402_VERSION,
};

/// Largest object that is read, in bytes of JSON.
pub const OBJECT_LEN_MAX: usize = 64 * 1024;

/// Deepest nesting that is read.
pub const DEPTH_MAX: usize = 32;

/// Longest `resource.url` that is read, in bytes.
pub const URL_LEN_MAX: usize = 2048;

/// Most requirements in one offer.
pub const ACCEPTS_MAX: usize = 32;

/// An offer by its JSON.
///
/// # Errors
/// [`PaymentError`] for what is too large, too deep, ambiguous, of another version, or misshapen.
pub fn parse_payment_required(json: &[u8]) -> Result<PaymentRequired, PaymentError> {
    let mut required: PaymentRequired = parse(json, Message::Required)?;
    let field = |field| PaymentError::Field { message: Message::Required, field };
    if required.accepts.is_empty() || required.accepts.len() > ACCEPTS_MAX {
        return Err(field("accepts"));
    }
    // Shown to people at most; what could fool them is dropped.
    required.error = required.error.take().filter(|text| is_plain(text));
    check_resource(&mut required.resource).then_some(required).ok_or(field("resource.url"))
}

/// A payment by its JSON.
///
/// # Errors
/// As [`parse_payment_required`].
pub fn parse_payment_payload(json: &[u8]) -> Result<PaymentPayload, PaymentError> {
    let mut payload: PaymentPayload = parse(json, Message::Payload)?;
    let field = PaymentError::Field { message: Message::Payload, field: "resource.url" };
    payload.resource.as_mut().is_none_or(check_resource).then_some(payload).ok_or(field)
}

/// A settlement by its JSON. Only a JSON `true` is success; whatever cannot be read is neither success
/// nor failure, but an open outcome.
///
/// # Errors
/// As [`parse_payment_required`]; it has no version.
pub fn parse_settlement(json: &[u8]) -> Result<SettlementResponse, PaymentError> {
    parse(json, Message::Settlement)
}

/// The JSON in a header or a text metadata value: padded base64 of the standard alphabet, and nothing
/// but its canonical form.
///
/// # Errors
/// [`PaymentError::TooLarge`] before anything is decoded, [`PaymentError::NotBase64`].
pub fn decode_text(text: &[u8], message: Message) -> Result<Vec<u8>, PaymentError> {
    let max = OBJECT_LEN_MAX.div_ceil(3).saturating_mul(4);
    if text.len() > max {
        return Err(PaymentError::TooLarge { message, len: text.len(), max });
    }
    STANDARD.decode(text).map_err(|_| PaymentError::NotBase64(message))
}

/// What goes into a header or a text metadata value.
pub fn encode_text<T: Serialize>(object: &T) -> String {
    STANDARD.encode(to_json(object))
}

/// An x402 object's JSON.
pub fn to_json<T: Serialize>(object: &T) -> Vec<u8> {
    serde_json::to_vec(object).expect("x402 objects have text keys and no failing values")
}

/// How long what a facilitator is asked may be, in bytes: a claim of a hundred rows is.
pub const ASKED_LEN_MAX: usize = 256 * 1024;

/// What a facilitator is asked, by its JSON: `x402Version` may be missing or another, and is given with it.
///
/// # Errors
/// As [`parse_payment_required`], but for the version.
pub fn parse_asked<T: DeserializeOwned>(json: &[u8]) -> Result<(T, Option<u64>), PaymentError> {
    let message = Message::Asked;
    if json.len() > ASKED_LEN_MAX {
        return Err(PaymentError::TooLarge { message, len: json.len(), max: ASKED_LEN_MAX });
    }
    let version = scan(json, message)?;
    let read = serde_json::from_slice(json)
        .map_err(|error| PaymentError::Malformed { message, column: error.column() })?;
    Ok((read, version))
}

/// Any other object from a stranger, under the same bounds: size, depth, no key twice. Whoever reads an
/// object with a version names the one it understands.
///
/// # Errors
/// As [`parse_payment_required`].
pub fn parse_object<T: DeserializeOwned>(
    json: &[u8],
    message: Message,
    version: Option<u64>,
) -> Result<T, PaymentError> {
    if json.len() > OBJECT_LEN_MAX {
        return Err(PaymentError::TooLarge { message, len: json.len(), max: OBJECT_LEN_MAX });
    }
    let found = scan(json, message)?;
    if version.is_some() && found != version {
        return Err(PaymentError::Version { found });
    }
    serde_json::from_slice(json)
        .map_err(|error| PaymentError::Malformed { message, column: error.column() })
}

fn parse<T: DeserializeOwned>(json: &[u8], message: Message) -> Result<T, PaymentError> {
    let version = (message != Message::Settlement).then_some(u64::from(X402_VERSION));
    parse_object(json, message, version)
}

/// Drops what could fool a reader, and says whether the URL is one: printable ASCII without spaces.
fn check_resource(resource: &mut Resource) -> bool {
    resource.description = resource.description.take().filter(|text| is_plain(text));
    resource.mime_type = resource.mime_type.take().filter(|text| is_plain(text));
    let url = resource.url.as_bytes();
    !url.is_empty() && url.len() <= URL_LEN_MAX && url.iter().all(u8::is_ascii_graphic)
}

/// Whether a text shows as what it is: no control characters, no marks that reorder or hide.
fn is_plain(text: &str) -> bool {
    let misleads = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    !text.chars().any(misleads)
}

/// What the scan found wrong, where serde can only say that something is.
#[derive(Copy, Clone)]
enum Defect {
    TwoKeys,
    TooDeep,
}

/// Goes once through the JSON for what serde lets pass: keys that are there twice, at any depth, and
/// nesting. Gives the whole number under `x402Version`.
fn scan(json: &[u8], message: Message) -> Result<Option<u64>, PaymentError> {
    let (defect, version) = (Cell::new(None), Cell::new(None));
    let mut reader = serde_json::Deserializer::from_slice(json);
    let scan = Scan { depth: 0, defect: &defect, version: &version };
    let ended = scan.deserialize(&mut reader).and_then(|_| reader.end());
    match (defect.get(), ended) {
        (Some(Defect::TwoKeys), _) => Err(PaymentError::DuplicateKey(message)),
        (Some(Defect::TooDeep), _) => Err(PaymentError::TooDeep { message, max: DEPTH_MAX }),
        (None, Err(error)) => Err(PaymentError::Malformed { message, column: error.column() }),
        (None, Ok(())) => Ok(version.get()),
    }
}

#[derive(Copy, Clone)]
struct Scan<'s> {
    depth: usize,
    defect: &'s Cell<Option<Defect>>,
    version: &'s Cell<Option<u64>>,
}

impl Scan<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.saturating_add(1);
        if depth > DEPTH_MAX {
            self.defect.set(Some(Defect::TooDeep));
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<u64>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<u64>, E> {
        Ok(Some(value))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<u64>, A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<u64>, A::Error> {
        let inner = self.deeper()?;
        let mut keys: Vec<Cow<'de, str>> = Vec::with_capacity(8);
        while let Some(key) = entries.next_key_seed(Key)? {
            let value = entries.next_value_seed(inner)?;
            if self.depth == 0 && key == "x402Version" {
                self.version.set(value);
            }
            keys.push(key);
        }
        // Sorted at the end, so that an object of many keys costs no more than its size allows.
        keys.sort_unstable();
        let twice = keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
        if twice && !planted!("one_key_twice") {
            self.defect.set(Some(Defect::TwoKeys));
            return Err(A::Error::custom("two keys"));
        }
        Ok(None)
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
