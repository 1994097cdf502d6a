//! A node's doors for agents and for its operator. Each method reads its request, asks the runtime and
//! writes the answer; who calls was settled by the guard before it ran.

mod agents;
mod budgets;
mod channels;
mod journal;
mod payments;
mod shown;
mod wallets;

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use futures_util::future::BoxFuture;
use tonic::{Request, Status};

use crate::domain::id::Name;
use crate::domain::ledger::agent::{Token, TokenHash};
use crate::domain::money::Amount;
use crate::domain::policy::PolicyDocument;
use crate::edge::grpc::guard::{Caller, Guarded, LedgerTokens, Tokens};
use crate::edge::grpc::limits::{DOCUMENT_LEN_MAX, REQUEST_LEN_MAX, RESPONSE_LEN_MAX};
use crate::edge::grpc::pb::budget_service_server::BudgetServiceServer;
use crate::edge::grpc::pb::journal_service_server::JournalServiceServer;
use crate::edge::grpc::pb::operator_service_server::OperatorServiceServer;
use crate::edge::grpc::pb::payment_service_server::PaymentServiceServer;
use crate::edge::grpc::pb::wallet_service_server::WalletServiceServer;
use crate::edge::grpc::serve::Doors;
use crate::ports::archive::Archive;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::history::History;
use crate::ports::journal::{Journal, JournalError};
use crate::runtime::limits::Tarpit;
use crate::runtime::operator::Operator;
use crate::runtime::payer::Payer;
use crate::runtime::treasury::Treasury;

/// Reads the text of a `bursar.toml`, called by this name in its complaints: the policy it states, or
/// every problem it has, a line for each.
pub type ReadPolicy = Arc<dyn Fn(&str, &str) -> Result<PolicyDocument, Vec<String>> + Send + Sync>;

/// Hears of each policy that was put in force, with its version.
pub type Applied = Arc<dyn Fn(u32, &PolicyDocument) + Send + Sync>;

/// Checks the whole journal: every hash, and every event folded anew. How many entries there are.
pub type Verify = Arc<dyn Fn() -> BoxFuture<'static, Result<u64, JournalError>> + Send + Sync>;

/// Mints sandbox money to an address: the minting transfer, or why not.
pub type Fund =
    Arc<dyn Fn(Address, Amount) -> BoxFuture<'static, Result<B256, String>> + Send + Sync>;

/// What a node's doors ask.
#[derive(Clone)]
pub struct Node {
    /// The ledger.
    pub treasury: Treasury,
    /// Who pays for its agents.
    pub payer: Payer,
    /// Where refused agents wait.
    pub tarpit: Arc<Tarpit>,
    /// Its operator's desk.
    pub operator: Operator,
    /// What happened.
    pub journal: Arc<dyn Journal>,
    /// Which payments there were.
    pub history: Arc<dyn History>,
    /// Why each was decided as it was.
    pub archive: Arc<dyn Archive>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For new tokens.
    pub entropy: Arc<dyn Entropy>,
    /// The operator's token, by its hash.
    pub operator_token: TokenHash,
    /// How a policy is read.
    pub read_policy: ReadPolicy,
    /// Who hears of a new policy.
    pub applied: Applied,
    /// How everything is checked.
    pub verify: Verify,
    /// How the sandbox gives money; `None` without a sandbox.
    pub fund: Option<Fund>,
}

impl Node {
    /// `doors` with those of this node, each behind the guard.
    pub fn open(self, doors: Doors) -> Doors {
        let tokens: Arc<dyn Tokens> = Arc::new(LedgerTokens {
            operator: self.operator_token,
            treasury: self.treasury.clone(),
        });
        let operator = OperatorServiceServer::new(self.clone())
            .max_decoding_message_size(DOCUMENT_LEN_MAX)
            .max_encoding_message_size(RESPONSE_LEN_MAX);
        let payments = PaymentServiceServer::new(self.clone())
            .max_decoding_message_size(REQUEST_LEN_MAX)
            .max_encoding_message_size(RESPONSE_LEN_MAX);
        let budgets = BudgetServiceServer::new(self.clone())
            .max_decoding_message_size(REQUEST_LEN_MAX)
            .max_encoding_message_size(RESPONSE_LEN_MAX);
        let wallets = WalletServiceServer::new(self.clone())
            .max_decoding_message_size(REQUEST_LEN_MAX)
            .max_encoding_message_size(RESPONSE_LEN_MAX);
        let journal = JournalServiceServer::new(self)
            .max_decoding_message_size(REQUEST_LEN_MAX)
            .max_encoding_message_size(RESPONSE_LEN_MAX);
        doors
            .with(Guarded::new(operator, Arc::clone(&tokens)))
            .with(Guarded::new(payments, Arc::clone(&tokens)))
            .with(Guarded::new(budgets, Arc::clone(&tokens)))
            .with(Guarded::new(wallets, Arc::clone(&tokens)))
            .with(Guarded::new(journal, tokens))
    }

    /// A token for the agent called `name`, that nobody has.
    fn new_token(&self, name: &Name) -> Token {
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        Token::for_agent(name, random)
    }
}

/// Who calls, as the guard found. A method that the guard does not stand before serves nobody.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let found = request.extensions().get::<Caller>().copied();
    found.ok_or_else(|| Status::internal("the guard does not stand before this method"))
}

#[cfg(test)]
mod tests;
