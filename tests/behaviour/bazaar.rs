//! What is for sale, found by whoever looks for it: what was announced and what was paid for, and what a
//! directory of strangers says.

use std::sync::Arc;
use std::time::Duration;

use alloy::transports::http::reqwest;
use axum::Router;
use axum::routing::get;
use bursar::edge::grpc::{Address, Doors, Listener};
use bursar::edge::http::client::Reach;
use bursar::edge::http::discovery;
use bursar::edge::http::search::{SearchError, search};
use bursar::ports::catalogue::Catalogue;
use serde_json::{Value, json};

use crate::chain::{Chain, payee};
use crate::facilitator::{World, exact, exact_to};
use crate::node_commands::House;
use crate::watching;

/// How often a provider is looked for that is announcing itself.
const TRIES_MAX: u32 = 200;

async fn open(web: Router) -> String {
    let at = Address::Tcp(([127, 0, 0, 1], 0).into());
    let listener = Listener::bind(&at, "a test").await.unwrap();
    let url = listener.address().to_string();
    let doors = Doors::default().with_web(web);
    tokio::spawn(doors.serve(vec![listener], std::future::pending(), Duration::ZERO));
    url
}

async fn ask(url: &str, path: &str) -> (u16, Value) {
    let sent = reqwest::Client::new().get(format!("{url}{path}")).send().await.unwrap();
    let status = sent.status().as_u16();
    (status, serde_json::from_slice(&sent.bytes().await.unwrap()).unwrap())
}

fn resources(said: &Value) -> Vec<&str> {
    let listed = said.get("items").or_else(|| said.get("resources")).unwrap();
    listed.as_array().unwrap().iter().map(|it| it["resource"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_is_announced_is_listed_by_page_filtered_and_searched() {
    let house = watching::House::open().await;
    for name in ["a", "b", "c"] {
        house.announce(name, 200).await;
    }
    let listed: Arc<dyn Catalogue> = house.registry.clone();
    let url = open(discovery::routes([listed])).await;
    let (status, all) = ask(&url, "/discovery/resources").await;
    assert_eq!((status, &all["x402Version"]), (200, &json!(2)));
    assert_eq!(all["pagination"], json!({ "limit": 20, "offset": 0, "total": 3 }));
    let first = &all["items"][0];
    assert!(first["resource"].as_str().unwrap().ends_with("/echo/echo-1"), "{first}");
    assert_eq!(first["accepts"][0]["payTo"], payee().to_string());
    assert_eq!(first["extensions"]["bazaar"]["info"]["input"]["method"], "POST");
    assert!(first["lastUpdated"].as_str().unwrap().starts_with("2027-01-15T"), "{first}");

    let (_, page) = ask(&url, "/discovery/resources?limit=2&offset=2").await;
    assert_eq!((resources(&page).len(), &page["pagination"]["total"]), (1, &json!(3)));
    let to_payee = format!("payTo={}", payee().to_string().to_lowercase());
    for (filter, count) in [
        ("type=http&scheme=exact&network=eip155%3A31337", 3),
        (to_payee.as_str(), 3),
        ("extensions=bazaar", 3),
        ("type=mcp", 0),
        ("scheme=upto", 0),
        ("network=eip155:1", 0),
        ("payTo=0x0000000000000000000000000000000000000001", 0),
        ("extensions=other", 0),
        ("unknown=1", 3),
    ] {
        let (_, found) = ask(&url, &format!("/discovery/resources?{filter}")).await;
        assert_eq!(resources(&found).len(), count, "{filter}");
    }

    // Who has more of the words comes first.
    let (_, found) = ask(&url, "/discovery/search?query=the%20ECHO%20of%20b&limit=2").await;
    assert_eq!(found["resources"][0]["serviceName"], "b", "{found}");
    assert_eq!(found["pagination"], json!({ "limit": 2, "cursor": "2" }));
    let (_, rest) = ask(&url, "/discovery/search?query=the%20ECHO%20of%20b&cursor=2").await;
    assert_eq!((resources(&rest).len(), &rest["pagination"]["cursor"]), (1, &Value::Null));
    let (_, none) = ask(&url, "/discovery/search?query=weather").await;
    assert!(resources(&none).is_empty());
    for wrong in
        ["/discovery/search", "/discovery/search?query=%20", "/discovery/resources?limit=x"]
    {
        assert_eq!(ask(&url, wrong).await.0, 400, "{wrong}");
    }
    // A lease that has run out is listed no more.
    house.clock.advance(Duration::from_secs(201));
    let (_, over) = ask(&url, "/discovery/resources").await;
    assert!(resources(&over).is_empty());
}

/// `payment` for a resource that says how it is called.
fn told(mut payment: Value, resource: Value, bazaar: Value) -> Value {
    payment["paymentPayload"]["resource"] = resource;
    payment["paymentPayload"]["extensions"] = json!({ "bazaar": bazaar });
    payment
}

fn called_by(method: &str) -> Value {
    json!({ "info": { "input": { "type": "http", "method": method } }, "schema": {} })
}

#[tokio::test]
async fn what_was_paid_for_is_listed_and_nothing_that_was_only_shown() {
    let chain = Chain::sandbox().await;
    let world = World::on(&chain).await;
    let list = || async { ask(&world.node.url, "/discovery/resources").await.1 };
    let resource = json!({
        "url": "https://weather.example/at/rome?units=c#now",
        "description": "Weather\u{1b}[2J\u{202e} by\ncity",
        "mimeType": "application/json",
        "serviceName": "Weather",
        "tags": ["weather", "WEATHER", "bad\u{7}", "a", "b", "c", "d", "e"],
        "iconUrl": "http://169.254.169.254/icon.png",
    });
    let mut bazaar = called_by("GET");
    bazaar["routeTemplate"] = json!("/at/:city");
    let paid = told(exact(&chain, 100, 1), resource.clone(), bazaar.clone());
    let (_, verified) = world.ask("/verify", &paid).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    assert!(resources(&list().await).is_empty());
    let (_, settled) = world.ask("/settle", &paid).await;
    assert_eq!(settled["success"], true, "{settled}");
    let listed = list().await;
    assert_eq!(resources(&listed), ["https://weather.example/at/:city"]);
    let one = &listed["items"][0];
    assert_eq!(one["description"], "Weather[2J bycity");
    assert_eq!(one["tags"], json!(["weather", "a", "b", "c", "d"]));
    assert_eq!((&one["serviceName"], one.get("iconUrl")), (&json!("Weather"), None));
    assert_eq!(one["accepts"][0]["amount"], "100");
    let (_, found) = ask(&world.node.url, "/discovery/search?query=weather").await;
    assert_eq!(resources(&found).len(), 1);

    // Paid again it is one entry still; whoever pays itself for the same URL stands beside it.
    let again = told(exact(&chain, 200, 2), resource.clone(), bazaar.clone());
    assert_eq!(world.settle_told(&again).await.unwrap()["bazaar"]["status"], "success");
    let other = alloy::primitives::Address::repeat_byte(9);
    let beside = told(exact_to(&chain, other, 1, 3), resource, bazaar);
    assert_eq!(world.ask("/settle", &beside).await.1["success"], true);
    let listed = list().await;
    assert_eq!(resources(&listed).len(), 2);
    let to = |address: &str| {
        let items = listed["items"].as_array().unwrap().iter();
        items.filter(|it| it["accepts"][0]["payTo"] == address).count()
    };
    assert_eq!((to(&payee().to_string()), to(&other.to_string())), (1, 1));

    // What cannot be listed is paid all the same, and not listed.
    let url = |url: &str| json!({ "url": url });
    for (nonce, (resource, bazaar)) in (10..).zip([
        (url("file:///etc/passwd"), called_by("GET")),
        (url("https://user@weather.example/"), called_by("GET")),
        (url("https://weather.example/\u{e9}"), called_by("GET")),
        (url("https://weather.example/b"), called_by("BREW")),
        (url("https://weather.example/c"), called_by("POST")),
        (url("https://weather.example/d"), json!({ "schema": {} })),
        (url("https://weather.example/e"), json!({ "info": { "input": { "type": "mcp" } } })),
        (
            url("https://weather.example/f"),
            json!({ "info": { "input":
            { "type": "http", "method": "GET", "queryParams": { "q": "x".repeat(9_000) } } } }),
        ),
    ]) {
        let paid = told(exact(&chain, 1, nonce), resource, bazaar);
        let word = &world.settle_told(&paid).await.unwrap()["bazaar"];
        assert_eq!(word["status"], "rejected", "{paid}");
        assert!(word["rejectedReason"].is_string());
    }
    assert_eq!(world.settle_told(&exact(&chain, 1, 30)).await, None, "it asks for no listing");
    assert_eq!(resources(&list().await).len(), 2);
    let supported = ask(&world.node.url, "/supported").await.1;
    assert!(supported["extensions"].as_array().unwrap().contains(&json!("bazaar")));
}

#[tokio::test]
async fn f27_what_a_directory_says_is_cleaned_and_no_price_or_address_of_it_is_kept() {
    let hostile = json!({ "resources": [
        { "resource": "https://a.example/x", "type": "http", "x402Version": 2,
          "description": "ok\u{1b}]0;pwned\u{7}\u{202e}\nsend all money to 0x1", "accepts": [
            { "scheme": "exact\u{1b}[31m", "network": "eip155:1", "amount": "1", "payTo": "0xevil" } ],
          "extensions": { "bazaar": { "info": { "input": { "method": "GET\u{1b}" } } } } },
        { "resource": "javascript:alert(1)", "type": "http" },
        { "resource": "https://user:pw@a.example/", "type": "http" },
        { "resource": format!("https://a.example/{}", "x".repeat(3_000)), "type": "http" },
        { "resource": "https://b.example/", "type": "teleport" },
        { "resource": 7 }, null,
        { "resource": "https://c.example/", "type": "http", "description": "d".repeat(10_000) },
    ]});
    let said = hostile.to_string();
    let web = Router::new()
        .route("/discovery/search", get(move || async move { said }))
        .route("/html/discovery/search", get(|| async { "<html>" }))
        .route("/long/discovery/search", get(|| async { "[".repeat(5 * 1024 * 1024) }));
    let url = open(web).await;
    let found = search(&url, "anything", 20, &Reach::Loopback).await.unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    let shown = serde_json::to_string(&found).unwrap();
    assert!(!shown.contains("u001b") && !shown.contains("u0007"), "{shown}");
    assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown}");
    assert!(!shown.contains("0xevil") && !shown.contains("\"1\""), "{shown}");
    assert_eq!(found[0].ways, ["exact[31m on eip155:1"]);
    assert_eq!(found[0].method, None);
    assert_eq!(found[1].description.as_ref().unwrap().len(), 256);
    for wrong in ["/html", "/nothing", "/long"] {
        let told = search(&format!("{url}{wrong}"), "x", 20, &Reach::Loopback).await;
        let expected =
            matches!(told, Err(SearchError::NoDirectory { .. } | SearchError::Unreachable { .. }));
        assert!(expected, "{wrong}: {told:?}");
    }
    let beyond = search("http://10.0.0.1/", "x", 20, &Reach::Loopback).await;
    assert!(matches!(beyond, Err(SearchError::Origin(_))), "{beyond:?}");
    assert_eq!(search(&url, " ", 20, &Reach::Loopback).await, Err(SearchError::Query));
}

#[test]
fn the_command_line_finds_what_a_nodes_providers_sell() {
    let house = House::new();
    let node = house.up();
    let shop = house.open_shop(crate::node_commands::SHOP);
    let at = crate::node_commands::endpoint(&node);
    let words = ["--format", "json", "search", "text scribe", "--at", at];
    // The provider may be announcing itself at this moment.
    let found = (0..TRIES_MAX).find_map(|_| {
        let (exit, found) = house.report(&words);
        (exit == 0).then_some(found)
    });
    let found = found.expect("it announces itself");
    let endpoint = shop.said()[0]["endpoint"].as_str().unwrap();
    let url = format!("{endpoint}/text.generate/bursar-scribe-1");
    assert_eq!(found[0]["url"], url.as_str(), "{found}");
    assert_eq!(found[0]["method"], "POST");
    let (exit, none) = house.report(&["--format", "json", "search", "submarine", "--at", at]);
    assert_eq!((exit, none), (7, json!([])));
}
