//! Payments that are verified at the same time: one question for all of them, and to each its own answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bursar::edge::evm::EvmSettler;
use bursar::ports::rail::{Authorization, Evidence, RailError, RefusedBy, Settlement, Settler};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::chain::{Chain, key, payer, sign};
use crate::evm_faults::{Fault, Proxy};

/// How many pay at once.
const MANY: u64 = 70;

/// Questions about calls, by how they were asked.
#[derive(Default)]
struct Questions {
    together: AtomicUsize,
    alone: AtomicUsize,
}

impl Questions {
    fn count(&self, method: &str, params: &Value) {
        if method == "eth_call" && params[1] == "latest" {
            let is_making = params[0]["to"].is_null();
            let counter = if is_making { &self.together } else { &self.alone };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self) -> (usize, usize) {
        (self.together.swap(0, Ordering::Relaxed), self.alone.swap(0, Ordering::Relaxed))
    }
}

struct World {
    chain: Chain,
    settler: EvmSettler,
    proxy: Proxy,
    questions: Arc<Questions>,
}

async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for mut chain in [Some(Chain::sandbox().await), Chain::anvil().await].into_iter().flatten() {
        let proxy = Proxy::before(&mut chain).await;
        let evm = chain.evm().await;
        let settler = chain.settler(&evm).await;
        let questions = Arc::<Questions>::default();
        let counts = Arc::clone(&questions);
        proxy.plan(move |method, params| {
            counts.count(method, params);
            Fault::Pass
        });
        worlds.push(World { chain, settler, proxy, questions });
    }
    worlds
}

impl World {
    async fn verify(&self, all: &[Authorization]) -> Vec<Result<Result<(), RefusedBy>, RailError>> {
        join_all(all.iter().map(|one| self.settler.verify_unpaid(one))).await
    }

    /// The most that the payer has.
    async fn all_of_it(&self) -> u128 {
        let evm = self.chain.evm().await;
        evm.balance(self.chain.asset(), payer().address()).await.unwrap().amount.get()
    }
}

#[tokio::test]
async fn payments_verified_at_once_are_tried_together_and_none_stands_in_anothers_way() {
    for world in worlds().await {
        // Each is all that there is, so that two of them would be too much.
        let most = world.all_of_it().await;
        let all: Vec<_> = (1..=MANY).map(|nth| world.chain.authorization(most, nth)).collect();
        world.questions.take();
        for verified in world.verify(&all).await {
            assert_eq!(verified.unwrap(), Ok(()));
        }
        assert_eq!(world.questions.take(), (2, 0), "64 go into one question");
    }
}

#[tokio::test]
async fn among_payments_tried_together_each_gets_its_own_reason() {
    for world in worlds().await {
        let most = world.all_of_it().await;
        let spent = world.chain.authorization(10, 1_000);
        let settled = world.settler.settle(&spent).await.unwrap();
        assert!(matches!(settled, Settlement::Settled { .. }));
        let dear = world.chain.authorization(most, 1_001);
        let mut poor = world.chain.commitment(10, 1_002);
        poor.payer = key(77).address();
        let poor = sign(poor, &key(77));
        let forged = sign(world.chain.commitment(10, 1_003), &key(77));
        let good: Vec<_> = (1..=4).map(|nth| world.chain.authorization(10, nth)).collect();
        let all = [vec![spent, dear, poor, forged], good].concat();
        world.questions.take();
        let verified: Vec<_> = world.verify(&all).await.into_iter().map(Result::unwrap).collect();
        let reasons = [
            RefusedBy::NonceUsed,
            RefusedBy::InsufficientFunds,
            RefusedBy::InsufficientFunds,
            RefusedBy::BadSignature,
        ];
        let expected = reasons.map(Err).into_iter().chain([Ok(()); 4]).collect::<Vec<_>>();
        assert_eq!(verified, expected);
        assert_eq!(world.questions.take(), (1, 4), "those that did not go through, each alone");
    }
}

#[tokio::test]
async fn where_a_node_does_not_answer_for_all_each_is_asked_about_alone() {
    let bad: [fn() -> Fault; 4] = [
        || Fault::Answer(json!("0x")),
        || Fault::Answer(json!("0x010101")),
        || Fault::Refuse(-32000, "out of gas"),
        || Fault::LoseAnswer,
    ];
    for world in worlds().await {
        for (round, bad) in bad.into_iter().enumerate() {
            let questions = Arc::clone(&world.questions);
            world.proxy.plan(move |method, params| {
                questions.count(method, params);
                let is_joined = method == "eth_call" && params[0]["to"].is_null();
                if is_joined { bad() } else { Fault::Pass }
            });
            let good = world.chain.authorization(10, 1);
            let forged = sign(world.chain.commitment(10, 2), &key(77));
            let verified: Vec<_> =
                world.verify(&[good, forged]).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(verified, [Ok(()), Err(RefusedBy::BadSignature)], "{round}");
            assert_eq!(world.questions.take(), (1, 2), "{round}");
        }
    }
}

#[tokio::test]
async fn a_node_that_says_yes_to_what_it_was_not_asked_is_not_believed_for_it() {
    for world in worlds().await {
        world.proxy.plan(|method, params| {
            let is_joined = method == "eth_call" && params[0]["to"].is_null();
            if is_joined { Fault::Answer(json!("0x0101010101")) } else { Fault::Pass }
        });
        let forged = [1, 2].map(|nth| sign(world.chain.commitment(10, nth), &key(77)));
        for verified in world.verify(&forged).await {
            assert_eq!(verified.unwrap(), Err(RefusedBy::BadSignature));
        }
    }
}
