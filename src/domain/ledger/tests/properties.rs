//! All rules together, over drawn commands: after every one of them the ledger shows what a naive
//! count from the events shows.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::*;
use super::oracle::Oracle;
use crate::domain::commitment::Scheme;
use crate::domain::id::{GroupId, PaymentId, RequestId, RoleId};
use crate::domain::ledger::agent::{Principal, Scope};
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::hold::CaptureProof;
use crate::domain::ledger::window::CalendarUnit;
use crate::domain::ledger::{Bounds, Command, Ledger, Rejection};
use crate::domain::money::Amount;

const AGENTS: [&str; 4] = ["ann", "bob", "kid", "tot"];

/// One drawn step.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Hold {
        agent: usize,
        units: u64,
        session: Option<u8>,
    },
    /// A hold of a maximum.
    Maximum {
        agent: usize,
        units: u64,
    },
    Again {
        which: usize,
        attempt: u32,
        units: u64,
    },
    Doubt(usize),
    Capture {
        which: usize,
        by_chain: bool,
        less: u128,
    },
    Verify {
        which: usize,
        less: u128,
    },
    Void {
        which: usize,
        boot: u64,
    },
    Cancel(usize),
    Expire {
        which: usize,
        late: bool,
    },
    Policy {
        scale: u64,
        extra: bool,
    },
    Fund {
        entered: u64,
        left: u64,
    },
    Pause {
        agent: usize,
        on: bool,
    },
    /// A claim of the payee's side, pushed one step on.
    Claim {
        nonce: u64,
        step: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..64;
    prop_oneof![
        3 => prop_oneof![1_u64..20, 20_u64..4_000, 4_000_u64..100_000].prop_map(Step::Wait),
        10 => (0_usize..4, 1_u64..40, prop::option::of(0_u8..3))
            .prop_map(|(agent, units, session)| Step::Hold { agent, units, session }),
        5 => (0_usize..4, 1_u64..40).prop_map(|(agent, units)| Step::Maximum { agent, units }),
        3 => (which.clone(), 0_u32..3, 1_u64..40)
            .prop_map(|(which, attempt, units)| Step::Again { which, attempt, units }),
        2 => which.clone().prop_map(Step::Doubt),
        5 => (which.clone(), any::<bool>(), prop_oneof![1 => Just(0), 2 => 0_u128..40])
            .prop_map(|(which, by_chain, less)| Step::Capture { which, by_chain, less }),
        2 => (which.clone(), prop_oneof![2 => Just(0), 1 => 0_u128..40])
            .prop_map(|(which, less)| Step::Verify { which, less }),
        2 => (which.clone(), 1_u64..3).prop_map(|(which, boot)| Step::Void { which, boot }),
        1 => which.clone().prop_map(Step::Cancel),
        3 => (which, any::<bool>()).prop_map(|(which, late)| Step::Expire { which, late }),
        1 => (1_u64..4, any::<bool>()).prop_map(|(scale, extra)| Step::Policy { scale, extra }),
        1 => (0_u64..50, 0_u64..50).prop_map(|(entered, left)| Step::Fund { entered, left }),
        1 => (0_usize..4, any::<bool>()).prop_map(|(agent, on)| Step::Pause { agent, on }),
        9 => (0_u64..3, 0_u8..9).prop_map(|(nonce, step)| Step::Claim { nonce, step }),
    ]
}

fn budgets(scale: u64, extra: bool) -> Vec<BudgetDef> {
    let red = Selector::Group(GroupId::named(&name("red")));
    let scout = Selector::Role(RoleId::named(&name("scout")));
    let hour = calendar(CalendarUnit::Hour, "Europe/Berlin");
    let day = calendar(CalendarUnit::Day, "UTC");
    let mut all = vec![
        pool(1000 * scale),
        budget("day", red, Per::Group, 100 * scale, day),
        budget("hour", scout, Per::Agent, 60 * scale, hour),
        budget("minute", Selector::Fleet, Per::All, 50 * scale, span(60)),
        budget("long", Selector::Fleet, Per::Agent, 70 * scale, span(7_000)),
        budget("task", Selector::Fleet, Per::Session, 30 * scale, session(3_000)),
    ];
    if extra {
        all.push(budget("tiny", Selector::Model("ti*".to_owned()), Per::All, 40, span(600)));
    }
    all
}

fn bounds() -> Bounds {
    let request_memory = Duration::from_secs(50_000);
    Bounds { requests_max: 40, request_memory, ..Bounds::default() }
}

fn start() -> Desk {
    let mut desk = Desk::bounded(bounds(), budgets(1, false));
    desk.wallet("side", 60);
    desk.agent("bob", "scout", "red", "side");
    desk.delegate("ann", "kid", 80, START_S + 50_000).unwrap();
    desk.delegate("kid", "tot", 45, START_S + 200_000).unwrap();
    desk
}

fn pick<T: Copy>(all: &[T], which: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[which % all.len()])
}

fn take(desk: &mut Desk, oracle: &Oracle, step: &Step) -> Result<(), Rejection> {
    let open = oracle.open();
    let payment = |which| pick(&open, which).unwrap_or(PaymentId::from_bytes([0; 16]));
    let asked = match step.clone() {
        Step::Wait(secs) => {
            desk.wait(secs);
            return Ok(());
        }
        Step::Hold { agent, units, session } => {
            return match session {
                Some(label) => desk.hold_in(AGENTS[agent], units, &format!("s{label}")),
                None => desk.hold(AGENTS[agent], units),
            }
            .map(drop);
        }
        Step::Maximum { agent, units } => {
            return desk.hold_maximum(AGENTS[agent], units).map(drop);
        }
        Step::Again { which, attempt, units } => {
            let none = (agent_id("ann"), RequestId::new(START_S * 1000, [0; 10]));
            let (agent, request) = pick(&oracle.requests(), which).unwrap_or(none);
            let label = desk.ledger.find_agent(agent).unwrap().name.clone();
            let ask = desk.ask_for(label.as_str(), units, request, attempt);
            return desk.place(ask).map(drop);
        }
        Step::Doubt(which) => desk.doubt(payment(which)),
        Step::Capture { which, by_chain, less } => {
            let chain = CaptureProof::Chain(block(START_S));
            let proof = if by_chain { chain } else { CaptureProof::Receipt };
            let (payment, transaction) = (payment(which), number(5));
            let amount = drawn(desk, payment, less);
            desk.execute(Command::Capture { payment, amount, transaction, proof })
        }
        Step::Verify { which, less } => {
            let (payment, transaction) = (payment(which), number(5));
            let amount = drawn(desk, payment, less);
            let block = block(START_S);
            desk.execute(Command::Verify { payment, transaction, amount, block })
        }
        Step::Void { which, boot } => {
            let proof = crate::domain::ledger::hold::VoidProof::NeverSigned;
            desk.execute(Command::Void { payment: payment(which), proof, boot })
        }
        Step::Cancel(which) => desk.cancel(payment(which)),
        Step::Expire { which, late } => {
            let payment = payment(which);
            let Some(hold) = desk.ledger.find_hold(payment) else { return Ok(()) };
            let over = hold.held.commitment.valid_before_s;
            desk.expire(payment, if late { over } else { over - 1 })
        }
        Step::Policy { scale, extra } => desk.policy(budgets(scale, extra)),
        Step::Fund { entered, left } => {
            let up_to = desk.now.as_nanos();
            // Only what is free leaves: what leaves beneath a hold has its own test.
            let wallet = desk.ledger.find_wallet_at(wallet_address("side")).unwrap();
            let free = u64::try_from(wallet.available(asset()).get()).unwrap();
            desk.fund("side", entered, left.min(free), up_to)
        }
        Step::Pause { agent, on } => {
            let (scope, by) = (Scope::Agent(name(AGENTS[agent])), Principal::Operator);
            let reason = "drawn".to_owned();
            desk.execute(if on {
                Command::Pause { scope, reason, by }
            } else {
                Command::Resume { scope, by }
            })
        }
        Step::Claim { nonce, step } => claim(desk, nonce, step),
    };
    asked.map(drop)
}

/// Just what is held, or of a maximum so much less.
fn drawn(desk: &Desk, payment: PaymentId, less: u128) -> Amount {
    let Some(hold) = desk.ledger.find_hold(payment) else { return Amount::ZERO };
    let all = hold.money().amount;
    match hold.held.commitment.scheme {
        Scheme::Exact => all,
        _ => Amount::new(all.get().saturating_sub(less)),
    }
}

fn claim(desk: &mut Desk, nonce: u64, step: u8) -> Result<crate::domain::ledger::Event, Rejection> {
    let accepted = desk.accepted(nonce, 5);
    let (claim, amount, transaction) = (accepted.key(), accepted.amount, number(5));
    let moved_at_s = desk.now.as_secs();
    desk.execute(match step {
        0 => Command::Accept(Box::new(accepted)),
        1 => Command::DoubtClaim { claim, transaction: None },
        2 => Command::SettleClaim { claim, amount, transaction, moved_at_s },
        3 => Command::Serve { claim, delivery: delivery() },
        4 => Command::ReleaseClaim { claim },
        5 => Command::KillClaim { claim },
        6 | 7 => Command::BeginRefund { claim },
        _ => Command::Refund { claim, transaction },
    })
}

/// Replaying the events, and reading a snapshot back, give the ledger again.
fn check_recovery(desk: &Desk) {
    let mut replayed = Ledger::new(bounds());
    for (at, event) in &desk.log {
        replayed.evolve(*at, event);
    }
    assert!(replayed == desk.ledger, "replay gives another ledger");
    let bytes = postcard::to_stdvec(&desk.ledger).unwrap();
    let read: Ledger = postcard::from_bytes(&bytes).unwrap();
    let restored = read.restored(bounds());
    assert!(restored == desk.ledger, "a snapshot gives another ledger");
    // Equal ledgers decide alike: the budgets' index is made again, too.
    let (mut one, mut other) = (desk.clone(), Desk { ledger: restored, ..desk.clone() });
    for agent in AGENTS {
        assert_eq!(one.hold(agent, 3), other.hold(agent, 3));
        assert_eq!(one.hold_in(agent, 3, "s0"), other.hold_in(agent, 3, "s0"));
    }
    assert!(one.ledger == other.ledger);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// I1, I2, I3, I5, I6, I8, I9, I18 and I22 of the threat model after every command; a refusal changes
    /// nothing (the desk checks it), and the events alone give the ledger again.
    #[test]
    fn the_ledger_shows_what_its_events_say(steps in prop::collection::vec(step(), 1..120)) {
        let mut desk = start();
        let mut oracle = Oracle::read(&desk.log);
        for step in &steps {
            let before = desk.log.len();
            let _refused = take(&mut desk, &oracle, step);
            if desk.log.len() > before {
                oracle = Oracle::read(&desk.log);
            }
            oracle.check(&desk);
        }
        oracle.check_audit(&desk.log);
        check_recovery(&desk);
    }
}

/// The draw above is worth something only while it gets somewhere: most kinds of event happen in it.
#[test]
fn drawn_commands_reach_every_kind_of_event_of_a_payment() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let steps = prop::collection::vec(step(), 100).new_tree(&mut runner).unwrap().current();
        let mut desk = start();
        for step in &steps {
            let oracle = Oracle::read(&desk.log);
            let outcome = match take(&mut desk, &oracle, step) {
                Ok(()) => desk.log.last().unwrap().1.kind(),
                Err(rejection) => crate::domain::fault::Fault::code(&rejection),
            };
            *seen.entry(outcome).or_insert(0_u32) += 1;
        }
    }
    for wanted in [
        "held",
        "doubted",
        "captured",
        "payment_verified",
        "voided",
        "expired",
        "capture_reversed",
        "payment_closed",
        "accepted",
        "claim_settled",
        "served",
        "refund_begun",
        "refunded",
        "paused",
        "policy_applied",
        "funds_seen",
        "ledger.over_budget",
        "ledger.exists",
        "ledger.wrong_attempt",
        "ledger.paused",
        "ledger.session_ended",
        "ledger.delegation_ended",
        "ledger.request_outside_memory",
        "ledger.insufficient_funds",
        "ledger.still_live",
        "ledger.wrong_state",
    ] {
        assert!(seen.contains_key(wanted), "{wanted} never happened: {seen:?}");
    }
}
