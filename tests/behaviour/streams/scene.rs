//! A provider that drips, and who buys of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::ledger::channel::Channel;
use bursar::domain::ledger::{Event, Ledger};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::order::{Units, Usage};
use bursar::domain::quote::{PriceTerms, Stride};
use bursar::domain::x402::batch::word;
use bursar::domain::x402::payload::voucher_payload;
use bursar::edge::grpc::{AgentClient, GrpcConnector, Purchase, Reach, pb};
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use bursar::ports::journal::Journal;
use bursar::ports::paid_service::{Answer, Connector, PaidCall, Piece, Said, ServiceError};
use bursar::runtime::payee::Flowing;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic_types::StatusExt;

use crate::channels::{Stranger, by_channel, call, charged, claim_all, offer};
use crate::market::{Market, Shop, echo, usdc};

/// What a token costs, in atomic units; the call itself costs nothing.
pub const TOKEN: u128 = 10;

/// Tokens that a voucher pays for.
pub const STRIDE: u64 = 4;

/// Drips: `drip N` and `gated N` say N tokens, the second each when it is let; `failing N` says N tokens
/// and fails; `bytes N` says N bytes; `work` says one token when it is let, and works until then.
pub struct Drip {
    pub made: AtomicU64,
    pub waiting: AtomicU64,
    pub gate: Semaphore,
}

impl Drip {
    pub fn new() -> Arc<Self> {
        let (made, waiting) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { made, waiting, gate: Semaphore::new(0) })
    }

    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }
}

/// An engine that is asked through its own handle, so that a test can look at it.
pub struct Handle(Arc<Drip>);

#[async_trait]
impl Engine for Handle {
    fn count_input(&self, _: &Work) -> Result<Units, EngineError> {
        Ok(Units(1))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let text = String::from_utf8(work.body.to_vec()).unwrap();
        let mut words = text.split(' ');
        let kind = words.next().unwrap().to_owned();
        let many: u64 = words.next().map_or(1, |word| word.parse().unwrap());
        let begin =
            Step::Begin { content_type: "text/plain".to_owned(), model: "echo-1".to_owned() };
        if kind == "bytes" {
            let chunk = vec![b'x'; usize::try_from(many).unwrap()];
            let usage = Usage { input: Units(1), ..Usage::default() };
            let steps = [begin, Step::Chunk(chunk.into()), Step::Done(usage)];
            return Ok(stream::iter(steps.map(Ok)).boxed());
        }
        let drip = Arc::clone(&self.0);
        let gated = !matches!(kind.as_str(), "drip" | "failing");
        let usage = |output| Usage { input: Units(1), output: Units(output), ..Usage::default() };
        let tokens = stream::unfold(1, move |token| {
            let drip = Arc::clone(&drip);
            async move {
                if token > many {
                    return None;
                }
                if gated {
                    drip.waiting.fetch_add(1, Ordering::SeqCst);
                    drip.gate.acquire().await.unwrap().forget();
                }
                drip.made.fetch_add(1, Ordering::SeqCst);
                let steps = [Step::Used(usage(token)), Step::Chunk("tok ".into())];
                Some((stream::iter(steps.map(Ok)), token + 1))
            }
        });
        let head = stream::iter([Ok(begin)]);
        let end = stream::iter([match kind.as_str() {
            "failing" => Err(EngineError::Failed("as asked".to_owned())),
            _ => Ok(Step::Done(usage(many))),
        }]);
        Ok(head.chain(tokens.flatten()).chain(end).boxed())
    }
}

pub struct Scene {
    pub market: Market,
    pub drip: Arc<Drip>,
}

/// Everything running: tokens are sold four at a time, and payers are four ahead.
pub async fn open() -> Scene {
    open_with(Shop::default()).await
}

pub async fn open_with(shop: Shop) -> Scene {
    let drip = Drip::new();
    let terms = if shop.terms.flat.is_zero() {
        shop.terms
    } else {
        PriceTerms { per_1k_output: Amount::new(TOKEN * 1000), ..PriceTerms::default() }
    };
    let stride = Stride { output: Units(STRIDE), bytes: 1000, compute_ms: 1000 };
    let shop = Shop {
        terms,
        by_channel: true,
        flowing: Some(Flowing { stride, wait_max: Duration::from_secs(5) }),
        engine: Some(Arc::new(Handle(Arc::clone(&drip)))),
        ahead: if shop.ahead == Stride::ahead() { stride } else { shop.ahead },
        ..shop
    };
    Scene { market: Market::open_with(shop).await, drip }
}

pub fn wish(text: &str) -> Purchase {
    Purchase { streamed: true, ..echo(text) }
}

impl Scene {
    pub async fn client(&self) -> AgentClient {
        self.market.client("worker").await
    }

    /// What the payers say that was charged, signed and still held, in the channels of the node.
    pub async fn paid(&self) -> (u128, u128) {
        let sums = |ledger: &Ledger| {
            let of = |amount: fn(&Channel) -> Amount| {
                ledger.channels().map(|channel| amount(channel).get()).sum::<u128>()
            };
            (of(|channel| channel.charged), of(|channel| channel.ceiling))
        };
        self.market.node().treasury.read(sums).await.unwrap()
    }

    pub async fn events(&self) -> Vec<Event> {
        let read = self.market.node().store.read(0, u32::MAX).await.unwrap();
        read.into_iter().map(|entry| entry.event).collect()
    }

    pub async fn provider_events(&self) -> Vec<Event> {
        let provider = self.market.provider.as_ref().unwrap();
        let read = provider.store.read(0, u32::MAX).await.unwrap();
        read.into_iter().map(|entry| entry.event).collect()
    }

    /// The books of both sides, the chain's and the audit's, agree on `amount`.
    pub async fn agree_on(&self, amount: u128) {
        self.market.node().payer.drain().await;
        assert_eq!(self.paid().await.0, amount, "the payer's books");
        assert_eq!(charged(&self.market).await, amount, "the payee's books");
        if amount > 0 {
            claim_all(&self.market).await;
        }
        assert_eq!(self.market.earned_on_chain().await, amount, "the chain");
        let audit = self.market.audit().await;
        assert_eq!(audit.captured(usdc()), amount, "the audit");
        assert_eq!(audit.over_limit(), Nano::ZERO);
    }
}

/// Reads pieces until `bytes` came, or the end.
pub async fn read(pieces: &mut tonic::Streaming<pb::PayResponse>, bytes: usize) -> usize {
    let mut came = 0;
    while came < bytes {
        match pieces.message().await {
            Ok(Some(message)) => {
                if let Some(pb::pay_response::Piece::Chunk(chunk)) = message.piece {
                    came += chunk.len();
                }
            }
            Ok(None) | Err(_) => break,
        }
    }
    came
}

/// A stranger's stream at the provider, over gRPC: what it says is said by the test.
pub async fn stranger_stream(
    scene: &Scene,
    stranger: &Stranger,
    (paid, deposit): (u128, u128),
    text: &str,
) -> (Result<Answer, ServiceError>, mpsc::Sender<Said>) {
    let (ceiling, signature) = stranger.voucher(paid);
    let deposit = (deposit > 0).then(|| stranger.deposit(deposit));
    let offer = offer(&scene.market, text).await;
    let payload = word::payload(&stranger.terms, &ceiling, &signature, deposit.as_ref());
    let payment = bursar::domain::id::PaymentId::from_bytes([9; 16]);
    let payment =
        voucher_payload(offer.resource.clone(), by_channel(&offer), payload, None, Some(payment));
    let endpoint = &scene.market.provider.as_ref().unwrap().endpoint;
    let service = GrpcConnector::new(Reach::Loopback).connect(endpoint).await.unwrap();
    let (sender, saying) = mpsc::channel(8);
    let call = PaidCall { payment: Some(payment), streamed: true, ..call(text) };
    let answer = service.flow(call, ReceiverStream::new(saying).boxed()).await;
    (answer, sender)
}

/// The reason that a status of this house carries.
pub fn bursar_reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

pub async fn finish(answer: Answer) -> (usize, Option<Piece>) {
    let (mut came, mut last, mut pieces) = (0, None, answer.pieces);
    while let Some(piece) = pieces.next().await {
        match piece.unwrap() {
            Piece::Chunk(chunk) => came += chunk.len(),
            Piece::Used(_) => {}
            end => last = Some(end),
        }
    }
    (came, last)
}
