//! The journal, for the operator to read along.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tonic::{Request, Response, Status};

use super::Node;
use crate::domain::time::Timestamp;
use crate::edge::grpc::convert::{Malformed, parse_some, time, time_to_pb};
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::journal_service_server::JournalService;
use crate::edge::grpc::serve::Stopping;
use crate::edge::grpc::status::refuse;
use crate::ports::journal::{Entry, Journal, JournalError};
use crate::ports::usage::{UsageBy, UsageFilter, UsageRow};

/// Entries that are read at a time.
const ENTRIES_A_READ: u32 = 512;

/// How soon a watcher looks again after it has seen the last entry.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[tonic::async_trait]
impl JournalService for Node {
    async fn head(
        &self,
        _request: Request<pb::HeadRequest>,
    ) -> Result<Response<pb::HeadResponse>, Status> {
        let seq = self.journal.end();
        let last = match seq.checked_sub(1) {
            Some(before) => self.journal.read(before, 1).await.map_err(refuse)?.pop(),
            None => None,
        };
        let at = last.map_or(Timestamp::ZERO, |entry| entry.at);
        Ok(Response::new(pb::HeadResponse { seq, at: Some(time_to_pb(at)) }))
    }

    async fn verify(
        &self,
        _request: Request<pb::VerifyRequest>,
    ) -> Result<Response<pb::VerifyResponse>, Status> {
        let entries = (self.verify)().await.map_err(refuse)?;
        Ok(Response::new(pb::VerifyResponse { entries, seq: entries }))
    }

    async fn usage(
        &self,
        request: Request<pb::UsageRequest>,
    ) -> Result<Response<pb::UsageResponse>, Status> {
        let asked = read_usage(request.into_inner()).map_err(|error| Status::from(&error))?;
        let rows = self.history.usage(asked.0, asked.1).await.map_err(refuse)?;
        let sums = rows.into_iter().map(to_sum).collect();
        Ok(Response::new(pb::UsageResponse { sums }))
    }

    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let stopping = request.extensions().get::<Stopping>().cloned();
        let start = (Arc::clone(&self.journal), request.into_inner().after_seq);
        let reads = stream::try_unfold(start, |(journal, after)| async move {
            let read = next(journal.as_ref(), after).await.map_err(refuse)?;
            let end = read.last().map_or(after, |entry| entry.seq);
            let entries: Vec<_> = read.iter().map(|entry| Ok(to_pb(entry))).collect();
            Ok::<_, Status>(Some((stream::iter(entries), (journal, end))))
        });
        let entries = reads.try_flatten();
        Ok(Response::new(match stopping {
            Some(stopping) => entries.take_until(Box::pin(stopping.wait())).boxed(),
            None => entries.boxed(),
        }))
    }
}

/// The next entries after `after`, once there are some.
async fn next(journal: &dyn Journal, after: u64) -> Result<Vec<Entry>, JournalError> {
    loop {
        if journal.end() > after {
            return journal.read(after, ENTRIES_A_READ).await;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn read_usage(request: pb::UsageRequest) -> Result<(UsageBy, UsageFilter), Malformed> {
    let by = match request.by() {
        pb::UsageBy::Agent => UsageBy::Agent,
        pb::UsageBy::Role => UsageBy::Role,
        pb::UsageBy::Group => UsageBy::Group,
        pb::UsageBy::Provider => UsageBy::Provider,
        pb::UsageBy::Payer => UsageBy::Payer,
        pb::UsageBy::Capability => UsageBy::Capability,
        pb::UsageBy::Model => UsageBy::Model,
        pb::UsageBy::Unspecified => {
            return Err(Malformed::new("by", "names nothing that usage is summed by"));
        }
    };
    let at = |at: Option<prost_types::Timestamp>, field| at.map(|at| time(Some(at), field));
    let filter = UsageFilter {
        since: at(request.since, "since").transpose()?,
        until: at(request.until, "until").transpose()?,
        agent: parse_some(request.agent.as_deref(), "agent")?,
        group: parse_some(request.group.as_deref(), "group")?,
        provider: parse_some(request.provider.as_deref(), "provider")?,
    };
    Ok((by, filter))
}

fn to_sum(row: UsageRow) -> pb::UsageSum {
    pb::UsageSum {
        who: row.who,
        side: row.side,
        network: row.network,
        asset: row.asset,
        calls: row.calls,
        input: row.input_units,
        output: row.output_units,
        bytes: row.bytes,
        compute_ms: row.compute_ms,
        stored_bytes: row.stored_bytes,
        amount: row.amount.to_string(),
    }
}

fn to_pb(entry: &Entry) -> pb::WatchResponse {
    pb::WatchResponse {
        seq: entry.seq,
        at: Some(time_to_pb(entry.at)),
        kind: entry.event.kind().to_owned(),
        event_json: serde_json::to_string(&entry.event)
            .unwrap_or_else(|error| format!("{{\"unreadable\":\"{error}\"}}")),
    }
}
