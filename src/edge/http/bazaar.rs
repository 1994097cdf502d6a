//! The `bazaar` extension: how a route is called, in the form in which directories of others list it.
//!
//! Source: x402 extension bazaar.

use axum::http::Method;
use serde_json::{Map, Value, json};

/// The extension's key.
pub const KEY: &str = "bazaar";

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

impl Discovery {
    /// The extension's value in an offer. `template` is the route's path where it has parameters.
    pub fn declared(&self, method: &Method, template: Option<&str>) -> Value {
        let with_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        let mut input = json!({ "type": "http", "method": method.as_str() });
        let fields = input.as_object_mut().expect("it was made an object");
        if with_body {
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
        let mut declared = json!({ "info": info, "schema": schema(with_body) });
        if let (Some(template), Some(declared)) = (template, declared.as_object_mut()) {
            declared.insert("routeTemplate".to_owned(), Value::from(template));
        }
        declared
    }
}

fn schema(with_body: bool) -> Value {
    let methods = match with_body {
        true => json!(["POST", "PUT", "PATCH"]),
        false => json!(["GET", "HEAD", "DELETE"]),
    };
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
