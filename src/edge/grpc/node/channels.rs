//! The operator's door to the channels of the node's wallets.

use tonic::Status;

use super::Node;
use crate::domain::channel::ChannelId;
use crate::domain::ledger::Ledger;
use crate::domain::ledger::channel::Channel;
use crate::domain::money::Amount;
use crate::edge::grpc::convert::Malformed;
use crate::edge::grpc::page::page;
use crate::edge::grpc::pb;
use crate::edge::grpc::status::{malformed, refuse};
use crate::ports::rail::Settlement;

pub(super) async fn list(
    node: &Node,
    request: pb::ListChannelsRequest,
) -> Result<pb::ListChannelsResponse, Status> {
    let look = move |ledger: &Ledger| {
        let name = |channel: &&Channel| channel.opened.id.to_string();
        let (channels, next) =
            page(ledger.channels(), name, &request.page_token, request.page_size);
        let channels = channels.into_iter().map(to_pb).collect();
        pb::ListChannelsResponse { channels, next_page_token: next }
    };
    node.treasury.read(look).await.map_err(refuse)
}

pub(super) async fn close(
    node: &Node,
    request: pb::CloseChannelRequest,
) -> Result<pb::CloseChannelResponse, Status> {
    let wrong = Malformed::new("channel_id", "expected 0x and 64 hexadecimal digits");
    let channel = ChannelId(request.channel_id.parse().map_err(|_| malformed(wrong))?);
    if request.withdraw {
        let settled = node.payer.withdraw_channel(channel).await.map_err(refuse)?;
        let (amount, transaction) = match settled {
            Settlement::Settled { transaction, amount, .. } => (amount, transaction.to_string()),
            Settlement::Unknown { transaction } => {
                (Amount::ZERO, transaction.map(|hash| hash.to_string()).unwrap_or_default())
            }
            Settlement::Refused(reason) => {
                let code = reason.wire().as_str();
                return Err(Status::failed_precondition(format!("the contract refuses: {code}")));
            }
        };
        return Ok(pb::CloseChannelResponse { amount: amount.to_string(), transaction });
    }
    let given = node.payer.close_channel(channel).await.map_err(refuse)?;
    let (amount, transaction) = (given.amount.to_string(), given.transaction);
    Ok(pb::CloseChannelResponse { amount, transaction })
}

fn to_pb(found: &Channel) -> pb::Channel {
    let opened = &found.opened;
    let pending = found.pending.map_or(Amount::ZERO, |coming| coming.deposit.amount);
    pb::Channel {
        channel_id: opened.id.to_string(),
        provider: opened.provider.to_string(),
        role: opened.role.to_string(),
        network: opened.terms.asset.network.to_string(),
        asset: opened.terms.asset.contract.to_string(),
        deposited: found.deposited.to_string(),
        pending: pending.to_string(),
        charged: found.charged.to_string(),
        claimed: found.claimed.to_string(),
        returned: found.returned.to_string(),
        exposure: found.exposure().to_string(),
        locked_nano: found.locked.get().to_string(),
        state: found.state.as_str().to_owned(),
        calls: found.calls,
    }
}
