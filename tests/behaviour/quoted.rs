//! Quotes are used again while they are valid, where a channel pays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bursar::edge::grpc::GrpcConnector;
use bursar::ports::paid_service::{
    Answer, Ask, Connector, PaidCall, PaidService, Quoted, ServiceError,
};

use crate::market::{Market, Shop, echo};

/// Finds services, and counts what they are asked for.
pub struct Counting {
    inner: GrpcConnector,
    quotes: Arc<AtomicU64>,
}

impl Counting {
    pub fn of(inner: GrpcConnector, quotes: &Arc<AtomicU64>) -> Self {
        Self { inner, quotes: Arc::clone(quotes) }
    }
}

#[async_trait]
impl Connector for Counting {
    async fn connect(&self, endpoint: &str) -> Result<Arc<dyn PaidService>, ServiceError> {
        let (inner, quotes) = (self.inner.connect(endpoint).await?, Arc::clone(&self.quotes));
        Ok(Arc::new(Counted { inner, quotes }))
    }
}

struct Counted {
    inner: Arc<dyn PaidService>,
    quotes: Arc<AtomicU64>,
}

#[async_trait]
impl PaidService for Counted {
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError> {
        self.quotes.fetch_add(1, Ordering::SeqCst);
        self.inner.quote(ask).await
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        self.inner.infer(call).await
    }
}

fn asked(market: &Market) -> u64 {
    market.quotes.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_a_channel_paid_by_is_asked_for_once() {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let client = market.client("worker").await;
    for number in 0..5 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    assert_eq!(asked(&market), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_call_that_failed_and_near_its_end_a_quote_is_asked_for_again() {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let client = market.client("worker").await;
    client.buy(echo("one")).await.unwrap();
    client.buy(echo("fail")).await.unwrap_err();
    assert_eq!(asked(&market), 1);
    client.buy(echo("two")).await.unwrap();
    assert_eq!(asked(&market), 2, "the payee turned one away: its terms may have changed");
    client.buy(echo("three")).await.unwrap();
    assert_eq!(asked(&market), 2);
    // The market's quotes hold for a minute.
    market.pass(56).await;
    client.buy(echo("four")).await.unwrap();
    assert_eq!(asked(&market), 3, "the call by it might arrive too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_paid_by_one_transaction_is_asked_for_each_time() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    for number in 0..3 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    assert_eq!(asked(&market), 3, "who signs for one call hears first whether it is taken");
}
