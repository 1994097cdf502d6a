//! A facilitator: a settler for each chain, a journal of what was settled, and its doors.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::domain::asset::AssetRegistry;
use crate::edge::grpc::{Doors, Listener, serve_facilitator};
use crate::edge::http::facilitator::{routes, serve};
use crate::edge::settlements::SettlementsFile;
use crate::node::StartError;
use crate::ports::clock::Clock;
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
    /// Where it answers over HTTP.
    pub http: SocketAddr,
    /// Where it answers over gRPC, where it does.
    pub grpc: Option<Listener>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A facilitator that runs.
pub struct FacilitatorNode {
    /// Where it answers over HTTP.
    pub url: String,
    /// Where it answers over gRPC.
    pub grpc: Option<String>,
    stop: watch::Sender<bool>,
    serving: Vec<JoinHandle<()>>,
}

impl FacilitatorNode {
    /// Opens its journal and its doors.
    ///
    /// # Errors
    /// [`StartError`], and then nothing is answered.
    pub async fn start(plan: FacilitatorPlan) -> Result<Self, StartError> {
        let now_s = plan.clock.now().as_secs();
        let settlements = SettlementsFile::open(&plan.settlements, now_s)?;
        let facilitator = Arc::new(Facilitator::new(Parts {
            rails: plan.rails,
            assets: plan.assets,
            settlements: Arc::new(settlements),
            clock: plan.clock,
        }));
        let taken = |problem: std::io::Error| StartError::System {
            what: "listening for x402 over HTTP",
            problem: format!("{}: {problem}", plan.http),
        };
        let listener = TcpListener::bind(plan.http).await.map_err(taken)?;
        let url = format!("http://{}", listener.local_addr().map_err(taken)?);
        let (stop, stopping) = watch::channel(false);
        let stopped = |mut stopping: watch::Receiver<bool>| async move {
            drop(stopping.wait_for(|stop| *stop).await);
        };
        let http = serve(routes(Arc::clone(&facilitator)), listener, stopped(stopping.clone()));
        let mut serving = vec![tokio::spawn(async move {
            if let Err(problem) = http.await {
                tracing::error!(%problem, "facilitator stopped answering over HTTP");
            }
        })];
        let grpc = plan.grpc.as_ref().map(|listener| listener.address().to_string());
        if let Some(listener) = plan.grpc {
            let doors = Doors::default().with(serve_facilitator(facilitator));
            let stopped = stopped(stopping);
            serving.push(tokio::spawn(async move {
                if let Err(problem) = doors.serve(vec![listener], stopped, DRAIN_MAX).await {
                    tracing::error!(%problem, "facilitator stopped answering over gRPC");
                }
            }));
        }
        Ok(Self { url, grpc, stop, serving })
    }

    /// Takes no more, and returns when what is under way has ended.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        for serving in self.serving {
            drop(serving.await);
        }
    }
}
