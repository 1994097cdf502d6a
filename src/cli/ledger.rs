//! `bursar ledger verify`: the whole journal, checked from its first entry. Needs no node, and may run
//! beside one.

use bursar::domain::ledger::Bounds;
use bursar::edge::journal::{SnapshotCheck, VerifyReport, verify};

use super::args::{Args, LedgerCommand};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};

/// Verifies the journal.
pub fn run(args: &Args, command: &LedgerCommand, output: &Output) -> Result<Exit, Failure> {
    let LedgerCommand::Verify { path } = command;
    let config = match path {
        Some(_) => config::find(args)?,
        None => Some(config::load(args)?),
    };
    let mut bounds = Bounds::default();
    if let Some(config) = &config {
        bounds.request_memory = config.ledger.request_memory;
    }
    let configured = || config.as_ref().map(|config| config.ledger.path.clone());
    let path = path.clone().or_else(configured).expect("no path: the configuration was loaded");
    let report = verify(&path, bounds)?;
    output.show(&report, || text(&report));
    Ok(if report.is_good() { Exit::Done } else { Exit::Damaged })
}

fn text(report: &VerifyReport) -> String {
    let rows = report.books.iter().map(|row| {
        let (commodity, account) = (row.commodity.clone(), row.account.clone());
        [commodity, account, row.debits.clone(), row.credits.clone()]
    });
    let mut text = table(["commodity", "account", "debits>", "credits>"], rows);
    let snapshot = match &report.snapshot {
        SnapshotCheck::Absent => "none".to_owned(),
        SnapshotCheck::Good { seq } => format!("good, after entry {seq}"),
        SnapshotCheck::Differs { seq, parts } => {
            format!("after entry {seq} it is not what the entries give: {}", parts.join(", "))
        }
        SnapshotCheck::Unreadable => "cannot be read".to_owned(),
    };
    let balanced = if report.balanced { "balanced" } else { "NOT BALANCED" };
    text.push_str(&format!(
        "\n\nentries   {}, until {}\nhead      {}\nbooks     {balanced}\nsnapshot  {snapshot}",
        report.entries, report.at, report.head
    ));
    if let Some(damage) = &report.damage {
        text.push_str(&format!("\nDAMAGED   at entry {}: {}", damage.seq, damage.problem));
    }
    text
}
