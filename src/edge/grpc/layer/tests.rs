//! Any tonic service, paid: here a directory that takes money for each search.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use tower::Layer;

use super::*;
use crate::domain::id::{AgentId, RequestId};
use crate::domain::ledger::agent::{Principal, Token};
use crate::domain::ledger::hold::HoldState;
use crate::domain::listing::SignedListing;
use crate::domain::time::Timestamp;
use crate::edge::grpc::convert::tests as samples;
use crate::edge::grpc::pb;
use crate::edge::grpc::tests::world::{self, PRICE, World};
use crate::edge::grpc::{Reach, connect_one, serve_directory};
use crate::ports::directory::{Directory, DirectoryError};
use crate::ports::entropy::SeededEntropy;
use crate::runtime::operator::{NewAgent, Operator};
use crate::runtime::payee::Payee;
use pb::directory_service_client::DirectoryServiceClient;

const FIND: &str = "/bursar.v1.DirectoryService/Find";

/// A directory of one listing, which fails when it is asked for a certain model.
struct Shelf;

#[async_trait::async_trait]
impl Directory for Shelf {
    async fn announce(&self, listing: SignedListing) -> Result<Timestamp, DirectoryError> {
        Ok(listing.listing.valid_until)
    }

    async fn find(
        &self,
        query: &crate::domain::listing::Query,
    ) -> Result<Vec<SignedListing>, DirectoryError> {
        match &query.model {
            Some(_) => Err(DirectoryError::Unavailable("this shelf is empty".into())),
            None => Ok(vec![samples::signed_listing("scribe")]),
        }
    }
}

struct Shop {
    world: World,
    plain: Channel,
    paying: DirectoryServiceClient<PayingService<Channel>>,
}

/// A paid directory, and a client with an agent's purse.
async fn open() -> Shop {
    let world = world::build().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let endpoint = format!("http://{authority}");

    let find = PaidMethod::new(FIND);
    let ways = vec![world::pay_by(world.pay_to)];
    let offering = find.offering("shelf".parse().unwrap(), &authority, PRICE, ways);
    let parts = world::parts(&world.clock, &world.rail, find.clone()).await;
    let payee = Arc::new(Payee::new(offering, &world::assets(), parts));
    let layer = X402Layer::default().with(find, payee);
    let server = Server::builder().layer(layer).add_service(serve_directory(Arc::new(Shelf)));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let operator = Operator::new(world.treasury.clone());
    operator.apply(&world::policy(), "test".into(), Principal::Operator).await.unwrap();
    let new = NewAgent {
        name: "scout-1".parse().unwrap(),
        role: "scout".parse().unwrap(),
        group: "research".parse().unwrap(),
        wallet: "main".parse().unwrap(),
        token: Token::for_operator([1; 32]).hash(),
    };
    let agent = AgentId::named(&new.name);
    operator.add_agent(new, Principal::Operator).await.unwrap();
    let purse = PayerPurse {
        payer: world.payer.clone(),
        agent,
        session: None,
        price_max: None,
        clock: world.clock.clone(),
        entropy: Arc::new(SeededEntropy::new(3)),
    };
    let plain = connect_one(&endpoint, Reach::Loopback).await.unwrap();
    let layer = PayingLayer::new(Arc::new(purse), &authority);
    let paying = DirectoryServiceClient::new(layer.layer(plain.clone()));
    Shop { world, plain, paying }
}

fn search() -> pb::FindRequest {
    pb::FindRequest { capability: "text.generate".into(), ..pb::FindRequest::default() }
}

impl Shop {
    fn earned(&self) -> u128 {
        self.world.rail.owned(world::USDC, self.world.pay_to).get()
    }

    /// How every payment ended, once all have.
    async fn states(&self) -> Vec<HoldState> {
        self.world.payer.drain().await;
        let states = |ledger: &crate::domain::ledger::Ledger| {
            ledger.holds().into_iter().map(|hold| hold.state).collect()
        };
        self.world.treasury.read(states).await.unwrap()
    }
}

#[tokio::test]
async fn a_paid_method_says_its_price_and_every_other_is_free() {
    let shop = open().await;
    let mut client = DirectoryServiceClient::new(shop.plain.clone());
    let status = client.find(search()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let offer = crate::edge::grpc::x402::find_offer(status.metadata(), status.message()).unwrap();
    assert!(offer.resource.url.ends_with(FIND));
    assert_eq!(offer.accepts.first().unwrap().amount, PRICE.to_string());

    let listing = Some((&samples::signed_listing("scribe")).into());
    client.announce(pb::AnnounceRequest { listing }).await.unwrap();
    assert_eq!(shop.earned(), 0);
}

#[tokio::test]
async fn the_paying_layer_pays_once_and_captures_what_the_payee_says() {
    let mut shop = open().await;
    for n in 1..=2 {
        let response = shop.paying.find(search()).await.unwrap();
        let settled = crate::edge::grpc::x402::find_settlement(response.metadata()).unwrap();
        assert!(settled.success);
        assert_eq!(response.into_inner().listings.len(), 1);
        assert_eq!(shop.earned(), PRICE.get() * n);
    }
    // The third does not fit under the cap, and nobody is asked twice about that.
    let status = shop.paying.find(search()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "LEDGER_OVER_BUDGET");
    assert_eq!(shop.earned(), PRICE.get() * 2);
    let states = shop.states().await;
    assert_eq!(states.len(), 2);
    assert!(states.iter().all(|state| matches!(state, HoldState::Captured { .. })), "{states:?}");
}

#[tokio::test]
async fn a_call_by_the_same_name_is_the_same_payment() {
    let mut shop = open().await;
    let name = RequestId::new(1_800_000_000_000, [5; 10]).to_string();
    let named = |message| {
        let mut request = Request::new(message);
        request.metadata_mut().insert(REQUEST_ID, name.parse().unwrap());
        request
    };
    shop.paying.find(named(search())).await.unwrap();
    // The payee has served it, and the payer keeps no strangers' answers: it is not paid again.
    let status = loop {
        match shop.paying.find(named(search())).await {
            Err(status) if status.code() == Code::DeadlineExceeded => {
                tokio::task::yield_now().await
            }
            ended => break ended.unwrap_err(),
        }
    };
    assert_eq!(status.get_details_error_info().unwrap().reason, "PAYER_ANSWER_GONE");
    let other = pb::FindRequest { capability: "embed".into(), ..search() };
    let status = shop.paying.find(named(other)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(shop.earned(), PRICE.get());
}

#[tokio::test]
async fn a_method_that_refuses_takes_no_money_and_leaves_the_hold_to_the_chain() {
    let mut shop = open().await;
    let failing = pb::FindRequest { model: Some("rare".into()), ..search() };
    let status = shop.paying.find(failing).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let malformed = pb::FindRequest { capability: "no name".into(), ..search() };
    let status = shop.paying.find(malformed).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(shop.earned(), 0);
    assert_eq!(shop.states().await, [HoldState::Unknown, HoldState::Unknown]);
}

/// Keeps the payment of the first call, to play it again.
struct Replay(Arc<dyn Purse>, std::sync::Mutex<Option<crate::domain::x402::wire::PaymentPayload>>);

#[async_trait::async_trait]
impl Purse for Replay {
    async fn pay(&self, call: Unpaid) -> Result<Signed, Status> {
        if let Some(payload) = self.1.lock().unwrap().clone() {
            return Ok(Signed { payload, conclude: Box::new(|_| ()) });
        }
        let signed = self.0.pay(call).await?;
        *self.1.lock().unwrap() = Some(signed.payload.clone());
        Ok(signed)
    }
}

#[tokio::test]
async fn an_authorization_never_pays_for_another_message() {
    let shop = open().await;
    let authority = shop_authority(&shop).await;
    let purse = PayerPurse {
        payer: shop.world.payer.clone(),
        agent: AgentId::named(&"scout-1".parse().unwrap()),
        session: None,
        price_max: None,
        clock: shop.world.clock.clone(),
        entropy: Arc::new(SeededEntropy::new(4)),
    };
    let replay = Arc::new(Replay(Arc::new(purse), std::sync::Mutex::default()));
    let layer = PayingLayer::new(replay, &authority);
    let mut client = DirectoryServiceClient::new(layer.layer(shop.plain.clone()));
    client.find(search()).await.unwrap();
    let other = pb::FindRequest { capability: "embed".into(), ..search() };
    let status = client.find(other).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    // With the same message it is answered again, and nothing more is taken.
    assert_eq!(client.find(search()).await.unwrap().into_inner().listings.len(), 1);
    assert_eq!(shop.earned(), PRICE.get());
}

async fn shop_authority(shop: &Shop) -> String {
    let mut client = DirectoryServiceClient::new(shop.plain.clone());
    let status = client.find(search()).await.unwrap_err();
    let offer = crate::edge::grpc::x402::find_offer(status.metadata(), status.message()).unwrap();
    offer.resource.url.strip_prefix("grpc://").unwrap().strip_suffix(FIND).unwrap().to_owned()
}

#[tokio::test]
async fn an_offer_for_another_resource_or_above_the_bound_is_not_paid() {
    let shop = open().await;
    let purse = |price_max| PayerPurse {
        payer: shop.world.payer.clone(),
        agent: AgentId::named(&"scout-1".parse().unwrap()),
        session: None,
        price_max,
        clock: shop.world.clock.clone(),
        entropy: Arc::new(SeededEntropy::new(4)),
    };
    let elsewhere = PayingLayer::new(Arc::new(purse(None)), "127.0.0.1:1");
    let mut client = DirectoryServiceClient::new(elsewhere.layer(shop.plain.clone()));
    let status = client.find(search()).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().reason, "PAYER_NO_QUOTE");

    let bound = Some(crate::domain::money::Nano::new(9));
    let thrifty = PayingLayer::new(Arc::new(purse(bound)), &shop_authority(&shop).await);
    let mut client = DirectoryServiceClient::new(thrifty.layer(shop.plain.clone()));
    let status = client.find(search()).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().reason, "PAYER_TOO_DEAR");
    assert_eq!(shop.states().await, []);
}

#[tokio::test]
async fn a_message_beyond_the_bound_is_refused_before_anything_is_bound() {
    let mut shop = open().await;
    let long = pb::FindRequest { page_token: "x".repeat(PAID_MESSAGE_LEN_MAX), ..search() };
    let status = tokio::time::timeout(Duration::from_secs(10), shop.paying.find(long)).await;
    assert_eq!(status.unwrap().unwrap_err().code(), Code::OutOfRange);
    assert_eq!(shop.states().await, []);
}
