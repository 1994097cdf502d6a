//! Chains to pay on: the sandbox always, anvil where `npm ci` in contracts/ has brought it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolStruct, SolValue, eip712_domain};
use bursar::domain::asset::{Asset, AssetInfo, Network};
use bursar::domain::channel::ChannelTerms;
use bursar::domain::commitment::{Commitment, Scheme, TransferMethod};
use bursar::domain::money::{Amount, Rate};
use bursar::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ERC3009_COLLECTOR, PERMIT2_COLLECTOR, Voucher, batch_domain, id_of,
};
use bursar::domain::x402::permit2::{EXACT_PROXY, PERMIT2};
use bursar::domain::x402::upto::UPTO_PROXY;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmConfig, EvmSettler, Finality, SettlerConfig};
use bursar::edge::sandbox::{Funded, Genesis, Place, Sandbox, Server, TOKEN};
use bursar::ports::clock::Clock;
use bursar::ports::rail::Authorization;
use serde_json::json;

alloy::sol! {
    struct TransferWithAuthorization {
        address from; address to; uint256 value;
        uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    struct CancelAuthorization { address authorizer; bytes32 nonce; }

    function mint(address to, uint256 value) external returns (bool);
    function transfer(address to, uint256 value) external returns (bool);
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes memory signature) external;
    function transferWithAuthorization(address from, address to, uint256 value,
        uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes memory signature) external;
}

/// The contracts of x402, where they are on every chain.
pub const PLACED: [(Address, &str); 6] = [
    (PERMIT2, "Permit2"),
    (EXACT_PROXY, "X402ExactPermit2Proxy"),
    (UPTO_PROXY, "X402UptoPermit2Proxy"),
    (BATCH_SETTLEMENT, "X402BatchSettlement"),
    (ERC3009_COLLECTOR, "Erc3009DepositCollector"),
    (PERMIT2_COLLECTOR, "Permit2DepositCollector"),
];

/// What the payer has at first, in atomic units.
pub const FUNDS: u128 = 1_000_000;

/// The key with this number; worth nothing anywhere.
pub fn key(number: u64) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(number.to_be_bytes())).unwrap()
}

pub fn payer() -> PrivateKeySigner {
    key(1)
}

/// The settler's gas account.
pub fn gas() -> PrivateKeySigner {
    key(2)
}

/// Somebody else with gas.
pub fn stranger() -> PrivateKeySigner {
    key(3)
}

pub fn payee() -> Address {
    key(4).address()
}

pub fn now_s() -> u64 {
    SystemClock.now().as_secs()
}

enum Host {
    Sandbox(Server, Sandbox),
    Anvil(#[expect(dead_code, reason = "held so that it runs")] Anvil),
}

/// A chain with our token, the contracts of x402, a payer with funds, and two accounts with gas.
pub struct Chain {
    pub url: String,
    pub token: Address,
    host: Host,
    /// How far the sandbox's clock was put forward, in seconds.
    ahead: Arc<AtomicU64>,
}

impl Chain {
    pub async fn sandbox() -> Self {
        let gas_money = U256::from(10).pow(U256::from(18));
        let funded = [(payer(), 0, FUNDS), (gas(), 1, 0), (stranger(), 1, 0)];
        let genesis = Genesis {
            chain_id: Network::SANDBOX.chain_id(),
            funded: funded
                .map(|(key, native, token)| Funded {
                    wallet: key.address(),
                    native: gas_money * U256::from(native),
                    token: U256::from(token),
                })
                .to_vec(),
            timestamp: now_s(),
        };
        let ahead = Arc::new(AtomicU64::new(0));
        let hand = ahead.clone();
        let clock = move || now_s() + hand.load(Ordering::SeqCst);
        let sandbox = Sandbox::open(&Place::Memory, &genesis, Arc::new(clock)).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = sandbox.serve(listener).unwrap();
        Self { url: server.url(), token: TOKEN, host: Host::Sandbox(server, sandbox), ahead }
    }

    /// A fresh anvil, where it is installed.
    pub async fn anvil() -> Option<Self> {
        let anvil = Anvil::start()?;
        let url = anvil.url.clone();
        let client: RootProvider = ProviderBuilder::default().connect_http(url.parse().unwrap());
        let owner: Vec<Address> = client.get_accounts().await.unwrap();
        let code = artifact_code("SandboxUsdc", "bytecode");
        let code: Bytes = [code.as_ref(), owner[0].abi_encode().as_slice()].concat().into();
        let token = owner[0].create(0);
        let chain = Self { url, token, host: Host::Anvil(anvil), ahead: Arc::default() };
        let mint = mintCall { to: payer().address(), value: U256::from(FUNDS) }.abi_encode();
        let deploy = json!({ "from": owner[0], "data": code });
        let mint = json!({ "from": owner[0], "to": chain.token, "data": Bytes::from(mint) });
        for request in [deploy, mint] {
            let sent: B256 =
                client.raw_request("eth_sendTransaction".into(), [request]).await.unwrap();
            while client.get_transaction_receipt(sent).await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        for account in [gas(), stranger()] {
            let amount = U256::from(10).pow(U256::from(18));
            chain.ask_node("anvil_setBalance", json!([account.address(), amount])).await;
        }
        for (address, artifact) in PLACED {
            let code = artifact_code(artifact, "deployedBytecode");
            chain.ask_node("anvil_setCode", json!([address, code])).await;
        }
        Some(chain)
    }

    /// Lets so many seconds go by.
    pub async fn pass(&self, seconds: u64) {
        match &self.host {
            Host::Sandbox(..) => {
                self.ahead.fetch_add(seconds, Ordering::SeqCst);
                // A transaction of nothing, so that there is a block of the new time.
                let nothing = TransactionRequest::default().with_to(stranger().address());
                let sent = self.client(stranger()).send_transaction(nothing).await.unwrap();
                sent.get_receipt().await.unwrap();
            }
            Host::Anvil(..) => {
                self.ask_node("evm_increaseTime", json!([seconds])).await;
                self.ask_node("anvil_mine", json!([])).await;
            }
        }
    }

    pub fn asset(&self) -> Asset {
        Asset { network: Network::SANDBOX, contract: self.token }
    }

    pub fn config(&self) -> EvmConfig {
        EvmConfig {
            network: Network::SANDBOX,
            url: self.url.clone(),
            genesis: None,
            finality: Finality::Depth(0),
            assets: vec![AssetInfo {
                asset: self.asset(),
                symbol: "USDC".to_owned(),
                decimals: 6,
                eip712_name: "USDC".to_owned(),
                eip712_version: "2".to_owned(),
                rate: Rate { nano: 1_000, per: 1 },
            }],
            answer_within: Duration::from_secs(5),
        }
    }

    pub async fn evm(&self) -> Evm {
        Evm::connect(&self.config()).await.unwrap()
    }

    pub async fn settler(&self, evm: &Evm) -> EvmSettler {
        let config = SettlerConfig { wait_max: Duration::from_secs(10), ..Default::default() };
        EvmSettler::start(evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap()
    }

    /// A plain client whose wallet is `signer`.
    pub fn client(&self, signer: PrivateKeySigner) -> impl Provider + use<> {
        ProviderBuilder::new()
            .wallet(EthereumWallet::from(signer))
            .connect_http(self.url.parse().unwrap())
    }

    /// Sends a call to the token as `signer`, and returns when it is mined.
    pub async fn act(&self, signer: PrivateKeySigner, call: impl SolCall) -> B256 {
        let request =
            TransactionRequest::default().with_to(self.token).with_input(call.abi_encode());
        let sent = self.client(signer).send_transaction(request).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status());
        receipt.transaction_hash
    }

    /// Asks the node something that is not Ethereum's.
    pub async fn ask_node(&self, method: &'static str, params: serde_json::Value) {
        let client: RootProvider =
            ProviderBuilder::default().connect_http(self.url.parse().unwrap());
        let _: serde_json::Value = client.raw_request(method.into(), params).await.unwrap();
    }

    /// `amount` from the payer to the payee, valid for ten minutes.
    pub fn commitment(&self, amount: u128, nonce: u64) -> Commitment {
        Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: self.asset(),
            payer: payer().address(),
            pay_to: payee(),
            amount_max: Amount::new(amount),
            valid_after_s: 0,
            valid_before_s: now_s() + 600,
            nonce: B256::from(U256::from(nonce)),
        }
    }

    pub fn authorization(&self, amount: u128, nonce: u64) -> Authorization {
        sign(self.commitment(amount, nonce), &payer())
    }

    /// Takes the sandbox's blocks back, all of them, with what was in them.
    pub async fn forget(&self) {
        let Host::Sandbox(_, sandbox) = &self.host else { panic!("the sandbox alone does that") };
        let blocks = self.client(gas()).get_block_number().await.unwrap();
        sandbox.final_after(blocks).await.unwrap();
        sandbox.reorganise(blocks, false).await.unwrap();
    }

    pub async fn stop(self) {
        if let Host::Sandbox(server, sandbox) = self.host {
            server.stop().await;
            drop(sandbox);
        }
    }
}

/// A voucher on a channel of the sandbox's.
pub fn voucher_by(terms: &ChannelTerms, ceiling: u128, by: &PrivateKeySigner) -> Signature {
    let content = Voucher { channelId: id_of(terms).0, maxClaimableAmount: ceiling };
    let digest = content.eip712_signing_hash(&batch_domain(Network::SANDBOX));
    by.sign_hash_sync(&digest).unwrap()
}

/// Signed by `signer`.
pub fn sign(commitment: Commitment, signer: &PrivateKeySigner) -> Authorization {
    let content = TransferWithAuthorization {
        from: commitment.payer,
        to: commitment.pay_to,
        value: U256::from(commitment.amount_max.get()),
        validAfter: U256::from(commitment.valid_after_s),
        validBefore: U256::from(commitment.valid_before_s),
        nonce: commitment.nonce,
    };
    let signature = signed(&content, commitment.asset.contract, signer);
    Authorization { commitment, signature }
}

fn signed(content: &impl SolStruct, token: Address, signer: &PrivateKeySigner) -> Signature {
    let domain = eip712_domain! {
        name: "USDC",
        version: "2",
        chain_id: Network::SANDBOX.chain_id(),
        verifying_contract: token,
    };
    signer.sign_hash_sync(&content.eip712_signing_hash(&domain)).unwrap()
}

/// The payer's own cancel of `commitment`'s nonce.
pub fn cancel(commitment: &Commitment) -> cancelAuthorizationCall {
    let (authorizer, nonce) = (commitment.payer, commitment.nonce);
    let content = CancelAuthorization { authorizer, nonce };
    let signature = signed(&content, commitment.asset.contract, &payer()).as_bytes().into();
    cancelAuthorizationCall { authorizer, nonce, signature }
}

/// The call by which anybody may settle `authorization`.
pub fn settle_call(authorization: &Authorization) -> transferWithAuthorizationCall {
    let commitment = authorization.commitment;
    transferWithAuthorizationCall {
        from: commitment.payer,
        to: commitment.pay_to,
        value: U256::from(commitment.amount_max.get()),
        validAfter: U256::from(commitment.valid_after_s),
        validBefore: U256::from(commitment.valid_before_s),
        nonce: commitment.nonce,
        signature: authorization.signature.as_bytes().into(),
    }
}

fn contracts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

/// What the build script wrote for a contract.
pub fn artifact(name: &str) -> serde_json::Value {
    let text = std::fs::read(contracts().join(format!("artifacts/{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A contract's `bytecode` or `deployedBytecode`.
pub fn artifact_code(name: &str, kind: &str) -> Bytes {
    artifact(name)[kind].as_str().unwrap().parse().unwrap()
}

/// A running anvil; gone when dropped.
struct Anvil {
    url: String,
    process: Child,
}

impl Anvil {
    /// Starts anvil on a free port. Without `npm ci` in contracts/ there is none, and then nothing
    /// is tested on it, unless `BURSAR_TEST_ANVIL=required` says that it must be there.
    fn start() -> Option<Self> {
        let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let program = contracts()
            .join(format!("node_modules/@foundry-rs/anvil-{system}-{machine}/bin/anvil"));
        if !program.exists() {
            let required = std::env::var("BURSAR_TEST_ANVIL").is_ok_and(|it| it == "required");
            assert!(!required, "anvil is not installed: run `npm ci` in contracts/");
            eprintln!("not tested on anvil: run `npm ci` in contracts/");
            return None;
        }
        let mut process = Command::new(program)
            .args(["--port", "0", "--chain-id", "31337"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(ToOwned::to_owned))
            .expect("anvil says where it listens");
        // What it prints is read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { url: format!("http://{address}"), process })
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
