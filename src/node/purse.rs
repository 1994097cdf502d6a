//! A purse: one agent's budgets, wallet and ledger inside the program that spends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;

use crate::domain::id::{AgentId, Name};
use crate::domain::ledger::Bounds;
use crate::domain::ledger::agent::{Principal, Token};
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::money::Nano;
use crate::domain::policy::PolicyDocument;
use crate::edge::grpc::layer::{PayerPurse, PayingLayer};
use crate::edge::grpc::{GrpcConnector, Reach};
use crate::edge::http::client as http;
use crate::edge::journal::Options;
use crate::edge::keys::{NonceSecret, SigningKey};
use crate::node::{NodePlan, PayerNode, StartError};
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::rail::Evidence;
use crate::runtime::directory::Registry;
use crate::runtime::operator::{NewAgent, OperatorError};
use crate::runtime::payer::PayerSettings;

/// What a purse is opened with.
pub struct PursePlan {
    /// The journal's file.
    pub ledger: PathBuf,
    /// The spender's name; it is added at the first start.
    pub agent: Name,
    /// Its role in the policy.
    pub role: Name,
    /// What it pays from.
    pub key: SigningKey,
    /// Makes the nonces: the same at every start.
    pub secret: NonceSecret,
    /// What it may spend.
    pub policy: PolicyDocument,
    /// Bears witness.
    pub evidence: Arc<dyn Evidence>,
    /// The hash of the rail's first block.
    pub genesis: B256,
    /// Only up to this price a call.
    pub price_max: Option<Nano>,
    /// How it pays; with `channels` also by channel.
    pub settings: PayerSettings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// An open purse.
pub struct LocalPurse {
    node: PayerNode,
    agent: AgentId,
    price_max: Option<Nano>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// How often the chain is asked.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);

/// Entries between two snapshots.
const SNAPSHOT_EVERY: u64 = 100_000;

impl LocalPurse {
    /// Opens a purse: a node without doors, and its one agent.
    ///
    /// # Errors
    /// [`StartError`], and then nothing can be spent.
    pub async fn open(plan: PursePlan) -> Result<Self, StartError> {
        let wallet = plan.agent.clone();
        let assets = plan.policy.assets.clone();
        let mut random = [0; 32];
        plan.entropy.fill(&mut random);
        // Nobody can show either token: there is no door to show it at.
        let token = Token::for_agent(&plan.agent, random).hash();
        let node = PayerNode::start(NodePlan {
            ledger: plan.ledger,
            journal: Options::default(),
            bounds: Bounds::default(),
            snapshot_every: SNAPSHOT_EVERY,
            wallets: vec![(wallet.clone(), plan.key)],
            secret: plan.secret,
            policy: plan.policy,
            rails: vec![(plan.evidence, plan.genesis)],
            directory: Arc::new(Registry::new(Arc::clone(&plan.clock), assets)),
            registry: None,
            connector: Arc::new(GrpcConnector::new(Reach::Loopback)),
            web: http::Reach::Loopback,
            listeners: Vec::new(),
            operator_token: token,
            read_policy: Arc::new(|_, name| Err(vec![format!("{name} is not read here")])),
            fund: None,
            payer: plan.settings,
            reconcile_every: RECONCILE_EVERY,
            clock: Arc::clone(&plan.clock),
            entropy: Arc::clone(&plan.entropy),
        })
        .await?;
        let agent = AgentId::named(&plan.agent);
        let known = node.treasury.read(move |ledger| ledger.find_agent(agent).is_some()).await?;
        if !known {
            let (name, role, group) = (plan.agent.clone(), plan.role, plan.agent);
            let new = NewAgent { name, role, group, wallet, token };
            node.operator.add_agent(new, Principal::Node).await?;
        }
        let (price_max, clock, entropy) = (plan.price_max, plan.clock, plan.entropy);
        Ok(Self { node, agent, price_max, clock, entropy })
    }

    /// A layer that pays for calls to `authority` (`host:port`) from this purse.
    pub fn layer(&self, authority: &str) -> PayingLayer {
        let purse = PayerPurse {
            payer: self.node.payer.clone(),
            agent: self.agent,
            session: None,
            price_max: self.price_max,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        };
        PayingLayer::new(Arc::new(purse), authority)
    }

    /// A client that pays for HTTP requests from this purse, and connects to nothing beyond `reach`.
    pub fn http(&self, reach: http::Reach) -> http::HttpPayer {
        let purse = http::PayerPurse {
            payer: self.node.payer.clone(),
            agent: self.agent,
            session: None,
            price_max: self.price_max,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        };
        http::HttpPayer::new(purse, reach)
    }

    /// What every budget has left.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn budgets(&self) -> Result<Vec<BudgetCheck>, OperatorError> {
        self.node.operator.budgets_of(self.agent, None, self.clock.now()).await
    }

    /// Closes it: lets the payments under way come to their end within `within`, asks the chain once
    /// more, and closes the journal. Whether everything had ended in time.
    pub async fn drain(self, within: Duration) -> bool {
        self.node.drain(within).await
    }
}
