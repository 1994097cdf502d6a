//! The `bazaar` extension: how a route is called, declared by who sells it, read from payments by who lists it,
//! and read from listings by who looks for it.
//!
//! Whatever is read here is a stranger's text. It is bounded and cleaned, it is shown to people and programs
//! that look for something, and nothing is ever paid by it: what a resource costs, and to whom, is what it
//! asks for itself. A schema that comes along is not run: what it describes is held against the
//! specification's own shapes instead.
//!
//! Source: x402 extension bazaar.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::x402::wire::{PaymentPayload, PaymentRequirements, X402_VERSION};

/// The extension's key.
pub const KEY: &str = "bazaar";

/// Longest URL of a resource, in bytes.
const URL_LEN_MAX: usize = 2_048;

/// Longest text of a listing, in characters.
const TEXT_LEN_MAX: usize = 256;

/// Longest name of a service or of one of its tags, in characters. Source: the specification's rules.
const NAME_LEN_MAX: usize = 32;

/// Tags of one resource at most.
const TAGS_MAX: usize = 5;

/// Longest description of how a resource is called, in bytes of JSON.
const INFO_LEN_MAX: usize = 8 * 1024;

/// Ways to pay of one resource at most.
pub const ACCEPTS_MAX: usize = 8;

/// What is said of a route beside its method and path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Query parameters by example, for methods without a body.
    pub query: Map<String, Value>,
    /// The body by example, for methods with one; JSON.
    pub body: Option<Value>,
    /// The answer by example; JSON.
    pub output: Option<Value>,
}

/// A resource as it is listed. Source: x402 extension bazaar, discovery endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovered {
    /// Where it is.
    pub resource: String,
    /// `http` or `mcp`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In which version of the protocol it is paid.
    pub x402_version: u32,
    /// How it was paid, or may be.
    pub accepts: Vec<PaymentRequirements>,
    /// When it was seen last: RFC 3339.
    pub last_updated: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What its answers are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How it is called, under [`KEY`].
    pub extensions: Map<String, Value>,
}

impl Discovery {
    /// The extension's value in an offer. `template` is the route's path where it has parameters.
    pub fn declared(&self, method: &str, template: Option<&str>) -> Value {
        let with_body = BODY_METHODS.contains(&method);
        let mut declared = json!({ "info": self.info(method), "schema": schema(with_body) });
        if let (Some(template), Some(declared)) = (template, declared.as_object_mut()) {
            declared.insert("routeTemplate".to_owned(), Value::from(template));
        }
        declared
    }

    fn info(&self, method: &str) -> Value {
        let mut input = json!({ "type": "http", "method": method });
        let fields = input.as_object_mut().expect("it was made an object");
        if BODY_METHODS.contains(&method) {
            fields.insert("bodyType".to_owned(), Value::from("json"));
            fields.insert("body".to_owned(), self.body.clone().unwrap_or_else(|| json!({})));
        }
        if !self.query.is_empty() {
            fields.insert("queryParams".to_owned(), Value::Object(self.query.clone()));
        }
        let mut info = json!({ "input": input });
        if let (Some(output), Some(info)) = (&self.output, info.as_object_mut()) {
            let output = json!({ "type": "json", "example": output });
            info.insert("output".to_owned(), output);
        }
        info
    }
}

const BODY_METHODS: [&str; 3] = ["POST", "PUT", "PATCH"];
const QUERY_METHODS: [&str; 3] = ["GET", "HEAD", "DELETE"];

fn schema(with_body: bool) -> Value {
    let methods = if with_body { BODY_METHODS } else { QUERY_METHODS };
    let mut properties = json!({
        "type": { "type": "string", "const": "http" },
        "method": { "type": "string", "enum": methods },
        "queryParams": { "type": "object" },
        "headers": { "type": "object", "additionalProperties": { "type": "string" } }
    });
    let mut required = vec!["type", "method"];
    if let (true, Some(properties)) = (with_body, properties.as_object_mut()) {
        properties.insert(
            "bodyType".to_owned(),
            json!({ "type": "string", "enum": ["json", "form-data", "text"] }),
        );
        properties.insert("body".to_owned(), json!({ "type": ["object", "string", "array"] }));
        required.extend(["bodyType", "body"]);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "input": {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false
            },
            "output": {
                "type": "object",
                "properties": { "type": { "type": "string" }, "example": {} },
                "required": ["type"]
            }
        },
        "required": ["input"]
    })
}

/// What a payment says of the resource that it pays for; `None` where it says nothing, or nothing
/// that can be listed. The resource is its path, or its route's template, without a query.
pub fn find_discovered(payment: &PaymentPayload, now: &str) -> Option<Discovered> {
    let said = payment.extensions.as_ref()?.get(KEY)?;
    let resource = payment.resource.as_ref()?;
    let info = said.get("info")?;
    let kind = find_kind(info)?;
    let (origin, path) = split(&resource.url)?;
    let template = said.get("routeTemplate").and_then(Value::as_str).filter(|it| is_template(it));
    let mut shown = Map::from_iter([("info".to_owned(), info.clone())]);
    for (key, value) in
        [("schema", said.get("schema").cloned()), ("routeTemplate", template.map(Value::from))]
    {
        shown.extend(value.map(|value| (key.to_owned(), value)));
    }
    let shown = Value::Object(shown);
    if shown.to_string().len() > INFO_LEN_MAX {
        return None;
    }
    let more = |key: &str| resource.more.get(key);
    Some(Discovered {
        resource: format!("{origin}{}", template.unwrap_or(path)),
        kind: kind.to_owned(),
        x402_version: X402_VERSION,
        accepts: vec![payment.accepted.clone()],
        last_updated: now.to_owned(),
        description: resource.description.as_deref().and_then(clean),
        mime_type: resource.mime_type.as_deref().and_then(clean),
        service_name: more("serviceName")
            .and_then(Value::as_str)
            .filter(|it| is_name(it))
            .map(Into::into),
        tags: more("tags").map(tags).unwrap_or_default(),
        extensions: Map::from_iter([(KEY.to_owned(), shown)]),
    })
}

/// `http` or `mcp`, where how it is called has the shape that the specification gives it.
fn find_kind(info: &Value) -> Option<&'static str> {
    let input = info.get("input")?.as_object()?;
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    match text("type")? {
        "http" => {
            let method = text("method")?;
            let body_type = text("bodyType");
            let with_body = BODY_METHODS.contains(&method)
                && matches!(body_type, Some("json" | "form-data" | "text"))
                && input.contains_key("body");
            let without = QUERY_METHODS.contains(&method) && body_type.is_none();
            (with_body || without).then_some("http")
        }
        "mcp" => {
            let named = text("toolName").and_then(clean).is_some();
            (named && input.get("inputSchema").is_some_and(Value::is_object)).then_some("mcp")
        }
        _ => None,
    }
}

/// The tool that a listing is about, where it is about one: one URL may have many.
pub fn find_tool(listed: &Discovered) -> Option<&str> {
    listed.extensions.get(KEY)?.pointer("/info/input/toolName")?.as_str()
}

/// A URL's scheme and host, and its path without a query.
fn split(url: &str) -> Option<(&str, &str)> {
    let legible = url.len() <= URL_LEN_MAX && url.bytes().all(|b| b.is_ascii_graphic());
    let rest = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.filter(|_| legible)?;
    let whole = rest.split(['?', '#']).next()?;
    let host =
        whole.split('/').next().filter(|host| !host.is_empty() && !host.contains(['@', '\\']))?;
    let path = whole.strip_prefix(host)?;
    let before = url.len().checked_sub(rest.len())?.checked_add(host.len())?;
    Some((url.get(..before)?, if path.is_empty() { "/" } else { path }))
}

/// Source: the specification's rules for `routeTemplate`.
fn is_template(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_/:.-~%".contains(&b);
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    text.len() > 1
        && text.len() <= URL_LEN_MAX
        && text.starts_with('/')
        && text.bytes().all(allowed)
        && !decoded.contains("..")
        && !decoded.contains("://")
}

fn is_name(text: &str) -> bool {
    (1..=NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(|b| (0x20..=0x7e).contains(&b))
}

fn tags(said: &Value) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in said.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let known = tags.iter().any(|known| known.eq_ignore_ascii_case(tag));
        if tags.len() < TAGS_MAX && is_name(tag) && !known {
            tags.push(tag.to_owned());
        }
    }
    tags
}

/// A text for people: without what moves a cursor or turns a line around, one line, and no longer than is
/// read; nothing where nothing is left.
pub fn clean(text: &str) -> Option<String> {
    let misleads = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let cleaned: String = text.chars().filter(|c| !misleads(c)).take(TEXT_LEN_MAX).collect();
    let cleaned = cleaned.trim();
    (!cleaned.is_empty()).then(|| cleaned.to_owned())
}

/// What a directory elsewhere lists, cleaned: no price and no address of it is kept, because a resource says
/// itself what it asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Where it is.
    pub url: String,
    /// `http` or `mcp`.
    pub kind: String,
    /// How it is called, where that is said: `GET`.
    pub method: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Whose it is.
    pub service: Option<String>,
    /// By which schemes on which networks: `exact on eip155:8453`.
    pub ways: Vec<String>,
}

/// What reads of a directory's answer, at most `most` of it; what does not read is left out.
pub fn read_found(answer: &Value, most: usize) -> Vec<Found> {
    let listed = answer.get("resources").or_else(|| answer.get("items"));
    let listed = listed.and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(read_one).take(most).collect()
}

fn read_one(item: &Value) -> Option<Found> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let url = text("resource")?;
    split(url)?;
    let kind = text("type").filter(|kind| ["http", "mcp"].contains(kind))?;
    let methods = BODY_METHODS.iter().chain(&QUERY_METHODS);
    let said = item.pointer("/extensions/bazaar/info/input/method").and_then(Value::as_str);
    let method = methods.copied().find(|method| said == Some(*method));
    let accepts = item.get("accepts").and_then(Value::as_array).into_iter().flatten();
    let way = |accepted: &Value| {
        let part = |key: &str| accepted.get(key).and_then(Value::as_str).and_then(clean);
        Some(format!("{} on {}", part("scheme")?, part("network")?))
    };
    Some(Found {
        url: url.to_owned(),
        kind: kind.to_owned(),
        method: method.map(ToOwned::to_owned),
        description: text("description").and_then(clean),
        service: text("serviceName").filter(|it| is_name(it)).map(ToOwned::to_owned),
        ways: accepts.take(ACCEPTS_MAX).filter_map(way).collect(),
    })
}
