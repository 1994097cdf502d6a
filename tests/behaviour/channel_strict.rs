//! A payee whose engine takes no empty body, as every engine that reads JSON: it says how a channel
//! stands all the same.

use async_trait::async_trait;
use bursar::domain::id::AgentId;
use bursar::domain::ledger::channel::ChannelState;
use bursar::domain::order::Units;
use bursar::edge::grpc::Purchase;
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use bursar::runtime::payer::Wish;
use futures_util::stream::BoxStream;
use std::sync::Arc;

use crate::channel_doubts::channels;
use crate::market::{Echo, Market, POLICY, PRICE, Shop, echo, name};

/// The echo, but for bodies that say nothing.
struct Strict(Echo);

#[async_trait]
impl Engine for Strict {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        if work.body.is_empty() {
            let (capability, problem) = (work.order.capability.to_string(), "empty".to_owned());
            return Err(EngineError::BadRequest { capability, problem });
        }
        self.0.count_input(work)
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        self.0.run(work).await
    }
}

/// The same as an agent of the node's own process would ask it.
pub fn wish_of(purchase: Purchase) -> Wish {
    let Purchase { request, order, content_type, body, price_max, provider, session, streamed } =
        purchase;
    let agent = AgentId::named(&name("worker"));
    let not_from = Vec::new();
    Wish {
        agent,
        request,
        session,
        order,
        content_type,
        body,
        price_max,
        provider,
        not_from,
        streamed,
    }
}

/// The payee is asked with an empty body. It refused that before it said anything of the channel, so that
/// after a node's start nobody was paid by channel any more.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_a_payee_that_takes_no_empty_body_says_how_its_channel_stands() {
    let engine: Arc<dyn Engine> = Arc::new(Strict(Echo::default()));
    let shop = Shop { by_channel: true, engine: Some(engine), ..Shop::default() };
    let mut market = Market::open_with(shop).await;
    market.client("worker").await.buy(echo("before")).await.unwrap();
    market.stop_node().await;
    market.start_node(POLICY).await;
    market.client("worker").await.buy(echo("after")).await.unwrap();
    market.node().payer.drain().await;
    assert_eq!(channels(&market).await, [(ChannelState::Open, 2 * PRICE, 0)], "the same channel");
}
