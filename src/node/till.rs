//! A till: who is paid for a method of a gRPC service, or for routes over HTTP, with a ledger of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use tokio::task::JoinHandle;

use crate::domain::asset::{Asset, AssetRegistry};
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::id::Name;
use crate::domain::ledger::{Bounds, Command};
use crate::domain::money::Money;
use crate::domain::quote::PayBy;
use crate::edge::grpc::layer::PaidMethod;
use crate::edge::http::layer::PaidRoutes;
use crate::edge::http::sell::PaidDoor;
use crate::edge::journal::{Options, Store};
use crate::edge::keys::{LocalServiceSigner, SigningKey};
use crate::node::payer::end;
use crate::node::writer::Writer;
use crate::node::{StartError, unless_unchanged};
use crate::ports::clock::Clock;
use crate::ports::engine::Engine;
use crate::ports::rail::{Evidence, Settler};
use crate::runtime::payee::{Offering, Parts, Payee};
use crate::runtime::treasury::{Settings, Treasury};

/// What a till is opened with.
pub struct TillPlan {
    /// The journal's file.
    pub ledger: PathBuf,
    /// Who sells.
    pub provider: Name,
    /// Where the method answers: `host:port`.
    pub authority: String,
    /// What is sold.
    pub method: Arc<PaidMethod>,
    /// For how much a call.
    pub price: Money,
    /// Who is paid, and signs receipts.
    pub key: SigningKey,
    /// What may be paid with.
    pub assets: AssetRegistry,
    /// Settles.
    pub settler: Arc<dyn Settler>,
    /// Bears witness.
    pub evidence: Arc<dyn Evidence>,
    /// The hash of the rail's first block.
    pub genesis: B256,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What a till for routes over HTTP is opened with.
pub struct RouteTillPlan {
    /// The journal's file.
    pub ledger: PathBuf,
    /// Who sells.
    pub provider: Name,
    /// What is sold.
    pub routes: Arc<PaidRoutes>,
    /// In what it is paid.
    pub asset: Asset,
    /// Who is paid, and signs offers and receipts.
    pub key: SigningKey,
    /// What may be paid with.
    pub assets: AssetRegistry,
    /// Settles.
    pub settler: Arc<dyn Settler>,
    /// Bears witness.
    pub evidence: Arc<dyn Evidence>,
    /// The hash of the rail's first block.
    pub genesis: B256,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What every till needs.
struct Common {
    ledger: PathBuf,
    key: SigningKey,
    assets: AssetRegistry,
    settler: Arc<dyn Settler>,
    evidence: Arc<dyn Evidence>,
    genesis: B256,
    clock: Arc<dyn Clock>,
}

/// An open till.
pub struct Till {
    payee: Payee,
    signer: Arc<LocalServiceSigner>,
    clock: Arc<dyn Clock>,
    store: Store,
    reconciling: JoinHandle<()>,
    writer: Writer,
}

/// How long an authorization may live.
const TIMEOUT_S: u64 = 60;

/// How often open claims are looked at.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);

/// Entries between two snapshots.
const SNAPSHOT_EVERY: u64 = 100_000;

impl Till {
    /// Opens a till for a method: reads its ledger, and resolves what a crash left open.
    ///
    /// # Errors
    /// [`StartError`], and then nothing is sold.
    pub async fn open(plan: TillPlan) -> Result<Self, StartError> {
        let pay_by = exact(plan.price.asset, &plan.key);
        let price = plan.price.amount;
        let offering = plan.method.offering(plan.provider, &plan.authority, price, vec![pay_by]);
        let TillPlan { ledger, key, assets, settler, evidence, genesis, clock, .. } = plan;
        let common = Common { ledger, key, assets, settler, evidence, genesis, clock };
        Self::open_with(common, offering, plan.method).await
    }

    /// Opens a till for routes over HTTP, in the same way.
    ///
    /// # Errors
    /// [`StartError`], and then nothing is sold.
    pub async fn open_routes(plan: RouteTillPlan) -> Result<Self, StartError> {
        let offering = plan.routes.offering(plan.provider, vec![exact(plan.asset, &plan.key)]);
        let RouteTillPlan { ledger, key, assets, settler, evidence, genesis, clock, .. } = plan;
        let common = Common { ledger, key, assets, settler, evidence, genesis, clock };
        Self::open_with(common, offering, plan.routes).await
    }

    /// The door at which its routes are sold.
    pub fn door(&self) -> PaidDoor {
        let payee = self.payee();
        let resource = payee.offering().resource.clone();
        PaidDoor::new(payee, &resource).signing(self.signer.clone(), Arc::clone(&self.clock))
    }

    async fn open_with(
        plan: Common,
        offering: Offering,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, StartError> {
        let store = Store::open(&plan.ledger, Options::default())?;
        let settings = Settings {
            bounds: Bounds::default(),
            boot: plan.clock.now().as_nanos(),
            snapshot_every: SNAPSHOT_EVERY,
        };
        let journal = Arc::new(store.clone());
        let (treasury, task) = Treasury::open(journal, Arc::clone(&plan.clock), settings).await?;
        let writer = Writer::start(task);
        let (network, genesis) = (plan.settler.network(), plan.genesis);
        unless_unchanged(treasury.execute(Command::PinRail { network, genesis }).await)?;
        let signer = Arc::new(LocalServiceSigner::new(plan.key));
        let clock = Arc::clone(&plan.clock);
        let parts = Parts {
            treasury,
            engine,
            settler: plan.settler,
            evidence: Some(plan.evidence),
            signer: signer.clone(),
            archive: Arc::new(store.clone()),
            clock: plan.clock,
        };
        let payee = Payee::new(offering, &plan.assets, parts);
        payee.round().await?;
        let rounds = payee.clone();
        let reconciling = tokio::spawn(async move {
            if let Err(refused) = rounds.run(RECONCILE_EVERY).await {
                tracing::error!(%refused, "reconciliation stopped");
            }
        });
        Ok(Self { payee, signer, clock, store, reconciling, writer })
    }

    /// Who is paid: what a layer hands the method's calls to.
    pub fn payee(&self) -> Arc<Payee> {
        Arc::new(self.payee.clone())
    }

    /// Returns when nothing can be written to its ledger any more, as after a disk that failed: it is of no use
    /// from then on, and says so to nobody who does not ask.
    pub async fn stopped(&self) {
        self.writer.ended().await;
    }

    /// Closes it: takes no more calls, lets those under way come to their end within `within`, and closes
    /// the journal. Whether everything had ended in time.
    pub async fn drain(self, within: Duration) -> bool {
        let ended = tokio::time::timeout(within, self.payee.drain()).await.is_ok();
        end(self.reconciling).await;
        let _ = self.payee.round().await;
        let _ = self.store.catch_up().await;
        drop(self.payee);
        self.writer.end().await;
        ended
    }
}

/// Payment call by call, by EIP-3009.
fn exact(asset: Asset, key: &SigningKey) -> PayBy {
    PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset,
        pay_to: key.address(),
        timeout_s: TIMEOUT_S,
    }
}
