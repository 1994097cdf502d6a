//! Decide and evolve of one hold, without encoding, hashing or a disk: over any number of wallets and
//! a four-level budget path. The benchmark of the ledger and `bursar bench` share it.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use bursar::domain::asset::{Asset, Network};
use bursar::domain::commitment::{Commitment, Scheme, TransferMethod};
use bursar::domain::id::{AgentId, Fingerprint, GroupId, Name, PaymentId, RequestId, RoleId};
use bursar::domain::ledger::agent::{Agent, Principal, TokenHash};
use bursar::domain::ledger::budget::{BudgetDef, Per, Selector};
use bursar::domain::ledger::command::HoldAsk;
use bursar::domain::ledger::hold::{CaptureProof, FinalBlock};
use bursar::domain::ledger::window::{CalendarUnit, WindowSpec};
use bursar::domain::ledger::{Bounds, Command, Ledger};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::time::Timestamp;
use bursar::edge::sandbox::TOKEN;

/// When everything begins, in seconds since the epoch.
pub const START_S: u64 = 1_800_000_000;

/// Holds that are looked ahead over and decided at once, as by a treasury with that many callers.
const BATCH: usize = 64;

/// Requests that the ledger remembers while its bytes are counted: they are no part of a wallet.
const REQUESTS_FEW: usize = 1_000;

/// A name that is written out in the source.
pub fn name(text: &str) -> Name {
    text.parse().expect("a name in the source is one")
}

/// The token that everybody pays with: the sandbox's.
pub fn usdc() -> Asset {
    Asset { network: Network::SANDBOX, contract: TOKEN }
}

/// The agent of this number, who has the wallet of this number.
pub fn agent_id(number: u64) -> AgentId {
    AgentId::named(&name(&format!("a{number}")))
}

fn address(number: u64) -> Address {
    let mut bytes = [0; 20];
    let (left, _) = bytes.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    Address::from(bytes)
}

/// A budget of so much that it never refuses, by the calendar day.
pub fn budget(label: &str, selector: Selector, per: Per) -> BudgetDef {
    let window = WindowSpec::Calendar { unit: CalendarUnit::Day, zone: "UTC".to_owned() };
    BudgetDef { name: name(label), selector, per, limit: Nano::MAX, window }
}

/// The four levels that every hold counts in: fleet, group, role, agent.
pub fn four_levels() -> Vec<BudgetDef> {
    let role = RoleId::named(&name("scout"));
    vec![
        budget("fleet", Selector::Fleet, Per::All),
        budget("group", Selector::Group(GroupId::named(&name("research"))), Per::Group),
        budget("role", Selector::Role(role), Per::Role),
        budget("agent", Selector::Role(role), Per::Agent),
    ]
}

/// What puts `budgets` in force.
pub fn policy(budgets: Vec<BudgetDef>) -> Command {
    let (document, reason) = ("{}".to_owned(), "bench".to_owned());
    Command::ApplyPolicy { budgets, document, reason, by: Principal::Operator }
}

/// What opens the wallet of this number, fills it, and adds its agent.
pub fn arrival(number: u64) -> [Command; 3] {
    // Not one name shared three times: read from a journal, each comes by itself.
    let label = || name(&format!("a{number}"));
    let mut token = [0; 32];
    let (left, _) = token.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    let agent = Agent {
        name: label(),
        role: name("scout"),
        group: name("research"),
        wallet: label(),
        token: TokenHash(token),
        delegation: None,
    };
    [
        Command::OpenWallet { wallet: label(), address: address(number) },
        Command::SeeFunds {
            wallet: label(),
            asset: usdc(),
            entered: Amount::new(1_000_000_000),
            left: Amount::ZERO,
            after: None,
            up_to: 1,
        },
        Command::AddAgent { agent, by: Principal::Operator },
    ]
}

/// Hold number `nth` of all, asked for at `made_at_ms` by the agent of this number.
pub fn ask(agent: AgentId, number: u64, nth: u64, made_at_ms: u64) -> HoldAsk {
    let mut random = [0; 10];
    let (left, _) = random.split_at_mut(8);
    left.copy_from_slice(&nth.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let request = RequestId::new(made_at_ms, random);
    let payment = PaymentId::derive(agent, request, 0);
    let mut nonce = [0; 32];
    let (left, _) = nonce.split_at_mut(16);
    left.copy_from_slice(payment.as_bytes());
    HoldAsk {
        agent,
        payment,
        request,
        attempt: 0,
        fingerprint: Fingerprint::from_bytes([1; 16]),
        commitment: Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: usdc(),
            payer: address(number),
            pay_to: Address::repeat_byte(9),
            amount_max: Amount::new(100),
            valid_after_s: 0,
            valid_before_s: (made_at_ms / 1_000).saturating_add(120),
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

/// The number of the wallet that hold `nth` is of: every one once, in no order that a cache knows.
pub fn stride(nth: u64, wallets: u64) -> u64 {
    nth.wrapping_mul(611_953).checked_rem(wallets).unwrap_or(0)
}

/// What closes a hold for good: a capture that a final block shows.
pub fn close(ask: &HoldAsk) -> Command {
    let block = FinalBlock { hash: B256::ZERO, time_s: START_S };
    let (payment, amount) = (ask.payment, ask.commitment.amount_max);
    Command::Capture { payment, amount, transaction: B256::ZERO, proof: CaptureProof::Chain(block) }
}

/// A ledger with a fleet in it.
pub struct World {
    ledger: Ledger,
    now: Timestamp,
    wallets: u64,
    asked: u64,
}

impl World {
    /// One of this many wallets, with an agent each.
    pub fn of(wallets: u64, bounds: Bounds) -> Self {
        let now = Timestamp::from_secs(START_S);
        let mut world = Self { ledger: Ledger::new(bounds), now, wallets, asked: 0 };
        world.execute(policy(four_levels()));
        for number in 0..wallets {
            arrival(number).into_iter().for_each(|command| world.execute(command));
        }
        world
    }

    fn execute(&mut self, command: Command) {
        self.now = self.now.next();
        let decided = self.ledger.decide(self.now, command).expect("the benchmark asks what fits");
        self.ledger.evolve(self.now, &decided.event);
    }

    /// The next `count` holds.
    fn asks(&mut self, count: u64) -> Vec<HoldAsk> {
        let first = self.asked;
        self.asked = first.saturating_add(count);
        (first..self.asked)
            .map(|nth| {
                let number = stride(nth, self.wallets);
                // As callers make them: at the time of asking, a thousand in a millisecond.
                let made_at_ms = START_S.saturating_mul(1_000).saturating_add(nth / 1_000);
                ask(agent_id(number), number, nth, made_at_ms)
            })
            .collect()
    }

    /// Places `count` holds, and says how long that took one core; then closes them, unmeasured.
    pub fn place(&mut self, count: u64) -> Duration {
        let asks = self.asks(count);
        let ends: Vec<Command> = asks.iter().map(close).collect();
        let mut holds = asks.into_iter().map(|ask| Command::Hold(Box::new(ask)));
        let mut batches: Vec<Vec<Command>> = Vec::new();
        while let Some(first) = holds.next() {
            let rest = holds.by_ref().take(BATCH.saturating_sub(1));
            batches.push(std::iter::once(first).chain(rest).collect());
        }
        let began = CoreTime::now();
        for batch in batches {
            self.ledger.look_ahead(batch.iter());
            batch.into_iter().for_each(|command| self.execute(command));
        }
        let took = began.elapsed();
        ends.into_iter().for_each(|command| self.execute(command));
        took
    }
}

/// Resident bytes a wallet, with an agent and an account of one calendar budget each.
pub fn bytes_a_wallet(wallets: u64) -> u64 {
    let before = resident_bytes();
    let bounds = Bounds { requests_max: REQUESTS_FEW, ..Bounds::default() };
    let mut world = World::of(wallets, bounds);
    for _ in 0..wallets {
        for ask in world.asks(1) {
            let end = close(&ask);
            world.execute(Command::Hold(Box::new(ask)));
            world.execute(end);
        }
    }
    resident_bytes().saturating_sub(before).checked_div(wallets).unwrap_or(0)
}

/// What the operating system keeps in memory for this process.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1_024)
}

/// Time that this thread had a core, where the system tells; else time by the clock. What other
/// processes take is no cost of ours.
struct CoreTime {
    clock: Instant,
    core: Option<Duration>,
}

impl CoreTime {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn now() -> Self {
        Self { clock: Instant::now(), core: Self::core() }
    }

    fn core() -> Option<Duration> {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }

    fn elapsed(&self) -> Duration {
        match (self.core, Self::core()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => self.clock.elapsed(),
        }
    }
}
