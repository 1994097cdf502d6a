//! What `bursar prove` is asked.

use std::path::PathBuf;

/// How to try to pass a cap.
#[derive(Debug, clap::Args)]
pub struct ProveArgs {
    /// For how long there are faults, in minutes; healing and closing the books come after.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub minutes: u64,
    /// Fixes which faults come in which order, and what each agent tries.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The cap of all agents together, in whole dollars: `1` or `0.5`.
    #[arg(long, default_value = "1")]
    pub budget: String,
    /// Pay by `exact` alone; else one of the providers is paid by channel.
    #[arg(long)]
    pub no_channels: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write a page that shows the faults, and the caps that were never crossed.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Leave the ledgers and logs in this folder.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}
