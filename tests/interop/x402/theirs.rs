//! Their server, our payer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bursar::domain::money::Nano;
use bursar::edge::http::client::Fetched;
use serde_json::json;

use super::chain::{Chain, GAS, payee};
use super::ours::Payer;
use super::{is_there, scripts};

/// What a call of the official server costs, in atomic units.
const PRICE: u128 = 1_000;

/// Gone when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Bench {
    chain: Chain,
    url: String,
    payer: Payer,
    _server: Server,
}

async fn open() -> Option<Bench> {
    if !is_there(&scripts().join("node_modules/@x402/express")) {
        return None;
    }
    let chain = Chain::start().await;
    let asked = json!({
        "gas": format!("0x{GAS}"), "payTo": payee().address(), "rpc": chain.url
    });
    let mut server = Command::new("node")
        .current_dir(scripts())
        .arg("server.mjs")
        .arg(asked.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = server.stdout.take().unwrap();
    let server = Server(server);
    let mut lines = BufReader::new(stdout).lines();
    let listens = |line: std::io::Result<String>| {
        line.unwrap().strip_prefix("listening ").map(ToOwned::to_owned)
    };
    let url = lines.find_map(listens).expect("it listens before it ends");
    // What it prints is read on, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    // Three such calls may be paid, and none by `upto`.
    let payer = Payer::open(&chain, "0.003 USD", r#"["exact"]"#).await;
    Some(Bench { chain, url, payer, _server: server })
}

impl Bench {
    async fn fetch(&self, path: &str) -> Fetched {
        self.payer.fetch(&format!("{}{path}", self.url)).await
    }

    async fn earned(&self) -> u128 {
        self.chain.owned(payee().address()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_the_official_server_within_its_policy() {
    let Some(bench) = open().await else { return };
    let fetched = bench.fetch("/exact").await;
    assert_eq!(fetched.status, 200, "{fetched:?}");
    assert!(fetched.paid.unwrap().settlement.unwrap().success);
    assert_eq!(bench.earned().await, PRICE);
    // Of several ways the one that the policy allows is taken, whatever the order.
    let fetched = bench.fetch("/either").await;
    assert_eq!(fetched.status, 200, "{fetched:?}");
    assert_eq!(bench.earned().await, 2 * PRICE);
    // A handler that fails is not paid; what was signed stays counted until the chain speaks.
    let fetched = bench.fetch("/fail").await;
    assert_eq!(fetched.status, 500);
    assert_eq!(bench.earned().await, 2 * PRICE);
    let budgets = bench.payer.purse.budgets().await.unwrap();
    assert!(budgets.iter().all(|check| check.left() == Nano::ZERO), "{budgets:?}");
    assert!(bench.payer.purse.drain(Duration::from_secs(10)).await);
}
