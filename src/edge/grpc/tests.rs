//! Both ends over real sockets: what a payee answers is what a payer hears.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

pub(super) mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;

use super::convert::tests as samples;
use super::limits::REQUEST_LEN_MAX;
use super::x402::tests::{offer, payment, settlement};
use super::*;
use crate::domain::listing::{Query, SignedListing};
use crate::domain::negotiation::Verdict;
use crate::domain::time::Timestamp;
use crate::ports::directory::{Directory, DirectoryError};
use crate::ports::paid_service::{
    Answer, Ask, Closing, Connector, PaidCall, PaidService, Piece, Quoted, ServiceError,
};

const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Serves two chunks to who pays, and remembers the calls.
#[derive(Default)]
struct Stall {
    calls: Mutex<Vec<PaidCall>>,
}

fn done() -> Closing {
    Closing {
        usage: samples::usage(),
        response: settlement(true),
        receipt: Some(samples::signed_receipt()),
    }
}

#[async_trait]
impl PaidService for Stall {
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError> {
        if ask.order.model.is_none() {
            return Err(ServiceError::Malformed { field: "m".into(), problem: "none".into() });
        }
        Ok(Quoted { quote: samples::signed_quote(), verdict: Verdict::List })
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        self.calls.lock().unwrap().push(call.clone());
        if call.payment.is_none() {
            return Err(ServiceError::PaymentRequired(Box::new(offer(600))));
        }
        let mut pieces = vec![
            Ok(Piece::Chunk(Bytes::from_static(b"one "))),
            Ok(Piece::Chunk(Bytes::from_static(b"two"))),
        ];
        match call.content_type.as_str() {
            "break/off" => {}
            "fall/due" => pieces.push(Err(ServiceError::Due)),
            _ => pieces.push(Ok(Piece::Done(Box::new(done())))),
        }
        Ok(Answer {
            content_type: "text/plain".into(),
            model: "bursar-scribe sha256:00".into(),
            settled: call.streamed.then(|| settlement(true)),
            pieces: stream::iter(pieces).boxed(),
        })
    }
}

struct Shelf(Vec<SignedListing>);

#[async_trait]
impl Directory for Shelf {
    async fn announce(&self, listing: SignedListing) -> Result<Timestamp, DirectoryError> {
        Ok(listing.listing.valid_until)
    }

    async fn find(&self, _query: &Query) -> Result<Vec<SignedListing>, DirectoryError> {
        Ok(self.0.clone())
    }
}

struct House {
    endpoint: String,
    stall: Arc<Stall>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

async fn open(address: Address) -> House {
    let stall = Arc::new(Stall::default());
    let shelf = (0..250).map(|n| samples::signed_listing(&format!("p{n:03}"))).collect();
    let doors = Doors::default()
        .with(serve_paid_service(stall.clone()))
        .with(serve_directory(Arc::new(Shelf(shelf))));
    let listener = Listener::bind(&address, "--listen").await.unwrap();
    let endpoint = listener.address().to_string();
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        stopped.await.unwrap();
    };
    let served = tokio::spawn(doors.serve(vec![listener], stopped, DRAIN_MAX));
    House { endpoint, stall, stop, served }
}

fn anywhere() -> Address {
    Address::Tcp(([127, 0, 0, 1], 0).into())
}

async fn service(house: &House) -> Arc<dyn PaidService> {
    GrpcConnector::new(Reach::Loopback).connect(&house.endpoint).await.ok().unwrap()
}

fn paid(content_type: &str, streamed: bool) -> PaidCall {
    PaidCall {
        content_type: content_type.into(),
        payment: Some(payment()),
        streamed,
        ..samples::call()
    }
}

async fn pieces(answer: Answer) -> Vec<Result<Piece, ServiceError>> {
    answer.pieces.collect().await
}

#[tokio::test]
async fn a_quote_and_a_refusal_to_quote_arrive_as_they_were_given() {
    let house = open(anywhere()).await;
    let service = service(&house).await;
    let mut ask = Ask { order: samples::order(), counter: None, payer: None };
    let quoted = service.quote(ask.clone()).await.unwrap();
    assert_eq!(quoted.quote, samples::signed_quote());
    ask.order.model = None;
    let refused = service.quote(ask).await.unwrap_err();
    assert_eq!(refused, ServiceError::Malformed { field: "m".into(), problem: "none".into() });
}

#[tokio::test]
async fn a_call_without_payment_hears_the_price_and_one_with_it_the_answer() {
    let house = open(anywhere()).await;
    let service = service(&house).await;
    for streamed in [false, true] {
        let unpaid = PaidCall { payment: None, ..paid("text/plain", streamed) };
        let required = service.infer(unpaid).await.err().unwrap();
        assert_eq!(required, ServiceError::PaymentRequired(Box::new(offer(600))));

        let answer = service.infer(paid("text/plain", streamed)).await.ok().unwrap();
        assert_eq!(answer.content_type, "text/plain");
        assert_eq!(answer.model, "bursar-scribe sha256:00");
        assert_eq!(answer.settled, Some(settlement(true)));
        let heard: Vec<_> = pieces(answer).await.into_iter().map(Result::unwrap).collect();
        let chunks: Vec<&[u8]> = if streamed { vec![b"one ", b"two"] } else { vec![b"one two"] };
        let mut said: Vec<_> =
            chunks.into_iter().map(|chunk| Piece::Chunk(Bytes::copy_from_slice(chunk))).collect();
        said.push(Piece::Done(Box::new(done())));
        assert_eq!(heard, said);
    }
    let calls = house.stall.calls.lock().unwrap().clone();
    let seen = calls.last().unwrap();
    assert_eq!(seen.payment, Some(payment()));
    assert_eq!(seen.quote, Some(samples::signed_quote()));
    assert!(seen.peer.unwrap().is_loopback());
}

#[tokio::test]
async fn a_broken_answer_is_told_as_what_it_is() {
    let house = open(anywhere()).await;
    let service = service(&house).await;
    for streamed in [false, true] {
        for (kind, due) in [("fall/due", true), ("break/off", false)] {
            let error = match service.infer(paid(kind, streamed)).await {
                Ok(answer) => pieces(answer).await.pop().unwrap().unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error == ServiceError::Due, due, "{error}");
            assert_eq!(matches!(error, ServiceError::Unknown(_)), !due, "{error}");
        }
    }
}

#[tokio::test]
async fn a_unix_socket_serves_this_user_only_and_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bursar.sock");
    let address = Address::Unix(path.clone());
    let house = open(address.clone()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let taken = Listener::bind(&address, "--socket").await.unwrap_err();
    assert_eq!(taken, ListenError::Taken { address, flag: "--socket" });

    let service = service(&house).await;
    assert!(service.infer(paid("text/plain", false)).await.is_ok());
    assert_eq!(house.stall.calls.lock().unwrap().last().unwrap().peer, None);
    house.stop.send(()).unwrap();
    house.served.await.unwrap().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_taken_port_names_itself_and_the_flag_and_an_open_address_is_refused() {
    let first = Listener::bind(&anywhere(), "--listen").await.unwrap();
    let address = first.address().clone();
    let taken = Listener::bind(&address, "--listen").await.unwrap_err();
    assert_eq!(taken, ListenError::Taken { address: address.clone(), flag: "--listen" });
    let exposed = Address::Tcp(([0, 0, 0, 0], 0).into());
    let refused = Listener::bind(&exposed, "--listen").await.unwrap_err();
    assert_eq!(refused, ListenError::Exposed { address: exposed, flag: "--listen" });
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent_and_a_payment_is_not_in_doubt() {
    let gone = Listener::bind(&anywhere(), "--listen").await.unwrap();
    let endpoint = gone.address().to_string();
    drop(gone);
    let connector = GrpcConnector::new(Reach::Loopback);
    let error = connector.connect(&endpoint).await.err().unwrap();
    assert!(matches!(error, ServiceError::Unavailable(_)));
    // The same over a channel that was there before.
    let lazy = check_endpoint(&endpoint, &Reach::Loopback).unwrap().connect_lazy();
    let error = GrpcPaidService::new(vec![lazy]).infer(paid("text/plain", false)).await.err();
    assert!(matches!(error, Some(ServiceError::Unavailable(_))), "{error:?}");
}

#[tokio::test]
async fn a_directory_is_read_to_its_last_page() {
    let house = open(anywhere()).await;
    let directory =
        GrpcDirectory::new(connect_one(&house.endpoint, Reach::Loopback).await.unwrap());
    let found = directory.find(&samples::query()).await.unwrap();
    assert_eq!(found.len(), 250);
    assert_eq!(found.last(), Some(&samples::signed_listing("p249")));
    let until = directory.announce(samples::signed_listing("p000")).await.unwrap();
    assert_eq!(until, Timestamp::MAX);
}

#[tokio::test]
async fn t05_an_oversized_message_and_an_unknown_method_are_refused() {
    let house = open(anywhere()).await;
    let channel = connect_one(&house.endpoint, Reach::Loopback).await.unwrap();
    let mut client = pb::inference_service_client::InferenceServiceClient::new(channel.clone());
    let call = pb::PaidCall {
        body: vec![0; REQUEST_LEN_MAX].into(),
        ..pb::PaidCall::from(&samples::call())
    };
    let status = client.infer(pb::InferRequest { call: Some(call) }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);

    let mut other = pb::wallet_service_client::WalletServiceClient::new(channel);
    let status = other.list_wallets(pb::ListWalletsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_and_reflection_know_what_is_served() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let house = open(anywhere()).await;
    let channel = connect_one(&house.endpoint, Reach::Loopback).await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    for name in ["", "bursar.v1.InferenceService", "bursar.v1.DirectoryService"] {
        let request = HealthCheckRequest { service: name.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{name}");
    }

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers =
        reflection.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else {
        unreachable!("services were asked for");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let served =
        ["bursar.v1.DirectoryService", "bursar.v1.InferenceService", "grpc.health.v1.Health"];
    assert_eq!(names, served);
}

#[tokio::test]
async fn health_says_that_the_end_comes_before_the_listener_closes() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let house = open(anywhere()).await;
    let channel = connect_one(&house.endpoint, Reach::Loopback).await.unwrap();
    let request = HealthCheckRequest { service: "bursar.v1.InferenceService".into() };
    let mut watched = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 1);
    house.stop.send(()).unwrap();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 2);
    drop(watched);
    house.served.await.unwrap().unwrap();
    let error = connect_one(&house.endpoint, Reach::Loopback).await.err().unwrap();
    assert!(matches!(error, ServiceError::Unavailable(_)));
}

#[tokio::test(start_paused = true)]
async fn t06_a_connection_that_brings_no_request_is_closed() {
    use tokio::io::AsyncReadExt;

    let listener = Listener::bind(&anywhere(), "--listen").await.unwrap();
    let Address::Tcp(address) = *listener.address() else { unreachable!("it is TCP") };
    let doors = Doors::default().with(serve_paid_service(Arc::new(Stall::default())));
    let served = doors.serve(vec![listener], std::future::pending(), DRAIN_MAX);
    let quiet = async {
        let mut quiet = tokio::net::TcpStream::connect(address).await.unwrap();
        let started = tokio::time::Instant::now();
        // Closed or reset: either way the place is free again.
        let _ = quiet.read_to_end(&mut Vec::new()).await;
        started.elapsed()
    };
    tokio::select! {
        ended = served => unreachable!("nobody ended it: {ended:?}"),
        after = quiet => assert!(after >= super::limits::FIRST_REQUEST_MAX),
    }
}

/// Its connections brought one request each and nothing more, and kept everybody else out.
#[tokio::test]
async fn t06_a_host_with_as_many_connections_as_it_may_have_gets_no_more() {
    use tokio::io::AsyncReadExt;

    let listener = Listener::bind(&anywhere(), "--listen").await.unwrap().of_each_host(2);
    let endpoint = listener.address().to_string();
    let Address::Tcp(address) = *listener.address() else { unreachable!("it is TCP") };
    let doors = Doors::default().with(serve_paid_service(Arc::new(Stall::default())));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        stopped.await.unwrap();
    };
    let served = tokio::spawn(doors.serve(vec![listener], stopped, DRAIN_MAX));
    let asks = async |service: &GrpcPaidService| {
        service.quote(Ask { order: samples::order(), counter: None, payer: None }).await
    };
    let connects = async || connect_one(&endpoint, Reach::Loopback).await;
    let first = GrpcPaidService::new(vec![connects().await.unwrap()]);
    asks(&first).await.unwrap();
    let quiet = tokio::net::TcpStream::connect(address).await.unwrap();
    // Closed or reset, before it has said anything: nobody waits for its first request.
    let mut third = tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(third.read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);
    asks(&first).await.unwrap();
    // Who leaves makes room.
    drop(quiet);
    loop {
        let Ok(channel) = connects().await else { continue };
        if asks(&GrpcPaidService::new(vec![channel])).await.is_ok() {
            break;
        }
    }
    drop(first);
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}
