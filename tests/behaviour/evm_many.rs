//! Many transactions of one gas account under way at once, on a node that mines when it is told to. Only anvil
//! lets itself be told. Row ids are those of the threat model.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, U256};
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmSettler, SettlerConfig};
use bursar::ports::rail::{Evidence, Settlement, Settler};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::chain::{Chain, gas, payee};

struct World {
    chain: Chain,
    evm: Evm,
    settler: Arc<EvmSettler>,
    node: RootProvider,
}

/// A chain that mines nothing by itself from here on.
async fn world(wait_max: Duration) -> Option<World> {
    let chain = Chain::anvil().await?;
    let evm = chain.evm().await;
    let config = SettlerConfig { wait_max, ..Default::default() };
    let settler =
        EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap();
    let node = ProviderBuilder::default().connect_http(chain.url.parse().unwrap());
    chain.ask_node("evm_setAutomine", json!([false])).await;
    Some(World { chain, evm, settler: Arc::new(settler), node })
}

impl World {
    fn settle(&self, amount: u128, nonce: u64) -> JoinHandle<Settlement> {
        let authorization = self.chain.authorization(amount, nonce);
        let settler = self.settler.clone();
        tokio::spawn(async move { settler.settle(&authorization).await.unwrap() })
    }

    /// The transactions that the node has and did not mine.
    async fn waiting(&self) -> Vec<B256> {
        let pool: Value = self.node.raw_request("txpool_content".into(), ()).await.unwrap();
        let parts = ["pending", "queued"].map(|part| pool[part].as_object().cloned());
        let of_account = parts.into_iter().flatten().flat_map(|part| part.into_values());
        let all = of_account.flat_map(|by_nonce| by_nonce.as_object().cloned().unwrap());
        all.map(|(_, sent)| serde_json::from_value(sent["hash"].clone()).unwrap()).collect()
    }

    /// Returns when the node has so many of them.
    async fn until_waiting(&self, count: usize) -> Vec<B256> {
        loop {
            let waiting = self.waiting().await;
            if waiting.len() == count {
                return waiting;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn mine(&self) {
        self.chain.ask_node("anvil_mine", json!([])).await;
    }

    async fn paid(&self) -> u128 {
        self.evm.balance(self.chain.asset(), payee()).await.unwrap().amount.get()
    }
}

#[tokio::test]
async fn many_payments_are_under_way_at_once_and_end_with_one_block() {
    let Some(world) = world(Duration::from_secs(60)).await else { return };
    let settling: Vec<_> = (1..=24).map(|nonce| world.settle(10, nonce)).collect();
    world.until_waiting(24).await;
    world.mine().await;
    for one in settling {
        assert!(matches!(one.await.unwrap(), Settlement::Settled { .. }));
    }
    assert_eq!(world.paid().await, 240);
    let sent = world.node.get_transaction_count(gas().address()).await.unwrap();
    assert_eq!(sent, 24);
}

#[tokio::test]
async fn k04_k05_what_the_node_dropped_is_handed_in_again_and_the_gap_is_closed() {
    let Some(world) = world(Duration::from_secs(60)).await else { return };
    let settling: Vec<_> = (1..=6).map(|nonce| world.settle(10, nonce)).collect();
    let waiting = world.until_waiting(6).await;
    for lost in waiting.iter().take(3) {
        world.chain.ask_node("anvil_dropTransaction", json!([lost])).await;
    }
    // All of them are there again, the same bytes.
    let again = world.until_waiting(6).await;
    assert!(waiting.iter().all(|sent| again.contains(sent)));
    world.mine().await;
    for one in settling {
        assert!(matches!(one.await.unwrap(), Settlement::Settled { .. }));
    }
    assert_eq!(world.paid().await, 60);
}

#[tokio::test]
async fn k06_what_became_too_cheap_is_made_dearer_under_its_own_nonce() {
    let Some(world) = world(Duration::from_secs(60)).await else { return };
    let settling: Vec<_> = (1..=3).map(|nonce| world.settle(10, nonce)).collect();
    let cheap = world.until_waiting(3).await;
    let base: U256 = U256::from(60_000_000_000_u64);
    world.chain.ask_node("anvil_setNextBlockBaseFeePerGas", json!([base])).await;
    // Nothing of ours fits into this block.
    world.mine().await;
    // Each is there again at another price. No block meanwhile: every one moves the chain's time on.
    loop {
        let waiting = world.until_waiting(3).await;
        if waiting.iter().all(|sent| !cheap.contains(sent)) {
            break;
        }
        tokio::task::yield_now().await;
    }
    world.chain.ask_node("anvil_setNextBlockBaseFeePerGas", json!([base])).await;
    world.mine().await;
    for one in settling {
        let Settlement::Settled { transaction, .. } = one.await.unwrap() else { panic!("settled") };
        assert!(!cheap.contains(&transaction), "it was mined at its new price");
    }
    assert_eq!(world.paid().await, 30);
    let sent = world.node.get_transaction_count(gas().address()).await.unwrap();
    assert_eq!(sent, 3, "no nonce was used twice");
}

#[tokio::test]
async fn d07_what_is_not_mined_is_unknown_and_the_same_transaction_ends_it() {
    let Some(world) = world(Duration::from_millis(200)).await else { return };
    let Settlement::Unknown { transaction: Some(sent) } = world.settle(10, 1).await.unwrap() else {
        panic!("nothing was mined")
    };
    // Asked again and again, nothing else is sent.
    for _ in 0..3 {
        let again = world.settle(10, 1).await.unwrap();
        assert_eq!(again, Settlement::Unknown { transaction: Some(sent) });
    }
    assert_eq!(world.waiting().await, [sent]);
    world.mine().await;
    let Settlement::Settled { transaction, amount, .. } = world.settle(10, 1).await.unwrap() else {
        panic!("it was mined")
    };
    assert_eq!((transaction, amount), (sent, Amount::new(10)));
}

#[tokio::test]
async fn k03_what_a_reorganisation_took_back_is_sent_anew_when_it_is_asked_for() {
    let Some(world) = world(Duration::from_secs(60)).await else { return };
    world.mine().await;
    let settling = world.settle(10, 1);
    world.until_waiting(1).await;
    world.mine().await;
    assert!(matches!(settling.await.unwrap(), Settlement::Settled { .. }));
    world.chain.ask_node("anvil_reorg", json!([1, []])).await;
    assert_eq!(world.paid().await, 0);
    // The nonce that was mined and is not any more is found missing, and filled.
    let settling = world.settle(10, 1);
    while !settling.is_finished() {
        world.mine().await;
        tokio::task::yield_now().await;
    }
    assert!(matches!(settling.await.unwrap(), Settlement::Settled { .. }));
    assert_eq!(world.paid().await, 10);
}
