//! A facilitator: a settler for each chain, a journal of what was settled, and its doors.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::domain::asset::AssetRegistry;
use crate::domain::policy::Rates;
use crate::edge::grpc::{Doors, Listener, serve_directory, serve_facilitator};
use crate::edge::http::discovery;
use crate::edge::http::facilitator::routes;
use crate::edge::settlements::SettlementsFile;
use crate::node::StartError;
use crate::ports::catalogue::Catalogue;
use crate::ports::clock::Clock;
use crate::runtime::directory::Registry;
use crate::runtime::facilitator::{Facilitator, Parts, Rail};

/// How long calls under way may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What a facilitator is started with.
pub struct FacilitatorPlan {
    /// The file of what was settled.
    pub settlements: PathBuf,
    /// One for each network.
    pub rails: Vec<Rail>,
    /// What may be paid with.
    pub assets: AssetRegistry,
    /// How fast one payer's payments are looked into.
    pub payer_rates: Rates,
    /// Who sells beside it, and may settle from its gas accounts: nothing of theirs is given back on a payer's
    /// word alone.
    pub own: BTreeSet<Address>,
    /// A directory of its own, where it keeps one: providers announce themselves there, and are found at the same
    /// doors as what was paid for.
    pub registry: Option<Arc<Registry>>,
    /// Where it answers, over HTTP and gRPC.
    pub listener: Listener,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A facilitator that runs.
pub struct FacilitatorNode {
    /// Where it answers, over HTTP and gRPC.
    pub url: String,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl FacilitatorNode {
    /// Opens its journal and its doors.
    ///
    /// # Errors
    /// [`StartError`], and then nothing is answered.
    pub fn start(plan: FacilitatorPlan) -> Result<Self, StartError> {
        let settlements = SettlementsFile::open(&plan.settlements, Arc::clone(&plan.clock))?;
        let facilitator = Arc::new(Facilitator::new(Parts {
            rails: plan.rails,
            assets: plan.assets,
            settlements: Arc::new(settlements),
            payer_rates: plan.payer_rates,
            own: plan.own,
            clock: plan.clock,
        }));
        let listener = plan.listener;
        let url = listener.address().to_string();
        let mut listed: Vec<Arc<dyn Catalogue>> = vec![facilitator.catalog()];
        let mut doors = Doors::default()
            .with(serve_facilitator(Arc::clone(&facilitator)))
            .with_web(routes(facilitator));
        if let Some(registry) = plan.registry {
            listed.push(registry.clone());
            doors = doors.with(serve_directory(registry));
        }
        let doors = doors.with_web(discovery::routes(listed));
        let (stop, mut stopping) = watch::channel(false);
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopping.wait_for(|stop| *stop).await) };
            if let Err(problem) = doors.serve(vec![listener], stopped, DRAIN_MAX).await {
                tracing::error!(%problem, "facilitator stopped answering");
            }
        });
        Ok(Self { url, stop, serving })
    }

    /// Takes no more, and returns when what is under way has ended.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        drop(self.serving.await);
    }
}
