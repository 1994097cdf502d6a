//! The listener's own bounds.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::domain::fault::Fault;
use crate::edge::http::limits::{HEAD_LEN_MAX, HEADERS_MAX};
use crate::edge::http::{Listener, Peer};

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

#[tokio::test]
async fn nothing_but_loopback_is_served_in_the_clear() {
    let error = Listener::bind(([0, 0, 0, 0], 0).into(), "--listen").await.unwrap_err();
    assert_eq!(error.code(), "http.exposed");
    let first = Listener::bind(ANY.into(), "--listen").await.unwrap();
    let taken = Listener::bind(first.address(), "--listen").await.unwrap_err();
    assert_eq!(taken.code(), "http.taken");
}

async fn say(listener: &std::net::SocketAddr, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(listener).await.unwrap();
    // What is refused may be cut off while it is still being said.
    let _ = stream.write_all(words).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn t13_a_head_that_is_too_long_or_ambiguous_is_refused_by_the_parser() {
    let listener = Listener::bind(ANY.into(), "--listen").await.unwrap();
    let address = listener.address();
    let router = Router::new().route("/", get(|| async { "free" }).post(|| async { "free" }));
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async move { drop(stopped.await) };
    let serving = tokio::spawn(listener.serve(router, until, Duration::from_secs(5)));

    let good = say(&address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_LEN_MAX));
    let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfree";
    for words in [long.as_str(), many.as_str(), both] {
        let answer = say(&address, words.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_waits_for_what_runs_and_says_where_it_did_not_end() {
    let listener = Listener::bind(ANY.into(), "--listen").await.unwrap();
    let address = listener.address();
    let (entered, inside) = oneshot::channel::<()>();
    let entered = std::sync::Arc::new(std::sync::Mutex::new(Some(entered)));
    let hang = get(move |axum::Extension(Peer(from)): axum::Extension<Peer>| async move {
        assert!(from.ip().is_loopback());
        if let Some(entered) = entered.lock().unwrap().take() {
            entered.send(()).unwrap();
        }
        std::future::pending::<()>().await;
    });
    let router = Router::new().route("/", hang);
    let until = async move { drop(inside.await) };
    let serving = tokio::spawn(listener.serve(router, until, Duration::ZERO));
    let asking = tokio::spawn(async move {
        say(&address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await
    });
    let error = serving.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "http.drain_timed_out");
    assert_eq!(asking.await.unwrap(), "");
}
