//! The `bursar` command: parse, wire, run. The demo's agents are taken in by their paths.

#[path = "../agents/analyst/engine.rs"]
mod analyst;
mod cli;
#[path = "../agents/librarian/engine.rs"]
mod librarian;
#[path = "../agents/models/mod.rs"]
mod models;
#[path = "../agents/scribe/openai.rs"]
mod openai;
#[path = "../agents/runaway/program.rs"]
mod runaway;
#[path = "../agents/scout/program.rs"]
mod scout;
#[path = "../agents/scribe/engine.rs"]
mod scribe;
#[path = "../agents/shared/mod.rs"]
mod shared;

fn main() -> std::process::ExitCode {
    cli::run()
}
