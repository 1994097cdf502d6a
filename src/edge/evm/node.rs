//! One node: asks it and tells a refusal from silence from nonsense.

use std::time::Duration;

use alloy::primitives::{B256, U64};
use alloy::rpc::client::{ClientBuilder, RpcClient};
use alloy::rpc::json_rpc::{ErrorPayload, RpcRecv, RpcSend};
use alloy::transports::http::reqwest;
use alloy::transports::{RpcError, TransportError, TransportErrorKind};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;

use crate::domain::asset::Network;
use crate::ports::rail::RailError;

use super::config::{EvmConfig, Finality};

/// How long a text of the node may be when it is repeated in an error.
const TEXT_MAX: usize = 200;

/// How many questions one message holds: what public nodes take.
pub(super) const BATCH_LEN: usize = 100;

/// How many such messages are under way at a time.
const BATCHES_AT_ONCE: usize = 4;

/// Why a question has no answer.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The node answered with an error of its own.
    Refused(ErrorPayload),
    /// No answer came, or not all of it. The node may have heard the question.
    Silent(String),
    /// What came is not an answer.
    Nonsense(String),
}

impl Trouble {
    pub(super) fn nonsense(problem: impl std::fmt::Display) -> Self {
        Self::Nonsense(clip(&problem.to_string()))
    }

    /// The same for those who can only know that nothing is known.
    pub(super) fn on(self, network: Network) -> RailError {
        match self {
            Self::Refused(error) => {
                let problem = format!("error {}: {}", error.code, clip(&error.message));
                RailError::Unreachable { network, problem }
            }
            Self::Silent(problem) => RailError::Unreachable { network, problem },
            Self::Nonsense(problem) => RailError::Malformed { network, problem },
        }
    }
}

impl From<TransportError> for Trouble {
    fn from(error: TransportError) -> Self {
        match error {
            RpcError::ErrorResp(error) => Self::Refused(error),
            RpcError::Transport(TransportErrorKind::Custom(error)) => {
                Self::Silent(clip(&root_cause(&*error)))
            }
            RpcError::Transport(error) => Self::Silent(clip(&error.to_string())),
            RpcError::NullResp => Self::nonsense("an answer without a result"),
            RpcError::DeserError { err, .. } => Self::nonsense(err),
            RpcError::UnsupportedFeature(_)
            | RpcError::LocalUsageError(_)
            | RpcError::SerError(_) => Self::nonsense(error),
        }
    }
}

/// What every block has, as far as the rail cares.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) hash: B256,
    number: U64,
    timestamp: U64,
    base_fee_per_gas: Option<alloy::primitives::U128>,
}

impl Head {
    pub(super) fn number(&self) -> u64 {
        self.number.to()
    }

    /// The block's time, in seconds since the epoch.
    pub(super) fn time_s(&self) -> u64 {
        self.timestamp.to()
    }

    /// What a unit of gas cost at least, in wei.
    pub(super) fn base_fee(&self) -> u128 {
        self.base_fee_per_gas.unwrap_or_default().to()
    }
}

/// The connection to one node of one chain.
pub(super) struct Node {
    client: RpcClient,
    network: Network,
    genesis: B256,
    finality: Finality,
}

impl Node {
    /// Connects, and checks that the chain is the one that `config` names.
    pub(super) async fn connect(config: &EvmConfig) -> Result<Self, RailError> {
        let network = config.network;
        let client = client(&config.url, config.answer_within).map_err(|it| it.on(network))?;
        let found = find_block(&client, "0x0").await.map_err(|it| it.on(network))?;
        let found = found.ok_or_else(|| Trouble::nonsense("no block 0").on(network))?.hash;
        let genesis = config.genesis.unwrap_or(found);
        let node = Self { client, network, genesis, finality: config.finality };
        node.check_chain().await?;
        Ok(node)
    }

    pub(super) fn network(&self) -> Network {
        self.network
    }

    pub(super) fn genesis(&self) -> B256 {
        self.genesis
    }

    /// Whether the node is still on our chain: another may have been put behind the URL.
    pub(super) async fn check_chain(&self) -> Result<(), RailError> {
        let (chain_id, first) = tokio::try_join!(
            self.ask::<_, U64>("eth_chainId", ()),
            find_block(&self.client, "0x0"),
        )
        .map_err(|it| it.on(self.network))?;
        let found: u64 = chain_id.to();
        if found != self.network.chain_id() {
            return Err(RailError::WrongChain { expected: self.network, found });
        }
        match first {
            Some(first) if first.hash == self.genesis => Ok(()),
            Some(first) => Err(RailError::WrongGenesis {
                network: self.network,
                expected: self.genesis,
                found: first.hash,
            }),
            None => Err(Trouble::nonsense("no block 0").on(self.network)),
        }
    }

    /// Asks one question.
    pub(super) async fn ask<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, Trouble> {
        Ok(self.client.request(method, params).await?)
    }

    /// Asks one question of each of `params`, many of them in one message; the answers come in the same
    /// order.
    pub(super) async fn ask_many<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: &[P],
    ) -> Result<Vec<R>, Trouble> {
        let some = params.chunks(BATCH_LEN);
        let messages: Vec<_> = some.map(|some| self.ask_batch(method, some)).collect();
        let answers = stream::iter(messages).buffered(BATCHES_AT_ONCE);
        let answers: Vec<Vec<R>> = answers.try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Asks one question of each of `params` in one message, and tells the answers apart: an error of one
    /// says nothing of the others. No more than [`BATCH_LEN`] are asked.
    pub(super) async fn ask_each<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: &[P],
    ) -> Result<Vec<Result<R, Trouble>>, Trouble> {
        if let [one] = params {
            return Ok(vec![self.ask(method, one.clone()).await]);
        }
        let mut batch = self.client.new_batch();
        let mut waiting = Vec::with_capacity(params.len());
        for one in params.iter().take(BATCH_LEN) {
            waiting.push(batch.add_call::<P, R>(method, one)?);
        }
        batch.send().await?;
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(answer.await.map_err(Trouble::from));
        }
        Ok(answers)
    }

    async fn ask_batch<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: &[P],
    ) -> Result<Vec<R>, Trouble> {
        let mut batch = self.client.new_batch();
        let mut waiting = Vec::with_capacity(params.len());
        for one in params {
            waiting.push(batch.add_call::<P, R>(method, one)?);
        }
        batch.send().await?;
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(answer.await?);
        }
        Ok(answers)
    }

    /// The newest block.
    pub(super) async fn latest(&self) -> Result<Head, Trouble> {
        self.block("latest").await
    }

    /// The newest final block.
    pub(super) async fn final_block(&self) -> Result<Head, Trouble> {
        match self.finality {
            Finality::Tag => self.block("finalized").await,
            Finality::Depth(0) => self.latest().await,
            Finality::Depth(depth) => {
                let newest: U64 = self.ask("eth_blockNumber", ()).await?;
                let number = U64::from(newest.to::<u64>().saturating_sub(depth));
                self.block(&format!("{number:#x}")).await
            }
        }
    }

    pub(super) async fn block(&self, tag: &str) -> Result<Head, Trouble> {
        let block = find_block(&self.client, tag).await?;
        block.ok_or_else(|| Trouble::nonsense(format_args!("no block {tag}")))
    }
}

async fn find_block(client: &RpcClient, tag: &str) -> Result<Option<Head>, Trouble> {
    Ok(client.request("eth_getBlockByNumber", (tag.to_owned(), false)).await?)
}

fn client(url: &str, answer_within: Duration) -> Result<RpcClient, Trouble> {
    let url: reqwest::Url = url.parse().map_err(Trouble::nonsense)?;
    // No proxy: where a node is reached is what the configuration says and nothing else.
    let http = reqwest::Client::builder().timeout(answer_within).no_proxy().build();
    Ok(ClientBuilder::default().http_with_client(http.map_err(Trouble::nonsense)?, url))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Keeps what a node says short.
fn clip(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}
