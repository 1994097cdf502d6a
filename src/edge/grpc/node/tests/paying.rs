//! An agent pays through its node: two gRPC hops, two ledgers, one rail.

use futures_util::FutureExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::domain::id::RequestId;
use crate::edge::grpc::tests::world::{BODY, PRICE};
use crate::runtime::limits::tarpit;
use pb::pay_response::Piece;
use pb::payment_service_client::PaymentServiceClient;

fn request(n: u8) -> String {
    RequestId::new(1_800_000_000_000, [n; 10]).to_string()
}

fn order() -> pb::Order {
    pb::Order { capability: "echo".into(), input_max: 10, output_max: 10, ..Default::default() }
}

pub(super) fn ask(n: u8) -> pb::PayRequest {
    pb::PayRequest {
        request_id: request(n),
        order: Some(order()),
        content_type: "text/plain".into(),
        body: BODY,
        ..pb::PayRequest::default()
    }
}

/// The answer's text, and how it ended.
pub(super) async fn pay(
    house: &House,
    token: &Token,
    ask: pb::PayRequest,
) -> Result<(String, pb::PayDone), Status> {
    let mut client = PaymentServiceClient::new(house.channel.clone());
    let mut pieces = client.pay(with(token, ask)).await?.into_inner();
    let mut text = String::new();
    loop {
        match pieces.message().await?.unwrap().piece.unwrap() {
            Piece::Begin(begin) => assert_eq!(begin.model, "echo sha256:00"),
            Piece::Chunk(chunk) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
            Piece::Done(done) => return Ok((text, done)),
        }
    }
}

#[tokio::test]
async fn an_agent_pays_within_its_budget_and_not_a_unit_more() {
    let house = open().await;
    apply(&house).await;
    let scout = add_agent(&house, "scout-1", "scout").await;
    for (n, streamed, left) in [(1, false, "15"), (2, true, "5")] {
        let (text, done) =
            pay(&house, &scout, pb::PayRequest { streamed, ..ask(n) }).await.unwrap();
        assert_eq!(text, "ping ping ");
        let payment = done.payment.unwrap();
        assert_eq!(payment.state(), pb::PaymentState::Captured);
        assert_eq!(payment.captured_amount, Some(PRICE.to_string()));
        assert_eq!(payment.agent, "scout-1");
        assert!(done.receipt.is_some() && !done.repeated_answer);
        assert!(done.budgets.iter().all(|account| account.left_nano == left), "{:?}", done.budgets);
    }
    let status = pay(&house, &scout, ask(3)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "LEDGER_OVER_BUDGET");
    assert!(details.quota_failure().is_some() && details.retry_info().is_none());
    assert_eq!(house.rail.owned(world::USDC, house.pay_to).get(), PRICE.get() * 2);

    // The refusal has a payment id, and can be asked why; by its own agent only.
    let payment_id = info.metadata.get("payment").unwrap().clone();
    let mut client = PaymentServiceClient::new(house.channel.clone());
    let why = pb::ExplainRequest { payment_id: payment_id.clone() };
    let decision =
        client.explain(with(&scout, why.clone())).await.unwrap().into_inner().decision.unwrap();
    assert_eq!(decision.refused.as_deref(), Some("ledger.over_budget"));
    assert!(decision.budgets.iter().any(|check| !check.fits));
    let get = pb::GetPaymentRequest { payment_id };
    let shown = client.get_payment(with(&scout, get.clone())).await.unwrap().into_inner();
    assert_eq!(shown.payment.unwrap().state(), pb::PaymentState::Refused);
    let other = add_agent(&house, "scout-2", "scout").await;
    assert_eq!(client.explain(with(&other, why)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.get_payment(with(&other, get)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_same_request_again_is_answered_and_never_paid_twice() {
    let house = open().await;
    apply(&house).await;
    let scout = add_agent(&house, "scout-1", "scout").await;
    let (first, done) = pay(&house, &scout, ask(1)).await.unwrap();
    let (second, again) = pay(&house, &scout, ask(1)).await.unwrap();
    assert_eq!(first, second);
    assert!(again.repeated_answer);
    assert_eq!(done.payment.unwrap().payment_id, again.payment.unwrap().payment_id);
    assert_eq!(house.rail.settled(), 1);

    let other = pb::PayRequest { body: "pong".into(), ..ask(1) };
    let status = pay(&house, &scout, other).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(status.get_details_error_info().unwrap().reason, "LEDGER_REQUEST_CONFLICT");
}

#[tokio::test]
async fn a_preview_says_the_price_and_holds_nothing() {
    let house = open().await;
    apply(&house).await;
    let scout = add_agent(&house, "scout-1", "scout").await;
    let mut client = PaymentServiceClient::new(house.channel.clone());
    let look = pb::PreviewRequest { order: Some(order()), ..pb::PreviewRequest::default() };
    let seen = client.preview(with(&scout, look.clone())).await.unwrap().into_inner();
    assert_eq!(seen.amount, PRICE.to_string());
    let decision = seen.decision.unwrap();
    assert_eq!((decision.refused, decision.rules.len() > 6), (None, true));
    pay(&house, &scout, ask(1)).await.unwrap();
    pay(&house, &scout, ask(2)).await.unwrap();
    let seen = client.preview(with(&scout, look)).await.unwrap().into_inner();
    assert_eq!(seen.decision.unwrap().refused.as_deref(), Some("ledger.over_budget"));
    assert_eq!(house.rail.settled(), 2);
}

#[tokio::test]
async fn a_request_that_cannot_be_one_is_refused_by_its_field() {
    let house = open().await;
    apply(&house).await;
    let scout = add_agent(&house, "scout-1", "scout").await;
    type Spoil = fn(&mut pb::PayRequest);
    let cases: [(&str, Spoil); 5] = [
        ("request_id", |ask| ask.request_id = "1".into()),
        ("order", |ask| ask.order = None),
        ("order.capability", |ask| ask.order.as_mut().unwrap().capability = String::new()),
        ("price_max_nano", |ask| ask.price_max_nano = Some("1.5".into())),
        ("content_type", |ask| ask.content_type = "a\nb".into()),
    ];
    for (field, spoil) in cases {
        let mut ask = ask(1);
        spoil(&mut ask);
        let status = pay(&house, &scout, ask).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations.first().unwrap().field, field);
    }
    let dear = pb::PayRequest { price_max_nano: Some("9".into()), ..ask(1) };
    let status = pay(&house, &scout, dear).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_details_error_info().unwrap().reason, "PAYER_TOO_DEAR");
}

#[tokio::test]
async fn payments_are_listed_to_who_may_see_them() {
    let house = open().await;
    apply(&house).await;
    let scout = add_agent(&house, "scout-1", "scout").await;
    let mut client = PaymentServiceClient::new(house.channel.clone());
    let all = pb::ListPaymentsRequest::default();
    assert!(client.list_payments(with(&scout, all.clone())).await.is_ok());
    assert!(client.list_payments(with(&house.operator, all)).await.is_ok());
    let other = pb::ListPaymentsRequest { agent: Some("nobody".into()), ..Default::default() };
    for token in [&scout, &house.operator] {
        let status = client.list_payments(with(token, other.clone())).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn who_is_refused_again_and_again_waits_for_its_answers() {
    let house = open().await;
    apply(&house).await;
    let (runaway, scout) = (
        add_agent(&house, "runaway-1", "runaway").await,
        add_agent(&house, "scout-1", "scout").await,
    );
    let nothing = || pb::PayRequest { price_max_nano: Some("0".into()), ..ask(1) };
    for _ in 0..tarpit::AT_ONCE.calls_per_minute.unwrap() {
        pay(&house, &runaway, nothing()).await.unwrap_err();
    }
    let mut late = Box::pin(pay(&house, &runaway, nothing()));
    assert!(late.as_mut().now_or_never().is_none());
    // Others are answered meanwhile, though the clock stands still.
    for _ in 0..16 {
        pay(&house, &scout, nothing()).await.unwrap_err();
        assert!(late.as_mut().now_or_never().is_none());
    }
    house.clock.advance(tarpit::LATE);
    assert_eq!(late.await.unwrap_err().code(), Code::FailedPrecondition);
}
