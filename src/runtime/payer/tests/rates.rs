//! How fast a provider may be paid by everybody together, where its price came as an offer.

use super::super::*;
use super::world::{Shop, World, build, new_clock};
use crate::domain::policy::Rates;
use crate::runtime::limits::{Key, Limited};

async fn open(rates: Rates) -> World {
    build(&new_clock(), Shop { rates, ..Shop::default() }, |_| None).await
}

/// Only those of the directory's providers counted: an offer was paid as often as it was made.
#[tokio::test]
async fn offered_payments_count_in_their_providers_rate() {
    let world = open(Rates { calls_per_minute: Some(1), ..Rates::default() }).await;
    world.payer.pay_offer(world.offered(1)).await.unwrap();
    let refused = world.payer.pay_offer(world.offered(2)).await.err().unwrap();
    assert!(
        matches!(refused, PayError::Limited(Limited::Rate { key: Key::Provider(_), .. })),
        "{refused}"
    );
    world.pass(61).await;
    world.payer.pay_offer(world.offered(3)).await.unwrap();
}

#[tokio::test]
async fn an_offered_payment_has_its_providers_place_until_it_is_concluded() {
    let world = open(Rates { concurrency: Some(1), ..Rates::default() }).await;
    let (_, paid) = world.payer.pay_offer(world.offered(1)).await.unwrap();
    let refused = world.payer.pay_offer(world.offered(2)).await.err().unwrap();
    assert!(
        matches!(refused, PayError::Limited(Limited::Concurrency { key: Key::Provider(_), .. })),
        "{refused}"
    );
    paid.conclude(None);
    world.payer.pay_offer(world.offered(3)).await.unwrap();
}
