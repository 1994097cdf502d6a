//! What a market's provider is paid in: the sandbox's own USDC, or another token that is put there first.

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::U256;
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolValue};
use bursar::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use bursar::domain::money::Amount;
use bursar::node::{RailPlan, SandboxChain, sandbox_assets};

use crate::market::{Shop, key, secret, usdc};

/// Where the market's other token is: the first contract of a known key.
pub fn other_token() -> Asset {
    Asset { network: Network::SANDBOX, contract: key("minter").address().create(0) }
}

/// Puts a token on the chain, and gives the payers' wallet a thousand of its units.
pub async fn mint(chain: &SandboxChain, artifact: &str, info: &AssetInfo) {
    chain.fund(key("minter").address(), Amount::new(1)).await.unwrap();
    let code = crate::chain::artifact_code(artifact, "bytecode");
    let owner = key("minter").address();
    let code = [code.as_ref(), owner.abi_encode().as_slice()].concat();
    let minter = PrivateKeySigner::from_slice(&secret("minter")).unwrap();
    let client = ProviderBuilder::new()
        .wallet(EthereumWallet::from(minter))
        .connect_http(chain.url().parse().unwrap());
    let value = U256::from(1000) * U256::from(10).pow(U256::from(info.decimals));
    let give = crate::chain::mintCall { to: key("main").address(), value }.abi_encode();
    let deploy = TransactionRequest::default().with_deploy_code(code);
    let give = TransactionRequest::default().with_to(info.asset.contract).with_input(give);
    for request in [deploy, give] {
        let sent = client.send_transaction(request).await.unwrap();
        assert!(sent.get_receipt().await.unwrap().status());
    }
}

impl Shop {
    /// What it is paid in.
    pub fn asset(&self) -> Asset {
        self.tender.as_ref().map_or(usdc(), |(_, info)| info.asset)
    }

    pub fn assets(&self) -> AssetRegistry {
        let other = self.tender.iter().map(|(_, info)| info.clone());
        AssetRegistry::new(sandbox_assets().iter().cloned().chain(other))
    }

    pub fn rail(&self, chain: &SandboxChain) -> RailPlan {
        let assets = self.assets().iter().cloned().collect();
        RailPlan { assets, ..RailPlan::sandbox(chain.url()) }
    }

    /// The configuration, with what it is paid in.
    pub fn policy(&self, text: &str) -> String {
        let Some((_, info)) = &self.tender else { return text.to_owned() };
        let AssetInfo { asset, symbol, decimals, eip712_name, eip712_version, rate } = info;
        let (contract, rate) = (asset.contract, rate.nano / 10_000_000);
        let domain = match info.has_domain() {
            true => {
                format!("eip712 = {{ name = \"{eip712_name}\", version = \"{eip712_version}\" }}")
            }
            false => String::new(),
        };
        let section = format!(
            "[asset.{symbol}]\nnetwork = \"sandbox\"\ncontract = \"{contract}\"
decimals = {decimals}\nrate = \"{}.{:02} USD\"\n{domain}\n",
            rate / 100,
            rate % 100,
        );
        let allowed = text.replace("[\"USDC\"]", &format!("[\"USDC\", \"{symbol}\"]"));
        format!("{allowed}\n{section}")
    }
}
