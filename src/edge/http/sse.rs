//! Server-sent events as bytes: where one ends, and what it carries. Source: WHATWG HTML, section 9.2.

/// Whether `chunk` ends where an event ends.
pub(super) fn ends_event(chunk: &[u8]) -> bool {
    chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n")
}

/// Bytes of the first whole event, its empty line included.
pub(super) fn event_len(bytes: &[u8]) -> Option<usize> {
    let bare = find(bytes, b"\n\n").map(|at| at.saturating_add(2));
    let carried = find(bytes, b"\r\n\r\n").map(|at| at.saturating_add(4));
    match (bare, carried) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The JSON of an event: of its one line of data, beside its name.
pub(super) fn data(event: &[u8]) -> Option<&[u8]> {
    let mut lines = event.split(|byte| *byte == b'\n');
    let mut found = lines.by_ref().filter_map(|line| line.strip_prefix(b"data:"));
    let (first, second) = (found.next()?, found.next());
    second.is_none().then(|| first.trim_ascii())
}

/// Whether `what` occurs.
pub(super) fn has(bytes: &[u8], what: &[u8]) -> bool {
    find(bytes, what).is_some()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
