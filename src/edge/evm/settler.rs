//! The settler's face: callers wait in a line for the one sender.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::network::TxSigner;
use alloy::primitives::{Address, Bytes, Signature, U256};
use alloy::rpc::types::TransactionRequest;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::domain::asset::{Asset, Network};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::channel_rail::ChannelSettler;
use crate::ports::clock::Clock;
use crate::ports::rail::{Authorization, Fee, RailError, RefusedBy, Settlement, Settler};

use super::config::SettlerConfig;
use super::evidence::Evm;
use super::fees::{Fees, FeesPaid};
use super::judge::{Verdict, judge};
use super::moves::Move;
use super::node::{Node, Trouble};
use super::sender::Sender;

/// The key of a gas account. It signs what moves gas, never a payment.
pub type GasSigner = Arc<dyn TxSigner<Signature> + Send + Sync>;

/// How many settlements may wait in line; whoever comes next waits for a place in it.
const LINE_MAX: usize = 1024;

/// What one settlement may use, in gas: more than any was seen to, by Permit2 with a permit as well.
const SETTLEMENT_GAS: u128 = 180_000;

/// How long a look at the gas account holds.
const GAUGE_FRESH: Duration = Duration::from_secs(5);

/// Something for the sender to do; it tells whoever asked by itself.
type Job = Box<dyn for<'a> FnOnce(&'a mut Sender) -> BoxFuture<'a, ()> + Send>;

/// Settles on one chain from one gas account. Dropped, it finishes what is in line.
pub struct EvmSettler {
    pub(super) node: Arc<Node>,
    account: Address,
    clock: Arc<dyn Clock>,
    config: SettlerConfig,
    gauge: Mutex<Option<Gauge>>,
    fees: FeesPaid,
    line: mpsc::Sender<Job>,
    sender: JoinHandle<()>,
}

/// What the gas account had when it was looked at.
#[derive(Copy, Clone)]
struct Gauge {
    seen: Timestamp,
    balance: u128,
    needed: u128,
    low: bool,
}

impl EvmSettler {
    /// Takes up settling on `chain` from `signer`'s account, which must be able to pay for one
    /// settlement at least.
    ///
    /// # Errors
    /// [`RailError::GasEmpty`], [`RailError::FeesTooHigh`]; no answer.
    pub async fn start(
        chain: &Evm,
        signer: GasSigner,
        clock: Arc<dyn Clock>,
        config: SettlerConfig,
    ) -> Result<Self, RailError> {
        let settler = Self::open(chain, signer, clock, config);
        settler.check_ready().await?;
        Ok(settler)
    }

    /// The same, from an account that may be empty: one that acts seldom, and is filled when it has to.
    pub fn open(
        chain: &Evm,
        signer: GasSigner,
        clock: Arc<dyn Clock>,
        config: SettlerConfig,
    ) -> Self {
        let (line, waiting) = mpsc::channel(LINE_MAX);
        let fees = FeesPaid::default();
        let (node, own_clock) = (chain.node.clone(), clock.clone());
        let sender = Sender::new(node, signer.clone(), own_clock, config, fees.clone());
        Self {
            node: chain.node.clone(),
            account: signer.address(),
            clock,
            config,
            gauge: Mutex::new(None),
            fees,
            line,
            sender: tokio::spawn(work(sender, waiting)),
        }
    }

    /// The gas account.
    pub fn account(&self) -> Address {
        self.account
    }

    /// Takes no more, and returns when what is in line is done or `within` has passed; what is left
    /// then is unknown to its callers.
    pub async fn stop(self, within: Duration) {
        let Self { line, mut sender, clock, .. } = self;
        drop(line);
        let until = clock.now().after(within);
        tokio::select! {
            biased;
            _ = &mut sender => {}
            () = clock.sleep_until(until) => sender.abort(),
        }
    }

    /// Does `act` when its turn comes. `lost` is the answer where the sender stops in the middle of it.
    pub(super) async fn in_line<T: Send + 'static>(
        &self,
        lost: T,
        act: impl for<'a> FnOnce(&'a mut Sender) -> BoxFuture<'a, Result<T, RailError>> + Send + 'static,
    ) -> Result<T, RailError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |sender| {
            Box::pin(async move {
                // Whoever asked may have gone; what was sent is sent all the same.
                drop(answer.send(act(sender).await));
            })
        });
        let network = self.node.network();
        self.line.send(job).await.map_err(|_| {
            let problem = "the sender has stopped".to_owned();
            RailError::Unreachable { network, problem }
        })?;
        answered.await.unwrap_or(Ok(lost))
    }

    /// Whether `asset` is on the chain that this settles on.
    pub(super) fn check_network(&self, asset: Asset) -> Result<(), RailError> {
        let (expected, asked) = (self.node.network(), asset.network);
        if asked == expected {
            return Ok(());
        }
        Err(RailError::WrongChain { expected, found: asked.chain_id() })
    }

    /// Looks at the gas account, and raises the alarm when it has become low.
    async fn look_at_gas(&self, before: Option<Gauge>) -> Result<Gauge, RailError> {
        let network = self.node.network();
        let balance = async {
            let ask = self.node.ask::<_, U256>("eth_getBalance", (self.account, "latest"));
            ask.await.map_err(|it| it.on(network))
        };
        let fees = Fees::ask(&self.node, self.config.fee_wei_max);
        let (balance, fees) = tokio::try_join!(balance, fees)?;
        let balance: u128 = balance.saturating_to();
        let needed = fees.most.saturating_mul(SETTLEMENT_GAS);
        let low = balance < needed.saturating_mul(self.config.settlements_low.into());
        if low && !before.is_some_and(|before| before.low) {
            let account = self.account;
            tracing::warn!(%network, %account, balance, needed, "gas account low");
        }
        Ok(Gauge { seen: self.clock.now(), balance, needed, low })
    }
}

/// Does what is in line, one after the other, until nobody can join it any more.
async fn work(mut sender: Sender, mut waiting: mpsc::Receiver<Job>) {
    while let Some(job) = waiting.recv().await {
        job(&mut sender).await;
    }
}

#[async_trait]
impl Settler for EvmSettler {
    async fn verify(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        self.check_network(authorization.commitment.asset)?;
        let network = self.node.network();
        let wanted = Move::from(authorization);
        let request = TransactionRequest::default()
            .from(self.account)
            .to(wanted.call.to)
            .input(wanted.call.input.clone().into());
        let refused = match self.node.ask::<_, Bytes>("eth_call", (request, "latest")).await {
            Ok(_) => return Ok(Ok(())),
            Err(refused @ Trouble::Refused(_)) => refused,
            Err(other) => return Err(other.on(network)),
        };
        let reverted =
            matches!(&refused, Trouble::Refused(error) if super::sender::is_revert(error));
        let head = self.node.latest().await.map_err(|it| it.on(network))?;
        let verdict = judge(&self.node, &wanted, &head, self.clock.now().as_secs()).await;
        match verdict.map_err(|it| it.on(network))? {
            // Settled by somebody else already: settling it now says so.
            Verdict::Settled(_) => Ok(Ok(())),
            Verdict::Refused(RefusedBy::Reverted) if !reverted => Err(refused.on(network)),
            Verdict::Refused(reason) => Ok(Err(reason)),
            Verdict::Untraced => {
                let problem = "the nonce is spent, and its log was not found".to_owned();
                Err(RailError::Unreachable { network, problem })
            }
        }
    }

    async fn settle_for(
        &self,
        authorization: &Authorization,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        self.check_network(authorization.commitment.asset)?;
        if amount > authorization.commitment.amount_max {
            return Ok(Settlement::Refused(RefusedBy::ExceedsAuthorized));
        }
        // The spender refuses nothing, and there is nothing to move.
        if amount.is_zero() {
            return Ok(Settlement::Refused(RefusedBy::Reverted));
        }
        let wanted = Move::of(authorization, amount);
        let unknown = Settlement::Unknown { transaction: None };
        self.in_line(unknown, move |sender| Box::pin(async move { sender.settle(&wanted).await }))
            .await
    }

    fn facilitator(&self) -> Option<Address> {
        Some(self.account)
    }

    async fn check_ready(&self) -> Result<(), RailError> {
        let before = *self.gauge.lock().expect("no holder of the gauge panics");
        let fresh = before.filter(|gauge| self.clock.now().since(gauge.seen) < GAUGE_FRESH);
        let gauge = match fresh {
            Some(gauge) => gauge,
            None => {
                let gauge = self.look_at_gas(before).await?;
                *self.gauge.lock().expect("no holder of the gauge panics") = Some(gauge);
                gauge
            }
        };
        let Gauge { balance, needed, .. } = gauge;
        if balance < needed {
            return Err(RailError::GasEmpty { account: self.account, balance, needed });
        }
        Ok(())
    }

    fn take_fees(&self) -> Vec<Fee> {
        self.fees.take()
    }

    fn channels(self: Arc<Self>) -> Option<Arc<dyn ChannelSettler>> {
        Some(self)
    }

    fn network(&self) -> Network {
        self.node.network()
    }
}
