//! What a call by channel does not say twice: quotes are used again, and vouchers go alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::primitives::{B256, Signature, U256};
use async_trait::async_trait;
use bursar::domain::channel::{Ceiling, ChannelId};
use bursar::domain::money::Amount;
use bursar::domain::x402::batch::read::{CreditWord, VoucherWord};
use bursar::edge::grpc::GrpcConnector;
use bursar::ports::paid_service::{
    Answer, Ask, Connector, PaidCall, PaidService, Quoted, Saying, ServiceError,
};

use crate::channels::call;
use crate::market::{Market, POLICY, PRICE, Shop, echo};

/// How often a node asked providers for what.
#[derive(Default)]
pub struct Asked {
    pub quotes: AtomicU64,
    /// Calls whose voucher went without its channel's terms.
    pub words: AtomicU64,
    /// Calls on credit.
    pub lent: AtomicU64,
}

/// Finds services, and counts what they are asked for.
pub struct Counting {
    inner: GrpcConnector,
    asked: Arc<Asked>,
}

impl Counting {
    pub fn of(inner: GrpcConnector, asked: &Arc<Asked>) -> Self {
        Self { inner, asked: Arc::clone(asked) }
    }
}

#[async_trait]
impl Connector for Counting {
    async fn connect(&self, endpoint: &str) -> Result<Arc<dyn PaidService>, ServiceError> {
        let (inner, asked) = (self.inner.connect(endpoint).await?, Arc::clone(&self.asked));
        Ok(Arc::new(Counted { inner, asked }))
    }
}

struct Counted {
    inner: Arc<dyn PaidService>,
    asked: Arc<Asked>,
}

#[async_trait]
impl PaidService for Counted {
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError> {
        self.asked.quotes.fetch_add(1, Ordering::SeqCst);
        self.inner.quote(ask).await
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        self.inner.infer(call).await
    }

    fn takes_words(&self) -> bool {
        self.inner.takes_words()
    }

    async fn infer_by_word(
        &self,
        call: PaidCall,
        word: VoucherWord,
    ) -> Result<Answer, ServiceError> {
        self.asked.words.fetch_add(1, Ordering::SeqCst);
        self.inner.infer_by_word(call, word).await
    }

    async fn infer_on_credit(
        &self,
        call: PaidCall,
        word: CreditWord,
    ) -> Result<Answer, ServiceError> {
        self.asked.lent.fetch_add(1, Ordering::SeqCst);
        self.inner.infer_on_credit(call, word).await
    }

    async fn flow(&self, call: PaidCall, saying: Saying) -> Result<Answer, ServiceError> {
        self.inner.flow(call, saying).await
    }
}

fn quotes(market: &Market) -> u64 {
    market.asked.quotes.load(Ordering::SeqCst)
}

fn words(market: &Market) -> u64 {
    market.asked.words.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_a_channel_paid_by_is_asked_for_once() {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let client = market.client("worker").await;
    for number in 0..5 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    assert_eq!(quotes(&market), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_call_that_failed_and_near_its_end_a_quote_is_asked_for_again() {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let client = market.client("worker").await;
    client.buy(echo("one")).await.unwrap();
    client.buy(echo("fail")).await.unwrap_err();
    assert_eq!(quotes(&market), 1);
    client.buy(echo("two")).await.unwrap();
    assert_eq!(quotes(&market), 2, "the payee turned one away: its terms may have changed");
    client.buy(echo("three")).await.unwrap();
    assert_eq!(quotes(&market), 2);
    // The market's quotes hold for a minute.
    market.pass(56).await;
    client.buy(echo("four")).await.unwrap();
    assert_eq!(quotes(&market), 3, "the call by it might arrive too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_paid_by_one_transaction_is_asked_for_each_time() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    for number in 0..3 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    assert_eq!(quotes(&market), 3, "who signs for one call hears first whether it is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn between_peers_a_voucher_goes_alone_once_its_channel_has_paid() {
    let mut market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let client = market.client("worker").await;
    for number in 0..3 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    assert_eq!(words(&market), 2, "the first one opened the channel");
    let charged =
        market.provider.as_ref().unwrap().treasury.read(|ledger| {
            ledger.tabs().map(|tab| (tab.charged.get(), tab.calls)).collect::<Vec<_>>()
        });
    assert_eq!(charged.await.unwrap(), [(3 * PRICE, 3)]);
    // Whoever begins anew says everything once more.
    market.restart_node(POLICY).await;
    let client = market.client("worker").await;
    client.buy(echo("after")).await.unwrap();
    assert_eq!(words(&market), 2);
    client.buy(echo("after that")).await.unwrap();
    assert_eq!(words(&market), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_alone_that_is_not_good_is_refused_and_nothing_is_served() {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    market.client("worker").await.buy(echo("one")).await.unwrap();
    let provider = market.provider.as_ref().unwrap();
    let known = provider.treasury.read(|ledger| ledger.tabs().next().unwrap().id).await.unwrap();
    let unknown = ChannelId(B256::repeat_byte(7));
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    for (channel, code) in [(unknown, "channel_id_mismatch"), (known, "voucher_signature")] {
        let ceiling = Ceiling { channel, amount: Amount::new(2 * PRICE) };
        let word = VoucherWord { ceiling, signature };
        let refused = provider.payee.infer_by_word(call("two"), word).await;
        let Err(ServiceError::PaymentRequired(offer)) = refused else { panic!("it was taken") };
        assert_eq!(offer.error, Some(format!("invalid_batch_settlement_evm_{code}")));
    }
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1);
}
