//! The node's doors over real sockets: who is let in, and what they see.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod fuzzed;
mod paying;
mod told;

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::*;
use crate::domain::ledger::Ledger;
use crate::domain::ledger::state::Bounds;
use crate::domain::money::Nano;
use crate::edge::grpc::permissions::{May, find_permission, methods};
use crate::edge::grpc::tests::world::{self, World};
use crate::edge::grpc::{Address, Listener, Reach, ServeError, connect_one, pb};
use crate::ports::clock::ManualClock;
use crate::ports::entropy::SeededEntropy;
use crate::ports::history::MemoryHistory;
use crate::ports::memory_rail::MemoryRail;
use pb::budget_service_client::BudgetServiceClient;
use pb::journal_service_client::JournalServiceClient;
use pb::operator_service_client::OperatorServiceClient;
use pb::wallet_service_client::WalletServiceClient;

struct House {
    clock: Arc<ManualClock>,
    channel: Channel,
    operator: Token,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
    _dir: tempfile::TempDir,
    local: Channel,
    rail: MemoryRail,
    pay_to: alloy::primitives::Address,
}

async fn open() -> House {
    let World { clock, journal, treasury, archive, payer, rail, pay_to } = world::build().await;
    let operator = Token::for_operator([9; 32]);
    let kept = journal.clone();
    let node = Node {
        operator: Operator::new(treasury.clone()),
        treasury,
        payer,
        tarpit: Arc::new(Tarpit::new(clock.clone())),
        journal: Arc::new(journal),
        history: Arc::new(MemoryHistory::default()),
        archive: Arc::new(archive),
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::new(1)),
        operator_token: operator.hash(),
        read_policy: Arc::new(|text, name| {
            PolicyDocument::from_json(text).map_err(|error| vec![format!("{name}: {error}")])
        }),
        applied: Arc::new(|_, _| {}),
        verify: Arc::new(move || {
            let entries = kept.entries().len();
            Box::pin(async move { Ok(u64::try_from(entries).unwrap()) })
        }),
        fund: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let socket = Address::Unix(dir.path().join("op.sock"));
    let tcp = Listener::bind(&Address::Tcp(([127, 0, 0, 1], 0).into()), "--listen").await.unwrap();
    let unix = Listener::bind(&socket, "--socket").await.unwrap();
    let endpoint = tcp.address().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        stopped.await.unwrap();
    };
    let doors = node.open(Doors::default());
    let served = tokio::spawn(doors.serve(vec![tcp, unix], stopped, Duration::from_secs(5)));
    let channel = connect_one(&endpoint, Reach::Loopback).await.unwrap();
    let local = connect_one(&socket.to_string(), Reach::Loopback).await.unwrap();
    House { clock, channel, operator, stop, served, _dir: dir, local, rail, pay_to }
}

fn with<T>(token: &Token, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let text = format!("Bearer {}", token.reveal());
    request.metadata_mut().insert("authorization", text.parse().unwrap());
    request
}

/// An empty call of any method: the guard answers before the message is looked at.
async fn call(channel: &Channel, path: &str, token: Option<&Token>) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let request = match token {
        Some(token) => with(token, ()),
        None => Request::new(()),
    };
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    client.server_streaming(request, path.parse().unwrap(), codec).await.map(|_| ())
}

async fn apply(house: &House) {
    let mut client = OperatorServiceClient::new(house.local.clone());
    let request = pb::ApplyPolicyRequest {
        document: world::policy().to_json(),
        file_name: "bursar.toml".into(),
        reason: "first".into(),
        validate_only: false,
    };
    assert_eq!(client.apply_policy(request).await.unwrap().into_inner().version, 1);
}

async fn add_agent(house: &House, name: &str, role: &str) -> Token {
    let mut client = OperatorServiceClient::new(house.local.clone());
    let request = pb::AddAgentRequest {
        name: name.into(),
        role: role.into(),
        group: "research".into(),
        wallet: "main".into(),
    };
    Token::shown(&client.add_agent(request).await.unwrap().into_inner().token)
}

#[tokio::test]
async fn z01_without_a_credential_that_proves_something_no_method_answers() {
    let house = open().await;
    let stranger = Token::for_operator([1; 32]);
    for path in &methods() {
        if find_permission(path) == Some(May::Anybody) {
            continue;
        }
        for token in [None, Some(&stranger)] {
            let status = call(&house.channel, path, token).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{path}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, "GUARD_UNAUTHENTICATED");
        }
    }
}

#[tokio::test]
async fn z05_each_method_answers_only_those_that_the_table_names() {
    let house = open().await;
    apply(&house).await;
    let agent = add_agent(&house, "scout-1", "scout").await;
    for path in &methods() {
        let may = find_permission(path).unwrap();
        for (token, others) in [(&agent, May::Operator), (&house.operator, May::Agent)] {
            let code = match call(&house.channel, path, Some(token)).await {
                Ok(()) => Code::Ok,
                Err(status) => status.code(),
            };
            assert_eq!(code == Code::PermissionDenied, may == others, "{path}");
            assert_ne!(code, Code::Unauthenticated, "{path}");
        }
    }
}

#[tokio::test]
async fn z06_what_a_caller_says_of_itself_changes_nothing() {
    let house = open().await;
    apply(&house).await;
    let agent = add_agent(&house, "scout-1", "scout").await;
    add_agent(&house, "scout-2", "scout").await;
    let mut client = BudgetServiceClient::new(house.channel.clone());

    let mut request = with(&agent, pb::ListBudgetsRequest::default());
    request.metadata_mut().insert("x-agent-id", "operator".parse().unwrap());
    let seen = client.list_budgets(request).await.unwrap().into_inner().budgets;
    let subjects: Vec<_> = seen.iter().map(|account| account.subject.as_str()).collect();
    assert_eq!(subjects, ["agent/scout-1", ""]);

    let other = pb::ListBudgetsRequest { agent: Some("scout-2".into()), ..Default::default() };
    let status = client.list_budgets(with(&agent, other)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let mut twice = with(&agent, pb::ListBudgetsRequest::default());
    let text = format!("Bearer {}", house.operator.reveal());
    twice.metadata_mut().append("authorization", text.parse().unwrap());
    let status = client.list_budgets(twice).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_socket_is_the_operators_and_a_replaced_token_proves_nothing() {
    let house = open().await;
    apply(&house).await;
    let old = add_agent(&house, "scout-1", "scout").await;
    let mut operator = OperatorServiceClient::new(house.local.clone());
    let request = pb::ReplaceTokenRequest { agent: "scout-1".into() };
    let new = Token::shown(&operator.replace_token(request).await.unwrap().into_inner().token);
    let mut wallets = WalletServiceClient::new(house.channel.clone());
    let status = wallets.list_wallets(with(&old, Default::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let seen = wallets.list_wallets(with(&new, Default::default())).await.unwrap().into_inner();
    assert_eq!(seen.wallets.len(), 1);

    let agents = operator.list_agents(pb::ListAgentsRequest::default()).await.unwrap();
    let agents = agents.into_inner().agents;
    assert_eq!((agents.len(), agents.first().unwrap().name.as_str()), (1, "scout-1"));
}

#[tokio::test]
async fn an_agent_delegates_only_where_its_role_lets_it() {
    let house = open().await;
    apply(&house).await;
    let scout = add_agent(&house, "scout-1", "scout").await;
    let runaway = add_agent(&house, "runaway-1", "runaway").await;
    let mut client = BudgetServiceClient::new(house.channel.clone());
    let ask = |name: &str| pb::DelegateRequest {
        agent: name.into(),
        limit_nano: "20".into(),
        until: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
    };
    let status = client.delegate(with(&runaway, ask("loop-1"))).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.get_details_error_info().unwrap().reason, "POLICY_NO_DELEGATION");

    let child = client.delegate(with(&scout, ask("cub-1"))).await.unwrap().into_inner();
    assert!(child.delegation_id.starts_with("dlg_"));
    let token = Token::shown(&child.token);
    let mine = client.list_budgets(with(&token, Default::default())).await.unwrap();
    let mine = mine.into_inner().budgets;
    let delegated = mine.iter().find(|account| account.budget == "delegation").unwrap();
    assert_eq!((delegated.subject.as_str(), delegated.left_nano.as_str()), ("agent/cub-1", "20"));
    // The parent sees what it delegated.
    let beneath = pb::ListBudgetsRequest { agent: Some("cub-1".into()), ..Default::default() };
    assert!(client.list_budgets(with(&scout, beneath)).await.is_ok());
}

#[tokio::test]
async fn a_policy_says_what_it_would_change_and_a_bad_one_changes_nothing() {
    let house = open().await;
    apply(&house).await;
    let mut client = OperatorServiceClient::new(house.local.clone());
    let mut changed = world::policy();
    changed.budgets.first_mut().unwrap().limit = Nano::new(50);
    let ask = |document: String, validate_only| pb::ApplyPolicyRequest {
        document,
        file_name: "bursar.toml".into(),
        reason: "less".into(),
        validate_only,
    };
    let status = client.apply_policy(ask("{".into(), false)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let said = client.apply_policy(ask(changed.to_json(), true)).await.unwrap().into_inner();
    assert_eq!((said.version, said.changes.is_empty()), (1, false));
    let in_force = client.get_policy(pb::GetPolicyRequest {}).await.unwrap().into_inner();
    assert_eq!(in_force.document_json, world::policy().to_json());
    let done = client.apply_policy(ask(changed.to_json(), false)).await.unwrap().into_inner();
    assert_eq!(done.version, 2);

    let pause = pb::PauseRequest { scope: "role/scout".into(), reason: "drill".into() };
    assert!(client.pause(pause.clone()).await.unwrap().into_inner().changed);
    assert!(!client.pause(pause).await.unwrap().into_inner().changed);
    let wrong = pb::PauseRequest { scope: "scout".into(), reason: "drill".into() };
    assert_eq!(client.pause(wrong).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_journal_is_read_along_until_the_end_comes() {
    let house = open().await;
    let mut client = JournalServiceClient::new(house.local.clone());
    let mut entries = client.watch(pb::WatchRequest { after_seq: 0 }).await.unwrap().into_inner();
    assert_eq!(entries.message().await.unwrap().unwrap().kind, "wallet_opened");
    assert_eq!(entries.message().await.unwrap().unwrap().kind, "funds_seen");
    apply(&house).await;
    let third = entries.message().await.unwrap().unwrap();
    assert_eq!((third.seq, third.kind.as_str()), (3, "policy_applied"));
    assert_eq!(client.head(pb::HeadRequest {}).await.unwrap().into_inner().seq, 3);
    assert_eq!(client.verify(pb::VerifyRequest {}).await.unwrap().into_inner().entries, 3);
    house.stop.send(()).unwrap();
    assert!(entries.message().await.unwrap().is_none());
    house.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_is_beneath_whom_is_a_walk_up_the_delegations() {
    use crate::domain::id::AgentId;

    let nobody = AgentId::from_bytes([1; 16]);
    assert!(!budgets::is_beneath(&Ledger::new(Bounds::default()), nobody, nobody));
}
