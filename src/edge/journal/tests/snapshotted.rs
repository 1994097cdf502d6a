//! A restart begins at the newest snapshot that is true.

use super::{holds, open, place, samples, tamper};
use crate::ports::journal::{Journal, JournalError, Snapshot};

fn snapshot(seq: u64, len: usize) -> Snapshot {
    let body = (0..len).map(|n| u8::try_from((n + usize::try_from(seq).unwrap()) % 251).unwrap());
    Snapshot { seq, at: samples::at(seq), body: body.collect() }
}

#[tokio::test]
async fn the_newest_snapshot_and_the_tail_are_all_of_it() {
    let (_folder, path) = place();
    let store = open(&path);
    assert_eq!(store.load_snapshot().await.unwrap(), None);
    store.append(holds(1, 10)).await.unwrap();
    // More than one part, and an empty one.
    for snapshot in [snapshot(4, 600_000), snapshot(6, 0), snapshot(8, 300_000)] {
        store.keep_snapshot(snapshot.clone()).await.unwrap();
        assert_eq!(store.load_snapshot().await.unwrap(), Some(snapshot));
    }
    drop(store);
    let store = open(&path);
    let newest = store.load_snapshot().await.unwrap().unwrap();
    assert_eq!(newest, snapshot(8, 300_000));
    assert_eq!(store.read(newest.seq, 100).await.unwrap(), *holds(9, 2));
    let conn = rusqlite::Connection::open(&path).unwrap();
    let kept: Vec<i64> = conn
        .prepare("SELECT seq FROM snapshots ORDER BY seq")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(kept, [6, 8], "the newest two");
    let orphans: i64 = conn
        .query_row("SELECT count(*) FROM snapshot_parts WHERE seq < 6", [], |row| row.get(0))
        .unwrap();
    assert_eq!(orphans, 0);
}

#[tokio::test]
async fn s07_a_snapshot_of_another_past_is_passed_over() {
    let damages = [
        "UPDATE snapshots SET head = zeroblob(32) WHERE seq = 8",
        "UPDATE snapshot_parts SET body = zeroblob(length(body)) WHERE seq = 8 AND part = 1",
        "DELETE FROM snapshot_parts WHERE seq = 8 AND part = 0",
        "UPDATE snapshots SET checksum = zeroblob(32) WHERE seq = 8",
    ];
    for damage in damages {
        let (_folder, path) = place();
        let store = open(&path);
        store.append(holds(1, 10)).await.unwrap();
        store.keep_snapshot(snapshot(4, 10)).await.unwrap();
        store.keep_snapshot(snapshot(8, 300_000)).await.unwrap();
        drop(store);
        tamper(&path, damage);
        let store = open(&path);
        assert_eq!(store.load_snapshot().await.unwrap(), Some(snapshot(4, 10)), "{damage}");
        drop(store);
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("UPDATE snapshots SET head = zeroblob(32)")
            .unwrap();
        assert_eq!(open(&path).load_snapshot().await.unwrap(), None, "{damage}");
    }
}

#[tokio::test]
async fn a_snapshot_ahead_of_the_journal_is_refused() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(holds(1, 3)).await.unwrap();
    let refused = store.keep_snapshot(snapshot(4, 10)).await.unwrap_err();
    assert!(matches!(refused, JournalError::WriteFailed(_)), "{refused}");
    // The journal itself goes on: a snapshot is not part of what it answers for.
    store.append(holds(4, 1)).await.unwrap();
}
