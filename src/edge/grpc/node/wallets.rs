//! Wallets: addresses and what they own.

use tonic::{Request, Response, Status};

use super::{Node, caller};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::wallet::Wallet;
use crate::edge::grpc::guard::Caller;
use crate::edge::grpc::page::page;
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::wallet_service_server::WalletService;
use crate::edge::grpc::status::refuse;

#[tonic::async_trait]
impl WalletService for Node {
    async fn list_wallets(
        &self,
        request: Request<pb::ListWalletsRequest>,
    ) -> Result<Response<pb::ListWalletsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let look = move |ledger: &Ledger| {
            let seen: Vec<&Wallet> = match caller {
                Caller::Operator => ledger.wallets(),
                Caller::Agent(agent) => ledger
                    .find_agent(agent)
                    .and_then(|agent| ledger.find_wallet(agent.wallet_id()))
                    .into_iter()
                    .collect(),
            };
            let name = |wallet: &&Wallet| wallet.name.to_string();
            let (wallets, next) = page(seen, name, &request.page_token, request.page_size);
            let wallets = wallets.into_iter().map(to_pb).collect();
            pb::ListWalletsResponse { wallets, next_page_token: next }
        };
        Ok(Response::new(self.treasury.read(look).await.map_err(refuse)?))
    }
}

fn to_pb(wallet: &Wallet) -> pb::Wallet {
    let funds = wallet.positions.iter().map(|position| pb::Funds {
        asset: position.asset.to_string(),
        owned: position.owned().to_string(),
        held: position.held.to_string(),
        available: position.available().to_string(),
    });
    pb::Wallet {
        wallet: wallet.name.to_string(),
        address: wallet.address.to_string(),
        funds: funds.collect(),
    }
}
