//! What `bursar bench` is asked.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::bench::Mode;

/// A measurement of `bursar bench`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// Decide and evolve over a million wallets, and their memory.
    Ledger,
    /// A payee's check of a payment beside bare recovery.
    Verify,
    /// Durable holds beside raw appends to the same disk.
    Durable,
    /// One hot budget beside ten thousand.
    Hot,
    /// Grouping, with 2 ms added to each sync.
    Slow,
    /// Durable holds over a million wallets beside a thousand.
    Many,
    /// Payments settled on the sandbox beside the same unpaid.
    Settled,
    /// Ten thousand open channels on one payee: memory, a restart, and claiming them.
    Channels,
    /// A restart over ten million entries.
    Restart,
    /// A call that does nothing, unpaid and paid in each way, between processes; only where it is named.
    Pay,
    /// Facilitators and calls over HTTP beside the official programs; only where it is named, in a checkout.
    Http,
    /// A node under ten times what it can pay, and its operator's pause meanwhile; only where it is named.
    Overload,
    /// Half of what it can pay for a long time, with faults: memory, files, handles, and the books in the
    /// end; only where it is named.
    Soak,
}

/// One process of `bursar bench pay`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchPart {
    /// Sells.
    Payee,
    /// Buys, with a wallet of its own, and for nothing.
    Payer,
    /// Pays for agents.
    Node,
    /// Buys through the node.
    Agent,
}

impl BenchPart {
    /// Its word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payee => "payee",
            Self::Payer => "payer",
            Self::Node => "node",
            Self::Agent => "agent",
        }
    }
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Only this one.
    #[arg(value_enum)]
    pub only: Option<Measurement>,
    /// How long each side of a measurement runs, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Where the files of the durable measurements go: on the disk that is to be measured.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// `soak`: for how long, in minutes; opening channels before and closing the books after come to it.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub minutes: u64,
    /// `soak`: fixes which calls fail in which way.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// `pay`, `overload`, `soak`: print one object of everything.
    #[arg(long)]
    pub json: bool,
    /// `pay`: only these ways to pay, beside unpaid.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub modes: Vec<Mode>,
    /// `pay`: so many calls at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    pub at_once: Vec<u64>,
    /// `http`: one facilitator more: `NAME=COMMAND`.
    #[arg(long)]
    pub beside: Option<String>,
    /// `pay`: threads that serve calls, in each process.
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
}
