//! Pages: a bounded part of a list, and where to go on.

use crate::edge::grpc::limits::PAGE_SIZE_MAX;

/// As many as asked for, within the bound; 0 asks for the bound.
pub(super) fn page_size(asked: u32) -> usize {
    match usize::try_from(asked).unwrap_or(PAGE_SIZE_MAX) {
        0 => PAGE_SIZE_MAX,
        asked => asked.min(PAGE_SIZE_MAX),
    }
}

/// The part of `items`, which `key` orders, after the one that `token` names; and the token of the
/// part after it, empty at the end.
pub(super) fn page<T>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: &str,
    asked: u32,
) -> (Vec<T>, String) {
    let size = page_size(asked);
    let mut rest = items.into_iter().filter(|item| token.is_empty() || key(item).as_str() > token);
    let part: Vec<T> = rest.by_ref().take(size).collect();
    let next = match (rest.next(), part.last()) {
        (Some(_), Some(last)) => key(last),
        _ => String::new(),
    };
    (part, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_meet_and_the_last_says_so() {
        let names: Vec<String> = (0..7).map(|n| format!("n{n}")).collect();
        let mut seen = Vec::new();
        let mut token = String::new();
        for _ in 0..3 {
            let (part, next) = page(names.clone(), String::clone, &token, 3);
            seen.extend(part);
            token = next;
        }
        assert_eq!(seen, names);
        assert_eq!(token, "");
        assert_eq!(page_size(0), PAGE_SIZE_MAX);
        assert_eq!(page_size(u32::MAX), PAGE_SIZE_MAX);
    }
}
