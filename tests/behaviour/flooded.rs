//! Connections that keep to HTTP/2 and flood it with what costs their sender next to nothing. RFC 9113, by hand:
//! no client library would send these. threats.md T01, T02, T03, T09.

use std::net::SocketAddr;

use bursar::edge::grpc::{Address, Listener, Reach};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls::{House, is_serving, open};

/// Section 3.4, with an empty SETTINGS frame after it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Kinds of frames, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// The flag of a HEADERS frame that no other follows.
const END_HEADERS: u8 = 4;

/// ENHANCE_YOUR_CALM, section 7.
const CALM: u32 = 11;

/// `POST /bursar.v1.DirectoryService/Find` in the static table's words, nothing compressed: RFC 7541.
fn head() -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [
        vec![0x83, 0x86],
        [vec![0x04], text("/bursar.v1.DirectoryService/Find")].concat(),
        [vec![0x01], text("localhost")].concat(),
        [vec![0x0f, 0x10], text("application/grpc")].concat(),
        [vec![0x00], text("te"), text("trailers")].concat(),
    ]
    .concat()
}

/// Section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The number of the client's stream `nth`.
fn stream(nth: u32) -> u32 {
    nth * 2 + 1
}

/// Says all of it on one connection, and reads until the server ends that: how each GOAWAY was reasoned.
async fn flood(at: SocketAddr, frames: impl Iterator<Item = Vec<u8>>) -> Vec<u32> {
    let (mut reads, mut writes) = TcpStream::connect(at).await.unwrap().into_split();
    let words = [PREFACE.to_vec(), frames.collect::<Vec<_>>().concat()].concat();
    // Fails where the server has heard enough.
    let saying = async {
        let _ = writes.write_all(&words).await;
    };
    let mut said = Vec::new();
    let hearing = async {
        let _ = reads.read_to_end(&mut said).await;
    };
    tokio::join!(saying, hearing);
    reasons(&said)
}

fn reasons(mut said: &[u8]) -> Vec<u32> {
    let mut reasons = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = said {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, next)) = rest.split_at_checked(length) else { break };
        if *kind == GOAWAY {
            reasons.push(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        said = next;
    }
    reasons
}

async fn directory() -> House {
    open(Listener::bind(&Address::Tcp(([127, 0, 0, 1], 0).into()), "--listen").await.unwrap()).await
}

/// Floods, and asks beside it and after it whether others are served.
async fn is_calmed(frames: impl Iterator<Item = Vec<u8>>) {
    let house = directory().await;
    let endpoint = format!("http://{}", house.at);
    let (reasons, served) =
        tokio::join!(flood(house.at, frames), is_serving(&endpoint, Reach::Loopback));
    assert_eq!(reasons, [CALM]);
    assert!(served && is_serving(&endpoint, Reach::Loopback).await);
    house.stop.send(()).unwrap();
    house.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn t01_who_resets_streams_as_fast_as_it_opens_them_is_dropped() {
    let opened = |nth| frame(HEADERS, END_HEADERS, stream(nth), &head());
    let reset = |nth| frame(RST_STREAM, 0, stream(nth), &8_u32.to_be_bytes());
    is_calmed((0..10_000).flat_map(|nth| [opened(nth), reset(nth)])).await;
}

#[tokio::test]
async fn t02_a_head_that_goes_on_and_on_is_dropped() {
    // Without END_HEADERS, and each piece with nothing in it.
    let begun = frame(HEADERS, 0, 1, &head());
    let goes_on = (0..10_000).map(|_| frame(CONTINUATION, 0, 1, &[]));
    is_calmed(std::iter::once(begun).chain(goes_on)).await;
}

#[tokio::test]
async fn t02_a_head_that_grows_when_it_is_read_is_refused_and_not_kept() {
    // Four thousand bytes into the dynamic table, and then one byte each to say them again.
    let value = "a".repeat(4_000);
    let bomb =
        [vec![0x40, 0x01, b'x', 0x7f, 0xa1, 0x1e], value.into_bytes(), vec![0xbe; 12_000]].concat();
    is_calmed(std::iter::once(frame(HEADERS, END_HEADERS, 1, &[head(), bomb].concat()))).await;
}

#[tokio::test]
async fn t03_who_makes_the_server_reset_its_streams_is_dropped() {
    // A header of HTTP/1's connections is an error of its stream: section 8.2.2.
    let wrong =
        [head(), vec![0x00, 10], b"connection".to_vec(), vec![5], b"close".to_vec()].concat();
    is_calmed((0..10_000).map(|nth| frame(HEADERS, END_HEADERS, stream(nth), &wrong))).await;
}

#[tokio::test]
async fn t09_a_body_of_frames_with_nothing_in_them_is_dropped() {
    let opened = frame(HEADERS, END_HEADERS, 1, &head());
    let empty = (0..100_000).map(|_| frame(DATA, 0, 1, &[]));
    is_calmed(std::iter::once(opened).chain(empty)).await;
}

/// Time stands still but where everybody waits: who does not read is waited for, and not by the clock.
#[tokio::test(start_paused = true)]
async fn t09_who_asks_for_answers_and_never_reads_them_is_dropped_in_time() {
    let kinds: [fn() -> Vec<u8>; 2] =
        [|| frame(PING, 0, 0, b"anybody?"), || frame(SETTINGS, 0, 0, &[])];
    for asked in kinds {
        let house = directory().await;
        let mut connection = TcpStream::connect(house.at).await.unwrap();
        connection.write_all(PREFACE).await.unwrap();
        let many = asked().repeat(10_000);
        // Until the server gives the connection up, which it does once its own question is not answered.
        while connection.write_all(&many).await.is_ok() {}
        assert!(is_serving(&format!("http://{}", house.at), Reach::Loopback).await);
        house.stop.send(()).unwrap();
        house.served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn t09_priorities_are_read_and_change_nothing() {
    let house = directory().await;
    // Each for a stream of its own that is not there, and a farewell at the end.
    let priorities = (0..100_000).map(|nth| frame(PRIORITY, 0, stream(nth), &[0, 0, 0, 0, 1]));
    let farewell = frame(GOAWAY, 0, 0, &[0; 8]);
    let endpoint = format!("http://{}", house.at);
    let (reasons, served) = tokio::join!(
        flood(house.at, priorities.chain(std::iter::once(farewell))),
        is_serving(&endpoint, Reach::Loopback)
    );
    assert!(served && reasons.iter().all(|reason| *reason == 0), "{reasons:?}");
    house.stop.send(()).unwrap();
    house.served.await.unwrap().unwrap();
}
