//! Logs by the configuration, and the numbers of a running node or provider for Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;

use bursar::edge::clock::SystemClock;
use bursar::edge::config::{LogFormat, Telemetry};
use bursar::edge::telemetry::{Listener, Server, scrape, start_logs};
use bursar::runtime::treasury::Treasury;

use super::exit::Exit;
use super::failure::Failure;

/// Writes logs as the configuration says.
pub fn start(telemetry: &Telemetry) {
    start_logs(&telemetry.log, telemetry.format == LogFormat::Json);
}

/// The metrics that are being served.
pub struct Metrics(Server);

impl Metrics {
    /// Where they are.
    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.0.address())
    }
}

/// Takes the address for the numbers, where there is one, before anything starts; `how` another is chosen.
pub async fn listen(at: Option<SocketAddr>, how: &str) -> Result<Option<Listener>, Failure> {
    let Some(listen) = at else { return Ok(None) };
    if !listen.ip().is_loopback() {
        let message =
            format!("others could reach {listen}, and without TLS nothing is served there");
        return Err(Failure::new(Exit::Refused, "listen.exposed", message)
            .help(format!("a loopback address with {how}")));
    }
    let bound = Listener::bind(listen).await.map_err(|problem| {
        let taken = problem.kind() == std::io::ErrorKind::AddrInUse;
        let what = if taken { "is taken by another process" } else { "cannot be listened on" };
        let message = format!("{listen} {what}, and /metrics is to be there: {problem}");
        Failure::new(Exit::Failed, "cli.metrics", message)
            .help(format!("choose another with {how}"))
    })?;
    Ok(Some(bound))
}

/// Serves the numbers of a ledger.
pub fn serve(listener: Listener, treasury: &Treasury) -> Metrics {
    Metrics(listener.serve(scrape(treasury.clone(), Arc::new(SystemClock))))
}
