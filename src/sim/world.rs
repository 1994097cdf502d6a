//! The world: a payer's and a payee's process on one ground, run until everything has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::B256;
use bytes::Bytes;

use crate::domain::fault::Fault as _;
use crate::domain::id::{AgentId, RequestId, WalletId};
use crate::domain::ledger::agent::{Agent, Principal, TokenHash};
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::window::WindowSpec;
use crate::domain::ledger::{Bounds, Command, Event, Ledger};
use crate::domain::money::{Amount, Nano};
use crate::domain::order::{Order, Units};
use crate::domain::policy::{Lists, PolicyDocument, Rates, Role};
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::memory_rail::MemoryRail;
use crate::ports::rail::Evidence;
use crate::ports::signer::SeededSigner;
use crate::runtime::directory::Book;
use crate::runtime::limits::Limits;
use crate::runtime::payer::{
    Bill, Bought, Outcome, PayError, Payer, PayerParts, PayerSettings, Wish,
};
use crate::runtime::reconcile::Reconciler;
use crate::sim::auditor::{Auditor, Standing};
use crate::sim::clock::SimClock;
use crate::sim::disk::{CrashAt, Disk};
use crate::sim::fate::{Fate, Fault, Odds};
use crate::sim::network::Link;
use crate::sim::node::Node;
use crate::sim::rail::SimRail;
use crate::sim::roles::{Ground, Own, PRICE, ROUND, USDC, assets, name};

/// When the world begins.
const START_S: u64 = 1_800_000_000;

/// Faults end after this long at the latest.
const TROUBLE: Duration = Duration::from_secs(1_200);

/// Once nothing goes wrong any more, everything has ended this long after: an authorization's life,
/// what a call waits for its rail, and some rounds.
const HEALING: Duration = Duration::from_secs(600);

/// What the wallet has at first.
const FUNDS: u64 = 1_000_000;

/// A process that was down is started again after this long.
const RESTART: Duration = Duration::from_secs(2);

const AGENTS: [&str; 3] = ["ann", "bob", "cid"];

/// What a run is made of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Decides everything else.
    pub seed: u64,
    /// What goes wrong, and how often.
    pub odds: Odds,
    /// Where the payer's process dies.
    pub payer_dies: Option<CrashAt>,
    /// Where the payee's process dies.
    pub payee_dies: Option<CrashAt>,
    /// How many requests the agents make.
    pub wishes: usize,
    /// How many calls fit under the cap.
    pub calls_max: u64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash of all that happened, in its order.
    pub trace: B256,
    /// How often each fault struck.
    pub struck: BTreeMap<Fault, u64>,
    /// What happened that must not.
    pub broken: Vec<String>,
    /// How the requests ended, counted.
    pub ends: BTreeMap<String, u64>,
    /// Payments that the rail settled.
    pub settled: usize,
    /// What they took, in nano.
    pub spent_nano: u128,
    /// Syncs of the payer and of the payee.
    pub syncs: (u64, u64),
    /// Starts of the payer's and of the payee's process.
    pub starts: (u64, u64),
    /// How long it took, by the world's own time.
    pub took: Duration,
}

/// How each wish ended, by its number; what is missing goes on.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<BTreeMap<usize, String>>>);

impl Ends {
    fn with<R>(&self, look: impl FnOnce(&mut BTreeMap<usize, String>) -> R) -> R {
        look(&mut self.0.lock().expect("no holder of the ends panics"))
    }
}

/// A run of a plan.
pub struct World {
    plan: Plan,
    ground: Ground,
    auditor: Auditor,
    payer: (Own, Option<Node>),
    payee: (Own, Option<Node>),
    /// When what is down is started again.
    restart_at: Option<Timestamp>,
    seen: (usize, usize),
    ends: Ends,
    healed_at: Option<Timestamp>,
}

impl World {
    /// The world of `plan`, before anything happened.
    pub fn new(plan: Plan) -> Self {
        let clock = SimClock::at(Timestamp::from_secs(START_S));
        let fate = Fate::new(plan.seed, plan.odds.clone());
        let rail = MemoryRail::new(USDC.network, Arc::new(clock.clone()));
        rail.fund(USDC, wallet_address(plan.seed), Amount::new(u128::from(FUNDS)));
        let rail = SimRail::new(rail, clock.clone(), fate.clone());
        let link = Link::new(clock.clone(), fate.clone());
        let own = |crash| Own { disk: Disk::crashing(crash), ..Own::default() };
        Self {
            auditor: Auditor::new(fate.clone()),
            payer: (own(plan.payer_dies), None),
            payee: (own(plan.payee_dies), None),
            ground: Ground { fate, clock, rail, link, seed: plan.seed },
            restart_at: None,
            seen: (0, 0),
            ends: Ends::default(),
            healed_at: None,
            plan,
        }
    }

    /// Lets the world run until everything has ended.
    pub fn run(mut self) -> Report {
        loop {
            self.start_what_is_down();
            self.run_ready();
            self.audit();
            self.stop_what_died();
            let now = self.ground.clock.now();
            let began = Timestamp::from_secs(START_S);
            let ended = self.ends.with(|ends| ends.len()) == self.plan.wishes;
            if self.healed_at.is_none() && (ended || now.since(began) > TROUBLE) {
                self.ground.fate.heal();
                self.healed_at = Some(now);
            }
            if let Some(healed_at) = self.healed_at {
                let up = self.payer.1.is_some() && self.payee.1.is_some();
                if ended && up && self.auditor.is_quiet() {
                    return self.report();
                }
                let late = now.since(healed_at) > HEALING;
                self.ground.fate.check(!late, || "I23: something never ended".to_owned());
            }
            let stuck = self.restart_at.is_none() && !self.ground.clock.move_on();
            self.ground.fate.check(!stuck, || "I23: nobody waits for anything".to_owned());
            if self.restart_at.is_some_and(|at| now < at) && !self.ground.clock.move_on() {
                // Nobody else waits: the restart itself is next, whenever it is.
                self.restart_at = Some(now);
            }
            if !self.ground.fate.broken().is_empty() {
                return self.report();
            }
        }
    }

    fn start_what_is_down(&mut self) {
        let now = self.ground.clock.now();
        if self.restart_at.is_some_and(|at| now < at) {
            return;
        }
        self.restart_at = None;
        if self.payee.1.is_none() {
            self.payee.0.boot = self.payee.0.boot.saturating_add(1);
            let (ground, own) = (self.ground.clone(), self.payee.0.clone());
            self.payee.1 = Some(Node::start(ground.run_payee(own)));
        }
        if self.payer.1.is_none() {
            self.payer.0.boot = self.payer.0.boot.saturating_add(1);
            let (ground, own) = (self.ground.clone(), self.payer.0.clone());
            let (plan, ends) = (self.plan.clone(), self.ends.clone());
            self.payer.1 = Some(Node::start(run_payer(ground, own, plan, ends)));
        }
    }

    /// Runs both processes until neither can go on. Whoever wakes the other sends a letter.
    fn run_ready(&self) {
        loop {
            let letters = self.ground.link.letters();
            for node in [&self.payer.1, &self.payee.1].into_iter().flatten() {
                node.run_ready();
            }
            if self.ground.link.letters() == letters {
                return;
            }
        }
    }

    fn audit(&mut self) {
        for entry in self.payer.0.disk.entries_after(self.seen.0) {
            self.auditor.read("payer", &entry);
            self.seen.0 = self.seen.0.saturating_add(1);
        }
        for entry in self.payee.0.disk.entries_after(self.seen.1) {
            self.auditor.read("payee", &entry);
            self.seen.1 = self.seen.1.saturating_add(1);
        }
    }

    fn stop_what_died(&mut self) {
        let later = self.ground.clock.now().after(RESTART);
        if self.payer.1.is_some() && self.payer.0.disk.is_down() {
            self.payer.1 = None;
            self.payer.0.disk.reopen(&self.ground.fate);
            self.restart_at = Some(later);
        }
        if self.payee.1.is_some() && self.payee.0.disk.is_down() {
            self.payee.1 = None;
            self.ground.link.close();
            self.payee.0.disk.reopen(&self.ground.fate);
            self.restart_at = Some(later);
        }
    }

    fn report(mut self) -> Report {
        self.audit();
        self.check_chain();
        let mut ends = BTreeMap::new();
        self.ends.with(|all| {
            for end in all.values() {
                let count: &mut u64 = ends.entry(end.clone()).or_default();
                *count = count.saturating_add(1);
            }
        });
        let fate = &self.ground.fate;
        Report {
            seed: self.plan.seed,
            trace: fate.trace(),
            struck: fate.struck(),
            broken: fate.broken(),
            ends,
            settled: self.auditor.count(Standing::Settled),
            spent_nano: self.auditor.settled(),
            syncs: (self.payer.0.disk.syncs(), self.payee.0.disk.syncs()),
            starts: (self.payer.0.boot, self.payee.0.boot),
            took: self.ground.clock.now().since(Timestamp::from_secs(START_S)),
        }
    }

    /// I24: what the ledgers say moved is what the chain moved.
    fn check_chain(&self) {
        let rail = &self.ground.rail.rail;
        let left = rail.owned(USDC, wallet_address(self.plan.seed)).get();
        let gone = u128::from(FUNDS).saturating_sub(left);
        let came = rail.owned(USDC, self.ground.pay_to()).get();
        let (spent, received) = (self.auditor.settled(), self.auditor.received());
        let same = gone == came && came == spent && spent == received;
        let what = || format!("I24: {gone} left, {came} came, {spent} spent, {received} received");
        self.ground.fate.check(same, what);
        let mut ledger = Ledger::new(Bounds::default());
        for entry in self.payer.0.disk.entries() {
            ledger.evolve(entry.at, &entry.event);
        }
        let wallet = ledger.find_wallet_at(wallet_address(self.plan.seed));
        let position = wallet.and_then(|wallet| wallet.find(USDC)).copied();
        let counted = position.is_some_and(|p| p.owned().get() == left && p.held.is_zero());
        let what = || format!("I3: the wallet has {left}, the ledger says {position:?}");
        self.ground.fate.check(counted && ledger.books().balanced(), what);
    }
}

fn wallet_address(seed: u64) -> alloy::primitives::Address {
    SeededSigner::address_of(seed, WalletId::named(&name("main")))
}

/// The payer's process: its ledger, its payer, its reconciler, and the agents that are not done yet.
async fn run_payer(ground: Ground, own: Own, plan: Plan, ends: Ends) {
    let treasury = ground.open(&own).await;
    for command in founding(&plan) {
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
    let payer = Payer::new(PayerParts {
        signer: ground.signer(&own, &treasury),
        archive: Arc::new(own.archive.clone()),
        book: Arc::new(Book::new(Arc::new(ground.clone()), Arc::clone(&clock))),
        connector: Arc::new(ground.link.clone()),
        limits: Arc::new(Limits::new(Arc::clone(&clock))),
        clock,
        settings: PayerSettings::default(),
        treasury,
    });
    for number in 0..plan.wishes {
        if ends.with(|ends| ends.contains_key(&number)) {
            continue;
        }
        let agent = Asking {
            ground: ground.clone(),
            own: own.clone(),
            payer: payer.clone(),
            ends: ends.clone(),
            number,
        };
        ground.spawn(agent.want());
    }
    std::future::pending().await
}

/// What every ledger of the world begins with.
fn founding(plan: &Plan) -> Vec<Command> {
    let any = || vec!["*".parse().expect("a literal pattern")];
    let allow = Lists {
        capabilities: any(),
        models: any(),
        providers: any(),
        payees: any(),
        networks: any(),
        assets: any(),
        schemes: any(),
    };
    let role = Role {
        name: name("scout"),
        description: String::new(),
        allow,
        deny: Lists::default(),
        per_call_max: Nano::new(PRICE),
        rates: Rates::default(),
        role_rates: Rates::default(),
        session: None,
        output_max: None,
        can_delegate: false,
    };
    let budget = |label: &str, per, calls: u64, window| BudgetDef {
        name: name(label),
        selector: Selector::Fleet,
        per,
        limit: Nano::new(PRICE.saturating_mul(calls)),
        window,
    };
    let minute = WindowSpec::Rolling { span: Duration::from_secs(60) };
    let policy = PolicyDocument {
        currency: "USD".to_owned(),
        roles: BTreeMap::from([(name("scout"), role)]),
        budgets: vec![
            budget("pool", Per::All, plan.calls_max, WindowSpec::Lifetime),
            budget("minute", Per::Agent, plan.calls_max, minute),
        ],
        provider_rates: BTreeMap::new(),
        assets: assets(),
    };
    let (budgets, document) = (policy.all_budgets(), policy.to_json());
    let (reason, by) = ("founding".to_owned(), Principal::Operator);
    let (wallet, address) = (name("main"), wallet_address(plan.seed));
    let mut all = vec![
        Command::ApplyPolicy { budgets, document, reason, by },
        Command::OpenWallet { wallet: wallet.clone(), address },
        Command::SeeFunds {
            wallet: wallet.clone(),
            asset: USDC,
            entered: Amount::new(u128::from(FUNDS)),
            left: Amount::ZERO,
            after: None,
            up_to: 1,
        },
    ];
    for (at, label) in (1_u8..).zip(AGENTS) {
        let (role, group, token) = (name("scout"), name("red"), TokenHash([at; 32]));
        let (name, wallet) = (name(label), wallet.clone());
        let agent = Agent { name, role, group, wallet, token, delegation: None };
        all.push(Command::AddAgent { agent, by: Principal::Operator });
    }
    all
}

/// An agent with one wish, which it repeats until it knows how it ended.
struct Asking {
    ground: Ground,
    own: Own,
    payer: Payer,
    ends: Ends,
    number: usize,
}

impl Asking {
    async fn want(self) {
        let wish = self.wish();
        self.pause(Duration::from_millis(20_000)).await;
        loop {
            let end = match self.ask(wish.clone()).await {
                Ok(bill) if bill.outcome == Outcome::Captured => {
                    self.check_durable(&bill);
                    "paid".to_owned()
                }
                Ok(_) => {
                    self.pause(Duration::from_secs(20)).await;
                    continue;
                }
                Err(error) => match error.code() {
                    // The process ends: its next start asks again.
                    "treasury.stopped" => return,
                    code @ ("ledger.over_budget" | "payer.answer_gone") => code.to_owned(),
                    _ => {
                        self.pause(Duration::from_secs(40)).await;
                        continue;
                    }
                },
            };
            self.ground.fate.note(&format!("wish {} {end}", self.number));
            self.ends.with(|ends| ends.insert(self.number, end));
            return;
        }
    }

    fn wish(&self) -> Wish {
        let agents = AGENTS.iter().cycle();
        let label = agents.clone().nth(self.number).copied().unwrap_or("ann");
        let number = u64::try_from(self.number).unwrap_or(u64::MAX);
        let mut random = [0; 10];
        random.split_at_mut(2).1.copy_from_slice(&number.to_be_bytes());
        Wish {
            agent: AgentId::named(&name(label)),
            request: RequestId::new(START_S.saturating_mul(1000), random),
            session: None,
            order: Order {
                capability: name("echo"),
                model: None,
                input_max: Units(100),
                output_max: Units(100),
            },
            content_type: "text/plain".to_owned(),
            body: Bytes::from(format!("wish {number}")),
            price_max: None,
            provider: None,
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

    /// I17: what an agent is told was captured is durable by then.
    fn check_durable(&self, bill: &Bill) {
        let captured = |event: &Event| matches!(event, Event::Captured { payment, .. } if *payment == bill.payment);
        let durable = self.own.disk.entries().iter().any(|entry| captured(&entry.event));
        let what = || format!("I17: {} was acknowledged before it was durable", bill.payment);
        self.ground.fate.check(durable, what);
    }

    async fn pause(&self, most: Duration) {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let until = self.ground.clock.now().after(self.ground.fate.millis(most));
        self.ground.clock.sleep_until(until).await;
    }
}
