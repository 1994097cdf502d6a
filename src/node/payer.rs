//! A payer's node: one ledger, its wallets' keys, and doors for agents and the operator.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::domain::id::{Name, WalletId};
use crate::domain::ledger::agent::{Principal, TokenHash};
use crate::domain::ledger::hold::Hold;
use crate::domain::ledger::{Bounds, Command};
use crate::domain::policy::PolicyDocument;
use crate::edge::grpc::node::{Applied, Fund, Node, ReadPolicy, Verify};
use crate::edge::grpc::{Doors, Listener, ServeError, serve_directory};
use crate::edge::http::client::Reach;
use crate::edge::http::discovery;
use crate::edge::http::fetch::FetchDoor;
use crate::edge::http::openai::OpenAi;
use crate::edge::journal::{Options, Store, verify};
use crate::edge::keys::{LocalSigner, NonceSecret, SigningKey};
use crate::node::writer::Writer;
use crate::node::{StartError, unless_unchanged};
use crate::ports::catalogue::Catalogue;
use crate::ports::clock::Clock;
use crate::ports::directory::Directory;
use crate::ports::entropy::Entropy;
use crate::ports::journal::JournalError;
use crate::ports::paid_service::Connector;
use crate::ports::rail::Evidence;
use crate::runtime::channels::{Keeper, KeeperSettings};
use crate::runtime::directory::{Book, Registry};
use crate::runtime::limits::{Limits, Tarpit};
use crate::runtime::operator::Operator;
use crate::runtime::payer::{Payer, PayerParts, PayerSettings};
use crate::runtime::reconcile::Reconciler;
use crate::runtime::treasury::{Settings, Treasury};

/// What a node is started with.
pub struct NodePlan {
    /// The journal's file.
    pub ledger: PathBuf,
    /// How the journal behaves.
    pub journal: Options,
    /// How much the ledger holds at most.
    pub bounds: Bounds,
    /// A snapshot is kept each time that many entries were appended.
    pub snapshot_every: u64,
    /// The wallets, each with its key.
    pub wallets: Vec<(Name, SigningKey)>,
    /// Makes the nonces.
    pub secret: NonceSecret,
    /// The policy, and why it is applied.
    pub policy: PolicyDocument,
    /// The witnesses, one a network, each with the hash of its first block.
    pub rails: Vec<(Arc<dyn Evidence>, alloy::primitives::B256)>,
    /// Where providers are looked for.
    pub directory: Arc<dyn Directory>,
    /// The directory that this node serves too, if any.
    pub registry: Option<Arc<Registry>>,
    /// How providers are reached.
    pub connector: Arc<dyn Connector>,
    /// How far requests reach that it makes for its agents over HTTP.
    pub web: Reach,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// What proves the operator.
    pub operator_token: TokenHash,
    /// How policies are read that come over the wire.
    pub read_policy: ReadPolicy,
    /// How the sandbox gives money, where there is one.
    pub fund: Option<Fund>,
    /// How payments are made.
    pub payer: PayerSettings,
    /// How often the chain is asked.
    pub reconcile_every: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// A node that runs.
pub struct PayerNode {
    /// The ledger's only writer.
    pub treasury: Treasury,
    /// Pays.
    pub payer: Payer,
    /// The operator's desk.
    pub operator: Operator,
    /// Who sells, and what was measured of them.
    pub book: Arc<Book>,
    /// Asks the chain; a round may be asked for at any time.
    pub reconciler: Reconciler,
    /// The journal.
    pub store: Store,
    /// Where it answers, one for each listener: `http://127.0.0.1:8402`.
    pub endpoints: Vec<String>,
    stop: watch::Sender<bool>,
    server: JoinHandle<Result<(), ServeError>>,
    reconciling: JoinHandle<()>,
    ending: JoinHandle<()>,
    writer: Writer,
}

/// How long a channel may lie unused before what is left in it is had back.
const CHANNEL_IDLE_MAX: Duration = Duration::from_secs(3600);

/// How often such channels are looked for.
const CHANNELS_EVERY: Duration = Duration::from_secs(60);

/// How long the server waits for running calls at the end.
const SERVER_DRAIN_MAX: Duration = Duration::from_secs(20);

impl PayerNode {
    /// Starts a node: reads the ledger, pins the rails, opens the wallets, applies the policy, sees the
    /// funds, and only then listens.
    ///
    /// # Errors
    /// [`StartError`], and then nothing runs.
    pub async fn start(plan: NodePlan) -> Result<Self, StartError> {
        let store = Store::open(&plan.ledger, plan.journal.clone())?;
        let settings = Settings {
            bounds: plan.bounds,
            boot: plan.clock.now().as_nanos(),
            snapshot_every: plan.snapshot_every,
        };
        let journal = Arc::new(store.clone());
        let (treasury, task) = Treasury::open(journal, Arc::clone(&plan.clock), settings).await?;
        let writer = Writer::start(task);
        let operator = Operator::new(treasury.clone());
        check_secret(&treasury, &plan.secret).await?;
        Self::write_start(&treasury, &operator, &plan).await?;

        let witnesses = plan.rails.iter().map(|(rail, _)| Arc::clone(rail)).collect();
        let reconciler = Reconciler::new(
            treasury.clone(),
            witnesses,
            Arc::clone(&plan.clock),
            plan.reconcile_every,
        );
        // Funds are seen before the first order comes; a silent rail leaves them unseen, and every
        // order is refused until it speaks.
        reconciler.round().await?;

        let book = Arc::new(Book::new(Arc::clone(&plan.directory), Arc::clone(&plan.clock)));
        let keys = plan.wallets.into_iter().map(|(name, key)| (WalletId::named(&name), key));
        let holds = Arc::new(treasury.clone());
        let signer = LocalSigner::new(holds, keys, plan.secret, &plan.policy.assets);
        let signer = Arc::new(signer);
        let archive = Arc::new(store.clone());
        let channels = keeper(plan.payer.channels, &plan.clock, &treasury, &signer).await?;
        let rails: Vec<_> = plan.rails.iter().map(|(rail, _)| Arc::clone(rail)).collect();
        let payer = Payer::new(PayerParts {
            treasury: treasury.clone(),
            archive: archive.clone(),
            book: Arc::clone(&book),
            connector: plan.connector,
            signer: signer.clone(),
            channels,
            limits: Arc::new(Limits::new(Arc::clone(&plan.clock))),
            clock: Arc::clone(&plan.clock),
            settings: plan.payer,
        })
        .asking(rails);
        let entropy = Arc::clone(&plan.entropy);
        let tarpit = Arc::new(Tarpit::new(Arc::clone(&plan.clock)));
        let node = Node {
            treasury: treasury.clone(),
            payer: payer.clone(),
            tarpit: Arc::clone(&tarpit),
            operator: operator.clone(),
            journal: archive.clone(),
            history: archive.clone(),
            archive,
            clock: Arc::clone(&plan.clock),
            entropy: plan.entropy,
            operator_token: plan.operator_token,
            read_policy: plan.read_policy,
            applied: tell_assets(signer, plan.registry.clone()),
            verify: verifier(plan.ledger.clone(), plan.bounds),
            fund: plan.fund,
        };
        let web = web(plan.web, (&payer, tarpit), &treasury, &plan.clock, &entropy);
        let mut doors = node.open(Doors::default()).with_web(web);
        if let Some(registry) = plan.registry {
            let listed: Arc<dyn Catalogue> = registry.clone();
            doors = doors.with_web(discovery::routes([listed])).with(serve_directory(registry));
        }
        let endpoints =
            plan.listeners.iter().map(|listener| listener.address().to_string()).collect();
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(doors.serve(plan.listeners, wait(stopped), SERVER_DRAIN_MAX));
        let rounds = reconciler.clone();
        let reconciling = tokio::spawn(async move {
            if let Err(refused) = rounds.run().await {
                tracing::error!(%refused, "reconciliation stopped");
            }
        });
        let ending = tokio::spawn(end_channels(payer.clone(), Arc::clone(&plan.clock)));
        Ok(Self {
            treasury,
            payer,
            operator,
            book,
            reconciler,
            store,
            endpoints,
            stop,
            server,
            reconciling,
            ending,
            writer,
        })
    }

    /// What every start writes, where it is not there yet.
    async fn write_start(
        treasury: &Treasury,
        operator: &Operator,
        plan: &NodePlan,
    ) -> Result<(), StartError> {
        for (rail, genesis) in &plan.rails {
            let (network, genesis) = (rail.network(), *genesis);
            unless_unchanged(treasury.execute(Command::PinRail { network, genesis }).await)?;
        }
        for (name, key) in &plan.wallets {
            let (wallet, address) = (name.clone(), key.address());
            unless_unchanged(treasury.execute(Command::OpenWallet { wallet, address }).await)?;
        }
        operator.apply(&plan.policy, "start".to_owned(), Principal::Node).await?;
        Ok(())
    }

    /// Where it answers first.
    pub fn endpoint(&self) -> &str {
        self.endpoints.first().map_or("", String::as_str)
    }

    /// Returns when nothing can be written to its ledger any more, as after a disk that failed: it is of no use
    /// from then on, and says so to nobody who does not ask.
    pub async fn stopped(&self) {
        self.writer.ended().await;
    }

    /// Ends it: takes no more calls, lets the payments under way come to their end within `within`, asks
    /// the chain once more, and closes the journal. Whether everything had ended in time.
    pub async fn drain(self, within: Duration) -> bool {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(within, async {
            // A server that failed has nothing left to wait for.
            let _ = self.server.await;
            self.payer.drain().await;
        })
        .await
        .is_ok();
        end(self.ending).await;
        end(self.reconciling).await;
        let _ = self.reconciler.round().await;
        let _ = self.store.catch_up().await;
        drop((self.payer, self.operator, self.reconciler, self.treasury, self.book));
        self.writer.end().await;
        ended
    }
}

/// The HTTP doors for agents.
fn web(
    reach: Reach,
    (payer, tarpit): (&Payer, Arc<Tarpit>),
    treasury: &Treasury,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> axum::Router {
    let (payer, treasury, clock) = (payer.clone(), treasury.clone(), Arc::clone(clock));
    let fetch = FetchDoor {
        payer: payer.clone(),
        tarpit: Arc::clone(&tarpit),
        treasury: treasury.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(entropy),
        reach,
    };
    OpenAi { payer, tarpit, treasury, clock }.router().merge(fetch.router())
}

/// Ends unused channels, for as long as the node runs.
async fn end_channels(payer: Payer, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now().after(CHANNELS_EVERY)).await;
        if let Err(refused) = payer.end_idle_channels(CHANNEL_IDLE_MAX).await {
            tracing::error!(%refused, "channels are ended no more");
            return;
        }
    }
}

/// The keeper of channels, where the plan has one.
async fn keeper(
    settings: Option<KeeperSettings>,
    clock: &Arc<dyn Clock>,
    treasury: &Treasury,
    signer: &Arc<LocalSigner>,
) -> Result<Option<Keeper>, StartError> {
    let Some(settings) = settings else { return Ok(None) };
    let (treasury, clock) = (treasury.clone(), Arc::clone(clock));
    Ok(Some(Keeper::open(treasury, signer.clone(), clock, settings).await?))
}

/// Hands a new policy's assets to who signs in them and to who lists prices in them.
fn tell_assets(signer: Arc<LocalSigner>, registry: Option<Arc<Registry>>) -> Applied {
    let newest = Mutex::new(0);
    Arc::new(move |version, policy| {
        // Two policies in a row may be told in any order; the newer one stays.
        let mut newest = newest.lock().expect("no holder of the version panics");
        if version >= *newest {
            *newest = version;
            signer.replace_assets(&policy.assets);
            if let Some(registry) = &registry {
                registry.replace_assets(policy.assets.clone());
            }
        }
    })
}

/// Checks the journal at `path` as `bursar ledger verify` does, beside its writer.
fn verifier(path: PathBuf, bounds: Bounds) -> Verify {
    Arc::new(move || {
        let path = path.clone();
        Box::pin(async move {
            let checked = tokio::task::spawn_blocking(move || verify(&path, bounds)).await;
            let report = checked.expect("no check of a journal panics or is ended")?;
            if report.is_good() {
                return Ok(report.entries);
            }
            let (seq, problem) = match report.damage {
                Some(damage) => (damage.seq, damage.problem),
                None if !report.balanced => (report.entries, "the books do not balance".to_owned()),
                None => (report.entries, "the snapshot is not what the entries give".to_owned()),
            };
            Err(JournalError::Damaged { seq, problem })
        })
    })
}

/// Checks that open payments were made with this secret: with another one they would get other nonces,
/// and could be paid twice.
async fn check_secret(treasury: &Treasury, secret: &NonceSecret) -> Result<(), StartError> {
    let open = treasury.read(|ledger| {
        let facts = |hold: &Hold| (hold.held.wallet, hold.held.payment, hold.held.commitment.nonce);
        ledger.holds().into_iter().map(facts).collect::<Vec<_>>()
    });
    let foreign = open
        .await?
        .into_iter()
        .filter(|(wallet, payment, nonce)| secret.nonce(*wallet, *payment) != *nonce);
    match u64::try_from(foreign.count()).unwrap_or(u64::MAX) {
        0 => Ok(()),
        open => Err(StartError::LostSecret { open }),
    }
}

/// Ends a task and waits until it has let go of what it held.
pub(super) async fn end<T>(task: JoinHandle<T>) {
    task.abort();
    // An error says that it was ended, which is what was asked.
    let _ = task.await;
}

pub(super) async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the owner is gone, which ends it too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
