//! What an agent makes of a refusal, of somebody else's word, and of silence.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic_types::ErrorDetails;

use super::*;
use crate::domain::order::{Maxima, Units};
use crate::edge::grpc::check_endpoint;
use crate::runtime::payer::PayError;

const BODY: &[u8] = b"what is bought, in its own bytes";

/// What a server of HTTP/2 says first: an empty SETTINGS frame.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

fn purchase() -> Purchase {
    Purchase {
        request: RequestId::new(1_800_000_000_000, [1; 10]),
        order: Order {
            capability: "echo".parse().unwrap(),
            model: None,
            input_max: Units(1),
            output_max: Units(1),
            maxima: Maxima::default(),
        },
        content_type: "text/plain".to_owned(),
        body: Bytes::from_static(BODY),
        price_max: None,
        provider: None,
        session: None,
        streamed: false,
    }
}

#[test]
fn what_the_node_did_not_say_itself_leaves_a_purchase_in_doubt() {
    for code in (1..=16).map(Code::from_i32) {
        let bare = Status::new(code, "somebody on the way");
        assert!(read_paying(&bare).in_doubt, "{code:?}");
        assert!(!read(&bare).in_doubt, "{code:?}: nothing was bought");
        let details =
            ErrorDetails::with_error_info("LEDGER_OVER_BUDGET", "proxy.example", HashMap::new());
        let foreign = read_paying(&Status::with_error_details(code, "a proxy", details));
        assert!(foreign.in_doubt, "{code:?}");
        assert_ne!(foreign.reason, "LEDGER_OVER_BUDGET", "that is the node's to say");
    }
}

#[test]
fn what_the_node_says_itself_is_believed() {
    let payment = PaymentId::from_bytes([7; 16]);
    let (price, price_max) = (Nano::new(2), Nano::new(1));
    let cases = [
        (PayError::InDoubt { payment, problem: "no answer in time".into() }, true),
        (PayError::AnswerGone { payment }, false),
        (PayError::TooDear { price, price_max }, false),
        (PayError::Draining, false),
    ];
    for (error, in_doubt) in cases {
        let read = read_paying(&Status::from(&error));
        assert_eq!((read.in_doubt, read.payment), (in_doubt, error.payment()), "{error}");
    }
}

/// Its agents took that for a refusal, and bought the same again under another request.
#[tokio::test]
async fn a_node_that_closes_its_socket_after_it_heard_of_a_purchase_leaves_it_in_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let closing = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&SETTINGS).await.unwrap();
        let (mut heard, mut some) = (Vec::<u8>::new(), [0; 1024]);
        while !heard.windows(BODY.len()).any(|part| part == BODY) {
            let len = socket.read(&mut some).await.unwrap();
            assert_ne!(len, 0, "nothing came");
            heard.extend(some.iter().take(len));
        }
    });
    let token = Token::for_operator([1; 32]);
    let client = AgentClient::connect(&endpoint, &token).await.unwrap();
    let error = client.buy(purchase()).await.unwrap_err();
    closing.await.unwrap();
    assert!(error.in_doubt, "{error}");
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_bought_and_nothing_is_in_doubt() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let lazy = check_endpoint(&endpoint, &Reach::Loopback).unwrap().connect_lazy();
    let client = AgentClient::new(lazy, &Token::for_operator([1; 32]));
    let error = client.buy(purchase()).await.unwrap_err();
    assert_eq!((error.reason.as_str(), error.in_doubt), (UNREACHABLE, false));
}
