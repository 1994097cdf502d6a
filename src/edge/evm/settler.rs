//! The settler's face: what is asked goes in lanes. What has one name is done one after the other, so that
//! nothing is sent twice; the rest is done side by side.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::network::TxSigner;
use alloy::primitives::{Address, B256, Signature, U256};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinHandle, JoinSet};

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::{Commitment, ContractAuthorization};
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
use super::post::{Post, UNDER_WAY_MAX};
use super::sender::{SETTLEMENT_GAS, Sender, gas_limit};
use super::trials::Trials;
use super::wallets::{Contracts, Denials};

/// The key of a gas account. It signs what moves gas, never a payment.
pub type GasSigner = Arc<dyn TxSigner<Signature> + Send + Sync>;

/// How many settlements may wait in line; whoever comes next waits for a place in it.
const LINE_MAX: usize = 1024;

/// How long a look at the gas account holds.
const GAUGE_FRESH: Duration = Duration::from_secs(5);

/// How much is done side by side: what is sent is under way, and as much again is tried out first.
const RUNNING_MAX: usize = UNDER_WAY_MAX * 2;

/// Something for the sender to do; it tells whoever asked by itself.
type Work = Box<dyn FnOnce(Arc<Sender>) -> BoxFuture<'static, ()> + Send>;

/// The same, with the lane that it waits in.
struct Job {
    lane: B256,
    work: Work,
}

/// Settles on one chain from one gas account. Dropped, it finishes what is in line.
pub struct EvmSettler {
    pub(super) node: Arc<Node>,
    account: Address,
    pub(super) clock: Arc<dyn Clock>,
    config: SettlerConfig,
    gauge: Mutex<Option<Gauge>>,
    fees: FeesPaid,
    trials: Arc<Trials>,
    pub(super) contracts: Contracts,
    pub(super) denials: Arc<Denials>,
    /// What makes wallets that pay first, and nothing else does.
    pub(super) factories: BTreeSet<Address>,
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
        let (account, fees, node) = (signer.address(), FeesPaid::default(), chain.node.clone());
        let post = Post::open(node.clone(), signer, clock.clone(), config, fees.clone());
        let denials = Arc::<Denials>::default();
        let told = denials.clone();
        let trials = Arc::new(Trials::start(node.clone(), account));
        let sender = Sender {
            node: node.clone(),
            clock: clock.clone(),
            config,
            account,
            post,
            trials: trials.clone(),
            denials: told,
            suspects: Denials::default(),
        };
        Self {
            trials,
            contracts: Contracts::default(),
            denials,
            factories: BTreeSet::new(),
            node,
            account,
            clock,
            config,
            gauge: Mutex::new(None),
            fees,
            line,
            sender: tokio::spawn(work(Arc::new(sender), waiting)),
        }
    }

    /// The same, which lets these factories make the wallets of payers that are not there yet.
    #[must_use]
    pub fn with_factories(self, factories: BTreeSet<Address>) -> Self {
        Self { factories, ..self }
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

    /// Does `act` when its turn in `lane` comes. `lost` is the answer where the sender stops in the middle
    /// of it.
    pub(super) async fn in_line<T: Send + 'static>(
        &self,
        lane: B256,
        lost: T,
        act: impl FnOnce(Arc<Sender>) -> BoxFuture<'static, Result<T, RailError>> + Send + 'static,
    ) -> Result<T, RailError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |sender| {
            Box::pin(async move {
                // Whoever asked may have gone; what was sent is sent all the same.
                drop(answer.send(act(sender).await));
            })
        });
        let job = Job { lane, work };
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

    /// Runs the call that would make this move; why not, where it fails.
    async fn try_out(&self, wanted: &Move) -> Result<Option<Verdict>, RailError> {
        self.check_network(wanted.sought.key.asset)?;
        let network = self.node.network();
        let refused = match self.trials.run(wanted.trial(wanted.gas_max())).await {
            Ok(()) => return Ok(None),
            Err(refused @ Trouble::Refused(_)) => refused,
            Err(other) => return Err(other.on(network)),
        };
        let reverted =
            matches!(&refused, Trouble::Refused(error) if super::sender::is_revert(error));
        let head = self.node.latest().await.map_err(|it| it.on(network))?;
        let verdict = judge(&self.node, wanted, &head, self.clock.now().as_secs()).await;
        match verdict.map_err(|it| it.on(network))? {
            Verdict::Refused(RefusedBy::Reverted) if !reverted => Err(refused.on(network)),
            verdict => Ok(Some(verdict)),
        }
    }

    /// Whether a move would be made now that nobody made yet. A contract's word is not taken where it denied one
    /// a while ago.
    pub(super) async fn try_unpaid(
        &self,
        wanted: &Move,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        let is_denied = self.denials.holds(wanted.sought.key.payer, self.clock.now());
        Ok(match self.try_out(wanted).await? {
            None if is_denied => Err(RefusedBy::Reverted),
            None => Ok(()),
            Some(Verdict::Settled(_)) => Err(RefusedBy::NonceUsed),
            Some(verdict) => self.refused(verdict)?,
        })
    }

    /// Makes a move of `amount` of `commitment`.
    async fn hand_in(
        &self,
        commitment: &Commitment,
        amount: Amount,
        wanted: Move,
    ) -> Result<Settlement, RailError> {
        self.check_network(commitment.asset)?;
        if amount > commitment.amount_max {
            return Ok(Settlement::Refused(RefusedBy::ExceedsAuthorized));
        }
        // The spender refuses nothing, and there is nothing to move.
        if amount.is_zero() {
            return Ok(Settlement::Refused(RefusedBy::Reverted));
        }
        let unknown = Settlement::Unknown { transaction: None };
        let lane = wanted.call.name;
        self.in_line(lane, unknown, move |sender| {
            Box::pin(async move { sender.settle(&wanted).await })
        })
        .await
    }

    /// What `verdict` says of an authorization that is not settled.
    fn refused(&self, verdict: Verdict) -> Result<Result<(), RefusedBy>, RailError> {
        match verdict {
            Verdict::Refused(reason) => Ok(Err(reason)),
            Verdict::Settled(_) => Ok(Err(RefusedBy::NonceUsed)),
            Verdict::Untraced => {
                let problem = "the nonce is spent, and its log was not found".to_owned();
                Err(RailError::Unreachable { network: self.node.network(), problem })
            }
        }
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
        let needed = fees.most.saturating_mul(gas_limit(SETTLEMENT_GAS).into());
        let low = balance < needed.saturating_mul(self.config.settlements_low.into());
        if low && !before.is_some_and(|before| before.low) {
            let account = self.account;
            tracing::warn!(%network, %account, balance, needed, "gas account low");
        }
        Ok(Gauge { seen: self.clock.now(), balance, needed, low })
    }
}

/// Does what is in line, each lane one after the other, until nobody can join it any more.
async fn work(sender: Arc<Sender>, mut waiting: mpsc::Receiver<Job>) {
    let mut lanes = Lanes::default();
    let mut is_open = true;
    while is_open || !lanes.running.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = lanes.running.join_next_with_id(), if !lanes.running.is_empty() => {
                lanes.end(ended.map_or_else(|lost| lost.id(), |(id, ())| id));
            }
            job = waiting.recv(), if is_open && lanes.len < LINE_MAX => match job {
                Some(job) => lanes.join(job),
                None => is_open = false,
            },
        }
        lanes.start(&sender);
    }
}

/// What is done, and what waits.
#[derive(Default)]
struct Lanes {
    running: JoinSet<()>,
    lane_of: HashMap<Id, B256>,
    /// Work that waits for the one of its lane that runs, or is ready to.
    behind: HashMap<B256, VecDeque<Work>>,
    ready: VecDeque<Job>,
    /// How much is in line in all.
    len: usize,
}

impl Lanes {
    fn join(&mut self, job: Job) {
        self.len = self.len.saturating_add(1);
        match self.behind.get_mut(&job.lane) {
            Some(lane) => lane.push_back(job.work),
            None => {
                self.behind.insert(job.lane, VecDeque::new());
                self.ready.push_back(job);
            }
        }
    }

    fn start(&mut self, sender: &Arc<Sender>) {
        while self.running.len() < RUNNING_MAX
            && let Some(Job { lane, work }) = self.ready.pop_front()
        {
            let task = self.running.spawn(work(Arc::clone(sender)));
            self.lane_of.insert(task.id(), lane);
        }
    }

    fn end(&mut self, id: Id) {
        self.len = self.len.saturating_sub(1);
        let Some(lane) = self.lane_of.remove(&id) else { return };
        match self.behind.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(work) => self.ready.push_back(Job { lane, work }),
            None => {
                self.behind.remove(&lane);
            }
        }
    }
}

#[async_trait]
impl Settler for EvmSettler {
    async fn verify(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        Ok(match self.try_out(&authorization.into()).await? {
            // Settled by somebody else already: settling it now says so.
            None | Some(Verdict::Settled(_)) => Ok(()),
            Some(verdict) => self.refused(verdict)?,
        })
    }

    async fn verify_unpaid(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        self.try_unpaid(&authorization.into()).await
    }

    async fn verify_contract(
        &self,
        authorization: &ContractAuthorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        let commitment = &authorization.commitment;
        match self.word_of(authorization).await? {
            Ok(word) => {
                let wanted = Move::of_contract(commitment, word, commitment.amount_max);
                self.try_unpaid(&wanted).await
            }
            Err(reason) => Ok(Err(reason)),
        }
    }

    async fn settle_contract(
        &self,
        authorization: &ContractAuthorization,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        let commitment = &authorization.commitment;
        let word = match self.word_of(authorization).await? {
            Ok(word) => word,
            Err(reason) => return Ok(Settlement::Refused(reason)),
        };
        let is_first = word.making.is_some();
        let wanted = Move::of_contract(commitment, word, amount);
        let settled = self.hand_in(commitment, amount, wanted).await;
        if is_first {
            // Its next payment need not say how it is made.
            self.contracts.forget(commitment.payer);
        }
        settled
    }

    async fn settle_for(
        &self,
        authorization: &Authorization,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        let wanted = Move::of(authorization, amount);
        self.hand_in(&authorization.commitment, amount, wanted).await
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
