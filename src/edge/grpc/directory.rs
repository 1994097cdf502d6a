//! A directory over gRPC, both ends: any [`Directory`] as `bursar.v1.DirectoryService`, and a
//! directory elsewhere as a [`Directory`].

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::domain::listing::{Query, SignedListing};
use crate::domain::time::Timestamp;
use crate::edge::grpc::convert::{Malformed, parse, read, time, time_to_pb};
use crate::edge::grpc::limits::{ASK_MAX, PAGES_MAX, REQUEST_LEN_MAX, RESPONSE_LEN_MAX};
use crate::edge::grpc::page::page_size;
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::directory_service_client::DirectoryServiceClient;
use crate::edge::grpc::pb::directory_service_server::{DirectoryService, DirectoryServiceServer};
use crate::edge::grpc::pb::directory_service_watch_response::Change;
use crate::edge::grpc::serve::Stopping;
use crate::edge::grpc::status::read_directory_error;
use crate::ports::directory::{Cursor, Directory, DirectoryError, Watch, Watched};

/// `directory` behind its door, ready to be added to a server.
pub fn serve_directory(directory: Arc<dyn Directory>) -> DirectoryServiceServer<DirectoryDoor> {
    DirectoryServiceServer::new(DirectoryDoor(directory))
        .max_decoding_message_size(REQUEST_LEN_MAX)
        .max_encoding_message_size(RESPONSE_LEN_MAX)
}

/// A directory as the generated server wants it.
pub struct DirectoryDoor(Arc<dyn Directory>);

#[async_trait]
impl DirectoryService for DirectoryDoor {
    async fn announce(
        &self,
        request: Request<pb::AnnounceRequest>,
    ) -> Result<Response<pb::AnnounceResponse>, Status> {
        let listing =
            read(request.into_inner().listing, "listing").map_err(|error| Status::from(&error))?;
        let until = self.0.announce(listing).await.map_err(|error| Status::from(&error))?;
        Ok(Response::new(pb::AnnounceResponse { leased_until: Some(time_to_pb(until)) }))
    }

    async fn find(
        &self,
        request: Request<pb::FindRequest>,
    ) -> Result<Response<pb::FindResponse>, Status> {
        let mut request = request.into_inner();
        let after = std::mem::take(&mut request.page_token);
        let size = page_size(request.page_size);
        let query = Query::try_from(request).map_err(|error| Status::from(&error))?;
        let found = self.0.find(&query).await.map_err(|error| Status::from(&error))?;
        Ok(Response::new(page(&found, &after, size)))
    }

    type WatchStream = BoxStream<'static, Result<pb::DirectoryServiceWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<pb::DirectoryServiceWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let stopping = request.extensions().get::<Stopping>().cloned();
        let after = match request.into_inner().cursor.as_str() {
            "" => None,
            text => Some(cursor(text).map_err(|error| Status::from(&error))?),
        };
        let seen = self.0.watch(after).await.map_err(|error| Status::from(&error))?;
        let seen = seen.map(|seen| match seen {
            Ok(seen) => Ok(seen.into()),
            Err(error) => Err(Status::from(&error)),
        });
        Ok(Response::new(match stopping {
            Some(stopping) => seen.take_until(Box::pin(stopping.wait())).boxed(),
            None => seen.boxed(),
        }))
    }
}

fn cursor(text: &str) -> Result<Cursor, Malformed> {
    text.parse().map_err(|problem| Malformed::new("cursor", problem))
}

impl From<Watched> for pb::DirectoryServiceWatchResponse {
    fn from(seen: Watched) -> Self {
        let (change, cursor) = match seen {
            Watched::Standing(signed) => (Some(Change::Listed(signed.as_ref().into())), None),
            Watched::Begun(cursor) => (None, Some(cursor)),
            Watched::Listed(signed, cursor) => {
                (Some(Change::Listed(signed.as_ref().into())), Some(cursor))
            }
            Watched::Gone(name, cursor) => (Some(Change::Gone(name.to_string())), Some(cursor)),
        };
        Self { change, cursor: cursor.map(|cursor| cursor.to_string()).unwrap_or_default() }
    }
}

impl TryFrom<pb::DirectoryServiceWatchResponse> for Watched {
    type Error = Malformed;

    fn try_from(said: pb::DirectoryServiceWatchResponse) -> Result<Self, Malformed> {
        let at = |text: &str| cursor(text);
        Ok(match said.change {
            None => Self::Begun(at(&said.cursor)?),
            Some(Change::Gone(name)) => Self::Gone(parse(&name, "gone")?, at(&said.cursor)?),
            Some(Change::Listed(signed)) => {
                let signed = Box::new(read(Some(signed), "listed")?);
                match said.cursor.as_str() {
                    "" => Self::Standing(signed),
                    text => Self::Listed(signed, at(text)?),
                }
            }
        })
    }
}

/// The listings after the provider that the last page ended with: at most `size` of them, and no more
/// than one message carries.
fn page(found: &[SignedListing], after: &str, size: usize) -> pb::FindResponse {
    use prost::Message;

    let mut rest = found.iter().filter(|signed| signed.listing.provider.as_str() > after);
    let mut response = pb::FindResponse::default();
    let mut len = 0_usize;
    for signed in rest.by_ref() {
        let listing = pb::SignedListing::from(signed);
        len = len.saturating_add(listing.encoded_len().saturating_add(8));
        let full = response.listings.len() == size || len > RESPONSE_LEN_MAX / 2;
        if full && let Some(last) = response.listings.last() {
            let name = last.listing.as_ref().map(|listing| listing.provider.clone());
            response.next_page_token = name.unwrap_or_default();
            break;
        }
        response.listings.push(listing);
    }
    response
}

/// A directory elsewhere.
#[derive(Clone, Debug)]
pub struct GrpcDirectory {
    client: DirectoryServiceClient<Channel>,
}

impl GrpcDirectory {
    /// The directory at the other end of `channel`.
    pub fn new(channel: Channel) -> Self {
        Self {
            client: DirectoryServiceClient::new(channel)
                .max_decoding_message_size(RESPONSE_LEN_MAX)
                .max_encoding_message_size(REQUEST_LEN_MAX),
        }
    }
}

#[async_trait]
impl Directory for GrpcDirectory {
    async fn announce(&self, listing: SignedListing) -> Result<Timestamp, DirectoryError> {
        let request = pb::AnnounceRequest { listing: Some((&listing).into()) };
        let mut client = self.client.clone();
        let response = within(client.announce(request)).await?;
        time(response.leased_until, "leased_until").map_err(illegible)
    }

    async fn find(&self, query: &Query) -> Result<Vec<SignedListing>, DirectoryError> {
        let mut request = pb::FindRequest::from(query);
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut client = self.client.clone();
            let response = within(client.find(request.clone())).await?;
            for listing in response.listings {
                // One listing that does not read spoils nothing: it is as if it were not listed.
                match SignedListing::try_from(listing) {
                    Ok(listing) => found.push(listing),
                    Err(error) => tracing::debug!(%error, "listing skipped"),
                }
            }
            if response.next_page_token.is_empty() {
                break;
            }
            request.page_token = response.next_page_token;
        }
        Ok(found)
    }

    async fn watch(&self, after: Option<Cursor>) -> Result<Watch, DirectoryError> {
        let cursor = after.map(|cursor| cursor.to_string()).unwrap_or_default();
        let mut client = self.client.clone();
        let said = within(client.watch(pb::DirectoryServiceWatchRequest { cursor })).await?;
        let seen = said.map(|said| match said {
            Ok(said) => Watched::try_from(said).map_err(illegible),
            Err(status) => Err(read_directory_error(&status)),
        });
        // After an error there is nothing more.
        let seen = seen.scan(false, |over, seen| {
            let before = std::mem::replace(over, seen.is_err());
            std::future::ready((!before).then_some(seen))
        });
        Ok(seen.boxed())
    }
}

async fn within<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, DirectoryError> {
    match timeout(ASK_MAX, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(read_directory_error(&status)),
        Err(_) => Err(DirectoryError::Unavailable(format!("no answer within {ASK_MAX:?}"))),
    }
}

fn illegible(error: Malformed) -> DirectoryError {
    DirectoryError::Unavailable(format!("its answer does not read: {error}"))
}
