//! A provider: one ledger of its own, an engine, a settler, and a door that sells.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, Signature};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::domain::asset::AssetRegistry;
use crate::domain::commitment::Scheme;
use crate::domain::id::Name;
use crate::domain::ledger::{Bounds, Command};
use crate::domain::listing::{Listing, Ware};
use crate::domain::order::Units;
use crate::domain::policy::Rates;
use crate::domain::quote::PayBy;
use crate::domain::time::Timestamp;
use crate::domain::x402::digest::{Delegation, delegation_digest};
use crate::domain::x402::signature::is_signed_by;
use crate::edge::grpc::{Doors, Listener, ServeError, serve_paid_service};
use crate::edge::http::gateway::{Gateway, Sold};
use crate::edge::http::sell::PaidDoor;
use crate::edge::journal::{Options, Store};
use crate::edge::keys::{LocalRefundSigner, LocalServiceSigner, SigningKey};
use crate::node::payer::{end, wait};
use crate::node::writer::Writer;
use crate::node::{StartError, unless_unchanged};
use crate::ports::channel_rail::ChannelSettler;
use crate::ports::clock::Clock;
use crate::ports::directory::Directory;
use crate::ports::engine::Engine;
use crate::ports::rail::{Evidence, Settler};
use crate::runtime::directory::Announcer;
use crate::runtime::payee::{
    Channels, ClaimPolicy, Flowing, FreeBounds, OfferedWare, Offering, Parts, Payee, Refunds,
    ServeFirst, TabCredit,
};
use crate::runtime::treasury::{Settings, Treasury};

/// Who is paid, and speaks through the service key.
pub enum PayTo {
    /// Its key is here: it delegates, and pays back what was not served.
    Key(SigningKey),
    /// Its key is elsewhere, and has delegated to the service key there.
    Elsewhere {
        /// Who is paid.
        address: Address,
        /// Its word for the service key, as `bursar wallet delegate` makes it.
        delegation: Signature,
    },
}

impl PayTo {
    /// Who is paid.
    pub fn address(&self) -> Address {
        match self {
            Self::Key(key) => key.address(),
            Self::Elsewhere { address, .. } => *address,
        }
    }

    /// Its word for `service_key`.
    fn delegate_to(&self, service_key: Address) -> Result<Signature, StartError> {
        match self {
            Self::Key(key) => Ok(key.delegate_to(service_key)),
            Self::Elsewhere { address, delegation } => {
                let digest = delegation_digest(&Delegation { pay_to: *address, service_key });
                if is_signed_by(*address, digest, delegation) {
                    return Ok(*delegation);
                }
                let what = "reading the provider's delegation";
                let problem =
                    format!("it is not {address}'s word for the service key {service_key}");
                Err(StartError::System { what, problem })
            }
        }
    }
}

/// What a provider is started with.
pub struct ProviderPlan {
    /// Its name in the directory.
    pub name: Name,
    /// The journal's file.
    pub ledger: PathBuf,
    /// How the journal behaves.
    pub journal: Options,
    /// What it sells, and how it bargains.
    pub wares: Vec<OfferedWare>,
    /// The work itself.
    pub engine: Arc<dyn Engine>,
    /// How it may be paid.
    pub pay_by: Vec<PayBy>,
    /// Who is paid: delegates to the service key.
    pub pay_to: PayTo,
    /// Signs listings, quotes and receipts.
    pub service_key: SigningKey,
    /// What may be paid with.
    pub assets: AssetRegistry,
    /// Settles.
    pub settler: Arc<dyn Settler>,
    /// Bears witness.
    pub evidence: Arc<dyn Evidence>,
    /// The hash of the rail's first block.
    pub genesis: alloy::primitives::B256,
    /// The most input of one call.
    pub input_max: Units,
    /// The most output of one call.
    pub output_max: Units,
    /// Calls that run at once.
    pub concurrency_max: u32,
    /// How fast each payer may go.
    pub payer_rates: Rates,
    /// How fast each peer address may go.
    pub peer_rates: Rates,
    /// How free calls are bounded; `None` gives nothing away.
    pub free: Option<FreeBounds>,
    /// What is served before it is paid; `None` serves nothing before.
    pub serve_first: Option<ServeFirst>,
    /// What may be charged above the vouchers of channels; `None` wants a voucher for each call.
    pub credit: Option<TabCredit>,
    /// How long a quote holds.
    pub quote_life: Duration,
    /// How long an announcement lasts unless it is renewed.
    pub lease: Duration,
    /// Where it is announced.
    pub directory: Arc<dyn Directory>,
    /// Where it listens.
    pub listener: Listener,
    /// How long a paid call may wait to be served before it is paid back; `None` never pays back, nor
    /// does a provider whose payTo key is elsewhere.
    pub refund_after: Option<Duration>,
    /// How often open claims are looked at.
    pub reconcile_every: Duration,
    /// How streamed answers are paid by channel while they flow; `None` takes one voucher for all.
    pub flowing: Option<Flowing>,
    /// When the vouchers of channels are claimed.
    pub claims: ClaimPolicy,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A provider that runs.
pub struct Provider {
    /// Its name.
    pub name: Name,
    /// Serves.
    pub payee: Payee,
    /// The ledger's only writer.
    pub treasury: Treasury,
    /// The journal.
    pub store: Store,
    /// Where it answers.
    pub endpoint: String,
    stop: watch::Sender<bool>,
    server: JoinHandle<Result<(), ServeError>>,
    announcing: JoinHandle<()>,
    reconciling: JoinHandle<()>,
    writer: Writer,
}

/// How long the server waits for running calls at the end.
const SERVER_DRAIN_MAX: Duration = Duration::from_secs(20);

/// Entries between two snapshots.
const SNAPSHOT_EVERY: u64 = 100_000;

/// Who acts on channels for the provider, where its offer takes them.
fn channel_settler(plan: &ProviderPlan) -> Option<Arc<dyn ChannelSettler>> {
    let by_channel = |way: &PayBy| matches!(way.scheme, Scheme::BatchSettlement(_));
    let takes = plan.pay_by.iter().any(by_channel);
    takes.then(|| Arc::clone(&plan.settler).channels()).flatten()
}

/// A ware as its listing shows it.
fn listed(ware: &OfferedWare) -> Ware {
    let OfferedWare { capability, model, terms, tiers } = ware.clone();
    Ware { capability, model, terms: terms.list, tiers }
}

impl Provider {
    /// Starts a provider: reads its ledger, resolves what a crash left open, listens, and announces
    /// itself.
    ///
    /// # Errors
    /// [`StartError`], and then nothing runs.
    pub async fn start(plan: ProviderPlan) -> Result<Self, StartError> {
        let (channels, flowing) = (channel_settler(&plan), plan.flowing);
        let store = Store::open(&plan.ledger, plan.journal.clone())?;
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

        let endpoint = plan.listener.endpoint();
        let delegation = plan.pay_to.delegate_to(plan.service_key.address())?;
        let signer = Arc::new(LocalServiceSigner::new(plan.service_key));
        let wares: Vec<Ware> = plan.wares.iter().map(listed).collect();
        let offering = Offering {
            provider: plan.name.clone(),
            resource: resource(&endpoint),
            wares: plan.wares,
            pay_by: plan.pay_by.clone(),
            quote_ttl: plan.quote_life,
            input_max: plan.input_max,
            output_max: plan.output_max,
            concurrency_max: plan.concurrency_max,
            payer_rates: plan.payer_rates,
            peer_rates: plan.peer_rates,
            free: plan.free,
            serve_first: plan.serve_first,
            credit: plan.credit,
        };
        let parts = Parts {
            treasury: treasury.clone(),
            engine: plan.engine,
            settler: plan.settler,
            evidence: Some(plan.evidence),
            signer: signer.clone(),
            archive: Arc::new(store.clone()),
            clock: Arc::clone(&plan.clock),
        };
        let mut payee = Payee::new(offering, &plan.assets, parts);
        if let (Some(after), PayTo::Key(key)) = (plan.refund_after, plan.pay_to) {
            let signer = Arc::new(LocalRefundSigner::new(key, &plan.assets));
            payee = payee.refunding(Refunds { signer, after });
        }
        if let Some(settler) = channels {
            payee = payee.taking_channels(Channels { settler, claims: plan.claims, flowing });
        }
        payee.round().await?;

        let (stop, stopped) = watch::channel(false);
        let doors = Doors::default()
            .with(serve_paid_service(Arc::new(payee.clone())))
            .with_web(web(&payee, &endpoint, &signer, &plan.clock));
        let serving = doors.serve(vec![plan.listener], wait(stopped), SERVER_DRAIN_MAX);
        let server = tokio::spawn(serving);
        let (provider, lease) = (plan.name.clone(), plan.lease);
        let (listed_at, pay_by) = (endpoint.clone(), plan.pay_by);
        let lister = Arc::new(move |now: Timestamp| {
            let listing = Listing {
                provider: provider.clone(),
                endpoint: listed_at.clone(),
                wares: wares.clone(),
                pay_by: pay_by.clone(),
                issued_at: now,
                valid_until: now.after(lease),
            };
            signer.sign_listing(listing, delegation)
        });
        let announcer = Announcer::new(plan.directory, Arc::clone(&plan.clock), lister);
        let announcing = tokio::spawn(async move { announcer.run().await });
        let (rounds, interval) = (payee.clone(), plan.reconcile_every);
        let reconciling = tokio::spawn(async move {
            if let Err(refused) = rounds.run(interval).await {
                tracing::error!(%refused, "reconciliation stopped");
            }
        });
        let name = plan.name;
        Ok(Self {
            name,
            payee,
            treasury,
            store,
            endpoint,
            stop,
            server,
            announcing,
            reconciling,
            writer,
        })
    }

    /// Returns when nothing can be written to its ledger any more, as after a disk that failed: it is of no use
    /// from then on, and says so to nobody who does not ask.
    pub async fn stopped(&self) {
        self.writer.ended().await;
    }

    /// Ends it: is announced no more, takes no more calls, lets those under way come to their end within
    /// `within`, and closes the journal. Whether everything had ended in time.
    pub async fn drain(self, within: Duration) -> bool {
        end(self.announcing).await;
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(within, async {
            // A server that failed has nothing left to wait for.
            let _ = self.server.await;
            self.payee.drain().await;
        })
        .await
        .is_ok();
        end(self.reconciling).await;
        let _ = self.payee.round().await;
        // What vouchers stand for is claimed before it closes; what is not, the next start claims.
        let _ = self.payee.claim_round(true).await;
        let _ = self.store.catch_up().await;
        drop((self.payee, self.treasury));
        self.writer.end().await;
        ended
    }
}

/// The same wares over HTTP, at the same address.
fn web(
    payee: &Payee,
    endpoint: &str,
    signer: &Arc<LocalServiceSigner>,
    clock: &Arc<dyn Clock>,
) -> axum::Router {
    let offering = payee.offering();
    let sold = |ware: &OfferedWare| Sold {
        capability: ware.capability.clone(),
        model: ware.model.clone(),
    };
    let door = PaidDoor::new(Arc::new(payee.clone()), &offering.resource);
    let gateway = Gateway {
        base: endpoint.trim_end_matches('/').to_owned(),
        door: door.signing(signer.clone(), Arc::clone(clock)),
        wares: offering.wares.iter().map(sold).collect(),
        input_max: offering.input_max,
        output_max: offering.output_max,
    };
    gateway.router()
}

/// What is paid for: the method that serves it, on the address it answers at.
/// Source: docs/x402-grpc.md, resource.
fn resource(endpoint: &str) -> String {
    let authority = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let authority = authority.unwrap_or(endpoint);
    format!("grpc://{authority}/bursar.v1.InferenceService/Infer")
}
