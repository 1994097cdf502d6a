//! Channels with payees who are asked nothing: a stranger gets what was signed for it, and says what it
//! took. Row ids are those of the threat model.

use alloy::primitives::B256;
use bursar::domain::id::AgentId;
use bursar::domain::ledger::channel::ChannelState;
use bursar::edge::grpc::Purchase;
use bursar::ports::paid_service::{PaidCall, PaidService, Piece, ServiceError};
use bursar::runtime::payer::{OfferedCall, SignedOffer};
use futures_util::StreamExt;

use crate::channel_doubts::channels;
use crate::channels::until;
use crate::copies::{copy_ledger, restore_ledger};
use crate::market::{Market, POLICY, PRICE, Shop, echo, name};

async fn open() -> Market {
    Market::open_with(Shop { by_channel: true, ..Shop::default() }).await
}

/// A stranger quotes nothing and is asked nothing: it gets what was signed for it, and says what it took.
/// The channel has come back when this returns.
async fn pay_stranger(market: &Market, body: &str) -> bool {
    let payee = &market.provider.as_ref().unwrap().payee;
    let unpaid = crate::channels::call(body);
    let Err(ServiceError::PaymentRequired(mut offer)) = payee.infer(unpaid.clone()).await else {
        panic!("it asks for no payment")
    };
    offer.accepts.retain(|accept| accept.scheme == "batch-settlement");
    let Purchase { request, .. } = echo(body);
    let signed = market.node().payer.pay_offer(OfferedCall {
        agent: AgentId::named(&name("worker")),
        request,
        session: None,
        resource: offer.resource.url.clone(),
        provider: name("stranger"),
        capability: name("echo"),
        model: name("echo-1"),
        message: B256::repeat_byte(3),
        price_max: None,
        offer: (*offer).into(),
    });
    let signed = signed.await.unwrap();
    let served = served(market, unpaid, signed).await;
    until(async || market.node().payer.running() == 0).await;
    served
}

async fn served(market: &Market, unpaid: PaidCall, (payload, signed): SignedOffer) -> bool {
    let payee = &market.provider.as_ref().unwrap().payee;
    let paid = PaidCall { payment: Some(payload), ..unpaid };
    match payee.infer(paid).await {
        Ok(mut answer) => {
            while let Some(piece) = answer.pieces.next().await {
                if let Piece::Done(closing) = piece.unwrap() {
                    signed.conclude(Some(closing.response));
                    return true;
                }
            }
            panic!("it broke off")
        }
        Err(_) => {
            signed.conclude_refused();
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_with_a_stranger_is_used_again_after_a_restart() {
    let mut market = open().await;
    assert!(pay_stranger(&market, "one").await);
    assert!(pay_stranger(&market, "two").await);
    market.restart_node(POLICY).await;
    assert!(pay_stranger(&market, "three").await);
    market.restart_node(POLICY).await;
    assert_eq!(channels(&market).await, [(ChannelState::Open, 3 * PRICE, 0)]);
}

/// The stranger knows more of the channel than a ledger that was put back: it refuses once, and another
/// channel pays from then on.
#[tokio::test(flavor = "multi_thread")]
async fn e13_a_channel_with_a_stranger_who_knows_more_of_it_is_tried_once() {
    let mut market = open().await;
    assert!(pay_stranger(&market, "one").await);
    market.stop_node().await;
    let copy = tempfile::tempdir().unwrap();
    copy_ledger(market.folder(), copy.path(), "node");
    market.start_node(POLICY).await;
    assert!(pay_stranger(&market, "two").await);
    market.stop_node().await;
    restore_ledger(market.folder(), copy.path(), "node");
    market.start_node(POLICY).await;
    assert!(!pay_stranger(&market, "three").await, "its voucher says less than one it has");
    assert!(pay_stranger(&market, "four").await);
    assert!(pay_stranger(&market, "five").await);
    assert_eq!(channels(&market).await.len(), 2);
}
