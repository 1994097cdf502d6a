//! The agent's door: pay, and see what was paid.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::budgets::{is_beneath, whose};
use super::shown::{
    account, budget, decision, drawn_payment, open_payment, past_payment, refused_payment, rule,
    state_from_pb,
};
use super::{Node, caller};
use crate::domain::fault::Fault;
use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::ledger::Ledger;
use crate::edge::grpc::convert::{Malformed, nano, parse, parse_some, read, text};
use crate::edge::grpc::guard::Caller;
use crate::edge::grpc::page::page_size;
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::pay_response::Piece;
use crate::edge::grpc::pb::payment_service_server::PaymentService;
use crate::edge::grpc::status::{malformed, refuse};
use crate::ports::archive::Decision;
use crate::ports::history::{Look, PastPayment};
use crate::runtime::payer::{Bill, Bought, Placed, Wish};

#[tonic::async_trait]
impl PaymentService for Node {
    type PayStream = BoxStream<'static, Result<pb::PayResponse, Status>>;

    async fn pay(
        &self,
        request: Request<pb::PayRequest>,
    ) -> Result<Response<Self::PayStream>, Status> {
        let agent = paying(caller(&request)?)?;
        let wish = read_wish(agent, request.into_inner()).map_err(malformed)?;
        let session = wish.session.clone();
        let purchase = match self.payer.pay(wish).await {
            Ok(purchase) => purchase,
            Err(error) => {
                self.tarpit.hold_up(agent).await;
                return Err(refuse(error));
            }
        };
        let (node, payment) = (self.clone(), purchase.payment);
        let asked = Arc::new(Asked { agent, session, drawn: purchase.drawn });
        let pieces = ReceiverStream::new(purchase.pieces).then(move |piece| {
            let (node, asked) = (node.clone(), Arc::clone(&asked));
            async move {
                let piece = match piece.map_err(refuse)? {
                    Bought::Begin { provider, content_type, model, .. } => {
                        Piece::Begin(pb::PayBegin {
                            payment_id: payment.to_string(),
                            provider: provider.to_string(),
                            content_type,
                            model,
                        })
                    }
                    Bought::Chunk(chunk) => Piece::Chunk(chunk),
                    Bought::Done(bill) => Piece::Done(node.done(asked, *bill).await?),
                };
                Ok(pb::PayResponse { piece: Some(piece) })
            }
        });
        Ok(Response::new(pieces.boxed()))
    }

    async fn preview(
        &self,
        request: Request<pb::PreviewRequest>,
    ) -> Result<Response<pb::PreviewResponse>, Status> {
        let agent = paying(caller(&request)?)?;
        let wish = read_preview(agent, request.into_inner()).map_err(malformed)?;
        let preview = self.payer.preview(&wish).await.map_err(refuse)?;
        let at = self.clock.now();
        let look = move |ledger: &Ledger| {
            let short = preview.budgets.iter().find(|check| !check.fits());
            let over = short.map(|_| "ledger.over_budget".to_owned());
            let denied = preview.denial.as_ref();
            pb::PreviewResponse {
                quote: Some((&preview.quote).into()),
                amount: preview.amount.to_string(),
                nano: preview.nano.get().to_string(),
                decision: Some(pb::Decision {
                    agent_id: agent.to_string(),
                    at: Some(crate::edge::grpc::convert::time_to_pb(at)),
                    policy_version: preview.policy_version,
                    refused: denied.map(|denial| denial.code().to_owned()).or(over),
                    reason: denied.map(ToString::to_string),
                    rules: preview.rules.iter().map(rule).collect(),
                    budgets: preview.budgets.iter().map(|check| budget(ledger, check)).collect(),
                    ..pb::Decision::default()
                }),
            }
        };
        Ok(Response::new(self.treasury.read(look).await.map_err(refuse)?))
    }

    async fn get_payment(
        &self,
        request: Request<pb::GetPaymentRequest>,
    ) -> Result<Response<pb::GetPaymentResponse>, Status> {
        let caller = caller(&request)?;
        let payment = parse(&request.into_inner().payment_id, "payment_id").map_err(malformed)?;
        let found = self.find_payment(payment).await?.ok_or_else(no_payment)?;
        let agent = found.agent.clone();
        let seen = move |ledger: &Ledger| {
            let agent: Option<Name> = agent.parse().ok();
            agent.is_some_and(|agent| sees(ledger, caller, AgentId::named(&agent)))
        };
        if self.treasury.read(seen).await.map_err(refuse)? {
            Ok(Response::new(pb::GetPaymentResponse { payment: Some(found) }))
        } else {
            Err(no_payment())
        }
    }

    async fn list_payments(
        &self,
        request: Request<pb::ListPaymentsRequest>,
    ) -> Result<Response<pb::ListPaymentsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = parse_some(request.agent.as_deref(), "agent").map_err(malformed)?;
        if request.state() == pb::PaymentState::Refused {
            let problem = "refusals are not among the payments: ask Explain for one";
            return Err(malformed(Malformed::new("state", problem)));
        }
        let agents = self.treasury.read(move |ledger| agents(ledger, caller, asked));
        let size = page_size(request.page_size);
        let look = Look {
            agents: agents.await.map_err(refuse)??,
            state: state_from_pb(request.state()),
            before: (!request.page_token.is_empty())
                .then(|| parse(&request.page_token, "page_token"))
                .transpose()
                .map_err(malformed)?,
            limit: u32::try_from(size).unwrap_or(u32::MAX).saturating_add(1),
        };
        let mut found = self.history.list_payments(look).await.map_err(refuse)?;
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| more);
        Ok(Response::new(pb::ListPaymentsResponse {
            next_page_token: last
                .map(|past: &PastPayment| past.seq.to_string())
                .unwrap_or_default(),
            payments: found.iter().map(past_payment).collect(),
        }))
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let caller = caller(&request)?;
        let payment = parse(&request.into_inner().payment_id, "payment_id").map_err(malformed)?;
        let found = self.archive.find_decision(payment).await.ok_or_else(no_payment)?;
        let look = move |ledger: &Ledger| {
            sees(ledger, caller, found.agent).then(|| decision(ledger, &found))
        };
        let decision = self.treasury.read(look).await.map_err(refuse)?.ok_or_else(no_payment)?;
        Ok(Response::new(pb::ExplainResponse { decision: Some(decision) }))
    }
}

/// Who pays, within which span of work, and what is known of it already.
struct Asked {
    agent: AgentId,
    session: Option<Name>,
    drawn: Option<Placed>,
}

impl Node {
    /// The end of a paid answer, with what is left.
    async fn done(&self, asked: Arc<Asked>, bill: Bill) -> Result<pb::PayDone, Status> {
        let (payment, now) = (bill.payment, self.clock.now());
        let (outcome, charged, nano) = (bill.outcome, bill.charged, bill.nano);
        let look = move |ledger: &Ledger| {
            let Asked { agent, session, drawn } = asked.as_ref();
            let checks = ledger.accounts_of(*agent, session.as_ref(), now);
            let budgets = checks.iter().map(|check| account(ledger, check)).collect();
            let drawn = drawn.as_ref();
            let shown = drawn.map(|drawn| drawn_payment(ledger, drawn, outcome, (charged, nano)));
            (shown.or_else(|| open_payment(ledger, payment)), budgets)
        };
        let (shown, budgets): (_, Vec<_>) = self.treasury.read(look).await.map_err(refuse)?;
        let shown = match shown {
            Some(shown) => Some(shown),
            // A free call has a name, and no payment.
            None if bill.charged.amount.is_zero() => None,
            // The rail was faster: it has ended, and only its history tells.
            None => self.find_payment(payment).await?,
        };
        Ok(pb::PayDone {
            payment: shown,
            usage: Some((&bill.usage).into()),
            receipt: bill.receipt.as_ref().map(Into::into),
            budgets,
            repeated_answer: bill.repeated,
        })
    }

    /// A payment: open, ended, or never begun.
    async fn find_payment(&self, payment: PaymentId) -> Result<Option<pb::Payment>, Status> {
        let open = self.treasury.read(move |ledger| open_payment(ledger, payment));
        if let Some(open) = open.await.map_err(refuse)? {
            return Ok(Some(open));
        }
        if let Some(past) = self.history.find_payment(payment).await.map_err(refuse)? {
            return Ok(Some(past_payment(&past)));
        }
        let decision = self.archive.find_decision(payment).await;
        match decision.filter(|decision: &Decision| decision.refused.is_some()) {
            Some(decision) => {
                let look = move |ledger: &Ledger| refused_payment(ledger, &decision);
                self.treasury.read(look).await.map(Some).map_err(refuse)
            }
            None => Ok(None),
        }
    }
}

fn read_wish(agent: AgentId, request: pb::PayRequest) -> Result<Wish, Malformed> {
    Ok(Wish {
        agent,
        request: parse(&request.request_id, "request_id")?,
        session: parse_some(request.session.as_deref(), "session")?,
        order: read(request.order, "order")?,
        content_type: text(request.content_type, "content_type")?,
        body: request.body,
        price_max: request
            .price_max_nano
            .map(|price| nano(&price, "price_max_nano"))
            .transpose()?,
        provider: parse_some(request.provider.as_deref(), "provider")?,
        not_from: Vec::new(),
        streamed: request.streamed,
    })
}

/// What would be wished for: with no body, and under no request id that could ever be paid.
fn read_preview(agent: AgentId, request: pb::PreviewRequest) -> Result<Wish, Malformed> {
    let wish = pb::PayRequest {
        request_id: RequestId::from_bytes([0; 16]).to_string(),
        order: request.order,
        price_max_nano: request.price_max_nano,
        provider: request.provider,
        session: request.session,
        ..pb::PayRequest::default()
    };
    read_wish(agent, wish)
}

/// Whose payments are listed; `None` is everybody's.
fn agents(
    ledger: &Ledger,
    caller: Caller,
    asked: Option<Name>,
) -> Result<Option<Vec<Name>>, Status> {
    match (whose(ledger, caller, asked.as_ref())?, asked) {
        (None, _) => Ok(None),
        (Some(_), Some(asked)) => Ok(Some(vec![asked])),
        (Some(own), None) => {
            let mine = ledger.agents().into_iter();
            let mine = mine.filter(|agent| is_beneath(ledger, agent.id(), own));
            Ok(Some(mine.map(|agent| agent.name.clone()).collect()))
        }
    }
}

fn sees(ledger: &Ledger, caller: Caller, agent: AgentId) -> bool {
    match caller {
        Caller::Operator => true,
        Caller::Agent(own) => is_beneath(ledger, agent, own),
    }
}

fn paying(caller: Caller) -> Result<AgentId, Status> {
    match caller {
        Caller::Agent(agent) => Ok(agent),
        Caller::Operator => Err(Status::permission_denied("the operator pays for nothing")),
    }
}

/// What a caller may not see, it cannot tell from nothing.
fn no_payment() -> Status {
    Status::not_found("no such payment")
}
