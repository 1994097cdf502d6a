//! `bursar payments`: what was paid, newest first; and with `--state refused` what was not.

use bursar::domain::money::Nano;
use bursar::domain::time::Timestamp;
use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::payment_service_client::PaymentServiceClient;
use bursar::edge::journal::{Page, PaymentFilter, PaymentRow, RefusalRow, Views};
use serde::Serialize;

use super::args::{Args, PaymentsArgs};
use super::client::{refused, with_node};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};
use super::show::or_from_journal;

/// Payments in one answer at most.
const PAGE_SIZE: u32 = 100;

/// The states that can be asked for.
const STATES: [(&str, pb::PaymentState); 8] = [
    ("signable", pb::PaymentState::Held),
    ("unknown", pb::PaymentState::Unknown),
    ("captured", pb::PaymentState::Captured),
    ("settled", pb::PaymentState::Settled),
    ("void", pb::PaymentState::Void),
    ("expired", pb::PaymentState::Expired),
    ("reversed", pb::PaymentState::Reversed),
    ("charged", pb::PaymentState::Charged),
];

#[derive(Serialize)]
struct Line {
    payment: String,
    state: String,
    agent: String,
    session: Option<String>,
    request: String,
    provider: String,
    asset: String,
    amount_held: String,
    amount: Option<String>,
    held_nano: String,
    spent_nano: Option<String>,
    transaction: Option<String>,
    held_at: String,
    ended_at: Option<String>,
}

/// Shows payments, or refusals: by the node, else by the journal's readable tables.
pub fn run(args: &Args, asked: &PaymentsArgs, output: &Output) -> Result<Exit, Failure> {
    let state = match asked.state.as_deref() {
        Some("refused") => return refusals(args, asked, output),
        Some(word) => match STATES.into_iter().find(|(known, _)| *known == word) {
            Some((_, state)) => state,
            None => {
                let words: Vec<&str> = STATES.iter().map(|(word, _)| *word).collect();
                let message = format!("`{word}` is no state of a payment");
                return Err(Failure::new(Exit::Refused, "cli.bad_state", message)
                    .help(format!("one of {}, refused", words.join(", "))));
            }
        },
        None => pb::PaymentState::Unspecified,
    };
    let lines = or_from_journal(args, output, ask(args, asked, state), |views| {
        let filter = PaymentFilter {
            agent: asked.agent.clone(),
            provider: asked.provider.clone(),
            state: asked.state.clone(),
            ..PaymentFilter::default()
        };
        let rows = views.payments(&filter, Page { before: None, limit: asked.limit })?;
        Ok(rows.into_iter().map(Line::from).collect())
    })?;
    output.show(&lines, || {
        table(
            ["held at", "payment", "agent", "provider", "state", "USD>", "transfer"],
            lines.iter().map(text),
        )
    });
    Ok(Exit::Done)
}

fn ask(args: &Args, asked: &PaymentsArgs, state: pb::PaymentState) -> Result<Vec<Line>, Failure> {
    with_node(args, async |client, _| {
        let mut payments = PaymentServiceClient::new(client.channel.clone());
        let wanted = |provider: &str| match &asked.provider {
            Some(only) => only.as_str() == provider,
            None => true,
        };
        let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
        let (mut lines, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListPaymentsRequest {
                agent: asked.agent.as_ref().map(ToString::to_string),
                state: state.into(),
                page_size: PAGE_SIZE.min(asked.limit),
                page_token,
            };
            let listed = payments.list_payments(client.request(message)).await;
            let page = listed.map_err(|status| refused(&status))?.into_inner();
            let found = page.payments.into_iter().filter(|payment| wanted(&payment.provider));
            lines.extend(found.map(Line::from));
            if page.next_page_token.is_empty() || lines.len() >= limit {
                lines.truncate(limit);
                return Ok(lines);
            }
            page_token = page.next_page_token;
        }
    })
}

impl From<pb::Payment> for Line {
    fn from(payment: pb::Payment) -> Self {
        let known = STATES.into_iter().find(|(_, state)| *state == payment.state());
        let time = |time: prost_types::Timestamp| {
            let millis =
                time.seconds.saturating_mul(1000).saturating_add((time.nanos / 1_000_000).into());
            Timestamp::from_millis(u64::try_from(millis).unwrap_or(0)).to_string()
        };
        Self {
            state: known.map_or("?", |(word, _)| word).to_owned(),
            payment: payment.payment_id,
            agent: payment.agent,
            session: payment.session,
            request: payment.request_id,
            provider: payment.provider,
            asset: payment.asset,
            amount_held: payment.authorized_amount,
            amount: payment.captured_amount,
            held_nano: payment.held_nano,
            spent_nano: payment.captured_nano,
            transaction: payment.transaction,
            held_at: payment.held_at.map(time).unwrap_or_default(),
            ended_at: payment.ended_at.map(time),
        }
    }
}

impl From<PaymentRow> for Line {
    fn from(row: PaymentRow) -> Self {
        Self {
            payment: row.payment,
            state: row.state,
            agent: row.agent,
            session: row.session,
            request: row.request,
            provider: row.provider,
            asset: format!("{}/erc20:{}", row.network, row.asset),
            amount_held: row.amount_held.to_string(),
            amount: row.amount.map(|amount| amount.to_string()),
            held_nano: row.held_nano.get().to_string(),
            spent_nano: row.spent_nano.map(|nano| nano.get().to_string()),
            transaction: row.transaction,
            held_at: row.held_at,
            ended_at: row.ended_at,
        }
    }
}

fn text(line: &Line) -> [String; 7] {
    let nano = line.spent_nano.as_ref().unwrap_or(&line.held_nano);
    let nano = nano.parse().map_or_else(|_| nano.clone(), |nano| Nano::new(nano).to_string());
    let [held_at, payment, agent, provider, state] =
        [&line.held_at, &line.payment, &line.agent, &line.provider, &line.state].map(String::clone);
    let transfer = line.transaction.clone().unwrap_or_default();
    [held_at, payment, agent, provider, state, nano, transfer]
}

/// Refusals, newest first. They lie beside the ledger, in the journal's file.
fn refusals(args: &Args, asked: &PaymentsArgs, output: &Output) -> Result<Exit, Failure> {
    let views = Views::open(&config::load(args)?.ledger.path)?;
    let page = Page { before: None, limit: asked.limit };
    let rows = views.refusals(asked.agent.as_ref(), None, page)?;
    let line = |row: &RefusalRow| {
        let reason = row.reason.clone().unwrap_or_default();
        [row.at.clone(), row.payment.clone(), row.agent.clone(), row.code.clone(), reason]
    };
    output
        .show(&rows, || table(["at", "payment", "agent", "code", "reason"], rows.iter().map(line)));
    Ok(Exit::Done)
}
