//! Trains the demo fleet's models from the frozen corpus, writes their weights and prints how good
//! they are. `cargo run --release --example train_models`; with `-- --check` it writes nothing and
//! fails when the committed weights are not the ones that training gives.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to a person")]

#[path = "../agents/models/mod.rs"]
mod models;
#[path = "../agents/models/train/mod.rs"]
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use train::measure::{QUESTIONS, TUNING, questions, recall_milli};

use models::{Search, Writer, corpus, search, writer};

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    match run(check) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("train_models: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Trains, compares or writes, and reports. False when something is not as it should be.
fn run(check: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let held_out = train::held_out_texts().len();
    let passages = corpus::passages().len();
    println!("corpus    {} bytes, {passages} passages, {held_out} held out", corpus::size());
    let search_weights = train::search();
    let writer_weights = train::writer();
    let mut good = true;
    good &= keep(search::NAME, &search_weights, search::WEIGHTS, check)?;
    good &= keep(writer::NAME, &writer_weights, writer::WEIGHTS, check)?;
    good &= report_search(&Search::from_weights(&search_weights)?);
    good &= report_writer(&Writer::from_weights(&writer_weights)?);
    Ok(good)
}

/// Writes a weights file, or compares it with the committed one.
fn keep(name: &str, trained: &[u8], committed: &[u8], check: bool) -> std::io::Result<bool> {
    let same = trained == committed;
    let word = if same { "as committed" } else { "differs from the committed" };
    println!("weights   {name}: {} bytes, {word}", trained.len());
    if !check {
        std::fs::write(path(name), trained)?;
    }
    Ok(same || !check)
}

/// Where a model's weights are kept.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/models/weights").join(format!("{name}.bin"))
}

fn report_search(search: &Search) -> bool {
    let found = questions(search, QUESTIONS);
    let tuning = recall_milli(&questions(search, TUNING));
    for miss in found.iter().filter(|f| !f.hit) {
        println!("          missed: {} -> {}", miss.question, miss.first.join(", "));
    }
    let (recall, asked) = (recall_milli(&found), found.len());
    println!("{}  sha256 {}", search.name(), search.weights_hash());
    println!("          {} dimensions, {} passages", search.dimensions(), corpus::passages().len());
    println!("          recall@3 {recall}/1000 on {asked} held-out questions");
    println!("          recall@3 {tuning}/1000 on the questions it was tuned by");
    recall >= 800
}

fn report_writer(writer: &Writer) -> bool {
    let surprise = train::measure::surprise(writer);
    println!("{}  sha256 {}", writer.name(), writer.weights_hash());
    println!("          sequences stored by length {:?}", writer.sizes());
    println!(
        "          held-out perplexity {:.1}, unigram {:.1}, ratio {:.3} on {} tokens",
        surprise.perplexity,
        surprise.unigram,
        surprise.ratio(),
        surprise.tokens,
    );
    surprise.ratio() <= 0.5
}
