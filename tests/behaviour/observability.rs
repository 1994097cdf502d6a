//! What an operator can watch, and what nobody can read there.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use alloy::primitives::hex;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::Purchase;
use bursar::edge::telemetry::{Listener, scrape};
use bursar::runtime::treasury::Treasury;
use futures_util::future::join_all;
use tracing_subscriber::fmt::MakeWriter;

use crate::market::{Market, PRICE_NANO, echo};

/// What `/metrics` says of a ledger, fetched over a socket.
async fn metrics(treasury: &Treasury) -> String {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(anywhere).await.unwrap();
    let server = listener.serve(scrape(treasury.clone(), Arc::new(SystemClock)));
    let address = server.address();
    let fetched = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    fetched.await.unwrap()
}

/// The number after `series` in an answer.
fn number(answer: &str, series: &str) -> u64 {
    let line = answer.lines().find(|line| line.split(' ').next() == Some(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in:\n{answer}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_spending_and_phases_are_counted() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    // Twenty fit under the cap.
    join_all((0..25).map(|nth| client.buy(echo(&nth.to_string())))).await;
    let said = metrics(&market.node().treasury).await;
    assert_eq!(number(&said, r#"bursar_decisions_total{decision="allowed"}"#), 20);
    assert_eq!(number(&said, r#"bursar_decisions_total{decision="ledger.over_budget"}"#), 5);
    assert_eq!(number(&said, r#"bursar_events_total{kind="held"}"#), 20);
    assert_eq!(number(&said, r#"bursar_events_total{kind="captured"}"#), 20);
    assert_eq!(number(&said, r#"bursar_spent_nano_total{role="worker"}"#), 20 * PRICE_NANO);
    assert_eq!(number(&said, r#"bursar_budget_left_nano{budget="agent"}"#), 0);
    for (phase, times) in [("quote", 25), ("authorize", 25), ("sign", 20), ("call", 20)] {
        let series = format!(r#"bursar_phase_seconds_count{{phase="{phase}"}}"#);
        assert_eq!(number(&said, &series), times, "{phase}");
    }
    let said = metrics(&market.provider.as_ref().unwrap().treasury).await;
    for phase in ["verify", "accept", "serve", "settle"] {
        let series = format!(r#"bursar_phase_seconds_count{{phase="{phase}"}}"#);
        assert_eq!(number(&said, &series), 20, "{phase}");
    }
    assert!(number(&said, r#"bursar_phase_seconds_count{phase="sync"}"#) > 0);
}

/// Every series that is shown, by name and labels.
fn series(answer: &str) -> BTreeSet<&str> {
    let lines = answer.lines().filter(|line| line.starts_with("bursar_"));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect()
}

/// The order of which each word is the caller's own.
fn odd(nth: u32, whose: usize) -> Purchase {
    let word = || Some(format!("odd-{nth}").parse().unwrap());
    let mut odd = echo(&nth.to_string());
    match whose {
        0 => odd.order.capability = word().unwrap(),
        1 => odd.order.model = word(),
        2 => odd.provider = word(),
        3 => odd.content_type = format!("odd/{nth}"),
        _ => odd.session = word(),
    }
    odd
}

#[tokio::test(flavor = "multi_thread")]
async fn z14_no_word_of_a_caller_makes_a_series() {
    const WORDS: usize = 5;
    let market = Market::open().await;
    let client = market.client("worker").await;
    let ask =
        |nth| join_all((0..WORDS).map(move |whose| odd(nth, whose)).map(|odd| client.buy(odd)));
    // Each kind of refusal is a series, once.
    ask(0).await;
    let before = metrics(&market.node().treasury).await;
    for nth in 1..=40 {
        ask(nth).await;
    }
    let after = metrics(&market.node().treasury).await;
    let (before, shown) = (series(&before), series(&after));
    let mut added: Vec<&str> = shown.difference(&before).copied().collect();
    // What the chain has shown meanwhile; and the agent's budget is full, which was not refused before.
    added.retain(|series| !series.starts_with("bursar_events_total"));
    assert_eq!(added, [r#"bursar_decisions_total{decision="ledger.over_budget"}"#]);
    assert!(!after.contains("odd"));
}

/// Everything that is logged, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// One thread, so that everything runs under this test's own log.
#[tokio::test]
async fn z09_z10_no_log_holds_a_prompt_a_token_a_key_or_a_signature() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let market = Market::open().await;
    let client = market.client("worker").await;
    let prompt = "a prompt that nobody else may read";
    client.buy(echo(prompt)).await.unwrap();
    client.buy(echo("fail")).await.unwrap_err();

    let provider = market.provider.as_ref().unwrap();
    let claims = provider.treasury.read(|ledger| {
        let claims = ledger.claims().map(|claim| claim.accepted.signature);
        claims.collect::<Vec<_>>()
    });
    let signatures = claims.await.unwrap();
    assert_eq!(signatures.len(), 2);
    let mut secrets =
        vec![prompt.to_owned(), hex::encode(prompt), market.token("worker").reveal().to_owned()];
    secrets.extend(market.keys().into_iter().map(hex::encode));
    secrets.extend(signatures.iter().map(|signature| hex::encode(signature.as_bytes())));
    secrets.extend(signatures.iter().map(|signature| signature.r().to_string()));
    let said = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(said.contains("payment captured"), "the log is there");
    assert!(said.contains("pay{payment=pay_"), "under the span of its payment");
    for secret in secrets {
        let place = said.find(&secret);
        assert_eq!(place, None, "{}", &said[place.unwrap_or(0).saturating_sub(200)..]);
    }
}
