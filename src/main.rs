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

/// A call takes hundreds of small pieces of memory and a few large ones, and the system's allocator spends
/// a quarter of the runtime's threads' time on joining them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
