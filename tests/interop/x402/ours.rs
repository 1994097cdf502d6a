//! Our payer: a purse of its own, under a policy.

use std::sync::Arc;
use std::time::Duration;

use bursar::domain::ledger::channel::ChannelCaps;
use bursar::domain::money::Nano;
use bursar::domain::policy::PolicyDocument;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::Config;
use bursar::edge::http::client::{FetchError, Fetched, HttpCall, HttpPayer, Reach};
use bursar::edge::keys::NonceSecret;
use bursar::node::{LocalPurse, PursePlan};
use bursar::runtime::channels::KeeperSettings;
use bursar::runtime::payer::PayerSettings;
use reqwest::Method;
use tempfile::TempDir;

use super::chain::{self, Chain, payer};

/// A purse, and the client that pays from it.
pub struct Payer {
    pub purse: LocalPurse,
    client: HttpPayer,
    _folder: TempDir,
}

/// What may be spent for ever, and in which ways it may be paid.
fn policy(limit: &str, schemes: &str) -> PolicyDocument {
    let text = format!(
        r#"
version = 1
[network.base-sepolia]
kind = "sandbox"
[wallet.searcher]
key = "keystore:searcher"
[budget.searches]
applies_to = "*"
limit = "{limit}"
window = "lifetime"
[role.searcher]
per_call_max = "0.002 USD"
allow_any = true
allow = {{ capabilities = ["http.call"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["*"], assets = ["*"], schemes = {schemes} }}
"#
    );
    let read = Config::load("policy".as_ref(), &text).unwrap().policy;
    PolicyDocument { assets: chain::assets(), ..read }
}

impl Payer {
    pub async fn open(chain: &Chain, limit: &str, schemes: &str) -> Self {
        let dollar = Nano::new(1_000_000_000);
        let keeper = KeeperSettings {
            caps: ChannelCaps { provider: dollar, total: dollar },
            calls_a_deposit: 10,
            pool_max: 4,
            wait_max: Duration::from_secs(5),
            credit: false,
        };
        Self::open_with(chain, (limit, schemes), keeper).await
    }

    pub async fn open_with(
        chain: &Chain,
        (limit, schemes): (&str, &str),
        keeper: KeeperSettings,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let evm = Arc::new(chain.evm().await);
        let purse = LocalPurse::open(PursePlan {
            ledger: folder.path().join("purse.db"),
            agent: "searcher".parse().unwrap(),
            role: "searcher".parse().unwrap(),
            key: payer(),
            secret: NonceSecret::create(&folder.path().join("secret"), &SystemEntropy).unwrap(),
            policy: policy(limit, schemes),
            genesis: evm.genesis(),
            evidence: evm,
            price_max: None,
            settings: PayerSettings { channels: Some(keeper), ..PayerSettings::default() },
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        });
        let purse = purse.await.unwrap();
        let client = purse.http(Reach::Loopback);
        Self { purse, client, _folder: folder }
    }

    pub async fn fetch(&self, url: &str) -> Fetched {
        self.try_fetch(url).await.unwrap()
    }

    pub async fn try_fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        self.send(Method::GET, url, "").await
    }

    pub async fn send(
        &self,
        method: Method,
        url: &str,
        body: &'static str,
    ) -> Result<Fetched, FetchError> {
        let (url, headers) = (url.to_owned(), Default::default());
        let call = HttpCall { request: None, method, url, headers, body: body.into() };
        self.client.fetch(call).await
    }
}
