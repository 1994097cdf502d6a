//! The world: the payers' and the payee's process on one ground, and the street around them, run until
//! everything has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::B256;

use crate::domain::time::Timestamp;
use crate::domain::x402::known::Remembering;
use crate::ports::archive::MemoryArchive;
use crate::ports::clock::Clock;
use crate::ports::memory_rail::MemoryRail;
use crate::sim::asking::{Ends, run_payer};
use crate::sim::clock::SimClock;
use crate::sim::disk::Disk;
use crate::sim::fate::{Fate, Fault};
use crate::sim::founding::{funds, wallet_address};
use crate::sim::network::Link;
use crate::sim::node::Node;
use crate::sim::oracle::{Counted, Oracle, Side, Standing};
use crate::sim::plan::Plan;
use crate::sim::rail::SimRail;
use crate::sim::roles::{Ground, Keys, Own, START_S, USDC};
use crate::sim::street::Street;

/// Faults end after this long at the latest.
const TROUBLE: Duration = Duration::from_secs(1_200);

/// Once nothing goes wrong any more, everything has ended this long after: an authorization's life,
/// what a call waits for its rail, and some rounds.
const HEALING: Duration = Duration::from_secs(600);

/// The same where channels pay: a payer's own way out takes longer.
const HEALING_BY_CHANNEL: Duration = Duration::from_secs(2_400);

/// A process that was down is started again after this long.
const RESTART: Duration = Duration::from_secs(2);

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash of all that happened, in its order.
    pub trace: B256,
    /// How many times somebody was woken and went on until all waited again.
    pub steps: u64,
    /// How often each fault struck.
    pub struck: BTreeMap<Fault, u64>,
    /// What happened that must not.
    pub broken: Vec<String>,
    /// How the requests ended, counted.
    pub ends: BTreeMap<String, u64>,
    /// Payments that the rail settled.
    pub settled: usize,
    /// Calls that channels paid.
    pub calls: usize,
    /// Those of them that were served on credit.
    pub lent: usize,
    /// How many times more was held for calls that flowed.
    pub extended: usize,
    /// What they took, in nano.
    pub spent_nano: u128,
    /// Syncs of the payer and of the payee.
    pub syncs: (u64, u64),
    /// Starts of the payer's and of the payee's process. Each but the first is after a crash: what was
    /// running is dropped as it stands, in a sync, after a failed one, or at any other moment, and nothing
    /// of a process ever ends in order.
    pub starts: (u64, u64),
    /// Images of what a crash would have left, in a sync, with its batch or without, that a start was tried
    /// on while the process went on.
    pub images: u64,
    /// How long it took, by the world's own time.
    pub took: Duration,
}

/// One process, and what survives it.
struct Process {
    own: Own,
    node: Option<Node>,
    /// When it is started again, where it is down.
    restart_at: Timestamp,
}

impl Process {
    fn new(disk: Disk) -> Self {
        let own = Own { disk, archive: MemoryArchive::default(), boot: 0 };
        Self { own, node: None, restart_at: Timestamp::ZERO }
    }

    /// Starts it, where it is down and its time has come.
    fn start(&mut self, now: Timestamp, start: impl FnOnce(Own) -> Node) {
        if self.node.is_none() && now >= self.restart_at {
            self.own.boot = self.own.boot.saturating_add(1);
            self.node = Some(start(self.own.clone()));
        }
    }

    /// Drops it: nothing of it is left but its disk.
    fn stop(&mut self, ground: &Ground) {
        self.node = None;
        self.own.disk.reopen(&ground.fate, &ground.oracle);
        self.restart_at = ground.clock.now().after(RESTART);
    }

    fn is_dead(&self) -> bool {
        self.node.is_some() && self.own.disk.is_down()
    }
}

/// A run of a plan.
pub struct World {
    plan: Plan,
    ground: Ground,
    payer: Process,
    payee: Process,
    street: Node,
    ends: Ends,
    healed_at: Option<Timestamp>,
    steps: u64,
    /// Nothing that was signed in here is recovered again and again.
    _signers: Remembering,
}

impl World {
    /// The world of `plan`, before anything happened.
    pub fn new(plan: Plan) -> Self {
        let fate = Fate::new(&plan);
        Self::under(plan, fate)
    }

    /// The same, and it says what happens as it happens.
    pub fn telling(plan: Plan) -> Self {
        let fate = Fate::new(&plan).telling();
        Self::under(plan, fate)
    }

    fn under(plan: Plan, fate: Fate) -> Self {
        let signers = Remembering::begin();
        let (wallet, seed) = (wallet_address(plan.seed), plan.seed);
        let keys = std::sync::Arc::new(Keys::new(seed));
        let clock = SimClock::at(Timestamp::from_secs(START_S));
        let memory = MemoryRail::new(USDC.network, std::sync::Arc::new(clock.clone()));
        memory.fund(USDC, wallet, funds(&plan));
        let rail = SimRail::new(memory.clone(), clock.clone(), fate.clone());
        let chain = (memory, rail.channels.clone());
        let oracle = Oracle::new(fate.clone(), chain, clock.clone(), [wallet, keys.pay_to()]);
        let link = Link::new(clock.clone(), fate.clone(), oracle.clone(), plan.on_credit);
        let (street, gossip) = Street::new(clock.clone(), fate.clone(), rail.clone(), wallet);
        Self {
            payer: Process::new(Disk::new(Side::Payer, plan.payer_dies)),
            payee: Process::new(Disk::new(Side::Payee, plan.payee_dies)),
            street: Node::start(street.run()),
            ground: Ground {
                fate,
                clock,
                rail,
                link,
                oracle,
                gossip,
                seed,
                keys,
                by_channel: plan.by_channel,
                on_credit: plan.on_credit,
                flows: plan.flows,
            },
            ends: Ends::default(),
            healed_at: None,
            steps: 0,
            _signers: signers,
            plan,
        }
    }

    /// Lets the world run until everything has ended.
    pub fn run(mut self) -> Report {
        loop {
            self.steps = self.steps.saturating_add(1);
            self.start_what_is_down();
            self.run_ready();
            self.ground.oracle.step();
            self.stop_what_died();
            if self.ground.fate.is_broken() || self.has_ended() {
                return self.report();
            }
            self.move_on();
        }
    }

    fn start_what_is_down(&mut self) {
        let now = self.ground.clock.now();
        let (ground, plan, ends) = (&self.ground, &self.plan, &self.ends);
        self.payee.start(now, |own| Node::start(ground.clone().run_payee(own, plan.clone())));
        self.payer.start(now, |own| {
            Node::start(run_payer(ground.clone(), own, plan.clone(), ends.clone()))
        });
    }

    /// Runs every process until none can go on. Whoever wakes the other sends a letter.
    fn run_ready(&self) {
        loop {
            let letters = self.ground.link.letters();
            for node in [&self.payer.node, &self.payee.node].into_iter().flatten() {
                node.run_ready();
            }
            if self.ground.link.letters() == letters {
                break;
            }
        }
        // The street hears of both, and wakes neither but through the chain and the clock.
        self.street.run_ready();
    }

    fn stop_what_died(&mut self) {
        let (mut payer, mut payee) = (self.payer.is_dead(), self.payee.is_dead());
        if self.ground.fate.strikes(Fault::Killed) {
            let whose = self.ground.fate.below(2) == 0;
            (payer, payee) = (payer || whose, payee || !whose);
        }
        if payer && self.payer.node.is_some() {
            self.payer.stop(&self.ground);
        }
        if payee && self.payee.node.is_some() {
            self.ground.link.close();
            self.payee.stop(&self.ground);
        }
    }

    /// I23: whether everything has ended. Once all wishes have, or trouble has lasted long enough,
    /// nothing goes wrong any more, and the rest has to end within a bound.
    fn has_ended(&mut self) -> bool {
        let now = self.ground.clock.now();
        let ended = self.ends.len() == self.plan.wishes;
        let Some(healed_at) = self.healed_at else {
            let began = Timestamp::from_secs(START_S);
            if ended || now.since(began) > TROUBLE {
                self.ground.fate.heal();
                self.healed_at = Some(now);
            }
            return false;
        };
        let within = if self.plan.by_channel { HEALING_BY_CHANNEL } else { HEALING };
        let late = now.since(healed_at) > within;
        self.ground.fate.check(!late, || {
            let channels = self.ground.oracle.open_channels();
            format!("I23: something never ended: {:?}, {channels:#?}", self.ends.count())
        });
        let up = self.payer.node.is_some() && self.payee.node.is_some();
        ended && up && self.ground.oracle.is_quiet()
    }

    /// Lets time pass until somebody has something to do.
    fn move_on(&mut self) {
        let down = |process: &Process| process.node.is_none().then_some(process.restart_at);
        let restart_at = [&self.payer, &self.payee].into_iter().filter_map(down).min();
        let moved = match restart_at {
            Some(restart_at) => self.ground.clock.move_on_before(restart_at),
            None => self.ground.clock.move_on(),
        };
        self.ground
            .fate
            .check(moved || restart_at.is_some(), || "I23: nobody waits for anything".to_owned());
    }

    fn report(self) -> Report {
        let Ground { fate, oracle, rail, clock, .. } = &self.ground;
        if !fate.is_broken() {
            oracle.check_end(&rail.by_others());
        }
        let (settled, spent) = oracle.count(Standing::Settled);
        let Counted { calls, lent, extended, taken } = oracle.count_calls();
        Report {
            seed: self.plan.seed,
            trace: fate.trace(),
            steps: self.steps,
            struck: fate.struck(),
            broken: fate.broken(),
            ends: self.ends.count(),
            settled,
            calls,
            lent,
            extended,
            spent_nano: spent.saturating_add(taken),
            syncs: (self.payer.own.disk.syncs(), self.payee.own.disk.syncs()),
            starts: (self.payer.own.boot, self.payee.own.boot),
            images: [&self.payer, &self.payee].map(|it| it.own.disk.images()).iter().sum(),
            took: clock.now().since(Timestamp::from_secs(START_S)),
        }
    }
}
