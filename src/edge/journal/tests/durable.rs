//! What was answered for is there, in order, and nothing else passes for it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Options, Store, entries, holds, open, place, samples, tamper};
use crate::ports::journal::{Journal, JournalError};

#[tokio::test]
async fn reopening_gives_the_same() {
    let (_folder, path) = place();
    let written = entries(1, samples::every_kind());
    let store = open(&path);
    store.append(written.clone()).await.unwrap();
    assert_eq!(store.read(0, 1_000).await.unwrap(), *written);
    drop(store);
    let store = open(&path);
    assert_eq!(store.end(), 53);
    assert_eq!(store.read(0, 1_000).await.unwrap(), *written);
    assert_eq!(store.read(5, 3).await.unwrap(), written[5..8]);
    assert_eq!(store.read(53, 3).await.unwrap(), []);
    let more = holds(54, 2);
    store.append(more.clone()).await.unwrap();
    assert_eq!(store.read(53, 10).await.unwrap(), *more);
}

#[tokio::test]
async fn old_bytes_still_decode_to_the_same() {
    let vectors = include_str!("../../../../tests/vectors/events.txt");
    let lines: Vec<&str> = vectors.lines().filter(|line| !line.starts_with('#')).collect();
    let events = samples::every_kind();
    assert_eq!(lines.len(), events.len(), "one line for every kind");
    for (line, event) in lines.iter().zip(events) {
        let (kind, hex) = line.split_once(' ').unwrap();
        let body = alloy::hex::decode(hex).unwrap();
        assert_eq!(kind, event.kind());
        assert_eq!(super::super::chain::decode(&body).as_ref(), Some(&event), "{kind}");
        assert_eq!(postcard::to_stdvec(&event).unwrap(), body, "{kind}");
    }
}

#[tokio::test]
async fn many_appends_at_once_keep_their_order() {
    let (_folder, path) = place();
    let store = open(&path);
    let appends = (0..20).map(|n| {
        let store = store.clone();
        async move { store.append(holds(1 + n * 5, 5)).await }
    });
    for result in futures_util::future::join_all(appends).await {
        result.unwrap();
    }
    assert_eq!(store.read(0, 1_000).await.unwrap(), *holds(1, 100));
}

#[tokio::test]
async fn an_append_of_nothing_is_answered() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(holds(1, 0)).await.unwrap();
    store.append(holds(1, 1)).await.unwrap();
    assert_eq!(store.end(), 1);
}

#[tokio::test]
async fn s08_a_second_open_is_refused_until_the_first_is_gone() {
    let (_folder, path) = place();
    let store = open(&path);
    let refused = Store::open(&path, Options::default()).err().unwrap();
    assert_eq!(refused, JournalError::InUse(path.display().to_string()));
    drop(store);
    open(&path);
}

#[tokio::test]
async fn anyone_who_may_can_read_beside_the_writer_and_nobody_else_may() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(holds(1, 3)).await.unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let kinds: i64 = conn
        .query_row("SELECT count(*) FROM events WHERE kind = 'held'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kinds, 3);
    assert!(conn.execute("UPDATE events SET at_ns = 0 WHERE seq = 2", []).is_err());
    assert!(conn.execute("DELETE FROM events", []).is_err());
    for suffix in ["", "-wal", "-shm", "-lock", "-tables", "-tables-wal"] {
        let file = super::super::file::sibling(&path, suffix);
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn s15_a_file_of_a_later_version_is_refused() {
    let (_folder, path) = place();
    drop(open(&path));
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 4).unwrap();
    let refused = Store::open(&path, Options::default()).err().unwrap();
    assert!(matches!(refused, JournalError::Unfit(_)), "{refused}");
}

#[tokio::test]
async fn another_programs_file_is_refused_and_left_alone() {
    let (_folder, path) = place();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = Store::open(&path, Options::default()).err().unwrap();
    assert!(matches!(refused, JournalError::Unfit(_)), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::write(&path, "not even SQLite").unwrap();
    let refused = Store::open(&path, Options::default()).err().unwrap();
    assert!(matches!(refused, JournalError::Unfit(_)), "{refused}");
}

#[tokio::test]
async fn damage_is_found_where_it_is() {
    let table = [
        ("a byte of the event", "UPDATE events SET body = zeroblob(length(body)) WHERE seq = 7", 7),
        ("its hash", "UPDATE events SET hash = zeroblob(32) WHERE seq = 7", 7),
        ("its time", "UPDATE events SET at_ns = at_ns + 1 WHERE seq = 7", 7),
        ("its kind", "UPDATE events SET kind = 'voided' WHERE seq = 7", 7),
        ("it is gone", "DELETE FROM events WHERE seq = 7", 7),
        (
            "two changed places",
            "UPDATE events SET seq = 99 WHERE seq = 7; UPDATE events SET seq = 7 WHERE seq = 8;
             UPDATE events SET seq = 8 WHERE seq = 99;",
            7,
        ),
    ];
    for (what, sql, found) in table {
        let (_folder, path) = place();
        let store = open(&path);
        store.append(holds(1, 10)).await.unwrap();
        drop(store);
        tamper(&path, sql);
        let store = open(&path);
        let problem = store.read(0, 1_000).await.unwrap_err();
        assert!(
            matches!(problem, JournalError::Damaged { seq, .. } if seq == found),
            "{what}: {problem}"
        );
        assert_eq!(store.read(0, 6).await.unwrap().len(), 6, "{what}: what is before it is good");
    }
}

#[tokio::test]
async fn s06_a_flipped_bit_anywhere_in_an_event_is_found() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(holds(1, 40)).await.unwrap();
    drop(store);
    // The nonce of hold 23 as it lies in the file.
    let needle = {
        let body = postcard::to_stdvec(&samples::held(23)).unwrap();
        body[..64].to_vec()
    };
    let mut bytes = std::fs::read(&path).unwrap();
    let start = bytes.windows(64).position(|window| window == needle).unwrap();
    bytes[start + 40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let problem = open(&path).read(0, 1_000).await.unwrap_err();
    assert!(matches!(problem, JournalError::Damaged { seq: 23, .. }), "{problem}");
}

#[tokio::test]
async fn s03_after_a_failed_sync_nothing_is_ever_answered_for_again() {
    let (_folder, path) = place();
    let store = Store::open(&path, Options { fail_after: Some(2), ..Options::default() }).unwrap();
    store.append(holds(1, 3)).await.unwrap();
    store.append(holds(4, 3)).await.unwrap();
    for _ in 0..3 {
        let failed = store.append(holds(7, 3)).await.unwrap_err();
        assert!(matches!(failed, JournalError::WriteFailed(_)), "{failed}");
    }
    assert_eq!(store.end(), 6);
    drop(store);
    assert_eq!(open(&path).read(0, 100).await.unwrap(), *holds(1, 6));
}

#[tokio::test]
async fn an_entry_out_of_order_stops_the_journal() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(holds(1, 3)).await.unwrap();
    assert!(matches!(store.append(holds(5, 1)).await, Err(JournalError::WriteFailed(_))));
    assert!(matches!(store.append(holds(4, 1)).await, Err(JournalError::WriteFailed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_at_any_moment_holds_all_that_was_answered_for() {
    let (folder, path) = place();
    let store = open(&path);
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..200 {
                store.append(holds(1 + n * 7, 7)).await.unwrap();
            }
        }
    });
    for n in 0..8 {
        tokio::task::yield_now().await;
        let image = folder.path().join(format!("image-{n}.db"));
        let answered = store.end();
        copy_image(&path, &image);
        let image = open(&image);
        assert!(image.end() >= answered, "{} of {answered} are there", image.end());
        assert_eq!(image.end() % 7, 0, "a batch is there whole or not at all");
        let read = image.read(0, 10_000).await.unwrap();
        assert_eq!(read, *holds(1, image.end()));
    }
    writing.await.unwrap();
}

/// What a crash leaves: the file and its write-ahead log, without the memory they shared. The log is
/// copied first and again after, because a checkpoint between the two copies would make an image
/// that no single moment had.
fn copy_image(path: &Path, image: &Path) {
    let wal = |of: &Path| super::super::file::sibling(of, "-wal");
    loop {
        let before = std::fs::read(path).unwrap();
        std::fs::copy(wal(path), wal(image)).unwrap();
        std::fs::write(image, &before).unwrap();
        if std::fs::read(path).unwrap() == before {
            return;
        }
    }
}
