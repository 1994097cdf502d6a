//! What the file keeps, what it refuses, and how time goes on.

use std::time::Duration;

use alloy::eips::BlockNumberOrTag;

use super::super::chain::Chain;
use super::*;

fn file() -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::File(dir.path().join("sandbox.sqlite"));
    (dir, place)
}

fn open(place: &Place, genesis: &Genesis) -> Result<Sandbox, SandboxError> {
    Sandbox::open(place, genesis, Hand::at(START_S).clock())
}

async fn head(sandbox: &Sandbox) -> super::super::block::Block {
    sandbox.look(|chain, _| chain.block(chain.head().number)).await.unwrap()
}

#[tokio::test]
async fn a_restart_keeps_every_block_receipt_and_balance() {
    let (_dir, place) = file();
    let sandbox = open(&place, &genesis()).unwrap();
    let mut hashes = Vec::new();
    for nonce in 0..3 {
        let terms = authorization(100, nonce);
        let call = settle_call(&terms, sign(&payer(), &terms));
        hashes.push(sandbox.send_raw(&raw(nonce, call)).await.unwrap());
    }
    sandbox.fund(key(50).address(), U256::from(77)).await.unwrap();
    let before = head(&sandbox).await;
    let first = sandbox.genesis_hash();
    drop(sandbox);

    let sandbox = open(&place, &genesis()).unwrap();
    assert_eq!(sandbox.genesis_hash(), first);
    let after = head(&sandbox).await;
    assert_eq!((after.hash, &after.header), (before.hash, &before.header));
    assert_eq!(after.header.hash_slow(), after.hash);
    for hash in hashes {
        let found = sandbox.look(move |chain, _| chain.find_transaction(hash)).await.unwrap();
        let (block, place) = found.unwrap();
        assert_eq!(block.mined[place].outcome.logs.len(), 2);
    }
    assert_eq!(view(&sandbox, Token::balanceOfCall { holder: payee() }).await, U256::from(300));
    assert_eq!(
        view(&sandbox, Token::balanceOfCall { holder: key(50).address() }).await,
        U256::from(77)
    );
    // The chain goes on where it was, sender's nonce and all.
    let terms = authorization(100, 3);
    let call = settle_call(&terms, sign(&payer(), &terms));
    sandbox.send_raw(&raw(3, call)).await.unwrap();
    assert_eq!(head(&sandbox).await.header.parent_hash, before.hash);
}

#[tokio::test]
async fn every_block_hashes_to_what_the_next_one_names() {
    let (_dir, place) = file();
    let hand = Hand::at(START_S);
    let sandbox = Sandbox::open(&place, &genesis(), hand.clock()).unwrap();
    for nonce in 0..4 {
        hand.set(START_S + 3 * nonce);
        wait_for_time(&sandbox, START_S + 3 * nonce).await;
        let terms = authorization(1, nonce);
        let call = settle_call(&terms, sign(&payer(), &terms));
        sandbox.send_raw(&raw(nonce, call)).await.unwrap();
    }
    let last = head(&sandbox).await.header.number;
    assert!(last >= 7, "empty blocks came in between");
    let mut parent = B256::ZERO;
    let mut time = 0;
    for number in 0..=last {
        let block = sandbox.look(move |chain, _| chain.block(number)).await.unwrap();
        assert_eq!(block.header.parent_hash, parent);
        assert_eq!(block.header.hash_slow(), block.hash);
        assert!(block.header.timestamp > time, "time strictly increases");
        (parent, time) = (block.hash, block.header.timestamp);
    }
}

/// Waits until the chain's thread has looked at the clock.
async fn wait_for_time(sandbox: &Sandbox, seconds: u64) {
    while head(sandbox).await.header.timestamp < seconds {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_empty_block_follows_the_clock_and_none_comes_while_it_stands() {
    let (sandbox, hand) = sandbox();
    let before = head(&sandbox).await.header.number;
    hand.set(START_S + 1);
    wait_for_time(&sandbox, START_S + 1).await;
    hand.set(START_S + 2);
    wait_for_time(&sandbox, START_S + 2).await;
    assert_eq!(head(&sandbox).await.header.number, before + 2);
    // A clock that is turned back turns nothing back.
    hand.set(START_S - 5);
    sandbox.fund(payee(), U256::from(1)).await.unwrap();
    assert_eq!(head(&sandbox).await.header.timestamp, START_S + 3);
    hand.set(0);
    sandbox.fund(payee(), U256::from(1)).await.unwrap();
    assert_eq!(head(&sandbox).await.header.timestamp, START_S + 3);
}

#[tokio::test]
async fn a_burst_of_blocks_does_not_carry_the_chain_into_the_future() {
    let (sandbox, _) = sandbox();
    for _ in 0..40 {
        sandbox.fund(payee(), U256::from(1)).await.unwrap();
    }
    let head = head(&sandbox).await.header;
    assert_eq!(head.number, 40);
    assert!(head.timestamp <= START_S + super::super::chain::AHEAD_MAX_S);
}

#[tokio::test]
async fn another_genesis_or_chain_id_is_refused() {
    let (_dir, place) = file();
    let first = open(&place, &genesis()).unwrap().genesis_hash();

    let mut other = genesis();
    other.chain_id = 31_338;
    let refused = open(&place, &other).err().unwrap();
    assert!(matches!(refused, SandboxError::OtherChain { stored: CHAIN_ID, given: 31_338 }));

    let changes: [fn(&mut Genesis); 4] = [
        |genesis| genesis.timestamp += 1,
        |genesis| genesis.funded[0].token += U256::from(1),
        |genesis| genesis.funded[1].native += U256::from(1),
        |genesis| genesis.funded.truncate(1),
    ];
    for change in changes {
        let mut other = genesis();
        change(&mut other);
        let refused = open(&place, &other).err().unwrap();
        assert!(matches!(refused, SandboxError::OtherGenesis { stored, given }
            if stored == first && given != first));
    }
    assert_eq!(open(&place, &genesis()).unwrap().genesis_hash(), first);
}

#[tokio::test]
async fn a_file_that_is_open_elsewhere_or_not_ours_is_refused() {
    let (dir, place) = file();
    let held = open(&place, &genesis()).unwrap();
    let second = open(&place, &genesis()).err().unwrap();
    assert!(matches!(second, SandboxError::InUse));
    drop(held);
    assert!(open(&place, &genesis()).is_ok());

    let path = dir.path().join("other.sqlite");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE something (else_ INTEGER)").unwrap();
    drop(other);
    let refused = open(&Place::File(path), &genesis()).err().unwrap();
    assert!(matches!(refused, SandboxError::OtherFormat { .. }));

    let path = dir.path().join("prose.txt");
    std::fs::write(
        &path,
        "not a database at all, but long enough to look like a header".repeat(20),
    )
    .unwrap();
    let refused = open(&Place::File(path), &genesis()).err().unwrap();
    assert!(matches!(refused, SandboxError::Store(_)));
}

#[tokio::test]
async fn those_that_wait_together_share_a_block_in_the_order_of_their_nonces() {
    let (sandbox, _) = sandbox();
    let before = head(&sandbox).await.header.number;
    let waiting = [3, 1, 0, 2].map(|nonce| {
        let terms = authorization(10, nonce);
        let call = settle_call(&terms, sign(&payer(), &terms));
        super::super::transaction::decode(&raw(nonce, call), CHAIN_ID).unwrap()
    });
    let answers =
        sandbox.look(move |chain, now_s| Ok(chain.mine(waiting.to_vec(), now_s)?)).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    let block = head(&sandbox).await;
    assert_eq!(block.header.number, before + 1);
    let nonces: Vec<u64> = block
        .mined
        .iter()
        .map(|one| alloy::consensus::Transaction::nonce(one.transaction.inner()))
        .collect();
    assert_eq!(nonces, [0, 1, 2, 3]);
}

#[tokio::test]
async fn blocks_that_are_not_final_are_taken_back_and_final_ones_never() {
    let (_dir, place) = file();
    let sandbox = open(&place, &genesis()).unwrap();
    sandbox.final_after(3).await.unwrap();
    let mut hashes = Vec::new();
    for nonce in 0..4 {
        let terms = authorization(100, nonce);
        let call = settle_call(&terms, sign(&payer(), &terms));
        hashes.push(sandbox.send_raw(&raw(nonce, call)).await.unwrap());
    }
    let paid = || Token::balanceOfCall { holder: payee() };
    let finalized = |chain: &mut Chain, _: u64| chain.number(BlockNumberOrTag::Finalized.into());
    let (old, height) = (head(&sandbox).await.hash, sandbox.look(finalized).await.unwrap());
    assert_eq!(height + 3, head(&sandbox).await.header.number);
    let refused = sandbox.reorganise(4, true).await;
    assert!(matches!(refused, Err(SandboxError::FinalBlock { blocks: 4, depth: 3 })));
    assert_eq!(view(&sandbox, paid()).await, U256::from(400));

    // With what was in them: other blocks, the same money.
    let mut taken = sandbox.reorganise(2, true).await.unwrap();
    taken.sort_unstable();
    let mut newest = hashes[2..].to_vec();
    newest.sort_unstable();
    assert_eq!(taken, newest);
    assert_eq!(view(&sandbox, paid()).await, U256::from(400));
    let gone = sandbox.look(move |chain, _| Ok(chain.number(old.into()).is_err())).await;
    assert!(gone.unwrap(), "a block that was taken back is not there");

    // Without it: what they had moved is back, and may be sent anew.
    let before = head(&sandbox).await.header.number;
    let lost = sandbox.reorganise(3, false).await.unwrap();
    assert!(!lost.is_empty());
    assert_eq!(head(&sandbox).await.header.number, before);
    let left = 4 - u64::try_from(lost.len()).unwrap();
    assert_eq!(view(&sandbox, paid()).await, U256::from(100 * left));
    let next = head(&sandbox).await;
    drop(sandbox);
    let sandbox = open(&place, &genesis()).unwrap();
    assert_eq!(head(&sandbox).await.hash, next.hash, "what was taken back is not on the disk");
    for nonce in left..4 {
        let terms = authorization(100, nonce);
        let call = settle_call(&terms, sign(&payer(), &terms));
        sandbox.send_raw(&raw(nonce, call)).await.unwrap();
    }
    assert_eq!(view(&sandbox, paid()).await, U256::from(400));
}
