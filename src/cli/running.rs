//! Where a running node answers: a small file beside its ledger, for the other commands. It is there
//! while the node runs; after a crash it may be stale, and whoever reads it asks the address to find out.

use std::fs;
use std::path::{Path, PathBuf};

use bursar::edge::config::Config;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::up::{address, system};

/// Largest file that is read, in bytes.
const LEN_MAX: usize = 16 * 1024;

/// Where a node answers. No secret is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// For agents, and for the operator with the token.
    pub endpoint: String,
    /// The sandbox's JSON-RPC.
    pub sandbox_rpc: Option<String>,
}

impl Running {
    /// What the node beside this ledger left, if any.
    pub fn find(config: &Config) -> Option<Self> {
        let bytes = fs::read(path(config)).ok().filter(|bytes| bytes.len() <= LEN_MAX)?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Tells the other commands; taken back when the answer is dropped.
    pub fn tell(&self, config: &Config) -> Result<Told, Failure> {
        let path = path(config);
        let unfinished = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(self).expect("two texts make JSON");
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(|problem| system("telling where the node answers", &problem))?;
        Ok(Told(path))
    }
}

/// The endpoints at which the node may answer, the likeliest first.
pub fn endpoints(config: &Config) -> Vec<String> {
    let mut endpoints: Vec<String> =
        Running::find(config).map(|running| running.endpoint).into_iter().collect();
    let configured = endpoint(&address(&config.server.listen).to_string());
    if !endpoints.contains(&configured) {
        endpoints.push(configured);
    }
    endpoints
}

/// A Unix socket's endpoint has a whole path; who listens everywhere is found on this machine too.
pub fn endpoint(shown: &str) -> String {
    let shown = &shown.replacen("//0.0.0.0:", "//127.0.0.1:", 1).replacen("//[::]:", "//[::1]:", 1);
    let socket = shown.strip_prefix("unix:").map(Path::new);
    match socket.and_then(|socket| std::path::absolute(socket).ok()) {
        Some(whole) => format!("unix:{}", whole.display()),
        None => shown.to_owned(),
    }
}

/// The file, while the node runs.
pub struct Told(PathBuf);

impl Drop for Told {
    fn drop(&mut self) {
        // Somebody may have removed it already: then there is nothing to do.
        let _ = fs::remove_file(&self.0);
    }
}

fn path(config: &Config) -> PathBuf {
    config.ledger.path.with_extension("running.json")
}
