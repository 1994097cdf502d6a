//! `bursar bench http`: the web's door beside the official programs. Those, the chain and the contracts are a
//! checkout's, and so is the benchmark: this runs it there.

use std::path::Path;
use std::process::Command;

use super::super::args::BenchArgs;
use super::super::exit::Exit;
use super::super::failure::Failure;
use super::failed;

/// What the benchmark is, from a checkout's root.
const BENCHMARK: &str = "benches/http.rs";

/// Runs it with what it prints.
pub fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    if !Path::new(BENCHMARK).exists() {
        let message = format!("{BENCHMARK} is not here");
        return Err(Failure::new(Exit::NotFound, "cli.no_checkout", message).help(
            "run it at the root of a checkout, after npm ci in contracts/ and tests/interop/x402/",
        ));
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["bench", "--bench", "http", "--", "--seconds", &args.seconds.to_string()]);
    cargo.args(args.beside.iter().flat_map(|beside| ["--beside", beside.as_str()]));
    let ended = cargo.status().map_err(|problem| failed(&format!("cargo: {problem}")))?;
    if ended.success() { Ok(Exit::Done) } else { Err(failed(&format!("cargo: {ended}"))) }
}
