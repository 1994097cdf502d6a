//! An agent's end of a node's doors: buys, looks at its budgets, carves out budgets for sub-agents.

use std::time::Duration;

use bytes::Bytes;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::{ErrorInfo, StatusExt};

use crate::domain::id::{Name, PaymentId, RequestId};
use crate::domain::ledger::agent::Token;
use crate::domain::money::Nano;
use crate::domain::order::Order;
use crate::domain::time::Timestamp;
use crate::edge::grpc::connect::{Reach, connect_one};
use crate::edge::grpc::convert::{nano, time_to_pb};
use crate::edge::grpc::limits::{REQUEST_LEN_MAX, RESPONSE_LEN_MAX};
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::budget_service_client::BudgetServiceClient;
use crate::edge::grpc::pb::payment_service_client::PaymentServiceClient;
use crate::edge::grpc::status::{DOMAIN, was_never_sent};
use crate::ports::paid_service::ServiceError;

/// How long a node may take for one whole answer.
const CALL_MAX: Duration = Duration::from_secs(120);

/// Why an agent got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct AgentError {
    /// The stable reason: `LEDGER_OVER_BUDGET`, `LIMITS_RATE`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// The payment it is about, where there is one.
    pub payment: Option<PaymentId>,
    /// When trying again can help; only rates say so.
    pub retry_after: Option<Duration>,
    /// Whether nobody knows yet if it was paid: ask again with the same request, never with another.
    pub in_doubt: bool,
}

/// What an agent asks its node for.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// The same again is the same payment.
    pub request: RequestId,
    /// What is wanted.
    pub order: Order,
    /// The body's content type.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// Only up to this price.
    pub price_max: Option<Nano>,
    /// Only from this provider.
    pub provider: Option<Name>,
    /// The span of work it belongs to.
    pub session: Option<Name>,
    /// Whether the answer is wanted as it is made.
    pub streamed: bool,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Bought {
    /// The payment.
    pub payment: String,
    /// Who answered.
    pub provider: String,
    /// Model name and weights' hash.
    pub model: String,
    /// The bytes.
    pub body: Bytes,
    /// How it ended, with the charge and what is left of the budgets.
    pub done: pb::PayDone,
}

/// An agent at its node.
#[derive(Clone, Debug)]
pub struct AgentClient {
    payments: PaymentServiceClient<Channel>,
    budgets: BudgetServiceClient<Channel>,
    bearer: MetadataValue<Ascii>,
}

impl AgentClient {
    /// Connects to the node at `endpoint` (`http://127.0.0.1:8402`, `unix:/path`) with this token.
    ///
    /// # Errors
    /// [`AgentError`] where nobody answers there, or the endpoint is not on this machine.
    pub async fn connect(endpoint: &str, token: &Token) -> Result<Self, AgentError> {
        let channel = connect_one(endpoint, Reach::Loopback).await.map_err(unreachable)?;
        Ok(Self::new(channel, token))
    }

    /// An agent at the other end of `channel`.
    pub fn new(channel: Channel, token: &Token) -> Self {
        let mut bearer = MetadataValue::try_from(format!("Bearer {}", token.reveal()))
            .expect("a token has visible characters only");
        bearer.set_sensitive(true);
        let payments = PaymentServiceClient::new(channel.clone())
            .max_decoding_message_size(RESPONSE_LEN_MAX)
            .max_encoding_message_size(REQUEST_LEN_MAX);
        Self { payments, budgets: BudgetServiceClient::new(channel), bearer }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request.set_timeout(CALL_MAX);
        request
    }

    /// Buys, and gives the answer piece by piece.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn stream(
        &self,
        purchase: Purchase,
    ) -> Result<Streaming<pb::PayResponse>, AgentError> {
        let message = pb::PayRequest {
            request_id: purchase.request.to_string(),
            order: Some(pb::Order::from(&purchase.order)),
            content_type: purchase.content_type,
            body: purchase.body,
            price_max_nano: purchase.price_max.map(|nano| nano.get().to_string()),
            provider: purchase.provider.map(|name| name.to_string()),
            session: purchase.session.map(|name| name.to_string()),
            streamed: purchase.streamed,
        };
        let answered = self.payments.clone().pay(self.request(message)).await;
        answered.map(tonic::Response::into_inner).map_err(|status| read_paying(&status))
    }

    /// Buys, and gives the answer whole.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn buy(&self, purchase: Purchase) -> Result<Bought, AgentError> {
        let mut pieces = self.stream(purchase).await?;
        let (mut begin, mut body) = (pb::PayBegin::default(), Vec::new());
        while let Some(piece) = pieces.message().await.map_err(|status| read_paying(&status))? {
            match piece.piece {
                Some(pb::pay_response::Piece::Begin(found)) => begin = found,
                Some(pb::pay_response::Piece::Chunk(chunk)) => body.extend_from_slice(&chunk),
                Some(pb::pay_response::Piece::Done(done)) => {
                    let pb::PayBegin { payment_id, provider, model, .. } = begin;
                    let body = Bytes::from(body);
                    return Ok(Bought { payment: payment_id, provider, model, body, done });
                }
                None => {}
            }
        }
        let message = "the answer broke off".to_owned();
        Err(AgentError {
            reason: "AGENT_BROKEN_ANSWER".to_owned(),
            message,
            payment: begin.payment_id.parse().ok(),
            retry_after: None,
            in_doubt: true,
        })
    }

    /// The agent's budgets: what is left of each.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn budgets(&self) -> Result<Vec<pb::BudgetAccount>, AgentError> {
        let message = pb::ListBudgetsRequest::default();
        let listed = self.budgets.clone().list_budgets(self.request(message)).await;
        listed.map(|answer| answer.into_inner().budgets).map_err(|status| read(&status))
    }

    /// Carves out `limit` until `until` for a new sub-agent, and gives its token.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn delegate(
        &self,
        child: &Name,
        limit: Nano,
        until: Timestamp,
    ) -> Result<Token, AgentError> {
        let message = pb::DelegateRequest {
            agent: child.to_string(),
            limit_nano: limit.get().to_string(),
            until: Some(time_to_pb(until)),
        };
        let delegated = self.budgets.clone().delegate(self.request(message)).await;
        let answer = delegated.map_err(|status| read(&status))?.into_inner();
        Ok(Token::shown(&answer.token))
    }
}

/// What was charged, in the unit of account; nothing where the node does not say.
pub fn charged(done: &pb::PayDone) -> Nano {
    let payment = done.payment.as_ref();
    let text =
        payment.map(|payment| payment.captured_nano.as_deref().unwrap_or(&payment.held_nano));
    text.and_then(|text| nano(text, "charged").ok()).unwrap_or(Nano::ZERO)
}

/// The reason where nobody answers at the node's address.
const UNREACHABLE: &str = "AGENT_NODE_UNREACHABLE";

fn unreachable(error: ServiceError) -> AgentError {
    AgentError {
        reason: UNREACHABLE.to_owned(),
        message: error.to_string(),
        payment: None,
        retry_after: None,
        in_doubt: false,
    }
}

/// Why a purchase was not answered. What comes without our node's own word, be it a proxy's status, a
/// connection that broke or this side's own time limit, says nothing of a payment that may have been made.
fn read_paying(status: &Status) -> AgentError {
    let error = read(status);
    let in_doubt = match our_word(status) {
        Some(_) => status.code() == Code::DeadlineExceeded,
        None => error.reason != UNREACHABLE,
    };
    AgentError { in_doubt, ..error }
}

/// What our node itself says of a refusal.
fn our_word(status: &Status) -> Option<ErrorInfo> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN)
}

/// Why a call that buys nothing was not answered.
fn read(status: &Status) -> AgentError {
    let info = our_word(status);
    let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let payment = info.as_ref().and_then(|info| info.metadata.get("payment"));
    let reason = match &info {
        Some(info) => info.reason.clone(),
        None if was_never_sent(status) => UNREACHABLE.to_owned(),
        None => format!("{:?}", status.code()),
    };
    AgentError {
        reason,
        message: status.message().to_owned(),
        payment: payment.and_then(|text| text.parse().ok()),
        retry_after,
        in_doubt: false,
    }
}

#[cfg(test)]
mod tests;
