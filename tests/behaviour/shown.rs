//! What an answer says of its payment, over gRPC.

use bursar::edge::grpc::pb;
use bursar::ports::history::History;

use crate::market::{Market, Shop, echo};

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_says_of_its_payment_is_what_the_books_say_of_it_later() {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let client = market.client("worker").await;
    let bought = client.buy(echo("first")).await.unwrap();
    let said = bought.done.payment.unwrap();
    assert_eq!(said.state(), pb::PaymentState::Captured);
    // The next call's record tells the ledger what the first one cost.
    client.buy(echo("second")).await.unwrap();
    let payment = bought.payment.parse().unwrap();
    let kept = market.node().store.find_payment(payment).await.unwrap().unwrap();
    assert_eq!(said.agent, kept.agent.to_string());
    assert_eq!(said.request_id, kept.request.to_string());
    assert_eq!(said.attempt, kept.attempt);
    assert_eq!(said.provider, kept.provider.to_string());
    assert_eq!(
        (said.capability, said.model),
        (kept.capability.to_string(), kept.model.to_string())
    );
    assert_eq!(said.asset, kept.asset.to_string());
    assert_eq!(said.authorized_amount, kept.amount_held.to_string());
    assert_eq!(said.captured_amount, kept.amount_captured.map(|amount| amount.to_string()));
    assert_eq!(said.held_nano, kept.nano_held.get().to_string());
    assert_eq!(said.captured_nano, kept.nano_captured.map(|nano| nano.get().to_string()));
    assert_eq!((said.transaction, said.session), (None, None));
}
