//! Bytes of a stranger's to every method, by every credential. threats.md FZ5.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::*;
use crate::domain::id::RequestId;
use crate::edge::grpc::tests::world::BODY;

/// Takes messages for what they are: bytes.
#[derive(Default)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// The first message that comes back, if one does.
async fn send(house: &House, path: &str, token: &Token, bytes: Vec<u8>) -> Result<(), Status> {
    let mut client = Grpc::new(house.channel.clone());
    client.ready().await.unwrap();
    let path = path.parse().unwrap();
    let mut answer = client.server_streaming(with(token, bytes), path, Raw).await?.into_inner();
    answer.message().await.map(drop)
}

/// Methods, each with a message that is right for it.
pub(super) fn right() -> Vec<(&'static str, Vec<u8>)> {
    let order = pb::Order {
        capability: "echo".into(),
        input_max: 10,
        output_max: 10,
        ..pb::Order::default()
    };
    let pay = pb::PayRequest {
        request_id: RequestId::new(1_800_000_000_000, [7; 10]).to_string(),
        order: Some(order.clone()),
        content_type: "text/plain".into(),
        body: BODY,
        ..pb::PayRequest::default()
    };
    let preview = pb::PreviewRequest { order: Some(order), ..pb::PreviewRequest::default() };
    let policy = pb::ApplyPolicyRequest {
        document: world::policy().to_json(),
        file_name: "bursar.toml".into(),
        reason: "drill".into(),
        validate_only: true,
    };
    let agent = pb::AddAgentRequest {
        name: "cub".into(),
        role: "scout".into(),
        group: "research".into(),
        wallet: "main".into(),
    };
    let delegate = pb::DelegateRequest {
        agent: "cub".into(),
        limit_nano: "20".into(),
        until: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
    };
    let listed = pb::ListPaymentsRequest { page_size: 10, ..pb::ListPaymentsRequest::default() };
    let pause = pb::PauseRequest { scope: "role/nobody".into(), reason: "drill".into() };
    vec![
        ("PaymentService/Pay", pay.encode_to_vec()),
        ("PaymentService/Preview", preview.encode_to_vec()),
        ("PaymentService/ListPayments", listed.encode_to_vec()),
        ("OperatorService/ApplyPolicy", policy.encode_to_vec()),
        ("OperatorService/AddAgent", agent.encode_to_vec()),
        ("OperatorService/Pause", pause.encode_to_vec()),
        ("BudgetService/Delegate", delegate.encode_to_vec()),
    ]
}

/// A method and what is sent to it: its own message with bytes of it changed or cut off, or bytes that are none.
fn asked() -> impl Strategy<Value = (String, Vec<u8>)> {
    // An entry that is waited for is no answer that comes by itself.
    let methods: Vec<_> = methods().into_iter().filter(|path| !path.ends_with("/Watch")).collect();
    let none = (prop::sample::select(methods), vec(any::<u8>(), 0..64));
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let changed = (prop::sample::select(right()), changes, any::<prop::sample::Index>());
    let changed = changed.prop_map(|((method, mut message), changes, end)| {
        for (place, byte) in changes {
            *place.get_mut(&mut message) = byte;
        }
        // As often whole as not.
        message.truncate(end.index(message.len().saturating_mul(2)).max(1));
        (format!("/bursar.v1.{method}"), message)
    });
    prop_oneof![none, changed]
}

#[test]
fn whatever_bytes_come_to_whatever_method_each_has_its_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (house, agent) = runtime.block_on(async {
        let house = open().await;
        apply(&house).await;
        let agent = add_agent(&house, "scout-1", "scout").await;
        (house, agent)
    });
    let mut runner =
        TestRunner::new(Config { cases: 1_024, failure_persistence: None, ..Config::default() });
    let done = runner.run(&(asked(), any::<bool>()), |((path, bytes), by_operator)| {
        let token = if by_operator { &house.operator } else { &agent };
        let answer = runtime.block_on(send(&house, &path, token, bytes));
        let code = answer.map_or_else(|status| status.code(), |()| Code::Ok);
        // What a handler that panics, or a connection that breaks, is seen as.
        let broken = [Code::Unknown, Code::Cancelled, Code::Unavailable, Code::DataLoss];
        prop_assert!(!broken.contains(&code), "{path}: {code:?}");
        Ok(())
    });
    done.unwrap();
}
