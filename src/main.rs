//! The `bursar` command: parse, wire, run.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
