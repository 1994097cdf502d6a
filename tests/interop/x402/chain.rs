//! Anvil as Base Sepolia: its number, the token at the address of its USDC, the contracts of x402.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, address};
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use alloy::sol_types::{SolCall, SolValue};
use bursar::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use bursar::domain::money::Rate;
use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ERC3009_COLLECTOR, PERMIT2_COLLECTOR};
use bursar::domain::x402::permit2::{EXACT_PROXY, PERMIT2};
use bursar::domain::x402::upto::UPTO_PROXY;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmConfig, EvmSettler, Finality, SettlerConfig};
use bursar::edge::grpc::{Address as ListensAt, Listener};
use bursar::edge::keys::SigningKey;
use bursar::node::{FacilitatorNode, FacilitatorPlan};
use bursar::ports::rail::Evidence;
use bursar::runtime::facilitator::{PAYER_RATES, Rail};
use serde_json::{Value, json};

alloy::sol! {
    function mint(address to, uint256 value) external returns (bool);
}

/// Base Sepolia's USDC: the official clients pay in no unknown token.
pub const USDC: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");

/// What the payer has at first, in atomic units.
pub const FUNDS: u128 = 10_000_000;

// Development keys that anvil prints at every start: known to everybody, fit for no money.
pub const PAYER: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
pub const GAS: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const PAYEE: &str = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";

const PLACED: [(Address, &str); 6] = [
    (PERMIT2, "Permit2"),
    (EXACT_PROXY, "X402ExactPermit2Proxy"),
    (UPTO_PROXY, "X402UptoPermit2Proxy"),
    (BATCH_SETTLEMENT, "X402BatchSettlement"),
    (ERC3009_COLLECTOR, "Erc3009DepositCollector"),
    (PERMIT2_COLLECTOR, "Permit2DepositCollector"),
];

pub fn key(hex: &str) -> SigningKey {
    SigningKey::from_hex(hex, "the test").unwrap()
}

pub fn gas() -> SigningKey {
    key(GAS)
}

pub fn payer() -> SigningKey {
    key(PAYER)
}

pub fn payee() -> SigningKey {
    key(PAYEE)
}

pub fn network() -> Network {
    "eip155:84532".parse().unwrap()
}

pub fn usdc() -> Asset {
    Asset { network: network(), contract: USDC }
}

pub fn assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: usdc(),
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000, per: 1 },
    }])
}

/// A running chain; gone when dropped.
pub struct Chain {
    pub url: String,
    process: Child,
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The repository's root, from whichever package of it.
fn root() -> &'static Path {
    let is_root = |folder: &&Path| folder.join("contracts/artifacts").exists();
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(is_root)
        .expect("the artifacts are there")
}

/// What `npm ci` in contracts/ brings.
pub fn anvil() -> PathBuf {
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let folder = root().join("contracts/node_modules");
    folder.join(format!("@foundry-rs/anvil-{system}-{machine}/bin/anvil"))
}

fn code(name: &str, kind: &str) -> Bytes {
    let text = std::fs::read(root().join(format!("contracts/artifacts/{name}.json"))).unwrap();
    let artifact: Value = serde_json::from_slice(&text).unwrap();
    artifact[kind].as_str().unwrap().parse().unwrap()
}

impl Chain {
    /// A fresh one.
    pub async fn start() -> Self {
        let mut process = Command::new(anvil())
            .args(["--port", "0", "--chain-id", "84532"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let listens = |line: std::io::Result<String>| {
            line.unwrap().strip_prefix("Listening on ").map(ToOwned::to_owned)
        };
        let address = lines.find_map(listens).expect("anvil says where it listens");
        // What it prints is read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let chain = Self { url: format!("http://{address}"), process };
        chain.place().await;
        chain
    }

    async fn place(&self) {
        let client = self.client();
        let owner = client.get_accounts().await.unwrap()[0];
        let init = [code("SandboxUsdc", "bytecode").as_ref(), &owner.abi_encode()].concat();
        self.send(&client, json!({ "from": owner, "data": Bytes::from(init) })).await;
        let runtime = client.get_code_at(owner.create(0)).await.unwrap();
        self.ask(&client, "anvil_setCode", json!([USDC, runtime])).await;
        for (address, artifact) in PLACED {
            let code = code(artifact, "deployedBytecode");
            self.set_code(address, code).await;
        }
        self.mint(payer().address(), FUNDS).await;
    }

    fn client(&self) -> RootProvider {
        ProviderBuilder::default().connect_http(self.url.parse().unwrap())
    }

    /// More of the token, out of nothing.
    pub async fn mint(&self, to: Address, value: u128) {
        let client = self.client();
        let owner = client.get_accounts().await.unwrap()[0];
        let mint = mintCall { to, value: U256::from(value) }.abi_encode();
        self.send(&client, json!({ "from": owner, "to": USDC, "data": Bytes::from(mint) })).await;
    }

    /// Some code at an address.
    pub async fn set_code(&self, at: Address, code: Bytes) {
        let client = self.client();
        self.ask(&client, "anvil_setCode", json!([at, code])).await;
    }

    async fn ask(&self, client: &RootProvider, method: &'static str, params: Value) -> Value {
        client.raw_request(method.into(), params).await.unwrap()
    }

    async fn send(&self, client: &RootProvider, request: Value) {
        let sent: B256 = client.raw_request("eth_sendTransaction".into(), [request]).await.unwrap();
        while client.get_transaction_receipt(sent).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn evm(&self) -> Evm {
        Evm::connect(&EvmConfig {
            network: network(),
            url: self.url.clone(),
            genesis: None,
            finality: Finality::Depth(0),
            assets: assets().iter().cloned().collect(),
            answer_within: Duration::from_secs(10),
        })
        .await
        .unwrap()
    }

    pub async fn settler(&self, evm: &Evm) -> EvmSettler {
        let config = SettlerConfig { wait_max: Duration::from_secs(10), ..Default::default() };
        EvmSettler::start(evm, gas().gas_account(), Arc::new(SystemClock), config).await.unwrap()
    }

    /// Our facilitator on it, with its settlements in `folder`.
    pub async fn facilitator(&self, evm: &Evm, folder: &Path) -> FacilitatorNode {
        let any = ListensAt::Tcp(([127, 0, 0, 1], 0).into());
        FacilitatorNode::start(FacilitatorPlan {
            settlements: folder.join("settlements.db"),
            rails: vec![Rail {
                settler: Arc::new(self.settler(evm).await),
                evidence: Arc::new(evm.clone()),
            }],
            assets: assets(),
            payer_rates: PAYER_RATES,
            own: Default::default(),
            registry: None,
            listener: Listener::bind(&any, "--listen").await.unwrap(),
            clock: Arc::new(SystemClock),
        })
        .unwrap()
    }

    /// What lies at an address, in atomic units of USDC.
    pub async fn owned(&self, of: Address) -> u128 {
        self.evm().await.balance(usdc(), of).await.unwrap().amount.get()
    }
}
