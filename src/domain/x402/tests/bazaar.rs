//! What is declared of a route, read from payments and found in listings: a stranger's text, bounded.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::payload;
use crate::domain::x402::bazaar::*;
use crate::domain::x402::wire::{PaymentPayload, Resource};

const NOW: &str = "2026-12-01T00:00:00Z";
const METHODS: [&str; 6] = ["GET", "HEAD", "DELETE", "POST", "PUT", "PATCH"];
const WITH_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn called(input: Value) -> Value {
    json!({ "info": { "input": input } })
}

fn get() -> Value {
    called(json!({ "type": "http", "method": "GET" }))
}

/// A payment for `url` that says `said` of it, and `more` of its resource.
fn payment(url: &str, said: Value, more: Value) -> PaymentPayload {
    let resource = Resource { url: url.to_owned(), more: map(more), ..Resource::default() };
    let extensions = Some(Map::from_iter([(KEY.to_owned(), said)]));
    PaymentPayload { resource: Some(resource), extensions, ..payload() }
}

fn listed(url: &str, said: Value) -> Option<Discovered> {
    find_discovered(&payment(url, said, json!({})), NOW)
}

#[test]
fn a_payment_that_says_how_its_resource_is_called_is_listed_with_what_it_says() {
    let said = json!({
        "info": { "input": { "type": "http", "method": "GET" } },
        "schema": { "type": "object" },
        "routeTemplate": "/weather/:city",
        "note": "nothing that is known",
    });
    let more = json!({ "serviceName": "Weather", "tags": ["rain"], "iconUrl": "https://a/b.png" });
    let mut paid = payment("https://api.example.com/weather/oslo?key=1", said.clone(), more);
    let resource = paid.resource.as_mut().unwrap();
    resource.description = Some("Rain\u{202e} or\n shine ".to_owned());
    resource.mime_type = Some("application/json".to_owned());
    let mut shown = map(said);
    shown.remove("note");
    let expected = Discovered {
        resource: "https://api.example.com/weather/:city".to_owned(),
        kind: "http".to_owned(),
        x402_version: 2,
        accepts: vec![paid.accepted.clone()],
        last_updated: NOW.to_owned(),
        description: Some("Rain or shine".to_owned()),
        mime_type: Some("application/json".to_owned()),
        service_name: Some("Weather".to_owned()),
        tags: vec!["rain".to_owned()],
        extensions: Map::from_iter([(KEY.to_owned(), Value::Object(shown))]),
    };
    assert_eq!(find_discovered(&paid, NOW), Some(expected));
    let silent = [
        PaymentPayload { extensions: None, ..paid.clone() },
        PaymentPayload { resource: None, ..paid.clone() },
        PaymentPayload { extensions: Some(Map::new()), ..paid },
    ];
    for payment in silent {
        assert_eq!(find_discovered(&payment, NOW), None);
    }
}

/// Source: x402 extension bazaar, the shapes of `input`.
#[test]
fn only_a_call_of_a_specified_shape_is_listed() {
    let mut cases = vec![
        (json!({ "type": "http", "method": "POST", "bodyType": "json" }), None),
        (json!({ "type": "http", "method": "POST", "body": {} }), None),
        (json!({ "type": "http", "method": "POST" }), None),
        (json!({ "type": "http", "method": "POST", "bodyType": "xml", "body": "" }), None),
        (json!({ "type": "http", "method": "GET", "bodyType": "json", "body": {} }), None),
        (json!({ "type": "http", "method": "GET", "bodyType": "json" }), None),
        (json!({ "type": "http", "method": "OPTIONS" }), None),
        (json!({ "type": "http", "method": "OPTIONS", "bodyType": "json", "body": {} }), None),
        (json!({ "type": "http", "method": "get" }), None),
        (json!({ "type": "http" }), None),
        (json!({ "method": "GET" }), None),
        (json!({ "type": "grpc", "method": "GET" }), None),
        (json!({ "type": "mcp", "toolName": "rain", "inputSchema": {} }), Some("mcp")),
        (json!({ "type": "mcp", "toolName": "rain", "inputSchema": [] }), None),
        (json!({ "type": "mcp", "toolName": "rain" }), None),
        (json!({ "type": "mcp", "toolName": " \u{200b}", "inputSchema": {} }), None),
        (json!({ "type": "mcp", "inputSchema": {} }), None),
        (json!("http"), None),
    ];
    for method in METHODS {
        let bare = json!({ "type": "http", "method": method });
        if WITH_BODY.contains(&method) {
            for body_type in ["json", "form-data", "text"] {
                let mut whole = bare.clone();
                whole["bodyType"] = json!(body_type);
                whole["body"] = json!({ "city": "Oslo" });
                cases.push((whole, Some("http")));
            }
        } else {
            cases.push((bare, Some("http")));
        }
    }
    for (input, kind) in cases {
        let found = listed("https://api.example.com/rain", called(input.clone()));
        assert_eq!(found.map(|found| found.kind).as_deref(), kind, "{input}");
    }
}

/// One URL of a server of tools stands for all of them.
#[test]
fn a_listed_tool_is_known_by_its_name_and_a_route_has_none() {
    let input = json!({ "type": "mcp", "toolName": "rain", "inputSchema": {} });
    let tool = listed("https://api.example.com/mcp", called(input)).unwrap();
    assert_eq!(find_tool(&tool), Some("rain"));
    assert_eq!(find_tool(&listed("https://api.example.com/rain", get()).unwrap()), None);
}

#[test]
fn a_resource_is_its_path_without_a_query_on_a_host_that_can_be_told() {
    let long = |len: usize| {
        let url = "https://api.example.com/";
        format!("{url}{}", "a".repeat(len - url.len()))
    };
    let (longest, longer) = (long(2_048), long(2_049));
    for (url, resource) in [
        ("https://api.example.com/a/b?q=1#f", Some("https://api.example.com/a/b")),
        ("http://127.0.0.1:8080/x#f?q", Some("http://127.0.0.1:8080/x")),
        ("https://api.example.com", Some("https://api.example.com/")),
        ("https://api.example.com?q=/a", Some("https://api.example.com/")),
        ("https://api.example.com/@me", Some("https://api.example.com/@me")),
        (longest.as_str(), Some(longest.as_str())),
        (longer.as_str(), None),
        ("https://user@api.example.com/a", None),
        ("https://api.example.com\\@other/a", None),
        ("https:///a", None),
        ("https://", None),
        ("https://api.example.com/a b", None),
        ("https://api.example.com/\u{e9}", None),
        ("ftp://api.example.com/a", None),
        ("grpc://api.example.com/a", None),
        ("api.example.com/a", None),
        ("", None),
    ] {
        let found = listed(url, get()).map(|found| found.resource);
        assert_eq!(found.as_deref(), resource, "{url}");
    }
}

/// Source: x402 extension bazaar, rules for `routeTemplate`. A template that breaks them is as none.
#[test]
fn a_template_stands_for_the_path_only_where_it_is_a_plain_path_itself() {
    let longest = format!("/{}", "a".repeat(2_047));
    let longer = format!("{longest}a");
    for (template, good) in [
        ("/weather/:city", true),
        ("/v1.0/a-b_c~d/:e/%20", true),
        (longest.as_str(), true),
        (longer.as_str(), false),
        ("/", false),
        ("", false),
        ("weather/:city", false),
        ("/weather/{city}", false),
        ("/weather/:city?q", false),
        ("/weather /:city", false),
        ("/weather/\u{e9}", false),
        ("/../admin", false),
        ("/%2e%2E/admin", false),
        ("/to/https://other", false),
        ("/to/https%3A%2f/other", false),
    ] {
        let mut said = get();
        said["routeTemplate"] = json!(template);
        let found = listed("https://api.example.com/x/y", said).unwrap();
        let path = if good { template } else { "/x/y" };
        assert_eq!(found.resource, format!("https://api.example.com{path}"), "{template}");
        let shown = found.extensions[KEY].get("routeTemplate");
        assert_eq!(shown, good.then(|| json!(template)).as_ref(), "{template}");
    }
}

#[test]
fn how_a_resource_is_called_is_listed_up_to_8_kib_and_no_longer() {
    let padded = |len: usize| {
        let mut said = get();
        said["info"]["pad"] = json!("");
        let bare = said.to_string().len();
        said["info"]["pad"] = json!("a".repeat(len - bare));
        listed("https://api.example.com/rain", said)
    };
    assert!(padded(100).is_some());
    assert!(padded(8 * 1_024).is_some());
    assert_eq!(padded(8 * 1_024 + 1), None);
    assert_eq!(padded(9 * 1_024), None);
}

/// Source: x402 extension bazaar: 32 printable ASCII characters, five tags.
#[test]
fn names_and_tags_that_break_the_rules_are_left_out() {
    let long = "a".repeat(33);
    for (name, good) in [
        ("Weather & more ~", true),
        (&long[..32], true),
        (long.as_str(), false),
        ("", false),
        ("Wetter\u{fc}", false),
        ("Wea\tther", false),
        ("\u{7f}", false),
    ] {
        let more = json!({ "serviceName": name, "tags": [name] });
        let found = find_discovered(&payment("https://a.example/b", get(), more), NOW).unwrap();
        assert_eq!(found.service_name.as_deref(), good.then_some(name), "{name}");
        assert_eq!(found.tags, Vec::from_iter(good.then_some(name)), "{name}");
    }
    for (said, tags) in [
        (json!(["a", "b", "c", "d", "e", "f"]), &["a", "b", "c", "d", "e"][..]),
        (json!(["rain", "RAIN", "sun", "Rain"]), &["rain", "sun"][..]),
        (json!(["", 7, null, "ok", long]), &["ok"][..]),
        (json!("rain"), &[][..]),
        (json!([]), &[][..]),
    ] {
        let more = json!({ "tags": said.clone(), "serviceName": 7 });
        let found = find_discovered(&payment("https://a.example/b", get(), more), NOW).unwrap();
        assert_eq!(
            (found.tags, found.service_name),
            (tags.iter().map(|&t| t.into()).collect(), None)
        );
    }
}

#[test]
fn a_text_for_people_is_one_short_line_that_shows_as_what_it_is() {
    let long = "\u{e9}".repeat(257);
    for (text, cleaned) in [
        ("Rain or shine", Some("Rain or shine")),
        (" \n Rain\r\n or\u{1b}[2J shine\t ", Some("Rain or[2J shine")),
        ("a\u{200b}b\u{200f}c\u{2028}d\u{202e}e\u{2060}f\u{206f}g\u{feff}h", Some("abcdefgh")),
        (long.as_str(), Some(&long[..512])),
        ("", None),
        (" \u{202e}\n", None),
    ] {
        assert_eq!(clean(text).as_deref(), cleaned, "{text:?}");
    }
}

proptest! {
    #[test]
    fn what_was_cleaned_is_clean(text in "[a-z \u{0}-\u{1f}\u{200b}-\u{206f}\u{feff}\u{e9}]{0,300}") {
        if let Some(cleaned) = clean(&text) {
            prop_assert_eq!(clean(&cleaned), Some(cleaned.clone()));
            prop_assert!((1..=256).contains(&cleaned.chars().count()));
            prop_assert!(!cleaned.contains(char::is_control));
        }
    }
}

#[test]
fn a_route_is_declared_with_what_is_said_of_it_and_nothing_else() {
    let bare = Discovery::default();
    let info = |discovery: &Discovery, method| discovery.declared(method, None)["info"].clone();
    assert_eq!(info(&bare, "GET"), json!({ "input": { "type": "http", "method": "GET" } }));
    let input = json!({ "type": "http", "method": "POST", "bodyType": "json", "body": {} });
    assert_eq!(info(&bare, "POST"), json!({ "input": input }));
    let whole = Discovery {
        query: map(json!({ "city": "Oslo" })),
        body: Some(json!({ "days": 3 })),
        output: Some(json!([1, 2])),
    };
    let output = json!({ "type": "json", "example": [1, 2] });
    let input = json!({ "type": "http", "method": "GET", "queryParams": { "city": "Oslo" } });
    assert_eq!(info(&whole, "GET"), json!({ "input": input, "output": output }));
    let declared = whole.declared("PUT", Some("/weather/:city"));
    let input = &declared["info"]["input"];
    assert_eq!((&input["bodyType"], &input["body"]), (&json!("json"), &json!({ "days": 3 })));
    assert_eq!(declared["routeTemplate"], "/weather/:city");
    assert_eq!(whole.declared("PUT", None).get("routeTemplate"), None);
}

/// A strict reader holds `info` against the schema that comes with it.
#[test]
fn what_is_declared_fits_its_own_schema_and_can_be_listed() {
    let whole = Discovery {
        query: map(json!({ "city": "Oslo" })),
        body: Some(json!({ "days": 3 })),
        output: Some(json!("rain")),
    };
    let both = [whole, Discovery::default()];
    for (discovery, method) in both.iter().flat_map(|one| METHODS.map(|method| (one, method))) {
        let declared = discovery.declared(method, Some("/weather/:city"));
        let schema = &declared["schema"];
        let fits = |part: &str| {
            let (said, schema) = (map(declared["info"][part].clone()), &schema["properties"][part]);
            let known = map(schema["properties"].clone());
            assert!(said.keys().all(|key| known.contains_key(key)), "{method} {part}");
            let required = schema["required"].as_array().unwrap();
            assert!(
                required.iter().all(|key| said.contains_key(key.as_str().unwrap())),
                "{method}"
            );
            known
        };
        assert_eq!(schema["required"], json!(["input"]));
        let known = fits("input");
        let methods = known["method"]["enum"].as_array().unwrap();
        assert!(methods.contains(&json!(method)), "{method}");
        assert_eq!(known.contains_key("body"), WITH_BODY.contains(&method), "{method}");
        if discovery.output.is_some() {
            fits("output");
        }
        let found = listed("https://api.example.com/weather/oslo", declared.clone()).unwrap();
        assert_eq!(found.resource, "https://api.example.com/weather/:city");
        assert_eq!(found.extensions[KEY], declared);
    }
}

fn item(changes: Value) -> Value {
    let mut item = map(json!({
        "resource": "https://api.example.com/rain?city=Oslo",
        "type": "http",
        "description": "Rain\u{202e}\n",
        "serviceName": "Weather",
        "accepts": [{ "scheme": "exact", "network": "eip155:8453", "amount": "1", "payTo": "0x1" }],
        "extensions": { "bazaar": { "info": { "input": { "method": "DELETE" } } } },
    }));
    item.extend(map(changes));
    Value::Object(item)
}

#[test]
fn a_directorys_item_is_read_without_its_price() {
    let whole = Found {
        url: "https://api.example.com/rain?city=Oslo".to_owned(),
        kind: "http".to_owned(),
        method: Some("DELETE".to_owned()),
        description: Some("Rain".to_owned()),
        service: Some("Weather".to_owned()),
        ways: vec!["exact on eip155:8453".to_owned()],
    };
    for list in ["resources", "items"] {
        assert_eq!(
            read_found(&json!({ list: [item(json!({}))] }), 9),
            std::slice::from_ref(&whole),
            "{list}"
        );
    }
    let bare = json!({ "resource": "http://a.example", "type": "mcp" });
    let found = Found {
        url: "http://a.example".to_owned(),
        kind: "mcp".to_owned(),
        method: None,
        description: None,
        service: None,
        ways: vec![],
    };
    assert_eq!(read_found(&json!({ "resources": [bare] }), 9), [found]);
    // A method that is none, a name that breaks the rules, a way without its network.
    let odd = json!({
        "extensions": { "bazaar": { "info": { "input": { "method": "BUY NOW" } } } },
        "serviceName": "a".repeat(33),
        "accepts": [{ "scheme": "exact" }, { "network": "eip155:1" }, 7],
    });
    let found = Found { method: None, service: None, ways: vec![], ..whole };
    assert_eq!(read_found(&json!({ "resources": [item(odd)] }), 9), [found]);
}

#[test]
fn what_does_not_read_of_a_directory_is_left_out_and_the_rest_is_bounded() {
    let wrong = [
        json!({ "resource": "https://user@a.example/" }),
        json!({ "resource": 7 }),
        json!({ "type": "grpc" }),
        json!({ "type": null }),
    ];
    let items = wrong.map(item).into_iter().chain([json!(7), json!(null)]);
    let items = items.flat_map(|wrong| [wrong, item(json!({}))]).collect::<Vec<_>>();
    for (most, found) in [(0, 0), (1, 1), (5, 5), (6, 6), (7, 6)] {
        assert_eq!(read_found(&json!({ "items": items }), most).len(), found, "{most}");
    }
    for nothing in [json!({}), json!([]), json!({ "items": {} }), json!(null)] {
        assert_eq!(read_found(&nothing, 9), []);
    }
    let way = json!({ "scheme": "exact", "network": "eip155:1" });
    let many = item(json!({ "accepts": vec![way; ACCEPTS_MAX + 1] }));
    assert_eq!(read_found(&json!({ "items": [many] }), 9)[0].ways.len(), ACCEPTS_MAX);
}
