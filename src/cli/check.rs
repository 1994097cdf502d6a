//! `bursar check`: the configuration's problems, or the limits that it sets. Needs no node.

use serde::Serialize;

use bursar::domain::ledger::budget::{BudgetDef, Per, Selector};
use bursar::domain::ledger::window::{CalendarUnit, WindowSpec};
use bursar::domain::money::Nano;
use bursar::domain::policy::{PolicyDocument, Rates};
use bursar::edge::config::Config;

use super::args::Args;
use super::config;
use super::exit::Exit;
use super::failure::{Failure, ShownProblem, plural};
use super::output::{Output, table};

#[derive(Serialize)]
struct Report<'c> {
    file: String,
    currency: &'c str,
    budgets: Vec<BudgetRow>,
    roles: Vec<RoleRow>,
    networks: Vec<String>,
    warnings: Vec<ShownProblem<'c>>,
}

#[derive(Serialize)]
struct BudgetRow {
    name: String,
    applies_to: String,
    per: &'static str,
    limit: Nano,
    window: String,
}

#[derive(Serialize)]
struct RoleRow {
    name: String,
    per_call_max: Nano,
    output_max: Option<u64>,
    calls_per_minute: Option<u32>,
    concurrency: Option<u32>,
    can_delegate: bool,
}

/// Checks the configuration.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let config = config::load(args)?;
    let report = Report {
        file: args.config.display().to_string(),
        currency: &config.currency,
        budgets: config
            .policy
            .all_budgets()
            .iter()
            .map(|def| budget(&config.policy, def))
            .collect(),
        roles: roles(&config.policy),
        networks: config.networks.values().map(|network| network.network().to_string()).collect(),
        warnings: config.warnings.iter().map(ShownProblem::of).collect(),
    };
    output.show(&report, || text(&config, &report));
    Ok(Exit::Done)
}

fn text(config: &Config, report: &Report<'_>) -> String {
    let mut text = String::new();
    for warning in &config.warnings {
        text.push_str(&format!("{warning}\n\n"));
    }
    let limit = format!("limit ({})>", report.currency);
    let budgets = report.budgets.iter().map(|row| {
        let BudgetRow { name, applies_to, window, .. } = row;
        let (per, limit) = (row.per.to_owned(), row.limit.to_string());
        [name.clone(), applies_to.clone(), per, limit, window.clone()]
    });
    text.push_str(&table(["budget", "applies to", "per", &limit, "window"], budgets));
    let bound = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let roles = report.roles.iter().map(|row| {
        [
            row.name.clone(),
            row.per_call_max.to_string(),
            bound(row.output_max),
            bound(row.calls_per_minute.map(u64::from)),
            bound(row.concurrency.map(u64::from)),
            if row.can_delegate { "yes" } else { "no" }.to_owned(),
        ]
    });
    let heads = ["role", "per call>", "output>", "calls/min>", "at once>", "delegates"];
    text.push_str(&format!("\n\n{}", table(heads, roles)));
    let many = config.warnings.len();
    text.push_str(&format!("\n\n{}: good, {many} warning{}", report.file, plural(many)));
    text
}

fn roles(policy: &PolicyDocument) -> Vec<RoleRow> {
    let row = |role: &bursar::domain::policy::Role| {
        let Rates { calls_per_minute, concurrency, .. } = role.rates;
        RoleRow {
            name: role.name.to_string(),
            per_call_max: role.per_call_max,
            output_max: role.output_max.map(|units| units.0),
            calls_per_minute,
            concurrency,
            can_delegate: role.can_delegate,
        }
    };
    policy.roles.values().map(row).collect()
}

fn budget(policy: &PolicyDocument, def: &BudgetDef) -> BudgetRow {
    let applies_to = match &def.selector {
        Selector::Fleet => "*".to_owned(),
        Selector::Role(id) => match policy.find_role_name(*id) {
            Some(name) => format!("role/{name}"),
            None => id.to_string(),
        },
        Selector::Group(id) => id.to_string(),
        Selector::Agent(id) => id.to_string(),
        Selector::Provider(id) => id.to_string(),
        Selector::Model(pattern) => format!("model/{pattern}"),
    };
    let per = match def.per {
        Per::All => "all",
        Per::Group => "group",
        Per::Role => "role",
        Per::Agent => "agent",
        Per::Session => "session",
    };
    let (name, window) = (def.name.to_string(), window(&def.window));
    BudgetRow { name, applies_to, per, limit: def.limit, window }
}

fn window(spec: &WindowSpec) -> String {
    match spec {
        WindowSpec::Calendar { unit, zone } => {
            let unit = match unit {
                CalendarUnit::Hour => "hour",
                CalendarUnit::Day => "day",
                CalendarUnit::Week => "week",
                CalendarUnit::Month => "month",
            };
            format!("each {unit}, {zone}")
        }
        WindowSpec::Rolling { span } => format!("any {span:?}"),
        WindowSpec::Session { span } => format!("session, at most {span:?}"),
        WindowSpec::Lifetime => "for ever".to_owned(),
    }
}
