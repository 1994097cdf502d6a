//! `bursar budget` and `why`: what may still be spent, and why a payment was allowed or refused.

use bursar::domain::id::{Name, PaymentId};
use bursar::domain::ledger::budget::BudgetCheck;
use bursar::domain::money::Nano;
use bursar::domain::policy::RuleCheck;
use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::budget_service_client::BudgetServiceClient;
use bursar::edge::grpc::pb::payment_service_client::PaymentServiceClient;
use bursar::edge::journal::{BudgetRow as KeptBudget, Views};
use bursar::ports::archive::Decision;
use serde::Serialize;

use super::args::Args;
use super::client::{refused, with_node};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};

/// Accounts in one answer at most.
const PAGE_SIZE: u32 = 100;

#[derive(Serialize)]
struct BudgetRow {
    budget: String,
    subject: String,
    window: String,
    limit_nano: String,
    spent_nano: String,
    held_nano: String,
    left_nano: String,
}

impl From<pb::BudgetAccount> for BudgetRow {
    fn from(account: pb::BudgetAccount) -> Self {
        let pb::BudgetAccount { budget, subject, window, .. } = account;
        let pb::BudgetAccount { limit_nano, spent_nano, held_nano, left_nano, .. } = account;
        Self { budget, subject, window, limit_nano, spent_nano, held_nano, left_nano }
    }
}

impl From<KeptBudget> for BudgetRow {
    fn from(kept: KeptBudget) -> Self {
        let nano = |nano: Nano| nano.get().to_string();
        Self {
            budget: kept.budget,
            subject: kept.whose,
            window: kept.window,
            limit_nano: nano(kept.limit_nano),
            spent_nano: nano(kept.spent_nano),
            held_nano: nano(kept.held_nano),
            left_nano: nano(kept.left_nano),
        }
    }
}

/// Shows what budgets have left: as the node says, else as the journal had it at its last event.
pub fn budgets(args: &Args, only: Option<&Name>, output: &Output) -> Result<Exit, Failure> {
    let mut rows = or_from_journal(args, output, ask_budgets(args), |views| {
        Ok(views.budgets()?.into_iter().map(BudgetRow::from).collect())
    })?;
    if let Some(only) = only {
        rows.retain(|row| row.budget == only.as_str());
        if rows.is_empty() {
            let message = format!("no budget is called {only}, or nothing was spent of it yet");
            return Err(Failure::new(Exit::NotFound, "cli.no_budget", message));
        }
    }
    output.show(&rows, || {
        table(
            ["budget", "of", "window", "limit>", "spent>", "held>", "left>"],
            rows.iter().map(|row| {
                let numbers = [&row.limit_nano, &row.spent_nano, &row.held_nano, &row.left_nano];
                let [limit, spent, held, left] = numbers.map(|text| shown(text));
                let names = [&row.budget, &row.subject, &row.window].map(String::clone);
                let [budget, subject, window] = names;
                [budget, subject, window, limit, spent, held, left]
            }),
        )
    });
    Ok(Exit::Done)
}

/// What a node answers; where none does, what the journal beside it last knew.
pub fn or_from_journal<R>(
    args: &Args,
    output: &Output,
    asked: Result<R, Failure>,
    read: impl FnOnce(Views) -> Result<R, Failure>,
) -> Result<R, Failure> {
    match asked {
        Err(silent) if silent.exit == Exit::NoNode => {
            let path = config::load(args)?.ledger.path;
            if !path.exists() {
                return Err(silent);
            }
            output.note(&format!("no node answers: this is from {}", path.display()));
            read(Views::open(&path)?)
        }
        answered => answered,
    }
}

fn ask_budgets(args: &Args) -> Result<Vec<BudgetRow>, Failure> {
    with_node(args, async |client, _| {
        let mut budgets = BudgetServiceClient::new(client.channel.clone());
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListBudgetsRequest { agent: None, page_size: PAGE_SIZE, page_token };
            let listed = budgets.list_budgets(client.request(message)).await;
            let page = listed.map_err(|status| refused(&status))?.into_inner();
            rows.extend(page.budgets.into_iter().map(BudgetRow::from));
            if page.next_page_token.is_empty() {
                return Ok(rows);
            }
            page_token = page.next_page_token;
        }
    })
}

#[derive(Serialize)]
struct Why {
    payment: String,
    allowed: bool,
    code: Option<String>,
    reason: Option<String>,
    policy_version: u32,
    rules: Vec<RuleRow>,
    budgets: Vec<CheckRow>,
}

impl From<pb::Decision> for Why {
    fn from(decision: pb::Decision) -> Self {
        Self {
            payment: decision.payment_id,
            allowed: decision.refused.is_none(),
            code: decision.refused,
            reason: decision.reason,
            policy_version: decision.policy_version,
            rules: decision.rules.into_iter().map(rule_row).collect(),
            budgets: decision.budgets.into_iter().map(check_row).collect(),
        }
    }
}

impl From<Decision> for Why {
    fn from(decision: Decision) -> Self {
        Self {
            payment: decision.payment.to_string(),
            allowed: decision.refused.is_none(),
            code: decision.refused,
            reason: decision.reason,
            policy_version: decision.policy_version,
            rules: decision.rules.into_iter().map(kept_rule).collect(),
            budgets: decision.budgets.iter().map(kept_check).collect(),
        }
    }
}

#[derive(Serialize)]
struct RuleRow {
    rule: String,
    says: String,
    found: String,
    passed: bool,
}

#[derive(Serialize)]
struct CheckRow {
    #[serde(flatten)]
    account: BudgetRow,
    asked_nano: String,
    fits: bool,
}

/// Says why a payment was allowed or refused: every rule looked at, with the numbers at that instant.
pub fn why(args: &Args, payment: PaymentId, output: &Output) -> Result<Exit, Failure> {
    let message = pb::ExplainRequest { payment_id: payment.to_string() };
    let asked = with_node(args, async |client, _| {
        let mut payments = PaymentServiceClient::new(client.channel.clone());
        let explained = payments.explain(client.request(message)).await;
        let explained = explained.map_err(|status| refused(&status))?.into_inner();
        Ok(Why::from(explained.decision.unwrap_or_default()))
    });
    let why = or_from_journal(args, output, asked, |views| match views.decision(payment)? {
        Some(decision) => Ok(Why::from(decision)),
        None => {
            let message = format!("the journal does not know {payment} any more, or never did");
            Err(Failure::new(Exit::NotFound, "cli.no_decision", message))
        }
    })?;
    output.show(&why, || why_text(&why));
    Ok(Exit::Done)
}

fn rule_row(rule: pb::RuleCheck) -> RuleRow {
    let pb::RuleCheck { rule, says, found, passed } = rule;
    RuleRow { rule, says, found, passed }
}

fn check_row(check: pb::BudgetCheck) -> CheckRow {
    let pb::BudgetCheck { account, asked_nano, fits } = check;
    CheckRow { account: account.unwrap_or_default().into(), asked_nano, fits }
}

fn kept_rule(check: RuleCheck) -> RuleRow {
    let RuleCheck { rule, says, found, passed } = check;
    RuleRow { rule, says, found, passed }
}

/// The journal keeps the numbers of that instant; names of accounts and windows the ledger would add.
fn kept_check(check: &BudgetCheck) -> CheckRow {
    let nano = |nano: Nano| nano.get().to_string();
    let account = BudgetRow {
        budget: check.budget.to_string(),
        subject: String::new(),
        window: String::new(),
        limit_nano: nano(check.limit),
        spent_nano: nano(check.spent),
        held_nano: nano(check.held),
        left_nano: nano(check.left()),
    };
    CheckRow { account, asked_nano: nano(check.asked), fits: check.fits() }
}

fn why_text(why: &Why) -> String {
    let verdict = match (&why.code, &why.reason) {
        (None, _) => "allowed".to_owned(),
        (Some(code), reason) => {
            format!("refused: {} ({code})", reason.as_deref().unwrap_or("no reason kept"))
        }
    };
    let mark = |passed: bool| if passed { "yes" } else { "NO" }.to_owned();
    let rules = table(
        ["rule", "says", "found", "passed"],
        why.rules
            .iter()
            .map(|row| [row.rule.clone(), row.says.clone(), row.found.clone(), mark(row.passed)]),
    );
    let budgets = table(
        ["budget", "of", "limit>", "spent>", "held>", "asked>", "fits"],
        why.budgets.iter().map(|row| {
            let account = &row.account;
            let numbers = [&account.limit_nano, &account.spent_nano, &account.held_nano];
            let [limit, spent, held] = numbers.map(|text| shown(text));
            let (budget, subject) = (account.budget.clone(), account.subject.clone());
            [budget, subject, limit, spent, held, shown(&row.asked_nano), mark(row.fits)]
        }),
    );
    format!(
        "{} {verdict}, by policy version {}\n\n{rules}\n\n{budgets}",
        why.payment, why.policy_version
    )
}

/// Billionths as units.
fn shown(nano: &str) -> String {
    nano.parse().map(|nano| Nano::new(nano).to_string()).unwrap_or_else(|_| nano.to_owned())
}
