//! Decide and evolve of one hold, and bytes a wallet, over a million wallets.
//!
//! `cargo bench --bench ledger`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../src/cli/bench/holds.rs"]
#[allow(dead_code, reason = "`bursar bench` uses the rest")]
mod holds;

use bursar::domain::ledger::Bounds;
use holds::{World, bytes_a_wallet};

const WALLETS: u64 = 1_000_000;
const ROUND: u64 = WALLETS / 4;

fn main() {
    let bytes = bytes_a_wallet(WALLETS);
    println!("bytes a wallet, with an agent and an account: {bytes} (target: at most 500)");
    for wallets in [1_000, WALLETS] {
        let mut world = World::of(wallets, Bounds::default());
        for round in 1..=8 {
            let nanos = world.place(ROUND).as_nanos().checked_div(u128::from(ROUND)).unwrap_or(0);
            let rate = 1_000_000_000_u128.checked_div(nanos).unwrap_or(0);
            // In the first four rounds of a million every wallet holds for the first time.
            println!(
                "{wallets} wallets, round {round}: {nanos} ns a hold, {rate} a second and core"
            );
        }
    }
    println!("target: 1000000 a second and core over a million wallets");
}
