//! The frozen text: passages with a name, a title and the file they stand in. It is a copy on
//! purpose, so that editing the documents does not change a model.

use std::sync::OnceLock;

use super::bytes::sha256_hex;

/// The files, in the order in which they are read.
const FILES: &[(&str, &str)] = &[
    ("agents", include_str!("corpus/agents.txt")),
    ("background", include_str!("corpus/background.txt")),
    ("budgets", include_str!("corpus/budgets.txt")),
    ("chain", include_str!("corpus/chain.txt")),
    ("design", include_str!("corpus/design.txt")),
    ("engineering", include_str!("corpus/engineering.txt")),
    ("faq", include_str!("corpus/faq.txt")),
    ("glossary", include_str!("corpus/glossary.txt")),
    ("ledger", include_str!("corpus/ledger.txt")),
    ("notes", include_str!("corpus/notes.txt")),
    ("operations", include_str!("corpus/operations.txt")),
    ("payments", include_str!("corpus/payments.txt")),
    ("product", include_str!("corpus/product.txt")),
    ("protocol", include_str!("corpus/protocol.txt")),
    ("style", include_str!("corpus/style.txt")),
    ("threats", include_str!("corpus/threats.txt")),
    ("walkthroughs", include_str!("corpus/walkthroughs.txt")),
    ("wire", include_str!("corpus/wire.txt")),
];

/// Every twentieth passage is kept from the generator's training and measures it.
const HELD_OUT_EVERY: usize = 20;

/// One passage of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// Its name, unique in the corpus, such as `hold-release`.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The file it stands in, without folder and extension.
    pub file: &'static str,
    /// Its text, one paragraph a line.
    pub text: &'static str,
}

impl Passage {
    /// Where a reader finds it: the path in the repository and the passage's name.
    pub fn source(&self) -> String {
        format!("agents/models/corpus/{}.txt#{}", self.file, self.id)
    }
}

/// All passages, in a fixed order.
pub fn passages() -> &'static [Passage] {
    static PASSAGES: OnceLock<Vec<Passage>> = OnceLock::new();
    PASSAGES
        .get_or_init(|| FILES.iter().flat_map(|(file, text)| split(file, text)).collect::<Vec<_>>())
}

/// Whether the passage at this place is kept from the generator's training.
pub fn is_held_out(index: usize) -> bool {
    index % HELD_OUT_EVERY == HELD_OUT_EVERY / 2
}

/// Size of the passages' titles and texts, in bytes.
pub fn size() -> usize {
    passages().iter().map(|p| p.title.len() + p.text.len()).sum()
}

/// SHA-256 over the files in order; a weights file names the corpus it was trained on.
pub fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let all: String = FILES.iter().map(|(file, text)| format!("{file}\n{text}")).collect();
        sha256_hex(all.as_bytes())
    })
}

/// A passage begins with `== name | title` and ends where the next begins.
fn split(file: &'static str, text: &'static str) -> impl Iterator<Item = Passage> {
    text.trim_start_matches("== ").split("\n== ").filter_map(move |part| {
        let (head, body) = part.split_once('\n')?;
        let (id, title) = head.split_once(" | ")?;
        Some(Passage { id, title, file, text: body.trim() })
    })
}
