//! The operator's end of a node: its socket where there is one, else its address and the token file.

use std::time::Duration;

use bursar::domain::ledger::agent::Token;
use bursar::edge::config::Config;
use bursar::edge::grpc::{Reach, connect_one};
use bursar::edge::keys::open_operator_token;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::args::Args;
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::running;
use super::up::{reach, system};

/// How long a node may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A node and the operator's proof.
pub struct Client {
    /// The connection.
    pub channel: Channel,
    bearer: Option<MetadataValue<Ascii>>,
}

impl Client {
    /// Connects to the node that the configuration describes.
    pub async fn connect(config: &Config) -> Result<Self, Failure> {
        let operator = &config.server.operator;
        let socket = operator.socket.as_ref().filter(|socket| socket.exists());
        let endpoints = match socket {
            Some(socket) => vec![running::endpoint(&format!("unix:{}", socket.display()))],
            None => running::endpoints(config),
        };
        let channel = connect(&endpoints, &reach(config, true)?).await?;
        let bearer = match socket {
            Some(_) => None,
            None => Some(bearer(&open_operator_token(&operator.token_file)?)),
        };
        Ok(Self { channel, bearer })
    }

    /// A request that proves who asks.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(ANSWER_MAX);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        request
    }
}

/// The first that answers.
async fn connect(endpoints: &[String], reach: &Reach) -> Result<Channel, Failure> {
    let mut silent = Vec::new();
    for endpoint in endpoints {
        match connect_one(endpoint, reach.clone()).await {
            Ok(channel) => return Ok(channel),
            Err(error) => silent.push(error.to_string()),
        }
    }
    let message = format!("no node answers: {}", silent.join("; "));
    Err(Failure::new(Exit::NoNode, "cli.no_node", message).help("start one with `bursar up`"))
}

fn bearer(token: &Token) -> MetadataValue<Ascii> {
    let mut bearer = MetadataValue::try_from(format!("Bearer {}", token.reveal()))
        .expect("a token has visible characters only");
    bearer.set_sensitive(true);
    bearer
}

/// Runs a command against the node: the configuration read, a connection made, the answer awaited.
pub fn with_node<R>(
    args: &Args,
    ask: impl AsyncFnOnce(Client, Config) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let config = config::load(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|problem| system("starting the runtime", &problem))?;
    runtime.block_on(async {
        let client = Client::connect(&config).await?;
        ask(client, config).await
    })
}

/// What a node's refusal is to a command.
pub fn refused(status: &Status) -> Failure {
    let exit = match status.code() {
        Code::NotFound => Exit::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => Exit::NotAllowed,
        Code::Unavailable => Exit::NoNode,
        Code::DeadlineExceeded => Exit::InDoubt,
        Code::ResourceExhausted => Exit::Later,
        _ => Exit::Refused,
    };
    let reason = status.get_details_error_info().map(|info| info.reason.to_lowercase());
    let message = match reason {
        Some(reason) => format!("{} [{reason}]", status.message()),
        None => status.message().to_owned(),
    };
    Failure::new(exit, "node.refused", message)
}
