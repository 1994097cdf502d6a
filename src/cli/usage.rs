//! `bursar usage`: what was used, summed by agent, role, group, provider, payer, capability or model.

use bursar::domain::money::Amount;
use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::edge::config::parse_span;
use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::journal_service_client::JournalServiceClient;
use bursar::edge::journal::Views;
use bursar::ports::clock::Clock;
use bursar::ports::usage::{UsageBy, UsageFilter, UsageRow};

use super::args::{Args, By, UsageArgs};
use super::client::{refused, with_node};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};
use super::show::or_from_journal;

impl By {
    const fn summed(self) -> (UsageBy, pb::UsageBy) {
        match self {
            Self::Agent => (UsageBy::Agent, pb::UsageBy::Agent),
            Self::Role => (UsageBy::Role, pb::UsageBy::Role),
            Self::Group => (UsageBy::Group, pb::UsageBy::Group),
            Self::Provider => (UsageBy::Provider, pb::UsageBy::Provider),
            Self::Payer => (UsageBy::Payer, pb::UsageBy::Payer),
            Self::Capability => (UsageBy::Capability, pb::UsageBy::Capability),
            Self::Model => (UsageBy::Model, pb::UsageBy::Model),
        }
    }
}

/// Shows usage: by the node, else by the readable tables of its journal, or of the ledger that is named.
pub fn run(args: &Args, asked: &UsageArgs, output: &Output) -> Result<Exit, Failure> {
    let now = SystemClock.now();
    let at = |text: &Option<String>| text.as_deref().map(|text| instant(text, now)).transpose();
    let filter = UsageFilter {
        since: at(&asked.since)?,
        until: at(&asked.until)?,
        agent: asked.agent.clone(),
        group: asked.group.clone(),
        provider: asked.provider.clone(),
    };
    let (by, wire) = asked.by.summed();
    let rows = match &asked.ledger {
        Some(path) => Views::open(path)?.usage(by, &filter)?,
        None => or_from_journal(args, output, ask(args, wire, &filter), |views| {
            Ok(views.usage(by, &filter)?)
        })?,
    };
    output.show(&rows, || {
        let heads = [
            by.as_str(),
            "side",
            "calls>",
            "input>",
            "output>",
            "bytes>",
            "ms>",
            "stored>",
            "amount>",
            "asset",
        ];
        table(heads, rows.iter().map(text))
    });
    Ok(Exit::Done)
}

fn ask(args: &Args, by: pb::UsageBy, filter: &UsageFilter) -> Result<Vec<UsageRow>, Failure> {
    let time = |at: Timestamp| {
        let (seconds, nanos) = (at.as_secs(), at.as_nanos().checked_rem(1_000_000_000));
        Some(prost_types::Timestamp {
            seconds: i64::try_from(seconds).ok()?,
            nanos: i32::try_from(nanos?).ok()?,
        })
    };
    let message = pb::UsageRequest {
        by: by.into(),
        since: filter.since.and_then(time),
        until: filter.until.and_then(time),
        agent: filter.agent.as_ref().map(ToString::to_string),
        group: filter.group.as_ref().map(ToString::to_string),
        provider: filter.provider.as_ref().map(ToString::to_string),
    };
    let answer = with_node(args, async |client, _| {
        let mut journal = JournalServiceClient::new(client.channel.clone());
        journal.usage(client.request(message)).await.map_err(|status| refused(&status))
    })?;
    Ok(answer.into_inner().sums.into_iter().map(row).collect())
}

fn row(sum: pb::UsageSum) -> UsageRow {
    UsageRow {
        who: sum.who,
        side: sum.side,
        network: sum.network,
        asset: sum.asset,
        calls: sum.calls,
        input_units: sum.input,
        output_units: sum.output,
        bytes: sum.bytes,
        compute_ms: sum.compute_ms,
        stored_bytes: sum.stored_bytes,
        amount: sum.amount.parse().unwrap_or(Amount::ZERO),
    }
}

fn text(row: &UsageRow) -> [String; 10] {
    let number = |number: u64| number.to_string();
    let who = if row.who.is_empty() { "-" } else { &row.who };
    [
        who.to_owned(),
        row.side.clone(),
        number(row.calls),
        number(row.input_units),
        number(row.output_units),
        number(row.bytes),
        number(row.compute_ms),
        number(row.stored_bytes),
        row.amount.to_string(),
        format!("{}/erc20:{}", row.network, row.asset),
    ]
}

/// An instant by its date and time, or by how long ago it was.
fn instant(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(span) = parse_span(text) {
        return Ok(now.before(span));
    }
    let nanos = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond);
    nanos.and_then(|nanos| u64::try_from(nanos).ok()).map(Timestamp::from_nanos).ok_or_else(|| {
        let message = format!("`{text}` is no instant");
        Failure::new(Exit::Refused, "cli.bad_time", message)
            .help("2026-11-23T10:00:00Z, or so long ago: 24h")
    })
}
