//! The journal over restarts.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::SettlementsFile;
use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::AuthorizationKey;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::clock::ManualClock;
use crate::ports::rail::Settlement;
use crate::ports::settlements::{Recorded, Settlements};

fn key(nonce: u8) -> AuthorizationKey {
    let asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(1) };
    AuthorizationKey { asset, payer: Address::repeat_byte(2), nonce: B256::repeat_byte(nonce) }
}

fn at(seconds: u64) -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_secs(seconds)))
}

const SETTLED: Settlement = Settlement::Settled {
    transaction: B256::repeat_byte(7),
    amount: Amount::new(5),
    moved_at_s: 1_760_000_001,
};

#[tokio::test]
async fn what_was_begun_and_what_was_told_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settlements.db");
    let charge = Amount::new(5);
    {
        let file = SettlementsFile::open(&path, at(0)).unwrap();
        assert_eq!(file.begin(key(1), charge, 100).await.unwrap(), None);
        assert_eq!(file.begin(key(2), charge, 100).await.unwrap(), None);
        file.end(key(2), SETTLED).await.unwrap();
    }
    let file = reopened(&path).await;
    let open = Recorded { charge, outcome: None };
    assert_eq!(file.begin(key(1), Amount::new(9), 100).await.unwrap(), Some(open));
    let told = Recorded { charge, outcome: Some(SETTLED) };
    assert_eq!(file.find(key(2)).await.unwrap(), Some(told));
    assert_eq!(file.find(key(3)).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_is_forgotten_long_after_its_authorization_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settlements.db");
    {
        let file = SettlementsFile::open(&path, at(0)).unwrap();
        file.begin(key(1), Amount::new(5), 100).await.unwrap();
        file.begin(key(2), Amount::new(5), 1_000_000_000).await.unwrap();
    }
    drop(reopened(&path).await);
    let file = loop {
        // The writer that was dropped closes the file on its own thread.
        if let Ok(file) = SettlementsFile::open(&path, at(1_000_000_000)) {
            break file;
        }
    };
    assert_eq!(file.find(key(1)).await.unwrap(), None);
    assert!(file.find(key(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_row_is_forgotten_while_others_are_written_and_one_of_which_nothing_came_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = at(0);
    let file = SettlementsFile::open(&folder.path().join("s.db"), clock.clone()).unwrap();
    for nonce in 1..=3 {
        file.begin(key(nonce), Amount::new(5), 100).await.unwrap();
    }
    file.end(key(2), SETTLED).await.unwrap();
    file.forget(key(1)).await.unwrap();
    file.forget(key(2)).await.unwrap();
    assert_eq!(file.find(key(1)).await.unwrap(), None);
    assert!(file.find(key(2)).await.unwrap().is_some(), "what was told stays");
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    // What is asked with the old rows' end still finds them; they go behind it.
    file.find(key(3)).await.unwrap();
    assert_eq!(file.find(key(3)).await.unwrap(), None);
    assert_eq!(file.find(key(2)).await.unwrap(), None);
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    assert!(SettlementsFile::open(&path, at(0)).is_err());
}

async fn reopened(path: &std::path::Path) -> SettlementsFile {
    loop {
        if let Ok(file) = SettlementsFile::open(path, at(0)) {
            return file;
        }
        tokio::task::yield_now().await;
    }
}
