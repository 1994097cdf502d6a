//! The payers' process, and its agents: each has one wish, which it repeats until it knows how it
//! ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::keccak256;
use bytes::Bytes;

use crate::domain::fault::{Class, Fault as _};
use crate::domain::id::{AgentId, Name, RequestId};
use crate::domain::ledger::agent::TokenHash;
use crate::domain::ledger::channel::ChannelCaps;
use crate::domain::money::Nano;
use crate::domain::order::{Order, Units};
use crate::ports::clock::Clock;
use crate::ports::rail::Evidence;
use crate::ports::signer::ChannelSigner as _;
use crate::runtime::channels::{Keeper, KeeperSettings};
use crate::runtime::directory::Book;
use crate::runtime::limits::Limits;
use crate::runtime::operator::{NewDelegation, Operator};
use crate::runtime::payer::{
    Bill, Bought, Outcome, PayError, Payer, PayerParts, PayerSettings, Wish,
};
use crate::runtime::reconcile::Reconciler;
use crate::runtime::treasury::Treasury;
use crate::sim::acting::Acting;
use crate::sim::channels::{WayOut, withdraw};
use crate::sim::fate::Fault;
use crate::sim::founding::{self, AGENTS};
use crate::sim::plan::Plan;
use crate::sim::roles::{AHEAD, Ground, Own, PRICE, ROUND, START_S, USDC, name};

/// How often an agent asks again that had no room under its caps: a minute may have passed.
const OVER_BUDGET_MAX: u32 = 3;

/// How the payer keeps its channels: so few, and so little in them, that calls wait for one another and
/// some are paid by themselves.
const KEEPER: KeeperSettings = KeeperSettings {
    caps: ChannelCaps {
        provider: Nano::new(PRICE.saturating_mul(20)),
        total: Nano::new(PRICE.saturating_mul(20)),
    },
    calls_a_deposit: 4,
    pool_max: 3,
    wait_max: Duration::from_secs(20),
    credit: false,
};

/// How long a channel may lie unused before its payer ends it, and how often it looks: near what the
/// payee does, so that both come at once.
const IDLE_MAX: Duration = Duration::from_secs(150);
const IDLE_EVERY: Duration = Duration::from_secs(45);

/// How each wish ended, by its number; what is missing goes on.
#[derive(Clone, Default)]
pub struct Ends(Arc<Mutex<BTreeMap<usize, String>>>);

impl Ends {
    /// How many have ended.
    pub fn len(&self) -> usize {
        self.with(|ends| ends.len())
    }

    /// Whether none has ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many ended in each way.
    pub fn count(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        self.with(|ends| {
            for end in ends.values() {
                let count: &mut u64 = counts.entry(end.clone()).or_default();
                *count = count.saturating_add(1);
            }
        });
        counts
    }

    fn with<R>(&self, look: impl FnOnce(&mut BTreeMap<usize, String>) -> R) -> R {
        look(&mut self.0.lock().expect("no holder of the ends panics"))
    }
}

/// The payers' process: its ledger, its payer, its reconciler, its operator, and the agents that are
/// not done yet.
pub async fn run_payer(ground: Ground, own: Own, plan: Plan, ends: Ends) {
    let treasury = ground.open(&own, &plan).await;
    for command in founding::commands(&plan) {
        // Refused where an earlier start did it already.
        let _ = treasury.execute(command).await;
    }
    let clock: Arc<dyn Clock> = Arc::new(ground.clock.clone());
    let rail: Arc<dyn Evidence> = Arc::new(ground.rail.clone());
    let reconciler = Reconciler::new(treasury.clone(), vec![rail], Arc::clone(&clock), ROUND);
    ground.spawn(async move {
        // Ends with the treasury; the world restarts the process then.
        let _ = reconciler.run().await;
    });
    ground.spawn(Acting::new(ground.clone(), plan.clone(), treasury.clone()).run());
    let signer = ground.signer(&treasury);
    let channels = match plan.by_channel {
        false => None,
        true => {
            let (treasury, clock) = (treasury.clone(), Arc::clone(&clock));
            // Ends with the treasury; the world restarts the process then.
            let session = Arc::clone(&signer);
            let keeper = KeeperSettings { credit: plan.on_credit, ..KEEPER };
            match Keeper::open(treasury, session, clock, keeper).await {
                Ok(keeper) => Some(keeper),
                Err(_) => return,
            }
        }
    };
    let account = signer.authorizer();
    let payer = Payer::new(PayerParts {
        signer,
        archive: Arc::new(own.archive.clone()),
        book: Arc::new(Book::new(Arc::new(ground.clone()), Arc::clone(&clock))),
        connector: Arc::new(ground.link.clone()),
        limits: Arc::new(Limits::new(Arc::clone(&clock))),
        channels,
        clock,
        settings: PayerSettings { stream: AHEAD, ..PayerSettings::default() },
        treasury: treasury.clone(),
    });
    if plan.by_channel {
        let way = Arc::new(WayOut { rail: ground.rail.clone(), account });
        payer.withdraw_by(USDC.network, way);
        ground.spawn(withdraw(ground.clone(), treasury.clone()));
        ground.spawn(end_idle(ground.clone(), payer.clone()));
    }
    for number in 0..plan.wishes {
        if ends.with(|ends| ends.contains_key(&number)) {
            continue;
        }
        let agent = Asking {
            ground: ground.clone(),
            plan: plan.clone(),
            payer: payer.clone(),
            desk: Operator::new(treasury.clone()),
            treasury: treasury.clone(),
            ends: ends.clone(),
            number,
        };
        ground.spawn(agent.want());
    }
    std::future::pending().await
}

/// Ends channels that are not used, as a node does.
async fn end_idle(ground: Ground, payer: Payer) {
    loop {
        ground.clock.sleep_until(ground.clock.now().after(IDLE_EVERY)).await;
        // Ends with the treasury; the world restarts the process then.
        if payer.end_idle_channels(IDLE_MAX).await.is_err() {
            return;
        }
    }
}

/// An agent with one wish.
struct Asking {
    ground: Ground,
    plan: Plan,
    payer: Payer,
    desk: Operator,
    treasury: Treasury,
    ends: Ends,
    number: usize,
}

impl Asking {
    async fn want(self) {
        let (line, wish) = (self.line(), self.wish());
        let mut over_budget = 0_u32;
        self.pause(Duration::from_millis(20_000)).await;
        let end = loop {
            if !self.delegate(&line).await {
                self.pause(Duration::from_secs(40)).await;
                continue;
            }
            match self.ask(wish.clone()).await {
                Ok(bill) if bill.outcome == Outcome::Captured => {
                    self.ground.oracle.check_paid(bill.payment);
                    break "paid".to_owned();
                }
                Ok(_) => self.pause(Duration::from_secs(20)).await,
                Err(error) => {
                    self.check(&error);
                    match error.code() {
                        // The process ends: its next start asks again.
                        "treasury.stopped" => return,
                        code @ "ledger.over_budget" => {
                            over_budget = over_budget.saturating_add(1);
                            if !self.plan.is_tight || over_budget == OVER_BUDGET_MAX {
                                break code.to_owned();
                            }
                        }
                        code @ ("payer.answer_gone"
                        | "ledger.session_ended"
                        | "ledger.delegation_ended") => break code.to_owned(),
                        // More may come, while anything happens at all.
                        code @ "ledger.insufficient_funds" if self.ground.fate.is_healed() => {
                            break code.to_owned();
                        }
                        code => self.ground.fate.note(format_args!("wish {} {code}", self.number)),
                    }
                    self.pause(Duration::from_secs(40)).await;
                }
            }
        };
        self.ground.fate.note(format_args!("wish {} {end}", self.number));
        self.ends.with(|ends| ends.insert(self.number, end));
    }

    /// I9, I17: what an error says of a payment is so.
    fn check(&self, error: &PayError) {
        let Some(payment) = error.payment() else { return };
        match error {
            PayError::AnswerGone { .. } => self.ground.oracle.check_paid(payment),
            _ if error.class() == Class::Final => {
                self.ground.oracle.check_not_failed(payment, error.code());
            }
            _ => {}
        }
    }

    /// The agent and whom it spends for, the root first.
    fn line(&self) -> Vec<Name> {
        let len = AGENTS.len();
        let root = self.number.checked_rem(len).and_then(|at| AGENTS.get(at));
        let root = root.map_or("ann", |(label, ..)| *label);
        let depth = match self.plan.knows(Fault::Delegated) {
            true => self.number.checked_div(len).and_then(|turn| turn.checked_rem(3)).unwrap_or(0),
            false => 0,
        };
        let all = [root.to_owned(), format!("{root}-kid"), format!("{root}-kid-kid")];
        all.iter().take(depth.saturating_add(1)).map(|label| name(label)).collect()
    }

    /// Whether the agent is there, by delegations that are made here at need.
    async fn delegate(&self, line: &[Name]) -> bool {
        for pair in line.windows(2) {
            let [parent, child] = pair else { continue };
            let id = AgentId::named(child);
            let known = self.treasury.read(move |ledger| ledger.find_agent(id).is_some()).await;
            if known == Ok(true) {
                continue;
            }
            let fate = &self.ground.fate;
            let calls = fate.below(6).saturating_add(1);
            let new = NewDelegation {
                parent: AgentId::named(parent),
                child: child.clone(),
                token: TokenHash(keccak256(child.as_str()).0),
                limit: Nano::new(PRICE.saturating_mul(calls)),
                until: self.ground.clock.now().after(fate.millis(1_500_000)),
            };
            match self.desk.delegate(new).await {
                Ok(()) => fate.count(Fault::Delegated),
                Err(error) if error.code() == "ledger.name_taken" => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn wish(&self) -> Wish {
        let number = u64::try_from(self.number).unwrap_or(u64::MAX);
        let mut random = [0; 10];
        random.split_at_mut(2).1.copy_from_slice(&number.to_be_bytes());
        let line = self.line();
        let in_session = self.plan.knows(Fault::InSession) && !number.is_multiple_of(3);
        if in_session {
            self.ground.fate.count(Fault::InSession);
        }
        let session = if number.is_multiple_of(2) { "even" } else { "odd" };
        Wish {
            agent: AgentId::named(line.last().expect("a line has a root")),
            request: RequestId::new(START_S.saturating_mul(1000), random),
            session: in_session.then(|| name(session)),
            order: Order {
                capability: name("echo"),
                model: None,
                input_max: Units(100),
                output_max: Units(100),
                maxima: Default::default(),
            },
            content_type: "text/plain".to_owned(),
            body: Bytes::from(format!("wish {number}")),
            price_max: None,
            provider: None,
            not_from: Vec::new(),
            streamed: number.is_multiple_of(2),
        }
    }

    async fn ask(&self, wish: Wish) -> Result<Box<Bill>, PayError> {
        let mut purchase = self.payer.pay(wish).await?;
        let payment = purchase.payment;
        while let Some(piece) = purchase.pieces.recv().await {
            if let Bought::Done(bill) = piece? {
                return Ok(bill);
            }
        }
        Err(PayError::InDoubt { payment, problem: "the answer broke off".to_owned() })
    }

    async fn pause(&self, most: Duration) {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let until = self.ground.clock.now().after(self.ground.fate.millis(most));
        self.ground.clock.sleep_until(until).await;
    }
}
