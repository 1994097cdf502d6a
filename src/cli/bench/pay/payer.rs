//! The parts that buy: one with a wallet of its own, a node, and an agent that buys through it.

use std::sync::Arc;
use std::time::Duration;

use bursar::domain::id::{AgentId, Name, RequestId};
use bursar::domain::ledger::agent::Token;
use bursar::domain::order::{Order, Units};
use bursar::domain::quote::Stride;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::grpc::{
    Address, AgentClient, GrpcDirectory, Listener, Purchase, Reach, connect_one,
};
use bursar::node::{PayerNode, RailPlan, connect_rail};
use bursar::ports::clock::Clock;
use bursar::ports::entropy::Entropy;
use bursar::ports::paid_service::{PaidCall, PaidService};
use bursar::ports::rail::Evidence;
use bursar::runtime::payer::{Bought, Payer, Wish};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::ready;
use tokio_stream::wrappers::ReceiverStream;

use super::super::failed;
use super::super::holds::name;
use super::super::measure::{Round, drive, drive_streams};
use super::super::settled::{connect, key_of, start_node};
use super::part::{Ask, Boss, Mode, Setup, Told, count};
use super::payee::{BY_CREDIT, BY_EXACT, BY_STREAM, BY_VOUCHER, order, tokens};
use crate::cli::failure::Failure;

/// How long everything may take to come to its end.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// The content type of every body.
const JSON: &str = "application/json";

/// Buys with a wallet of its own, and for nothing.
pub async fn run(mut boss: Boss, setup: Setup) -> Result<(), Failure> {
    let (node, _) = open(&setup, Vec::new()).await?;
    let free = connect(&setup.free).await.map_err(|error| Failure::of(&error))?;
    let ledgers = vec![(node.store.clone(), node.treasury.clone())];
    let mut told = Told::Ready { endpoint: String::new(), token: String::new() };
    while let Some(ask) = boss.answer(&told)? {
        told = match ask {
            Ask::Run { mode: Mode::Unpaid, callers, span } => {
                Told::Ran(unpaid(&free, callers, span).await)
            }
            Ask::Run { mode, callers, span } if mode.streams() => {
                Told::Ran(streamed(&node.payer, callers, span).await)
            }
            Ask::Run { mode, callers, span } => {
                Told::Ran(paid(&node.payer, mode, callers, span).await)
            }
            Ask::Count => Told::Counted(count(&ledgers).await?),
            Ask::End => break,
        };
    }
    node.drain(DRAIN_MAX).await;
    boss.answer(&Told::Ended).map(|_| ())
}

/// Pays for who comes over a Unix socket.
pub async fn run_node(mut boss: Boss, setup: Setup) -> Result<(), Failure> {
    let at = Address::Unix(setup.folder.join("node.sock"));
    let bound = Listener::bind(&at, "--dir").await.map_err(|error| Failure::of(&error))?;
    let (node, token) = open(&setup, vec![bound]).await?;
    let ledgers = vec![(node.store.clone(), node.treasury.clone())];
    let (endpoint, token) = (node.endpoint().to_owned(), token.reveal().to_owned());
    let mut told = Told::Ready { endpoint, token };
    while let Some(ask) = boss.answer(&told)? {
        told = match ask {
            Ask::Count => Told::Counted(count(&ledgers).await?),
            Ask::Run { .. } | Ask::End => break,
        };
    }
    node.drain(DRAIN_MAX).await;
    boss.answer(&Told::Ended).map(|_| ())
}

/// Buys through a node.
pub async fn run_agent(mut boss: Boss, setup: Setup) -> Result<(), Failure> {
    let agent = AgentClient::connect(&setup.node, &Token::shown(&setup.token)).await;
    let agent = agent.map_err(|problem| failed(&problem))?;
    let mut told = Told::Ready { endpoint: String::new(), token: String::new() };
    while let Some(ask) = boss.answer(&told)? {
        told = match ask {
            Ask::Run { callers, span, .. } => Told::Ran(bought(&agent, callers, span).await),
            Ask::Count => Told::Counted(count(&Vec::new()).await?),
            Ask::End => break,
        };
    }
    boss.answer(&Told::Ended).map(|_| ())
}

async fn open(setup: &Setup, listeners: Vec<Listener>) -> Result<(PayerNode, Token), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rail = connect_rail(&RailPlan::sandbox(setup.chain.clone()), None, clock).await;
    let (evm, _) = rail.map_err(|error| Failure::of(&error))?;
    let channel = connect_one(&setup.directory, Reach::Loopback).await;
    let directory = Arc::new(GrpcDirectory::new(channel.map_err(|error| Failure::of(&error))?));
    let genesis = evm.genesis();
    let evidence: Arc<dyn Evidence> = evm;
    let (key, rail) = (key_of(&setup.key), (evidence, genesis));
    let ahead = Stride { output: Units(setup.ahead), ..Stride::ahead() };
    let started = start_node(&setup.folder, key, rail, directory, listeners, ahead).await;
    started.map_err(|error| Failure::of(&error))
}

/// Lets `callers` buy for `span` with the wallet here.
async fn paid(payer: &Payer, mode: Mode, callers: u64, span: Duration) -> Round {
    let payer = payer.clone();
    let provider = name(match mode {
        Mode::Exact => BY_EXACT,
        Mode::Credit16 => BY_CREDIT,
        _ => BY_VOUCHER,
    });
    drive(callers, span, move |_| {
        let wish = wish(order(), provider.clone());
        let payer = payer.clone();
        async move {
            let mut bought = payer.pay(wish).await.expect("an affordable wish is paid");
            while let Some(piece) = bought.pieces.recv().await {
                piece.expect("what was paid is served");
            }
        }
    })
    .await
}

/// Lets `callers` buy streams for `span`: each token is one call.
async fn streamed(payer: &Payer, callers: u64, span: Duration) -> Round {
    let payer = payer.clone();
    drive_streams(callers, span, move || {
        let wish = Wish { streamed: true, ..wish(tokens(), name(BY_STREAM)) };
        let payer = payer.clone();
        async move {
            let bought = payer.pay(wish).await.expect("an affordable wish is paid");
            ReceiverStream::new(bought.pieces)
                .map(|piece| piece.expect("what was paid is served"))
                .filter(|piece| ready(matches!(piece, Bought::Chunk(_))))
        }
    })
    .await
}

fn wish(order: Order, provider: Name) -> Wish {
    Wish {
        agent: AgentId::named(&name("bench")),
        request: request(),
        session: None,
        order,
        content_type: JSON.to_owned(),
        body: body(),
        price_max: None,
        provider: Some(provider),
        not_from: Vec::new(),
        streamed: false,
    }
}

/// Lets `callers` have the same for nothing, for `span`.
async fn unpaid(free: &Arc<dyn PaidService>, callers: u64, span: Duration) -> Round {
    let (free, order) = (Arc::clone(free), order());
    drive(callers, span, move |_| {
        let call = PaidCall {
            order: order.clone(),
            quote: None,
            content_type: JSON.to_owned(),
            body: body(),
            payment: None,
            signed_order: None,
            peer: None,
            streamed: false,
        };
        let free = Arc::clone(&free);
        async move {
            let mut answer = free.infer(call).await.expect("what is free is served");
            while let Some(piece) = answer.pieces.next().await {
                piece.expect("what is free is served");
            }
        }
    })
    .await
}

/// Lets `callers` buy by voucher through the node, for `span`.
async fn bought(agent: &AgentClient, callers: u64, span: Duration) -> Round {
    let (agent, order) = (agent.clone(), order());
    drive(callers, span, move |_| {
        let purchase = Purchase {
            request: request(),
            order: order.clone(),
            content_type: JSON.to_owned(),
            body: body(),
            price_max: None,
            provider: Some(name(BY_VOUCHER)),
            session: None,
            streamed: false,
        };
        let agent = agent.clone();
        async move {
            agent.buy(purchase).await.expect("an affordable wish is paid");
        }
    })
    .await
}

fn request() -> RequestId {
    let mut random = [0; 10];
    SystemEntropy.fill(&mut random);
    RequestId::new(SystemClock.now().as_millis(), random)
}

fn body() -> Bytes {
    Bytes::from_static(br#"{"nothing":"is asked for"}"#)
}
