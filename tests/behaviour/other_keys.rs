//! A node that is started with another chain or with other keys than its ledger began with. Row ids are those of
//! the threat model.

use alloy::primitives::B256;
use bursar::domain::ledger::rejection::Rejection;
use bursar::node::{NodePlan, PayerNode, StartError};
use bursar::ports::journal::JournalError;

use crate::market::{Market, POLICY, PRICE, echo};

/// A node by a plan that was changed, once the one before has let go of its journal.
async fn start(market: &Market, change: impl Fn(&mut NodePlan)) -> Result<PayerNode, StartError> {
    loop {
        let mut plan = market.node_plan(POLICY).await;
        change(&mut plan);
        match PayerNode::start(plan).await {
            Err(StartError::Journal(JournalError::InUse(_))) => tokio::task::yield_now().await,
            started => return started,
        }
    }
}

async fn refused(market: &Market, change: impl Fn(&mut NodePlan)) -> StartError {
    start(market, change).await.err().expect("it started")
}

fn rejected(error: &StartError) -> Option<&Rejection> {
    match error {
        StartError::Ledger(refused) => refused.rejection(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o02_a_ledger_belongs_to_the_chain_it_began_on() {
    let mut market = Market::open().await;
    market.client("worker").await.buy(echo("before")).await.unwrap();
    market.stop_node().await;
    let other = B256::repeat_byte(2);
    let error = refused(&market, |plan| plan.rails[0].1 = other).await;
    let pinned = rejected(&error);
    assert!(
        matches!(pinned, Some(Rejection::WrongGenesis { found, .. }) if *found == other),
        "{error}"
    );
    // It was only refused: on its own chain it goes on.
    market.node = Some(start(&market, |_| ()).await.unwrap());
    market.client("worker").await.buy(echo("after")).await.unwrap();
    assert_eq!(market.earned_on_chain().await, 2 * PRICE);
}
