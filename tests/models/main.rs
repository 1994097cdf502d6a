//! The demo fleet's models: that the committed weights are what training gives, that they are good
//! enough to be sold, and that their counts and texts can be relied on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    reason = "tests fail by panicking"
)]

#[path = "../../agents/models/mod.rs"]
mod models;
#[path = "../../agents/models/train/mod.rs"]
mod train;

use std::collections::BTreeSet;

use models::corpus::{is_held_out, passages};
use models::{Search, Writer, corpus, search, writer};
use train::measure::{QUESTIONS, TUNING, questions, recall_milli, surprise};

/// The tolerance is none: training uses additions, multiplications and square roots only, which are
/// the same to the last bit wherever floats follow IEEE 754.
#[test]
fn training_again_gives_the_committed_weights_byte_for_byte() {
    assert!(train::search() == search::WEIGHTS, "cargo run --release --example train_models");
    assert!(train::writer() == writer::WEIGHTS, "cargo run --release --example train_models");
}

#[test]
fn the_weights_are_small_and_name_themselves() {
    assert!(search::WEIGHTS.len() + writer::WEIGHTS.len() < 5 << 20);
    let (search, writer) = (Search::load(), Writer::load());
    assert_eq!((search.name(), writer.name()), ("bursar-embed-1", "bursar-scribe-1"));
    assert_eq!(search.weights_hash(), models::bytes::sha256_hex(search::WEIGHTS));
    assert_eq!(writer.weights_hash(), models::bytes::sha256_hex(writer::WEIGHTS));
}

#[test]
fn the_corpus_is_large_plain_and_each_passage_has_a_name_of_its_own() {
    assert!(corpus::size() >= 300 * 1024);
    let names: BTreeSet<&str> = passages().iter().map(|p| p.id).collect();
    assert_eq!(names.len(), passages().len());
    assert!(passages().iter().all(|p| p.text.is_ascii() && !p.title.is_empty()));
    assert!(passages().iter().all(|p| p.text.len() > 40));
}

#[test]
fn the_writer_is_at_most_half_as_surprised_as_a_model_without_context() {
    let surprise = surprise(&Writer::load());
    assert!(surprise.tokens > 3000);
    assert!(surprise.ratio() <= 0.5, "{surprise:?}");
}

#[test]
fn what_the_writer_was_not_shown_surprises_it_more_than_what_it_was() {
    let writer = Writer::load();
    let seen = passages().iter().enumerate().find(|(i, _)| !is_held_out(*i)).unwrap().1;
    let unseen = passages().iter().enumerate().find(|(i, _)| is_held_out(*i)).unwrap().1;
    assert!(writer.perplexity(seen.text) * 3.0 < writer.perplexity(unseen.text));
}

#[test]
fn eight_of_ten_held_out_questions_find_their_passage_among_the_first_three() {
    let found = questions(&Search::load(), QUESTIONS);
    assert_eq!(found.len(), 50);
    let missed: Vec<_> = found.iter().filter(|f| !f.hit).collect();
    assert!(recall_milli(&found) >= 800, "{missed:#?}");
}

#[test]
fn every_expected_passage_exists() {
    let names: BTreeSet<&str> = passages().iter().map(|p| p.id).collect();
    for line in QUESTIONS.lines().chain(TUNING.lines()) {
        let (question, expected) = line.split_once('\t').unwrap();
        assert!(expected.split(',').all(|id| names.contains(id)), "{question}");
        assert!(!passages().iter().any(|p| p.text.contains(question)), "{question}");
    }
}

#[test]
fn a_text_is_its_tokens_and_nothing_else() {
    let writer = Writer::load();
    let texts =
        ["", " ", "a", "No signature without a durable hold.", "x402  &&&\n\n\tTab", "€ ü 日本 🦀"];
    for text in texts.into_iter().chain(passages().iter().map(|p| p.text)) {
        let tokens = writer.tokens(text);
        assert_eq!(writer.detokenize(&tokens), text);
        assert_eq!(writer.count(text), tokens.len());
    }
    // A plain English sentence takes about a token a word.
    assert!(writer.count("The payment is refused and nothing changes.") <= 10);
}

#[test]
fn a_hostile_text_is_counted_quickly() {
    let long = "a".repeat(1 << 18) + &"\u{0}~".repeat(1 << 16);
    assert!(Writer::load().count(&long) > 1000);
    assert_eq!(Search::load().tokens(&long), (1 << 18) / 32);
}

#[test]
fn a_seed_gives_the_same_text_and_another_seed_another() {
    let writer = Writer::load();
    let text = |prompt: &str, seed| writer.generate(prompt, 60, seed).collect::<String>();
    assert_eq!(text("What is a hold?\n", 7), text("What is a hold?\n", 7));
    let texts: BTreeSet<String> = (0..8).map(|seed| text("What is a hold?\n", seed)).collect();
    assert_eq!(texts.len(), 8);
    assert_ne!(text("What is a hold?\n", 7), text("What is a channel?\n", 7));
}

#[test]
fn a_text_streams_token_by_token_up_to_its_maximum() {
    let writer = Writer::load();
    let mut lengths = BTreeSet::new();
    for seed in 0..20 {
        let tokens: Vec<String> = writer.generate("The payer", 40, seed).collect();
        assert!(tokens.len() <= 40);
        assert!(tokens.iter().all(|t| !t.is_empty()));
        lengths.insert(tokens.len());
    }
    assert!(lengths.len() > 3, "answers differ in length: {lengths:?}");
    assert_eq!(writer.generate("The payer", 0, 1).count(), 0);
}

#[test]
fn no_text_is_canned() {
    let writer = Writer::load();
    let text: String = writer.generate("Budgets.\n", 120, 3).collect();
    assert!(!passages().iter().any(|p| p.text.contains(text.trim())));
}

#[test]
fn a_search_answers_with_passages_and_their_sources() {
    let search = Search::load();
    let hits = search.query("how does a hold end?", 3);
    assert_eq!(hits.len(), 3);
    assert!(hits.is_sorted_by_key(|hit| std::cmp::Reverse(hit.score_milli)));
    for hit in &hits {
        let passage = passages().iter().find(|p| p.id == hit.id).unwrap();
        assert_eq!((hit.passage, hit.title), (passage.text, passage.title));
        assert_eq!(hit.source, passage.source());
        assert!(hit.score_milli <= 1000);
    }
    assert_eq!(search.query("", 3), vec![]);
    assert_eq!(search.query("qqqq zzzz 日本", 3), vec![]);
    assert_eq!(search.query("hold", 0), vec![]);
}

#[test]
fn texts_about_one_thing_point_in_one_direction() {
    let search = Search::load();
    let cosine = |a: &str, b: &str| -> f32 {
        search.embed(a).iter().zip(search.embed(b)).map(|(x, y)| x * y).sum()
    };
    let near = cosine("a deposit and vouchers", "the payee claims from the channel");
    let far = cosine("a deposit and vouchers", "logs must not contain secrets");
    assert!(near > far + 0.2, "{near} {far}");
    assert!((cosine("a deposit", "a deposit") - 1.0).abs() < 0.001);
    assert!(search.embed("qqqq").iter().all(|v| *v == 0.0));
}

#[test]
fn damaged_weights_are_refused_and_never_panic() {
    for n in (0..search::WEIGHTS.len()).step_by(7919) {
        assert!(Search::from_weights(&search::WEIGHTS[..n]).is_err());
    }
    for n in (0..writer::WEIGHTS.len()).step_by(19_997) {
        assert!(Writer::from_weights(&writer::WEIGHTS[..n]).is_err());
        let mut damaged = writer::WEIGHTS.to_vec();
        damaged[n] ^= 0x55;
        if let Ok(writer) = Writer::from_weights(&damaged) {
            writer.generate("The payer", 5, 1).for_each(drop);
        }
    }
    assert!(Search::from_weights(writer::WEIGHTS).is_err());
}
