//! JSON that may say one key twice, and what can be changed of it.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

/// A JSON value whose objects are lists, in order, so that a key may come twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Leaf(Value),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
    /// Text that is put as it is.
    Raw(String),
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(key, inner)| (key, inner.into())).collect())
            }
            leaf => Self::Leaf(leaf),
        }
    }
}

impl Tree {
    pub fn write(&self, text: &mut String) {
        match self {
            Self::Leaf(value) => write!(text, "{value}").unwrap(),
            Self::Raw(raw) => text.push_str(raw),
            Self::List(items) => {
                text.push('[');
                for (at, item) in items.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { "," });
                    item.write(text);
                }
                text.push(']');
            }
            Self::Object(fields) => {
                text.push('{');
                for (at, (key, inner)) in fields.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { "," });
                    write!(text, "{}:", Value::from(key.as_str())).unwrap();
                    inner.write(text);
                }
                text.push('}');
            }
        }
    }

    /// How many fields and items are in it, at any depth.
    fn len(&self) -> usize {
        match self {
            Self::Leaf(_) | Self::Raw(_) => 0,
            Self::List(items) => items.iter().map(|item| 1 + item.len()).sum(),
            Self::Object(fields) => fields.iter().map(|(_, inner)| 1 + inner.len()).sum(),
        }
    }

    /// Does `change` at the `nth` of its fields and items, and says where that is and what it did.
    fn edit(&mut self, mut nth: usize, here: &str, change: &Change) -> Option<Edit> {
        match self {
            Self::Leaf(_) | Self::Raw(_) => None,
            Self::List(items) => {
                for item in items {
                    if nth == 0 {
                        return item.become_changed(format!("{here}/*"), change);
                    }
                    nth -= 1;
                    if nth < item.len() {
                        return item.edit(nth, &format!("{here}/*"), change);
                    }
                    nth -= item.len();
                }
                None
            }
            Self::Object(fields) => {
                for at in 0..fields.len() {
                    let (key, inner) = &mut fields[at];
                    let place = format!("{here}/{key}");
                    if nth == 0 {
                        return edit_field(fields, at, place, change);
                    }
                    nth -= 1;
                    if nth < inner.len() {
                        return inner.edit(nth, &place, change);
                    }
                    nth -= inner.len();
                }
                None
            }
        }
    }

    fn become_changed(&mut self, place: String, change: &Change) -> Option<Edit> {
        let became = change.of(self)?;
        let did = Did::Became { from: self.clone(), to: became.clone() };
        *self = became;
        Some(Edit { place, did })
    }
}

fn edit_field(
    fields: &mut Vec<(String, Tree)>,
    at: usize,
    place: String,
    change: &Change,
) -> Option<Edit> {
    let parent = place.rsplit_once('/')?.0.to_owned();
    match change {
        Change::Drop => {
            fields.remove(at);
            Some(Edit { place, did: Did::Dropped })
        }
        Change::Twice(other) => {
            let (key, inner) = fields[at].clone();
            let inner = other.clone().map_or(inner, Tree::Leaf);
            fields.push((key, inner.clone()));
            Some(Edit { place, did: Did::Twice(inner) })
        }
        Change::Rename(rename) => {
            let key = rename(&fields[at].0);
            let to = (key != fields[at].0).then(|| key.clone())?;
            // It may become a key that is there.
            let did = if fields.iter().any(|(known, _)| *known == key) {
                Did::Twice(fields[at].1.clone())
            } else {
                Did::Renamed(to)
            };
            fields[at].0 = key;
            Some(Edit { place, did })
        }
        Change::Add(key, value) => Some(add(fields, &parent, key, Tree::Leaf(value.clone()))),
        Change::Nest(depth) => {
            let nested = "[".repeat(*depth) + &"]".repeat(*depth);
            Some(add(fields, &parent, "nested", Tree::Raw(nested)))
        }
        Change::Put(_) | Change::Turn(_) => fields[at].1.become_changed(place, change),
    }
}

fn add(fields: &mut Vec<(String, Tree)>, parent: &str, key: &str, value: Tree) -> Edit {
    let twice = fields.iter().any(|(known, _)| known == key);
    let did = if twice { Did::Twice(value.clone()) } else { Did::Added(value.clone()) };
    fields.push((key.to_owned(), value));
    Edit { place: format!("{parent}/{key}"), did }
}

/// One change, wherever it may hit.
#[derive(Clone, Debug)]
pub enum Change {
    Drop,
    Twice(Option<Value>),
    Rename(fn(&str) -> String),
    Add(String, Value),
    Nest(usize),
    Put(Value),
    Turn(fn(&Value) -> Option<Value>),
}

impl Change {
    fn of(&self, tree: &Tree) -> Option<Tree> {
        let became = match (self, tree) {
            (Self::Put(value), _) => Tree::from(value.clone()),
            (Self::Turn(turn), Tree::Leaf(leaf)) => Tree::Leaf(turn(leaf)?),
            _ => return None,
        };
        (became != *tree).then_some(became)
    }
}

/// What a change did.
#[derive(Clone, Debug, PartialEq)]
pub enum Did {
    Dropped,
    Twice(Tree),
    Renamed(String),
    Added(Tree),
    Became { from: Tree, to: Tree },
}

/// What a change did, and where: the keys from the outside in, and `*` for any item of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub place: String,
    pub did: Did,
}

/// Changes a document, and says what came of it.
pub fn edit(document: &Value, changes: &[(Index, Change)]) -> (String, Vec<Edit>) {
    let mut tree = Tree::from(document.clone());
    let mut edits = Vec::new();
    for (at, change) in changes {
        if tree.len() > 0 {
            let nth = at.index(tree.len());
            edits.extend(tree.edit(nth, "", change));
        }
    }
    let mut text = String::new();
    tree.write(&mut text);
    (text, edits)
}

/// Values that readers trip over.
fn odd() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "0",
        "00",
        "01",
        "-1",
        "+1",
        "1e3",
        "1.0",
        " 1",
        "1 ",
        "1_000",
        "0x",
        "0x10",
        "0X10",
        "0b11",
        "null",
        "\u{661}\u{660}",
        "\u{202E}",
        "\u{0}",
        "\u{1F980}",
        "9007199254740993",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "eip155:1",
        "eip155:084532",
        "eip155:+84532",
        "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
        "base",
        "EXACT",
        "exact",
        "upto",
        "batch-settlement",
        "permit2",
        "eip3009",
        "115792089237316195423570985008687907853269984665640564039457584007913129639935",
        "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        "0xffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffff",
    ];
    let fixed = serde_json::json!([
        null, true, false, [], {}, [1], { "a": 1 }, 0, 1, 2, 60, 255, 256, -1, 1.5, 60.0, 1e300, 4294967296_u64,
        u64::MAX, i64::MIN
    ]);
    let fixed: Vec<Value> = fixed.as_array().unwrap().clone();
    let plain = serde_json::json!([null, false, 0, "0"]);
    let plain: Vec<Value> = plain.as_array().unwrap().clone();
    prop_oneof![
        3 => proptest::sample::select(plain),
        4 => proptest::sample::select(texts.to_vec()).prop_map(Value::from),
        3 => proptest::sample::select(fixed),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<u128>().prop_map(|number| Value::from(number.to_string())),
        1 => any::<String>().prop_map(Value::from),
    ]
}

fn with_text(value: &Value, turn: impl Fn(&str) -> String) -> Option<Value> {
    value.as_str().map(|text| Value::from(turn(text)))
}

/// Turns of what is there: number to text and back, digits in the other case, a spelling more.
const TURNS: [fn(&Value) -> Option<Value>; 16] = [
    |value| value.is_number().then(|| Value::from(value.to_string())),
    |value| Some(Value::from(value.as_str()?.parse::<u64>().ok()?)),
    |value| with_text(value, str::to_uppercase),
    |value| with_text(value, str::to_lowercase),
    |value| {
        with_text(value, |text| {
            format!("0x{}", text.strip_prefix("0x").unwrap_or(text).to_uppercase())
        })
    },
    |value| with_text(value, |text| text.strip_prefix("0x").unwrap_or(text).to_owned()),
    |value| with_text(value, |text| text.replacen("0x", "0X", 1)),
    |value| with_text(value, |text| format!("0{text}")),
    |value| with_text(value, |text| format!("+{text}")),
    |value| with_text(value, |text| format!(" {text}")),
    |value| with_text(value, |text| format!("{text}\u{200B}")),
    |value| with_text(value, |text| format!("{text}\n")),
    |value| with_text(value, |text| format!("{text}0")),
    |value| with_text(value, |text| text.chars().skip(1).collect()),
    |value| {
        with_text(value, |text| text.chars().take(text.chars().count().saturating_sub(1)).collect())
    },
    |value| with_text(value, |text| text.repeat(2_000)),
];

const RENAMES: [fn(&str) -> String; 5] = [
    |key| key.to_lowercase(),
    |key| key.to_uppercase(),
    |key| format!("{key} "),
    |key| format!("{key}\u{200B}"),
    |key| {
        key.chars().fold(String::new(), |mut snake, c| {
            if c.is_uppercase() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
            snake
        })
    },
];

/// Any one change.
pub fn change() -> impl Strategy<Value = Change> {
    let keys = [
        "extra",
        "resource",
        "extensions",
        "amount",
        "payTo",
        "x402Version",
        "mimeType",
        "outputSchema",
        "error",
        "unknown",
        "",
        "\u{1F980}",
        "__proto__",
        "assetTransferMethod",
        "maxAmountRequired",
    ];
    prop_oneof![
        3 => Just(Change::Drop),
        2 => proptest::option::of(odd()).prop_map(Change::Twice),
        2 => proptest::sample::select(RENAMES.to_vec()).prop_map(Change::Rename),
        3 => (proptest::sample::select(keys.to_vec()), odd())
            .prop_map(|(key, value)| Change::Add(key.to_owned(), value)),
        1 => proptest::sample::select(vec![1_usize, 30, 40, 100, 127, 140]).prop_map(Change::Nest),
        5 => odd().prop_map(Change::Put),
        6 => proptest::sample::select(TURNS.to_vec()).prop_map(Change::Turn),
    ]
}
