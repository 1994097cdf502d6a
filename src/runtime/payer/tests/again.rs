//! The same request again, where its payment is not signed a second time.

use alloy::primitives::B256;

use super::super::*;
use super::world::{PRICE, Shop, World, breathe, build, by_channel, end, name, new_clock};
use crate::domain::commitment::Scheme;
use crate::domain::fault::{Class, Fault};
use crate::domain::ledger::Command;
use crate::domain::ledger::agent::{Principal, Scope};
use crate::domain::ledger::hold::CaptureProof;

const HOUR: Duration = Duration::from_secs(3_600);

/// Longer than a call may take, and shorter than an authorization lives.
const TOO_LONG_S: u64 = 61;

/// The payee hears of a payment and answers nothing: it is in doubt.
async fn in_doubt(scheme: Scheme) -> (World, PaymentId) {
    let world = build(&new_clock(), Shop { scheme, ..Shop::default() }, |_| None).await;
    let mut purchase = world.payer.pay(world.wish(1)).await.unwrap();
    world.pass(TOO_LONG_S).await;
    let error = end(&mut purchase).await.unwrap_err();
    assert_eq!(error.code(), "payer.in_doubt", "{error}");
    (world, purchase.payment)
}

async fn pause(world: &World) {
    let (scope, reason) = (Scope::Role(name("scout")), "a drill".to_owned());
    world.operator.pause(scope, reason, Principal::Operator).await.unwrap();
}

/// Its agent heard that nothing was signed and all was given back, bought the same under another request,
/// and paid twice. And a good channel was lent no more.
#[tokio::test]
async fn what_is_in_doubt_is_so_too_where_signing_is_paused_when_it_is_asked_for_again() {
    for scheme in [Scheme::Exact, by_channel()] {
        let (world, payment) = in_doubt(scheme).await;
        let channels = match &world.keeper {
            Some(_) => world.fill_channels().await,
            None => Vec::new(),
        };
        pause(&world).await;
        let mut again = world.payer.pay(world.wish(1)).await.unwrap();
        let error = end(&mut again).await.unwrap_err();
        let told = (error.code(), error.class(), error.payment());
        assert_eq!(told, ("payer.in_doubt", Class::InDoubt, Some(payment)), "{scheme:?}: {error}");
        if let Some(keeper) = &world.keeper {
            assert_eq!(channels.len(), 1);
            // One that no pool lends is given back at once.
            assert_eq!(keeper.endable(HOUR, 9).await.unwrap(), []);
        }
    }
}

/// The chain was faster than whoever asked again: that is paid, and was told as never signed.
#[tokio::test]
async fn what_is_captured_while_it_is_asked_for_again_is_told_as_paid() {
    let (world, payment) = in_doubt(Scheme::Exact).await;
    let (amount, transaction, proof) = (PRICE, B256::repeat_byte(5), CaptureProof::Receipt);
    let capture = Command::Capture { payment, amount, transaction, proof };
    *world.payee.meanwhile.lock().unwrap() = Some((world.treasury.clone(), capture));
    let mut again = world.payer.pay(world.wish(1)).await.unwrap();
    assert_eq!(end(&mut again).await.unwrap_err(), PayError::AnswerGone { payment });
}

#[tokio::test]
async fn an_offered_payment_that_left_is_in_doubt_where_signing_is_paused_when_it_is_asked_for_again()
 {
    let world = build(&new_clock(), Shop::default(), |_| None).await;
    let (_, paid) = world.payer.pay_offer(world.offered(1)).await.unwrap();
    let payment = paid.payment;
    drop(paid);
    breathe().await;
    pause(&world).await;
    let error = world.payer.pay_offer(world.offered(1)).await.err().unwrap();
    let told = (error.code(), error.class(), error.payment());
    assert_eq!(told, ("payer.in_doubt", Class::InDoubt, Some(payment)), "{error}");
}
