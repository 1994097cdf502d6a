//! What an agent hears of another, whatever it asks. threats.md Z11.

use prost::Message;

use super::fuzzed::{Raw, right};
use super::paying::{ask, pay};
use super::*;
use crate::domain::id::PaymentId;

/// Everything that comes back: messages, or a refusal with all that it carries.
async fn hear(house: &House, method: &str, token: &Token, message: Vec<u8>) -> Vec<u8> {
    let mut client = Grpc::new(house.channel.clone());
    client.ready().await.unwrap();
    let path = format!("/bursar.v1.{method}").parse().unwrap();
    let refused = |status: Status| {
        let said = format!("{:?} {} {:?}", status.code(), status.message(), status.metadata());
        [said.as_bytes(), status.details()].concat()
    };
    let mut answer = match client.server_streaming(with(token, message), path, Raw).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return refused(status),
    };
    let mut heard = Vec::new();
    loop {
        match answer.message().await {
            Ok(Some(bytes)) => heard.extend(bytes),
            Ok(None) => return heard,
            Err(status) => return [heard, refused(status)].concat(),
        }
    }
}

/// A house in which an agent has paid, and another is curious about it.
async fn open_for_two() -> (House, pb::Payment, Token) {
    let house = open().await;
    apply(&house).await;
    let private = add_agent(&house, "private-1", "scout").await;
    let (_, done) = pay(&house, &private, ask(1)).await.unwrap();
    let curious = add_agent(&house, "curious-1", "scout").await;
    (house, done.payment.unwrap(), curious)
}

#[tokio::test]
async fn z11_what_is_anothers_cannot_be_told_from_what_is_not_there() {
    let (house, payment, curious) = open_for_two().await;
    let nobodys = PaymentId::from_bytes([7; 16]).to_string();
    let by_payment = |payment_id: &str| {
        let get = pb::GetPaymentRequest { payment_id: payment_id.into() };
        let explain = pb::ExplainRequest { payment_id: payment_id.into() };
        [
            ("PaymentService/GetPayment", get.encode_to_vec()),
            ("PaymentService/Explain", explain.encode_to_vec()),
        ]
    };
    let by_agent = |agent: &str| {
        let agent = Some(agent.to_owned());
        let budgets = pb::ListBudgetsRequest { agent: agent.clone(), ..Default::default() };
        let payments = pb::ListPaymentsRequest { agent, ..Default::default() };
        [
            ("BudgetService/ListBudgets", budgets.encode_to_vec()),
            ("PaymentService/ListPayments", payments.encode_to_vec()),
        ]
    };
    let (anothers, nobodys) = (
        by_payment(&payment.payment_id).into_iter().chain(by_agent("private-1")),
        by_payment(&nobodys).into_iter().chain(by_agent("nobody-1")),
    );
    for ((method, anothers), (_, nobodys)) in anothers.zip(nobodys) {
        // The operator is told apart, so that there is something to hide.
        let known = hear(&house, method, &house.operator, anothers.clone()).await;
        assert_ne!(known, hear(&house, method, &house.operator, nobodys.clone()).await, "{method}");
        let heard = hear(&house, method, &curious, anothers).await;
        let nothing = hear(&house, method, &curious, nobodys).await;
        assert_eq!(heard, nothing, "{method}: {}", String::from_utf8_lossy(&heard));
    }
}

#[tokio::test]
async fn z11_no_answer_and_no_refusal_names_another_agent_or_its_payment() {
    let (house, payment, curious) = open_for_two().await;
    let transaction = payment.transaction.clone().unwrap();
    let mut asked = right();
    // What the two share is full after the first of these, and the next is refused for it.
    asked.extend((2..5).map(|n| ("PaymentService/Pay", ask(n).encode_to_vec())));
    let every = methods().into_iter().filter(|path| !path.ends_with("/Watch"));
    let every: Vec<String> = every.collect();
    asked.extend(every.iter().map(|path| (path.trim_start_matches("/bursar.v1."), Vec::new())));
    let mut full = false;
    for (method, message) in asked {
        let heard = hear(&house, method, &curious, message).await;
        let heard = String::from_utf8_lossy(&heard);
        full |= heard.contains("LEDGER_OVER_BUDGET");
        for private in ["private-1", &payment.payment_id, &payment.request_id, &transaction] {
            assert!(!heard.contains(private), "{method} tells of {private}: {heard}");
        }
    }
    assert!(full, "the budget that they share was full");
}
