//! What the demo shows in the end: a table for each agent and each provider, and the books.

use std::collections::BTreeMap;
use std::time::Duration;

use bursar::domain::ledger::books::{BookAccount, Commodity};
use bursar::domain::ledger::event::Event;
use bursar::domain::ledger::tab::TabEvent;
use bursar::domain::money::Nano;
use bursar::edge::clock::SystemClock;
use bursar::node::{Provider, StartError};
use bursar::ports::clock::Clock;
use bursar::ports::journal::Journal;
use bursar::runtime::directory::Bargains;
use serde::Serialize;

use super::books::{ChannelsBook, Closing, WalletBook};
use super::fleet::{Fleet, Work, usdc};
use super::plan::RUNAWAY;
use super::saved::Saved;
use crate::cli::output::table;

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    seed: u64,
    agents: Vec<AgentRow>,
    providers: Vec<ProviderRow>,
    books: BooksRow,
    wallets: Vec<WalletBook>,
    channels: ChannelsBook,
    saved: Saved,
    payments: PaymentsRow,
    bargains: BTreeMap<String, BargainRow>,
}

#[derive(Debug, Serialize)]
struct AgentRow {
    name: String,
    role: String,
    group: String,
    budgets: Vec<BudgetRow>,
    paid_calls: u64,
    refused: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct BudgetRow {
    name: String,
    limit_nano: u64,
    spent_nano: u64,
    held_nano: u64,
    left_nano: u64,
}

#[derive(Debug, Serialize)]
struct ProviderRow {
    name: String,
    earned_atomic: u128,
    due_atomic: u128,
    served: u64,
}

#[derive(Debug, Serialize)]
struct BooksRow {
    ledger_atomic: u128,
    chain_atomic: u128,
    #[serde(rename = "match")]
    matches: bool,
    over_limit_nano: u64,
    unknown: u64,
}

#[derive(Debug, Serialize)]
struct PaymentsRow {
    count: u64,
    by_scheme: BTreeMap<&'static str, u64>,
    p50_ms: u64,
    p99_ms: u64,
    /// Of those who do not crowd: all but the runaway, whose calls wait for each other.
    others: Took,
}

#[derive(Debug, Serialize)]
struct Took {
    p50_ms: u64,
    p99_ms: u64,
}

impl Took {
    fn of<'a>(calls: impl Iterator<Item = &'a Duration>) -> Self {
        let mut took: Vec<Duration> = calls.copied().collect();
        took.sort_unstable();
        Self { p50_ms: percentile(&took, 50), p99_ms: percentile(&took, 99) }
    }
}

#[derive(Debug, Serialize)]
struct BargainRow {
    accepted: u64,
    countered: u64,
    at_floor: u64,
}

impl Report {
    /// Reads everything that is shown.
    pub async fn new(
        seed: u64,
        fleet: &Fleet,
        work: Work,
        closing: Closing,
    ) -> Result<Self, StartError> {
        let now = SystemClock.now();
        let agents = fleet
            .node
            .treasury
            .read(|ledger| ledger.agents().into_iter().cloned().collect::<Vec<_>>());
        let mut rows = Vec::new();
        for agent in agents.await? {
            let checks = fleet.node.operator.budgets_of(agent.id(), None, now).await?;
            let budgets = checks.iter().map(|check| BudgetRow {
                name: check.budget.to_string(),
                limit_nano: check.limit.get(),
                spent_nano: check.spent.get(),
                held_nano: check.held.get(),
                left_nano: check.left().get(),
            });
            let name = agent.name.to_string();
            let refused =
                work.tallies.get(&name).map(|tally| tally.refused.clone()).unwrap_or_default();
            rows.push(AgentRow {
                role: agent.role.to_string(),
                group: agent.group.to_string(),
                budgets: budgets.collect(),
                paid_calls: closing.paid.get(&agent.id()).copied().unwrap_or(0),
                refused,
                name,
            });
        }
        let mut providers = Vec::new();
        let mut bargains = BTreeMap::new();
        for provider in &fleet.providers {
            providers.push(provider_row(provider).await?);
            let Bargains { accepted, countered, at_floor } =
                fleet.node.book.bargains(&provider.name);
            let row = BargainRow { accepted, countered, at_floor };
            bargains.insert(provider.name.to_string(), row);
        }
        let balanced = closing.wallets.iter().all(|wallet| wallet.matches);
        // What a voucher stands for is paid, claimed or not.
        let settled = closing.ledger == closing.chain.saturating_add(closing.channels.unclaimed);
        let books = BooksRow {
            ledger_atomic: closing.ledger,
            chain_atomic: closing.chain,
            matches: settled && balanced && closing.channels.matches,
            over_limit_nano: closing.over_limit.get(),
            unknown: closing.unknown,
        };
        let count = closing.paid.values().sum();
        let Took { p50_ms, p99_ms } = Took::of(work.tallies.values().flat_map(|tally| &tally.took));
        let others = work.tallies.iter().filter(|(name, _)| *name != RUNAWAY);
        let others = Took::of(others.flat_map(|(_, tally)| &tally.took));
        let payments = PaymentsRow { count, by_scheme: closing.by_scheme, p50_ms, p99_ms, others };
        let Closing { wallets, channels, saved, .. } = closing;
        let agents = rows;
        Ok(Self { seed, agents, providers, books, wallets, channels, saved, payments, bargains })
    }

    /// Whether the books match the chain and no cap was passed.
    pub fn sound(&self) -> bool {
        self.books.matches && self.books.over_limit_nano == 0
    }

    /// As one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has text keys and no floats")
    }

    /// As tables for people.
    pub fn to_text(&self) -> String {
        let agents = table(
            ["agent", "role", "budget", "limit>", "spent>", "held>", "left>", "paid>", "refused"],
            self.agents.iter().flat_map(agent_lines),
        );
        let providers = table(
            ["provider", "earned USDC>", "served>", "bargains accepted>", "refused at floor>"],
            self.providers.iter().map(|row| self.provider_line(row)),
        );
        let wallets = table(
            ["wallet", "opening>", "+ in>", "- out>", "= balance>", "in channels>", "match"],
            self.wallets.iter().map(|row| {
                let yes = if row.matches { "yes" } else { "NO" };
                let amounts = [row.opening, row.entered, row.left, row.balance, row.locked];
                let [opening, entered, left, balance, locked] = amounts.map(dollars);
                [row.name.clone(), opening, entered, left, balance, locked, yes.to_owned()]
            }),
        );
        let books = &self.books;
        let yes = if books.matches { "match, to the unit" } else { "DO NOT MATCH" };
        format!(
            "\n{agents}\n\n{providers}\n\n{wallets}\n\n\
             captured in the ledger   {:>12} atomic units\n\
             moved on the chain       {:>12} atomic units, of them {} claimed by channel\n\
             in channels              {:>12} put in, {} came back, {} lie there\n\
             books                    {yes}\n\
             over any limit           {:>12} nano-USD\n\
             outcome open             {:>12} payments\n\
             payments                 {:>12}   seed {}\n\
             a call takes             {:>12} ms at p50, {} ms at p99\n\
             with the runaway's       {:>12} ms at p50, {} ms at p99: its calls wait for each other\n\
             {}",
            books.ledger_atomic,
            books.chain_atomic,
            self.channels.claimed,
            self.channels.deposited,
            self.channels.returned,
            self.channels.locked,
            books.over_limit_nano,
            books.unknown,
            self.payments.count,
            self.seed,
            self.payments.others.p50_ms,
            self.payments.others.p99_ms,
            self.payments.p50_ms,
            self.payments.p99_ms,
            self.saved.to_text(),
        )
    }

    fn provider_line(&self, row: &ProviderRow) -> [String; 5] {
        let bargain = self.bargains.get(&row.name);
        [
            row.name.clone(),
            dollars(row.earned_atomic),
            row.served.to_string(),
            bargain.map_or(0, |row| row.accepted).to_string(),
            bargain.map_or(0, |row| row.at_floor).to_string(),
        ]
    }
}

async fn provider_row(provider: &Provider) -> Result<ProviderRow, StartError> {
    let sums = provider.treasury.read(|ledger| {
        let of = |account| {
            let sums = ledger.books().find(Commodity::Asset(usdc()), account);
            sums.debits.saturating_sub(sums.credits)
        };
        // What a voucher stands for is earned, claimed or not.
        let earned = of(BookAccount::Earned).saturating_add(of(BookAccount::Claimable));
        (earned, of(BookAccount::Due))
    });
    let (earned_atomic, due_atomic) = sums.await?;
    let (mut served, mut seen) = (0_u64, 0);
    loop {
        let page = provider.store.read(seen, 4096).await?;
        let Some(last) = page.last() else { break };
        seen = last.seq;
        let answers = page.iter().filter(|entry| is_answer(&entry.event));
        served = served.saturating_add(u64::try_from(answers.count()).unwrap_or(u64::MAX));
    }
    Ok(ProviderRow { name: provider.name.to_string(), earned_atomic, due_atomic, served })
}

/// Whether a call was served: settled by itself, or charged on a channel.
fn is_answer(event: &Event) -> bool {
    match event {
        Event::Served { .. } | Event::Tab(TabEvent::Charged(_) | TabEvent::ChargedOnCredit(_)) => {
            true
        }
        Event::Tab(TabEvent::Stepped(step)) => step.ended,
        _ => false,
    }
}

/// A line for each budget; what is the agent's, and not a budget's, stands in the first.
fn agent_lines(row: &AgentRow) -> Vec<[String; 9]> {
    let nano = |amount: u64| Nano::new(amount).to_string();
    let refused = row.refused.iter().map(|(reason, count)| format!("{count} {reason}"));
    let refused = refused.collect::<Vec<_>>().join(", ");
    let lines = row.budgets.iter().enumerate().map(|(line, budget)| {
        let first = |text: &str| if line == 0 { text.to_owned() } else { String::new() };
        [
            first(&row.name),
            first(&row.role),
            budget.name.clone(),
            nano(budget.limit_nano),
            nano(budget.spent_nano),
            nano(budget.held_nano),
            nano(budget.left_nano),
            first(&row.paid_calls.to_string()),
            first(&refused),
        ]
    });
    lines.collect()
}

/// USDC with six decimals.
fn dollars(atomic: u128) -> String {
    let (whole, rest) =
        (atomic.checked_div(1_000_000).unwrap_or(0), atomic.checked_rem(1_000_000).unwrap_or(0));
    format!("{whole}.{rest:06}")
}

fn percentile(sorted: &[Duration], percent: usize) -> u64 {
    let place = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
    let found = sorted.get(place).copied().unwrap_or(Duration::ZERO);
    u64::try_from(found.as_millis()).unwrap_or(u64::MAX)
}
