//! A node that is started with another chain or with other keys than its ledger began with. Row ids are those of
//! the threat model.

use std::sync::atomic::Ordering;

use alloy::primitives::B256;
use bursar::domain::ledger::agent::{Principal, Token};
use bursar::domain::ledger::rejection::Rejection;
use bursar::domain::money::{Amount, Nano};
use bursar::edge::grpc::AgentClient;
use bursar::edge::keys::NonceSecret;
use bursar::node::{NodePlan, PayerNode, StartError};
use bursar::ports::journal::JournalError;
use bursar::runtime::operator::NewAgent;

use crate::market::{Market, POLICY, PRICE, PRICE_NANO, echo, key, name};

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

/// A payment that was signed and not taken stays held, whatever keys the node is started with.
#[tokio::test(flavor = "multi_thread")]
async fn o07_what_an_old_key_signed_stays_held_and_is_ended_by_the_chain_and_the_old_key_signs_no_more()
 {
    let mut market = Market::open().await;
    market.client("worker").await.buy(echo("fail")).await.unwrap_err();
    let left = market.left("worker").await;
    assert_eq!(left, Nano::new(19 * PRICE_NANO), "signed, and not settled");
    market.stop_node().await;

    // A name stands for one key: another one under it would pay for what this one signed.
    let error = refused(&market, |plan| plan.wallets = vec![(name("main"), key("new"))]).await;
    assert!(matches!(rejected(&error), Some(Rejection::NameTaken(_))), "{error}");
    // And what is open was named by its secret.
    let other = |plan: &mut NodePlan| plan.secret = NonceSecret::from_bytes([4; 32]);
    let error = refused(&market, other).await;
    assert!(matches!(error, StartError::LostSecret { open: 1 }), "{error}");

    let started = start(&market, |plan| plan.wallets = vec![(name("next"), key("new"))]).await;
    market.node = Some(started.unwrap());
    market.chain.fund(key("new").address(), Amount::new(10_000_000)).await.unwrap();
    market.node().reconciler.round().await.unwrap();
    assert_eq!(market.left("worker").await, left, "still held");
    // The old key is not there: its wallet's agents are served nothing, and nothing of theirs is signed.
    let error = market.client("worker").await.buy(echo("without a key")).await.unwrap_err();
    assert_eq!((error.reason.as_str(), error.in_doubt), ("SIGNER_NO_KEY", false));
    assert_eq!(market.left("worker").await, left, "nothing was signed, and nothing is held for it");
    let token = Token::for_agent(&name("renewed"), [7; 32]);
    let renewed = NewAgent {
        name: name("renewed"),
        role: name("worker"),
        group: name("default"),
        wallet: name("next"),
        token: token.hash(),
    };
    market.node().operator.add_agent(renewed, Principal::Operator).await.unwrap();
    let client = AgentClient::connect(market.node().endpoint(), &token).await.unwrap();
    client.buy(echo("by the new key")).await.unwrap();
    assert_eq!(
        (market.earned_on_chain().await, market.engine.served.load(Ordering::SeqCst)),
        (PRICE, 1)
    );

    // No key is needed for the chain's word.
    market.pass(600).await;
    while market.left("worker").await < Nano::new(20 * PRICE_NANO) {
        market.node().reconciler.round().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(market.audit().await.open(), 0);
    assert_eq!(market.earned_on_chain().await, PRICE);
}
