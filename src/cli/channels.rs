//! `bursar channels`: what lies in channels, and how to have it back.

use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::operator_service_client::OperatorServiceClient;
use clap::Subcommand;
use serde::Serialize;

use super::args::Args;
use super::client::{refused, with_node};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};

/// What to do about a channel.
#[derive(Debug, Subcommand)]
pub enum ChannelsCommand {
    /// End a channel: nothing more is signed for it, and what was not charged comes back.
    Close {
        /// Which: `0x` and 64 digits.
        channel: String,
        /// Without its payee: begins the wait for what was not claimed, or takes it out once that is over.
        #[arg(long)]
        withdraw: bool,
    },
}

/// Channels in one answer at most.
const PAGE_SIZE: u32 = 100;

#[derive(Serialize)]
struct ChannelRow {
    channel: String,
    provider: String,
    role: String,
    network: String,
    asset: String,
    deposited: String,
    pending: String,
    charged: String,
    claimed: String,
    returned: String,
    exposure: String,
    locked_nano: String,
    state: String,
    calls: u64,
}

impl From<pb::Channel> for ChannelRow {
    fn from(channel: pb::Channel) -> Self {
        let pb::Channel { channel_id, provider, role, network, asset, .. } = channel;
        let pb::Channel { deposited, pending, charged, claimed, returned, .. } = channel;
        let pb::Channel { exposure, locked_nano, state, calls, .. } = channel;
        Self {
            channel: channel_id,
            provider,
            role,
            network,
            asset,
            deposited,
            pending,
            charged,
            claimed,
            returned,
            exposure,
            locked_nano,
            state,
            calls,
        }
    }
}

#[derive(Serialize)]
struct Closed {
    channel: String,
    amount_atomic: String,
    transaction: String,
}

/// Lists channels, or ends one.
pub fn run(
    args: &Args,
    command: Option<&ChannelsCommand>,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        None => list(args, output),
        Some(ChannelsCommand::Close { channel, withdraw }) => {
            close(args, channel, *withdraw, output)
        }
    }
}

fn list(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let rows = with_node(args, async |client, _| {
        let mut operator = OperatorServiceClient::new(client.channel.clone());
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListChannelsRequest { page_size: PAGE_SIZE, page_token };
            let listed = operator.list_channels(client.request(message)).await;
            let page = listed.map_err(|status| refused(&status))?.into_inner();
            rows.extend(page.channels.into_iter().map(ChannelRow::from));
            if page.next_page_token.is_empty() {
                return Ok(rows);
            }
            page_token = page.next_page_token;
        }
    })?;
    output.show(&rows, || {
        table(
            ["channel", "provider", "state", "deposited>", "charged>", "locked nano>"],
            rows.iter().map(|row| {
                let names = [&row.channel, &row.provider, &row.state];
                let numbers = [&row.deposited, &row.charged, &row.locked_nano];
                let [channel, provider, state] = names.map(String::clone);
                let [deposited, charged, locked] = numbers.map(String::clone);
                [channel, provider, state, deposited, charged, locked]
            }),
        )
    });
    Ok(Exit::Done)
}

fn close(args: &Args, channel: &str, withdraw: bool, output: &Output) -> Result<Exit, Failure> {
    let message = pb::CloseChannelRequest { channel_id: channel.to_owned(), withdraw };
    let closed = with_node(args, async |client, _| {
        let mut operator = OperatorServiceClient::new(client.channel.clone());
        operator.close_channel(client.request(message)).await.map_err(|status| refused(&status))
    })?;
    let pb::CloseChannelResponse { amount, transaction } = closed.into_inner();
    let closed = Closed { channel: channel.to_owned(), amount_atomic: amount, transaction };
    output.show(&closed, || {
        let Closed { amount_atomic, transaction, .. } = &closed;
        if transaction.is_empty() && !withdraw {
            return "nothing is left in it, and its payee has a voucher for what was charged"
                .into();
        }
        let word = if withdraw { "withdrawal of" } else { "given back:" };
        format!("{word} {amount_atomic} atomic units in {transaction}; the chain counts it")
    });
    Ok(Exit::Done)
}
