//! What rides on a stream beside its answer: the call first, then what pays for more of it.

use std::time::Duration;

use alloy::primitives::{B256, Signature};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::VoucherWord;
use crate::edge::grpc::convert::Malformed;
use crate::edge::grpc::pb::{self, infer_stream_request};
use crate::ports::paid_service::{Said, Saying};

/// How long a stream may take to say what it wants.
const FIRST_MESSAGE_MAX: Duration = Duration::from_secs(10);

/// The call that a stream begins with.
pub(super) async fn first_call(
    messages: &mut Streaming<pb::InferStreamRequest>,
) -> Result<Option<pb::PaidCall>, Status> {
    let first = timeout(FIRST_MESSAGE_MAX, messages.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no call within ten seconds"))??;
    match first.and_then(|message| message.message) {
        Some(infer_stream_request::Message::Call(call)) => Ok(Some(call)),
        Some(_) | None => Ok(None),
    }
}

/// What comes after it. What does not read ends it: nobody is paid by it.
pub(super) fn saying(messages: Streaming<pb::InferStreamRequest>) -> Saying {
    let next = |mut messages: Streaming<pb::InferStreamRequest>| async {
        let message = messages.message().await.ok()??;
        let said = match message.message? {
            infer_stream_request::Message::Voucher(voucher) => {
                Said::Voucher(VoucherWord::try_from(voucher).ok()?)
            }
            infer_stream_request::Message::Stop(pb::StreamStop {}) => Said::Stop,
            infer_stream_request::Message::Call(_) => return None,
        };
        Some((said, messages))
    };
    stream::unfold(messages, next).boxed()
}

/// A call's messages, as a client sends them.
pub(super) fn messages(
    call: pb::PaidCall,
    saying: Saying,
) -> impl futures_util::Stream<Item = pb::InferStreamRequest> + Send + 'static {
    let first = stream::once(async { infer_stream_request::Message::Call(call) });
    let rest = saying.map(|said| match said {
        Said::Voucher(word) => infer_stream_request::Message::Voucher((&word).into()),
        Said::Stop => infer_stream_request::Message::Stop(pb::StreamStop {}),
    });
    first.chain(rest).map(|message| pb::InferStreamRequest { message: Some(message) })
}

impl From<&VoucherWord> for pb::Voucher {
    fn from(word: &VoucherWord) -> Self {
        Self {
            channel: word.ceiling.channel.0.to_vec().into(),
            ceiling: word.ceiling.amount.get().to_be_bytes().to_vec().into(),
            signature: word.signature.as_bytes().to_vec().into(),
            charged: Default::default(),
        }
    }
}

impl TryFrom<pb::Voucher> for VoucherWord {
    type Error = Malformed;

    fn try_from(voucher: pb::Voucher) -> Result<Self, Malformed> {
        if !voucher.charged.is_empty() {
            return Err(Malformed::new("voucher.charged", "expected none: a stream has no credit"));
        }
        let channel = <[u8; 32]>::try_from(voucher.channel.as_ref())
            .map_err(|_| Malformed::new("voucher.channel", "expected 32 bytes"))?;
        let ceiling = <[u8; 16]>::try_from(voucher.ceiling.as_ref())
            .map_err(|_| Malformed::new("voucher.ceiling", "expected 16 bytes"))?;
        let signature = <[u8; 65]>::try_from(voucher.signature.as_ref())
            .ok()
            .and_then(|raw| Signature::from_raw_array(&raw).ok())
            .ok_or_else(|| Malformed::new("voucher.signature", "expected 65 bytes: r, s and v"))?;
        let ceiling = Ceiling {
            channel: ChannelId(B256::from(channel)),
            amount: Amount::new(u128::from_be_bytes(ceiling)),
        };
        Ok(Self { ceiling, signature })
    }
}
