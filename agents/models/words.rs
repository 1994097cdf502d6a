//! Words as the search sees them: lower case, cut at everything that is no letter or digit, reduced
//! to a stem, without the words that carry no meaning. It knows English endings and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Groups of words of like meaning, one a line, written by hand.
const SYNONYMS: &str = include_str!("corpus/synonyms.txt");

/// Longest word that is looked at, in bytes; a longer run is cut into several words.
const WORD_BYTES_MAX: usize = 32;

/// Words that say nothing about a passage; sorted.
const STOP: &[&str] = &[
    "a",
    "about",
    "after",
    "again",
    "all",
    "already",
    "also",
    "although",
    "always",
    "am",
    "an",
    "and",
    "another",
    "any",
    "anybody",
    "anything",
    "are",
    "as",
    "at",
    "away",
    "back",
    "be",
    "because",
    "been",
    "before",
    "being",
    "both",
    "but",
    "by",
    "can",
    "cannot",
    "cant",
    "come",
    "comes",
    "could",
    "did",
    "do",
    "does",
    "doesnt",
    "doing",
    "done",
    "dont",
    "down",
    "each",
    "either",
    "ever",
    "every",
    "everybody",
    "few",
    "first",
    "for",
    "from",
    "get",
    "gets",
    "give",
    "given",
    "gives",
    "go",
    "goes",
    "going",
    "got",
    "had",
    "happen",
    "happened",
    "happens",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "him",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "isnt",
    "it",
    "its",
    "just",
    "keep",
    "last",
    "let",
    "lets",
    "made",
    "make",
    "makes",
    "many",
    "may",
    "me",
    "might",
    "more",
    "most",
    "much",
    "must",
    "my",
    "need",
    "needs",
    "neither",
    "never",
    "next",
    "no",
    "nobody",
    "nor",
    "not",
    "nothing",
    "now",
    "of",
    "off",
    "on",
    "one",
    "only",
    "or",
    "other",
    "our",
    "out",
    "over",
    "own",
    "put",
    "same",
    "say",
    "shall",
    "she",
    "should",
    "since",
    "so",
    "some",
    "somebody",
    "someone",
    "something",
    "still",
    "such",
    "take",
    "takes",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "things",
    "this",
    "those",
    "though",
    "three",
    "through",
    "to",
    "too",
    "two",
    "under",
    "until",
    "up",
    "us",
    "use",
    "very",
    "want",
    "wants",
    "was",
    "way",
    "we",
    "were",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "while",
    "who",
    "why",
    "will",
    "with",
    "without",
    "wont",
    "would",
    "yet",
    "you",
    "your",
];

/// Every word of `text` in order, lower case and not reduced: what the search counts as tokens.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()).flat_map(cut)
}

/// The stems of `text` that carry meaning, in order, and after each the concepts that it may mean.
pub fn terms(text: &str) -> impl Iterator<Item = String> + '_ {
    let stems = words(text).filter(|word| STOP.binary_search(&word.as_str()).is_err()).map(stem);
    stems.flat_map(|stem| {
        let concepts = concepts().get(&stem).map_or(&[][..], Vec::as_slice);
        std::iter::once(stem).chain(concepts.iter().cloned()).collect::<Vec<_>>()
    })
}

/// For each stem the names of the groups of like meaning that it is in. A name begins with `=`,
/// which no word does.
fn concepts() -> &'static BTreeMap<String, Vec<String>> {
    static CONCEPTS: OnceLock<BTreeMap<String, Vec<String>>> = OnceLock::new();
    CONCEPTS.get_or_init(|| {
        let mut concepts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for group in SYNONYMS.lines() {
            let stems: BTreeSet<String> = words(group).map(stem).collect();
            let name = format!("={}", group.split(' ').next().unwrap_or_default());
            for stem in stems {
                concepts.entry(stem).or_default().push(name.clone());
            }
        }
        concepts
    })
}

/// A run of letters in lower case, in pieces of bounded length.
fn cut(run: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in run.chars().flat_map(char::to_lowercase) {
        match pieces.last_mut() {
            Some(piece) if piece.len() < WORD_BYTES_MAX => piece.push(c),
            _ => pieces.push(c.to_string()),
        }
    }
    pieces
}

/// Takes English endings off: plural, past, -ing, -ly, -ment, -ation and their like. Crude on
/// purpose: both sides of a comparison are treated alike, and a wrong stem is still a stem.
fn stem(mut word: String) -> String {
    if word.bytes().any(|b| !b.is_ascii_lowercase()) {
        return word;
    }
    const ENDINGS: &[(&str, &str, usize)] = &[
        ("ies", "y", 2),
        ("sses", "ss", 1),
        ("ches", "ch", 1),
        ("shes", "sh", 1),
        ("xes", "x", 1),
        ("s", "", 3),
    ];
    if !word.ends_with("ss") && !word.ends_with("us") && !word.ends_with("is") {
        replace(&mut word, ENDINGS);
    }
    let verb = replace(&mut word, &[("ied", "y", 2), ("ing", "", 3), ("ed", "", 3)]);
    if verb && word.len() > 3 {
        undouble(&mut word);
    }
    replace(
        &mut word,
        &[
            ("ization", "iz", 3),
            ("isation", "iz", 3),
            ("ation", "", 4),
            ("ement", "", 4),
            ("ment", "", 4),
            ("ness", "", 4),
            ("ally", "al", 3),
            ("ly", "", 4),
            ("ise", "iz", 4),
            ("ize", "iz", 4),
            ("is", "iz", 4),
            ("ion", "", 5),
            ("er", "", 5),
            ("e", "", 3),
        ],
    );
    word
}

/// Replaces the first ending that fits and leaves at least so many letters before it.
fn replace(word: &mut String, endings: &[(&str, &str, usize)]) -> bool {
    for (ending, with, keep) in endings {
        let Some(rest) = word.strip_suffix(ending) else { continue };
        if rest.len() >= *keep && rest.bytes().any(|b| b"aeiouy".contains(&b)) {
            *word = format!("{rest}{with}");
            return true;
        }
    }
    false
}

/// `stopp` becomes `stop`, `call` stays.
fn undouble(word: &mut String) {
    let bytes = word.as_bytes();
    let doubled = matches!(bytes, [.., a, b] if a == b && !b"lsz".contains(b));
    if doubled {
        word.pop();
    }
}
