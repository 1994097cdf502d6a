//! Decide and evolve of one hold, without encoding, hashing or a disk: over a million wallets and a
//! four-level budget path. Prints holds a second on one core, and bytes a wallet.
//!
//! `cargo bench --bench ledger`

#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark measures and prints"
)]

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use bursar::domain::asset::{Asset, Network};
use bursar::domain::commitment::{Commitment, Scheme, TransferMethod};
use bursar::domain::id::{AgentId, Fingerprint, GroupId, Name, PaymentId, RequestId, RoleId};
use bursar::domain::ledger::agent::{Agent, Principal, TokenHash};
use bursar::domain::ledger::budget::{BudgetDef, Per, Selector};
use bursar::domain::ledger::command::HoldAsk;
use bursar::domain::ledger::window::{CalendarUnit, WindowSpec};
use bursar::domain::ledger::{Bounds, Command, Ledger};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::time::Timestamp;

const WALLETS: u64 = 1_000_000;
const START_S: u64 = 1_800_000_000;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn asset() -> Asset {
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(7) }
}

struct World {
    ledger: Ledger,
    now: Timestamp,
}

impl World {
    fn execute(&mut self, command: Command) {
        self.now = self.now.next();
        let decided = self.ledger.decide(self.now, command).expect("the benchmark asks what fits");
        self.ledger.evolve(self.now, &decided.event);
    }
}

fn budget(label: &str, selector: Selector, per: Per) -> BudgetDef {
    let window = WindowSpec::Calendar { unit: CalendarUnit::Day, zone: "UTC".to_owned() };
    BudgetDef { name: name(label), selector, per, limit: Nano::MAX, window }
}

fn address(number: u64) -> Address {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Address::from(bytes)
}

fn build() -> World {
    let mut world =
        World { ledger: Ledger::new(Bounds::default()), now: Timestamp::from_secs(START_S) };
    let role = RoleId::named(&name("scout"));
    world.execute(Command::ApplyPolicy {
        budgets: vec![
            budget("fleet", Selector::Fleet, Per::All),
            budget("group", Selector::Group(GroupId::named(&name("research"))), Per::Group),
            budget("role", Selector::Role(role), Per::Role),
            budget("agent", Selector::Role(role), Per::Agent),
        ],
        document: "{}".to_owned(),
        reason: "bench".to_owned(),
        by: Principal::Operator,
    });
    let (role, group) = (name("scout"), name("research"));
    for number in 0..WALLETS {
        let label = name(&format!("a{number}"));
        world.execute(Command::OpenWallet { wallet: label.clone(), address: address(number) });
        let entered = Amount::new(1_000_000_000);
        world.execute(Command::SeeFunds {
            wallet: label.clone(),
            asset: asset(),
            entered,
            left: Amount::ZERO,
            after: None,
            up_to: 1,
        });
        let mut token = [0; 32];
        token[..8].copy_from_slice(&number.to_be_bytes());
        let agent = Agent {
            name: label.clone(),
            role: role.clone(),
            group: group.clone(),
            wallet: label,
            token: TokenHash(token),
            delegation: None,
        };
        world.execute(Command::AddAgent { agent, by: Principal::Operator });
    }
    world
}

fn ask(agent: AgentId, number: u64, round: u64) -> HoldAsk {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(number | (round << 32)).to_be_bytes());
    let request = RequestId::new(START_S * 1000, random);
    let mut nonce = [0; 32];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    HoldAsk {
        agent,
        payment: PaymentId::derive(agent, request, 0),
        request,
        attempt: 0,
        fingerprint: Fingerprint::from_bytes([1; 16]),
        commitment: Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: asset(),
            payer: address(number),
            pay_to: Address::repeat_byte(9),
            amount_max: Amount::new(100),
            valid_after_s: 0,
            valid_before_s: START_S + 120,
            nonce: B256::from(nonce),
        },
        nano: Nano::new(100_000),
        session: None,
        provider: name("scribe-1"),
        capability: name("text.generate"),
        model: name("bursar-scribe-1"),
        quote: B256::ZERO,
        policy_version: 1,
        boot: 1,
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("VmRSS: 0 kB");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn main() {
    let before = resident_bytes();
    let mut world = build();
    let after = resident_bytes();
    println!("wallets with an agent each: {WALLETS}");
    println!("bytes a wallet, before any budget account: {}", (after - before) / WALLETS);
    let agents: Vec<AgentId> =
        (0..WALLETS).map(|number| AgentId::named(&name(&format!("a{number}")))).collect();
    // A stride that is coprime to the number visits every wallet once, in no order a cache knows.
    let stride = 611_953;
    for round in 0..3 {
        let asks: Vec<HoldAsk> = (0..WALLETS / 4)
            .map(|step| {
                let number = ((round * WALLETS / 4 + step) * stride) % WALLETS;
                ask(agents[number as usize], number, round)
            })
            .collect();
        let began = Instant::now();
        let count = asks.len();
        for ask in asks {
            world.execute(Command::Hold(Box::new(ask)));
        }
        let took: Duration = began.elapsed();
        let rate = count as f64 / took.as_secs_f64();
        println!("round {round}: {rate:.0} holds/s ({:.0} ns each)", 1e9 / rate);
    }
    println!("open holds: {}", world.ledger.holds_len());
    let full = resident_bytes();
    println!("resident: {} MiB", full >> 20);
}
