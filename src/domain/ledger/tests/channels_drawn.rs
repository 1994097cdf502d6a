//! Drawn steps on two channels: whatever payees claim, what they could take is held.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::audits;
use super::channels::{Bench, CAPS, id};
use super::fixture::*;
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::state::PORTIONS_MAX;
use crate::domain::ledger::channel::{ChannelCommand, ChannelEvent};
use crate::domain::ledger::{Bounds, Event, Ledger};
use crate::domain::money::Nano;

/// One drawn step; numbers that do not fit are refused.
#[derive(Clone, Debug)]
enum Step {
    Deposit(u64, u64),
    Confirm(u64),
    ExpireDeposit(u64),
    Draw { channel: u64, units: u64, charge: u64 },
    Extend { channel: u64, units: u64 },
    Charge(u64, u64),
    Void(u64),
    Claim { channel: u64, units: u64 },
    GoBack { channel: u64, units: u64 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 1_u64..3;
    prop_oneof![
        2 => (channel.clone(), 1_u64..200).prop_map(|(c, n)| Step::Deposit(c, n)),
        3 => channel.clone().prop_map(Step::Confirm),
        1 => channel.clone().prop_map(Step::ExpireDeposit),
        12 => (channel.clone(), 1_u64..60, 0_u64..60)
            .prop_map(|(channel, units, charge)| Step::Draw { channel, units, charge }),
        8 => (channel.clone(), 1_u64..40)
            .prop_map(|(channel, units)| Step::Extend { channel, units }),
        3 => (channel.clone(), 0_u64..60).prop_map(|(c, n)| Step::Charge(c, n)),
        2 => channel.clone().prop_map(Step::Void),
        2 => (channel.clone(), 0_u64..80).prop_map(|(channel, units)| Step::Claim { channel, units }),
        1 => (channel, 0_u64..80).prop_map(|(channel, units)| Step::GoBack { channel, units }),
        1 => (1_u64..200).prop_map(Step::Wait),
    ]
}

/// What the contract and the payee's drawer hold: counted apart from the ledger.
#[derive(Clone, Debug, Default)]
struct Truth {
    balance: u64,
    claimed: u64,
    pending: u64,
    /// Every voucher that left.
    signed: Vec<u64>,
    /// Whether the last one may still be said not to have left.
    last: Option<(PaymentId, u64)>,
    /// Whether that one has had a second voucher.
    extended: bool,
}

impl Truth {
    /// What the payee could still have, with what it has.
    fn most(&self) -> u64 {
        let highest = self.signed.iter().copied().max().unwrap_or(0);
        highest.min(self.balance + self.pending).max(self.claimed)
    }
}

fn check(bench: &Bench, truths: &BTreeMap<u64, Truth>) {
    let ledger = &bench.desk.ledger;
    let (mut held, mut reachable) = (0, 0);
    for (n, truth) in truths {
        let channel = ledger.find_channel(id(*n)).unwrap();
        let mut spans: Vec<_> = channel.portions.iter().map(|p| (p.from, p.to)).collect();
        spans.sort();
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "portions overlap: {spans:?}");
        }
        let open: u128 = spans.iter().map(|(from, to)| to.get() - from.get()).sum();
        assert!(channel.charged.get() + open >= u128::from(truth.most()), "{channel:?} {truth:?}");
        held += channel.portions.iter().map(|portion| portion.nano.get()).sum::<u64>();
        reachable += truth.most();
        assert_eq!(channel.room().get(), u128::from(channel.locked.get()), "one for one");
    }
    let (spent, counted) = bench.numbers();
    assert_eq!(counted, held, "what budgets hold is what portions say");
    assert!(spent + counted >= reachable, "the payees can take {reachable} of {spent}+{counted}");
    let audit = audits::audit(&bench.desk.log);
    let mut again = Ledger::new(Bounds::default());
    for (at, event) in &bench.desk.log {
        again.evolve(*at, event);
    }
    assert!(again == *ledger, "the events give the ledger again");
    assert_eq!(audit.over_limit(), Nano::ZERO);
    let position = ledger.find_wallet_at(wallet_address("main")).unwrap().find(asset()).copied();
    assert_eq!(audit.captured(asset()), position.unwrap().paid.get());
    let rooms: u128 = ledger.channels().map(|channel| channel.room().get()).sum();
    assert_eq!(position.unwrap().locked.get(), rooms);
    assert!(ledger.books().balanced());
    assert!(ledger.locked() <= CAPS.total);
}

fn extend(bench: &mut Bench, truths: &mut BTreeMap<u64, Truth>, channel: u64, units: u64) {
    let truth = truths.entry(channel).or_default();
    if let Some((payment, max)) = truth.last
        && bench.extend(channel, payment, units).is_ok()
    {
        let found = bench.desk.ledger.find_channel(id(channel)).unwrap();
        truth.signed.push(u64::try_from(found.last_ceiling.get()).unwrap());
        truth.last = Some((payment, max + units));
        truth.extended = true;
    }
}

fn claim(bench: &mut Bench, truths: &mut BTreeMap<u64, Truth>, channel: u64, units: u64) {
    let truth = truths.entry(channel).or_default();
    // Any voucher does, whatever was charged; of what has arrived only.
    let highest = truth.signed.iter().copied().max().unwrap_or(0);
    truth.claimed = (truth.claimed + units).min(highest).min(truth.balance).max(truth.claimed);
    let (balance, claimed) = (truth.balance, truth.claimed);
    let _ = bench.see(channel, balance, claimed);
}

fn run(bench: &mut Bench, truths: &mut BTreeMap<u64, Truth>, step: &Step) {
    match *step {
        Step::Wait(secs) => bench.desk.wait(secs),
        Step::Deposit(n, amount) => {
            if bench.deposit(n, amount).is_ok() {
                truths.entry(n).or_default().pending = amount;
            }
        }
        Step::Confirm(n) => {
            if bench.confirm(n).is_ok() {
                let truth = truths.entry(n).or_default();
                truth.balance += std::mem::take(&mut truth.pending);
            }
        }
        Step::ExpireDeposit(n) => {
            let block = block(bench.desk.now.as_secs());
            if bench.ask(ChannelCommand::ExpireDeposit { channel: id(n), block }).is_ok() {
                truths.entry(n).or_default().pending = 0;
            }
        }
        Step::Draw { channel, units, charge } => {
            let truth = truths.entry(channel).or_default();
            let last = truth.last.map(|(payment, max)| (payment, charge.min(max)));
            if let Ok(payment) = bench.draw(channel, units, last) {
                let found = bench.desk.ledger.find_channel(id(channel)).unwrap();
                truth.signed.push(u64::try_from(found.last_ceiling.get()).unwrap());
                truth.last = Some((payment, units));
                truth.extended = false;
            }
        }
        Step::Extend { channel, units } => extend(bench, truths, channel, units),
        Step::Charge(n, amount) => {
            let truth = truths.entry(n).or_default();
            if let Some((payment, max)) = truth.last
                && bench.charge(n, payment, amount.min(max)).is_ok()
            {
                truth.last = None;
            }
        }
        Step::Void(n) => {
            let truth = truths.entry(n).or_default();
            if let Some((payment, _)) = truth.last
                && bench.void(n, payment).is_ok()
            {
                assert!(!truth.extended, "a call whose vouchers left is voided");
                truth.signed.pop();
                truth.last = None;
            }
        }
        Step::Claim { channel, units } => claim(bench, truths, channel, units),
        Step::GoBack { channel, units } => {
            let truth = truths.entry(channel).or_default();
            truth.balance -= units.min(truth.balance - truth.claimed);
            let (balance, claimed) = (truth.balance, truth.claimed);
            let _ = bench.see(channel, balance, claimed);
        }
    }
    // A channel that ended asks nobody what its last call cost.
    for (n, truth) in truths.iter_mut() {
        let found = bench.desk.ledger.find_channel(id(*n)).unwrap();
        if found.last.is_none() {
            truth.last = None;
        }
    }
}

/// Whether it holds something in budgets.
fn places(event: &Event) -> bool {
    let Event::Channel(event) = event else { return false };
    matches!(event, ChannelEvent::Drawn(_) | ChannelEvent::Funded(_) | ChannelEvent::Extended(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// I1, I10 and I11 of the payer: whatever payees claim and say, what they have and could still
    /// take is counted in the budgets, and no cap is passed.
    #[test]
    fn what_payees_could_take_is_held_at_every_step(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new(300, 0);
        bench.open(2);
        let mut truths = BTreeMap::from([(1, Truth::default()), (2, Truth::default())]);
        let mut peak = 0;
        for step in &steps {
            let before = bench.desk.log.len();
            run(&mut bench, &mut truths, step);
            check(&bench, &truths);
            if bench.desk.log[before..].iter().any(|(_, event)| places(event)) {
                let (spent, held) = bench.numbers();
                peak = peak.max(spent + held);
            }
        }
        let (pool, log) = (bench.desk.account("pool").account.budget, &bench.desk.log);
        prop_assert_eq!(audits::peak(log, pool), peak);
    }
}

#[test]
fn a_channel_that_is_crowded_says_so_and_one_voucher_for_more_covers_all() {
    let mut bench = Bench::new(100_000, 900);
    let (mut last, mut asked) = (None, 200);
    // Each takes one of what was signed for, and is followed by one that is signed for less.
    let refused = loop {
        match bench.draw(1, asked, last) {
            Ok(payment) => last = Some((payment, 1)),
            Err(refused) => break refused,
        }
        asked -= 10;
    };
    assert_eq!(code::<()>(Err(refused)), "ledger.channel_crowded");
    let found = bench.desk.ledger.find_channel(id(1)).unwrap();
    assert_eq!(found.portions.len(), PORTIONS_MAX);
    bench.draw(1, 250, last).unwrap();
    let found = bench.desk.ledger.find_channel(id(1)).unwrap();
    assert_eq!(found.portions.len(), 1);
}
