//! A paid service elsewhere as a [`PaidService`]: the payer's end of `bursar.v1.InferenceService`.
//!
//! It never decides whether a payment was taken: once one has left, only the payee's clear word makes
//! an error anything but unknown.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::domain::x402::batch::read::{CreditWord, VoucherWord};
use crate::domain::x402::receipt::SignedReceipt;
use crate::domain::x402::wire::{PaymentPayload, SettlementResponse};
use crate::edge::grpc::convert::Malformed;
use crate::edge::grpc::flow;
use crate::edge::grpc::limits::{
    ANSWER_BEGIN_MAX, ANSWER_PIECE_MAX, ASK_MAX, REQUEST_LEN_MAX, RESPONSE_LEN_MAX,
    STREAMED_ANSWER_LEN_MAX, TEXT_LEN_MAX,
};
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::infer_stream_response;
use crate::edge::grpc::pb::inference_service_client::InferenceServiceClient;
use crate::edge::grpc::status::{Sent, read_service_error};
use crate::edge::grpc::x402::{self, Word};
use crate::ports::paid_service::{
    Answer, Ask, Closing, PaidCall, PaidService, Piece, Quoted, Saying, ServiceError,
};

/// A service at the other end of some connections, used in turn.
#[derive(Debug)]
pub struct GrpcPaidService {
    clients: Vec<InferenceServiceClient<Channel>>,
    turn: AtomicUsize,
    /// Whether the other end was heard to speak as peers of ours do.
    is_peer: AtomicBool,
}

impl GrpcPaidService {
    /// The service at the other end of `channels`, which all lead to the same one; never none.
    pub fn new(channels: Vec<Channel>) -> Self {
        let client = |channel| {
            InferenceServiceClient::new(channel)
                .max_decoding_message_size(RESPONSE_LEN_MAX)
                .max_encoding_message_size(REQUEST_LEN_MAX)
        };
        Self {
            clients: channels.into_iter().map(client).collect(),
            turn: AtomicUsize::new(0),
            is_peer: AtomicBool::new(false),
        }
    }

    fn hear(&self, metadata: &MetadataMap) {
        if metadata.contains_key(x402::PAYMENT_RESPONSE_BIN) {
            self.is_peer.store(true, Ordering::Relaxed);
        }
    }

    /// A call that a peer of ours is paid for as peers say it.
    async fn say(&self, call: &PaidCall, word: Word) -> Result<Answer, ServiceError> {
        let message = Some(pb::PaidCall::from(call));
        let mut request = Request::new(pb::InferRequest { call: message });
        x402::put_word(request.metadata_mut(), &word);
        let mut client = self.client();
        let response = within(ANSWER_BEGIN_MAX, client.infer(request), Sent::Payment).await?;
        Ok(whole_answer(response))
    }

    fn client(&self) -> InferenceServiceClient<Channel> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let place = turn.checked_rem(self.clients.len()).expect("there is a channel");
        self.clients.get(place).expect("a remainder is a place").clone()
    }
}

#[async_trait]
impl PaidService for GrpcPaidService {
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError> {
        let mut client = self.client();
        let call = client.quote(pb::QuoteRequest::from(&ask));
        let response = within(ASK_MAX, call, Sent::NoPayment).await?;
        Quoted::try_from(response.into_inner())
            .map_err(|error| ServiceError::Unavailable(format!("its quote does not read: {error}")))
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        if call.streamed {
            self.flow(call, stream::empty().boxed()).await
        } else {
            let sent = sent(&call);
            let message = Some(pb::PaidCall::from(&call));
            let request = with_payment(pb::InferRequest { call: message }, &call.payment)?;
            let mut client = self.client();
            let response = within(ANSWER_BEGIN_MAX, client.infer(request), sent).await?;
            self.hear(response.metadata());
            Ok(whole_answer(response))
        }
    }

    fn takes_words(&self) -> bool {
        self.is_peer.load(Ordering::Relaxed)
    }

    async fn infer_by_word(
        &self,
        call: PaidCall,
        word: VoucherWord,
    ) -> Result<Answer, ServiceError> {
        self.say(&call, Word::Voucher(word)).await
    }

    async fn infer_on_credit(
        &self,
        call: PaidCall,
        word: CreditWord,
    ) -> Result<Answer, ServiceError> {
        self.say(&call, Word::OnCredit(word)).await
    }

    async fn flow(&self, call: PaidCall, saying: Saying) -> Result<Answer, ServiceError> {
        let sent = sent(&call);
        let messages = flow::messages(pb::PaidCall::from(&call), saying);
        let request = with_payment(messages, &call.payment)?;
        let mut client = self.client();
        let response = within(ANSWER_BEGIN_MAX, client.infer_stream(request), sent).await?;
        streamed_answer(response, sent).await
    }
}

const fn sent(call: &PaidCall) -> Sent {
    if call.payment.is_some() { Sent::Payment } else { Sent::NoPayment }
}

fn with_payment<T>(
    message: T,
    payment: &Option<PaymentPayload>,
) -> Result<Request<T>, ServiceError> {
    let mut request = Request::new(message);
    if let Some(payment) = payment {
        x402::put_payment(request.metadata_mut(), payment).map_err(|error| {
            ServiceError::Malformed { field: error.field, problem: error.problem }
        })?;
    }
    Ok(request)
}

fn within<T>(
    most: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
    sent: Sent,
) -> impl Future<Output = Result<Response<T>, ServiceError>> {
    // Boxed: who waits for a future that it was given has room for it twice, and a call's is long.
    let call = timeout(most, Box::pin(call));
    async move {
        match call.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(status)) => Err(read_service_error(&status, sent)),
            Err(_) => Err(silent(most, sent)),
        }
    }
}

/// No word within `most`.
fn silent(most: Duration, sent: Sent) -> ServiceError {
    open(format!("no answer within {most:?}"), sent)
}

/// The payee said nothing, or nothing that reads.
fn open(words: String, sent: Sent) -> ServiceError {
    match sent {
        Sent::Payment => ServiceError::Unknown(words),
        Sent::NoPayment => ServiceError::Unavailable(words),
    }
}

fn whole_answer(response: Response<pb::InferResponse>) -> Answer {
    let (metadata, message, _) = response.into_parts();
    let settled = x402::find_settlement(&metadata).or_else(|| x402::find_charge_of(&metadata));
    let closing = closing(message.usage, message.receipt, settled.clone());
    let pieces = [Ok(Piece::Chunk(message.body)), Ok(Piece::Done(Box::new(closing)))];
    Answer {
        content_type: shown(message.content_type),
        model: shown(message.model),
        settled,
        pieces: stream::iter(pieces).boxed(),
    }
}

/// How an answer ended. A receipt that does not read is none, and a payee that does not say what came
/// of the settlement leaves it open: the answer is here either way.
fn closing(
    usage: Option<pb::Usage>,
    receipt: Option<pb::SignedReceipt>,
    settled: Option<SettlementResponse>,
) -> Closing {
    let read = |receipt: pb::SignedReceipt| {
        SignedReceipt::try_from(receipt)
            .inspect_err(|error: &Malformed| tracing::debug!(%error, "receipt not read"))
            .ok()
    };
    Closing {
        usage: usage.and_then(|usage| usage.try_into().ok()).unwrap_or_default(),
        response: settled.unwrap_or_else(|| SettlementResponse {
            success: false,
            error_reason: Some(SETTLEMENT_PENDING.to_owned()),
            payer: None,
            transaction: String::new(),
            network: String::new(),
            amount: None,
            extra: None,
            extensions: None,
        }),
        receipt: receipt.and_then(read),
    }
}

/// The word for an open outcome. Source: x402 v2, error codes.
const SETTLEMENT_PENDING: &str = "settlement_pending";

/// Text of another's, cut to what is kept.
fn shown(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_LEN_MAX).collect()
}

async fn streamed_answer(
    response: Response<Streaming<pb::InferStreamResponse>>,
    sent: Sent,
) -> Result<Answer, ServiceError> {
    let (head, messages, _) = response.into_parts();
    let mut reader = Reader { messages, head, sent, bytes: 0 };
    match reader.next().await? {
        Some(infer_stream_response::Piece::Begin(begin)) => Ok(Answer {
            content_type: shown(begin.content_type),
            model: shown(begin.model),
            settled: x402::find_settlement(&reader.head),
            pieces: reader.pieces(),
        }),
        Some(_) | None => Err(open("the answer has no beginning".to_owned(), sent)),
    }
}

/// Reads a streamed answer to its end.
struct Reader {
    messages: Streaming<pb::InferStreamResponse>,
    head: MetadataMap,
    sent: Sent,
    bytes: usize,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<infer_stream_response::Piece>, ServiceError> {
        match timeout(ANSWER_PIECE_MAX, self.messages.message()).await {
            Ok(Ok(message)) => Ok(message.and_then(|message| message.piece)),
            Ok(Err(status)) => Err(read_service_error(&status, self.sent)),
            Err(_) => Err(silent(ANSWER_PIECE_MAX, self.sent)),
        }
    }

    /// Chunks, then one [`Piece::Done`] or [`Piece::Cut`]; or an error, and nothing after it.
    fn pieces(self) -> BoxStream<'static, Result<Piece, ServiceError>> {
        stream::unfold(Some(self), |reader| async {
            let mut reader = reader?;
            match reader.piece().await {
                Ok(piece @ (Piece::Chunk(_) | Piece::Used(_))) => Some((Ok(piece), Some(reader))),
                ended => Some((ended, None)),
            }
        })
        .boxed()
    }

    async fn piece(&mut self) -> Result<Piece, ServiceError> {
        match self.next().await? {
            Some(infer_stream_response::Piece::Chunk(chunk)) => self.count(chunk),
            Some(infer_stream_response::Piece::Done(done)) => {
                let settled = self.settlement().await;
                Ok(Piece::Done(Box::new(closing(done.usage, done.receipt, settled))))
            }
            Some(infer_stream_response::Piece::Cut(cut)) => {
                let settled = self.settlement().await;
                Ok(Piece::Cut(Box::new(closing(cut.usage, None, settled))))
            }
            Some(infer_stream_response::Piece::Used(used)) => {
                let read = used.try_into();
                read.map(Piece::Used).map_err(|error: Malformed| open(error.to_string(), self.sent))
            }
            Some(infer_stream_response::Piece::Begin(_)) => {
                Err(open("the answer began twice".to_owned(), self.sent))
            }
            None => Err(open("the answer broke off".to_owned(), self.sent)),
        }
    }

    fn count(&mut self, chunk: Bytes) -> Result<Piece, ServiceError> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > STREAMED_ANSWER_LEN_MAX {
            let words = format!("the answer is longer than {STREAMED_ANSWER_LEN_MAX} bytes");
            return Err(open(words, self.sent));
        }
        Ok(Piece::Chunk(chunk))
    }

    /// What the trailers say of the settlement, or else the head.
    async fn settlement(&mut self) -> Option<SettlementResponse> {
        let trailers = timeout(ANSWER_PIECE_MAX, self.messages.trailers()).await;
        let said = trailers.ok().and_then(Result::ok).flatten();
        said.and_then(|trailers| x402::find_settlement(&trailers))
            .or_else(|| x402::find_settlement(&self.head))
    }
}
