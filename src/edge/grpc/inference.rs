//! The payee's door: any [`PaidService`] as `bursar.v1.InferenceService`. It converts and calls; what
//! is served and what it costs is decided behind it.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::domain::x402::wire::SettlementResponse;
use crate::edge::grpc::convert::read;
use crate::edge::grpc::flow;
use crate::edge::grpc::limits::{REQUEST_LEN_MAX, RESPONSE_LEN_MAX, WHOLE_ANSWER_LEN_MAX};
use crate::edge::grpc::listen::Peer;
use crate::edge::grpc::pb::inference_service_server::{InferenceService, InferenceServiceServer};
use crate::edge::grpc::pb::{self, infer_stream_response};
use crate::edge::grpc::trailers::{Trailers, WithTrailers};
use crate::edge::grpc::x402::{self, Word};
use crate::ports::paid_service::{
    Answer, Ask, Closing, PaidCall, PaidService, Piece, ServiceError,
};

/// `service` behind the payee's door, ready to be added to a server.
pub fn serve_paid_service(
    service: Arc<dyn PaidService>,
) -> WithTrailers<InferenceServiceServer<InferenceDoor>> {
    WithTrailers(
        InferenceServiceServer::new(InferenceDoor(service))
            .max_decoding_message_size(REQUEST_LEN_MAX)
            .max_encoding_message_size(RESPONSE_LEN_MAX),
    )
}

/// A paid service as the generated server wants it.
pub struct InferenceDoor(Arc<dyn PaidService>);

#[async_trait]
impl InferenceService for InferenceDoor {
    async fn quote(
        &self,
        request: Request<pb::QuoteRequest>,
    ) -> Result<Response<pb::QuoteResponse>, Status> {
        let ask = Ask::try_from(request.into_inner()).map_err(|error| Status::from(&error))?;
        let quoted = self.0.quote(ask).await.map_err(|error| Status::from(&error))?;
        Ok(Response::new((&quoted).into()))
    }

    async fn infer(
        &self,
        request: Request<pb::InferRequest>,
    ) -> Result<Response<pb::InferResponse>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let call = read_call(&metadata, &extensions, message.call, Want::Whole)?;
        let word = x402::find_word(&metadata).map_err(|error| Status::from(&error))?;
        let answer = match word {
            Some(Word::Voucher(word)) => self.0.infer_by_word(call, word).await,
            Some(Word::OnCredit(word)) => self.0.infer_on_credit(call, word).await,
            None => self.0.infer(call).await,
        };
        let answer = answer.map_err(|error| Status::from(&error))?;
        let (content_type, model) = (answer.content_type.clone(), answer.model.clone());
        let (body, closing) = whole(answer).await.map_err(|error| Status::from(&error))?;
        let mut response = Response::new(pb::InferResponse {
            content_type,
            model,
            body,
            usage: Some((&closing.usage).into()),
            receipt: closing.receipt.as_ref().map(Into::into),
        });
        Trailers::of(&mut response).fill(|trailers| {
            x402::put_charge(trailers, &closing.response);
            if word.is_none() {
                tell(trailers, &closing.response);
            }
        });
        Ok(response)
    }

    type InferStreamStream = BoxStream<'static, Result<pb::InferStreamResponse, Status>>;

    async fn infer_stream(
        &self,
        request: Request<Streaming<pb::InferStreamRequest>>,
    ) -> Result<Response<Self::InferStreamStream>, Status> {
        let (metadata, extensions, mut messages) = request.into_parts();
        let call = flow::first_call(&mut messages).await?;
        let call = read_call(&metadata, &extensions, call, Want::Streamed)?;
        let answer = self.0.flow(call, flow::saying(messages)).await;
        let answer = answer.map_err(|error| Status::from(&error))?;
        let begin = infer_stream_response::Piece::Begin(pb::AnswerBegin {
            content_type: answer.content_type,
            model: answer.model,
        });
        let trailers = Trailers::default();
        let filled = trailers.clone();
        let pieces = answer.pieces.map(move |piece| to_piece(piece, &filled));
        let head = stream::once(async { Ok(streamed(begin)) });
        let mut response = Response::new(head.chain(pieces).boxed());
        if let Some(settled) = &answer.settled {
            tell(response.metadata_mut(), settled);
        }
        response.extensions_mut().insert(trailers);
        Ok(response)
    }
}

/// How the caller wants its answer.
enum Want {
    Whole,
    Streamed,
}

fn read_call(
    metadata: &MetadataMap,
    extensions: &Extensions,
    call: Option<pb::PaidCall>,
    want: Want,
) -> Result<PaidCall, Status> {
    let read = || {
        let payment = x402::find_payment(metadata)?;
        let call: PaidCall = read(call, "call")?;
        Ok(PaidCall {
            payment,
            peer: peer_ip(extensions),
            streamed: matches!(want, Want::Streamed),
            ..call
        })
    };
    read().map_err(|error: super::convert::Malformed| Status::from(&error))
}

/// Where the connection comes from: never what the caller says of itself.
fn peer_ip(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Peer>()?.ip()
}

/// A whole answer.
async fn whole(answer: Answer) -> Result<(Bytes, Closing), ServiceError> {
    let mut pieces = answer.pieces;
    let mut body = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        match piece? {
            Piece::Chunk(chunk) => {
                if body.len().saturating_add(chunk.len()) > WHOLE_ANSWER_LEN_MAX {
                    // It is paid for: asked again as a stream, it arrives.
                    return Err(ServiceError::Due);
                }
                body.extend_from_slice(&chunk);
            }
            Piece::Done(closing) => return Ok((body.freeze(), *closing)),
            // Whole answers are paid as a whole: what is cut was served before, and is kept no more.
            Piece::Cut(_) => {
                return Err(ServiceError::Unavailable("it is kept no more".to_owned()));
            }
            Piece::Used(_) => {}
        }
    }
    Err(ServiceError::Unknown("the answer broke off".to_owned()))
}

fn streamed(piece: infer_stream_response::Piece) -> pb::InferStreamResponse {
    pb::InferStreamResponse { piece: Some(piece) }
}

fn to_piece(
    piece: Result<Piece, ServiceError>,
    trailers: &Trailers,
) -> Result<pb::InferStreamResponse, Status> {
    Ok(streamed(match piece.map_err(|error| Status::from(&error))? {
        Piece::Chunk(chunk) => infer_stream_response::Piece::Chunk(chunk),
        Piece::Used(usage) => infer_stream_response::Piece::Used((&usage).into()),
        Piece::Cut(closing) => {
            trailers.fill(|trailers| tell(trailers, &closing.response));
            infer_stream_response::Piece::Cut(pb::AnswerCut {
                usage: Some((&closing.usage).into()),
            })
        }
        Piece::Done(closing) => {
            trailers.fill(|trailers| tell(trailers, &closing.response));
            infer_stream_response::Piece::Done(pb::AnswerDone {
                usage: Some((&closing.usage).into()),
                receipt: closing.receipt.as_ref().map(Into::into),
            })
        }
    }))
}

/// Says what came of the settlement. One too long for metadata goes without its extensions: an answer
/// that is paid for is never withheld for them.
pub(super) fn tell(metadata: &mut MetadataMap, settlement: &SettlementResponse) {
    if x402::put_settlement(metadata, settlement).is_err() {
        let bare = SettlementResponse { extensions: None, ..settlement.clone() };
        if let Err(error) = x402::put_settlement(metadata, &bare) {
            tracing::warn!(%error, "settlement not told");
        }
    }
}
