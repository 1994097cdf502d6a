//! Channels: what was signed away stays held in the budgets of its call, whatever comes after it.

use alloy::primitives::Address;

use super::fixture::*;
use crate::domain::channel::{ChannelId, ChannelTerms, Deposit};
use crate::domain::commitment::{ChannelOffer, Commitment, Scheme};
use crate::domain::id::{PaymentId, WalletId};
use crate::domain::ledger::audit::Audit;
use crate::domain::ledger::channel::{
    ChannelCaps, ChannelCommand, ChannelEvent, ChannelState, Charge, DrawAsk, Frozen, Opened,
};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::{Amount, Nano};

pub(super) const CAPS: ChannelCaps =
    ChannelCaps { provider: Nano::new(1_000), total: Nano::new(1_500) };

pub(super) fn id(n: u64) -> ChannelId {
    ChannelId(number(1_000 + n))
}

pub(super) fn units(n: u64) -> Amount {
    Amount::new(n.into())
}

pub fn opened(n: u64) -> Opened {
    Opened {
        id: id(n),
        terms: ChannelTerms {
            asset: asset(),
            payer: wallet_address("main"),
            payer_authorizer: Address::repeat_byte(4),
            receiver: Address::repeat_byte(9),
            receiver_authorizer: Address::repeat_byte(8),
            withdraw_delay_s: 900,
            salt: number(n),
        },
        wallet: WalletId::named(&name("main")),
        role: name("scout"),
        provider: name("scribe-1"),
    }
}

/// A desk with one channel, and what may be asked of it in few words.
#[derive(Clone)]
pub(super) struct Bench {
    pub desk: Desk,
    deposits: u64,
}

impl Bench {
    pub(super) fn new(budget: u64, deposit: u64) -> Self {
        let mut bench = Self { desk: Desk::new(vec![pool(budget)]), deposits: 0 };
        bench.open(1);
        if deposit > 0 {
            bench.fill(1, deposit);
        }
        bench
    }

    pub(super) fn ask(&mut self, command: ChannelCommand) -> Result<ChannelEvent, Rejection> {
        match self.desk.execute(Command::Channel(command))? {
            Event::Channel(event) => Ok(event),
            other => panic!("a channel's command becomes its event, not {other:?}"),
        }
    }

    pub(super) fn open(&mut self, n: u64) {
        self.ask(ChannelCommand::Open(Box::new(opened(n)))).unwrap();
    }

    pub(super) fn deposit(&mut self, n: u64, amount: u64) -> Result<ChannelEvent, Rejection> {
        self.deposits += 1;
        let deposit = Deposit {
            amount: units(amount),
            nano: Nano::new(amount),
            nonce: number(500 + self.deposits),
            salt: number(self.deposits),
            valid_before_s: self.desk.now.as_secs() + LIFE_S,
        };
        let policy_version = self.desk.ledger.policy().version;
        self.ask(ChannelCommand::Deposit { channel: id(n), deposit, caps: CAPS, policy_version })
    }

    pub(super) fn confirm(&mut self, n: u64) -> Result<ChannelEvent, Rejection> {
        let (transaction, block) = (number(5), block(START_S));
        self.ask(ChannelCommand::ConfirmDeposit { channel: id(n), transaction, block })
    }

    fn fill(&mut self, n: u64, amount: u64) {
        self.deposit(n, amount).unwrap();
        self.confirm(n).unwrap();
    }

    pub(super) fn call(&mut self, n: u64, amount: u64) -> HoldAsk {
        let ask = self.desk.ask("ann", amount);
        let offer = ChannelOffer {
            receiver_authorizer: Address::repeat_byte(8),
            withdraw_delay_s: 900,
            deposit_min: Amount::ZERO,
        };
        let commitment = Commitment {
            scheme: Scheme::BatchSettlement(offer),
            nonce: id(n).0,
            valid_before_s: u64::MAX,
            ..ask.commitment
        };
        HoldAsk { commitment, ..ask }
    }

    pub(super) fn draw(
        &mut self,
        n: u64,
        amount: u64,
        last: Option<(PaymentId, u64)>,
    ) -> Result<PaymentId, Rejection> {
        let ask = self.call(n, amount);
        let payment = ask.payment;
        let last = last.map(|(payment, amount)| Charge { payment, amount: units(amount) });
        let ask = DrawAsk { ask, channel: id(n), last, fund: None };
        self.ask(ChannelCommand::Draw(Box::new(ask)))?;
        Ok(payment)
    }

    /// One more portion of `payment`.
    pub(super) fn extend(
        &mut self,
        n: u64,
        payment: PaymentId,
        amount: u64,
    ) -> Result<ChannelEvent, Rejection> {
        let ask = HoldAsk { payment, ..self.call(n, amount) };
        let ask = DrawAsk { ask, channel: id(n), last: None, fund: None };
        self.ask(ChannelCommand::Extend(Box::new(ask)))
    }

    pub(super) fn charge(
        &mut self,
        n: u64,
        payment: PaymentId,
        amount: u64,
    ) -> Result<ChannelEvent, Rejection> {
        let charge = Charge { payment, amount: units(amount) };
        self.ask(ChannelCommand::Charge { channel: id(n), charge })
    }

    pub(super) fn see(
        &mut self,
        n: u64,
        balance: u64,
        claimed: u64,
    ) -> Result<ChannelEvent, Rejection> {
        let (balance, claimed) = (units(balance), units(claimed));
        self.ask(ChannelCommand::See { channel: id(n), balance, claimed, block: block(START_S) })
    }

    pub(super) fn void(&mut self, n: u64, payment: PaymentId) -> Result<ChannelEvent, Rejection> {
        self.ask(ChannelCommand::Void { channel: id(n), payment, boot: BOOT })
    }

    pub(super) fn numbers(&self) -> (u64, u64) {
        self.desk.numbers("pool")
    }

    pub(super) fn available(&self) -> u128 {
        let wallet = self.desk.ledger.find_wallet_at(wallet_address("main")).unwrap();
        wallet.available(asset()).get()
    }

    pub(super) fn state(&self, n: u64) -> ChannelState {
        self.desk.ledger.find_channel(id(n)).unwrap().state
    }
}

#[test]
fn a_deposit_is_held_before_it_is_signed_and_counts_in_no_budget() {
    let mut bench = Bench::new(100, 0);
    let before = bench.available();
    bench.deposit(1, 600).unwrap();
    assert_eq!(bench.available(), before - 600);
    assert_eq!(bench.numbers(), (0, 0));
    assert_eq!(bench.desk.ledger.locked(), Nano::new(600));
    bench.confirm(1).unwrap();
    assert_eq!(bench.available(), before - 600);
}

#[test]
fn e23_what_lies_locked_never_passes_its_caps() {
    let mut bench = Bench::new(100, 600);
    assert_eq!(code(bench.deposit(1, 401)), "ledger.over_channel_cap");
    bench.fill(1, 400);
    bench.open(2);
    assert_eq!(code(bench.deposit(2, 1)), "ledger.over_channel_cap");
    // What was charged lies there no more, as far as its payer is concerned.
    let payment = bench.draw(1, 50, None).unwrap();
    bench.charge(1, payment, 50).unwrap();
    bench.deposit(2, 50).unwrap();
    assert_eq!(bench.desk.ledger.locked(), Nano::new(1_000));
}

#[test]
fn a_deposit_comes_back_only_once_it_can_arrive_no_more() {
    let mut bench = Bench::new(100, 0);
    let before = bench.available();
    bench.deposit(1, 600).unwrap();
    let limit = bench.desk.now.as_secs() + LIFE_S;
    let early = ChannelCommand::ExpireDeposit { channel: id(1), block: block(limit - 2) };
    assert_eq!(code(bench.ask(early)), "ledger.deposit_live");
    bench.ask(ChannelCommand::ExpireDeposit { channel: id(1), block: block(limit) }).unwrap();
    assert_eq!((bench.available(), bench.desk.ledger.locked()), (before, Nano::ZERO));
}

#[test]
fn a_voucher_is_held_in_the_budget_of_its_call_before_it_is_signed() {
    let mut bench = Bench::new(100, 600);
    let payment = bench.draw(1, 60, None).unwrap();
    assert_eq!(bench.numbers(), (0, 60));
    assert_eq!(code(bench.draw(1, 41, Some((payment, 60)))), "ledger.over_budget");
    let next = bench.draw(1, 40, Some((payment, 60))).unwrap();
    assert_eq!(bench.numbers(), (60, 40));
    bench.charge(1, next, 40).unwrap();
    assert_eq!(bench.numbers(), (100, 0));
}

#[test]
fn a_call_is_held_portion_by_portion_and_each_counts_before_it_is_signed() {
    let mut bench = Bench::new(100, 600);
    let payment = bench.draw(1, 30, None).unwrap();
    bench.extend(1, payment, 30).unwrap();
    assert_eq!(bench.numbers(), (0, 60));
    let channel = bench.desk.ledger.find_channel(id(1)).unwrap();
    assert_eq!((channel.last_ceiling, channel.exposure()), (units(60), units(60)));
    assert_eq!(channel.portions.len(), 1, "it is one portion that grew");
    bench.extend(1, payment, 40).unwrap();
    assert_eq!(code(bench.extend(1, payment, 1)), "ledger.over_budget");
    assert_eq!(bench.numbers(), (0, 100), "what was refused changed nothing");
    bench.charge(1, payment, 75).unwrap();
    assert_eq!(bench.numbers(), (75, 25), "what was signed above it stays held");
}

#[test]
fn a_share_of_a_portion_counts_rounded_up_against_the_spender() {
    let mut bench = Bench::new(100, 600);
    // Three units that count ten: a third of them counts four, not three.
    let ask = HoldAsk { nano: Nano::new(10), ..bench.call(1, 3) };
    let payment = ask.payment;
    let draw = DrawAsk { ask, channel: id(1), last: None, fund: None };
    let draw = ChannelCommand::Draw(Box::new(draw));
    bench.ask(draw).unwrap();
    bench.charge(1, payment, 1).unwrap();
    assert_eq!(bench.numbers(), (4, 6));
}

#[test]
fn only_the_call_that_a_channel_carries_is_extended() {
    let mut bench = Bench::new(100, 50);
    let first = bench.draw(1, 10, None).unwrap();
    let second = bench.draw(1, 10, Some((first, 10))).unwrap();
    assert_eq!(code(bench.extend(1, first, 1)), "ledger.unknown_payment");
    assert_eq!(code(bench.extend(1, second, 31)), "ledger.channel_empty");
    bench.extend(1, second, 30).unwrap();
    bench.charge(1, second, 40).unwrap();
    assert_eq!(code(bench.extend(1, second, 1)), "ledger.unknown_payment");
}

#[test]
fn a_further_portion_covers_what_former_calls_hold_beneath_it() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 80, None).unwrap();
    bench.charge(1, first, 10).unwrap();
    // 10 spent; the voucher for 80 is out, so that 70 stay held whatever the second one says.
    let second = bench.draw(1, 20, None).unwrap();
    assert_eq!(bench.numbers(), (10, 70));
    bench.extend(1, second, 30).unwrap();
    assert_eq!(bench.numbers(), (10, 70), "50 of them are the second call's own now");
    bench.extend(1, second, 40).unwrap();
    assert_eq!(bench.numbers(), (10, 90));
    assert!(bench.desk.ledger.find_draw(first).is_none());
}

#[test]
fn a_call_whose_portions_were_all_claimed_is_extended_all_the_same() {
    let mut bench = Bench::new(100, 600);
    let payment = bench.draw(1, 20, None).unwrap();
    bench.see(1, 600, 20).unwrap();
    assert_eq!(bench.numbers(), (20, 0));
    bench.extend(1, payment, 20).unwrap();
    assert_eq!(bench.numbers(), (20, 20));
    bench.charge(1, payment, 35).unwrap();
    assert_eq!(bench.numbers(), (35, 5));
}

#[test]
fn a_portion_that_was_signed_is_never_voided_as_a_whole() {
    let mut bench = Bench::new(100, 600);
    let payment = bench.draw(1, 20, None).unwrap();
    bench.extend(1, payment, 20).unwrap();
    assert_eq!(code(bench.void(1, payment)), "ledger.wrong_state");
}

#[test]
fn one_call_at_a_time_draws_on_a_channel() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 10, None).unwrap();
    assert_eq!(code(bench.draw(1, 10, None)), "ledger.channel_busy");
    bench.draw(1, 10, Some((first, 10))).unwrap();
}

#[test]
fn e10_nobody_is_charged_more_than_was_held() {
    let mut bench = Bench::new(100, 600);
    let payment = bench.draw(1, 10, None).unwrap();
    assert_eq!(code(bench.charge(1, payment, 11)), "ledger.exceeds_hold");
    assert_eq!(code(bench.draw(1, 10, Some((payment, 11)))), "ledger.exceeds_hold");
}

#[test]
fn no_voucher_says_more_than_lies_in_its_channel() {
    let mut bench = Bench::new(1_000, 50);
    let first = bench.draw(1, 30, None).unwrap();
    assert_eq!(code(bench.draw(1, 21, Some((first, 30)))), "ledger.channel_empty");
    // What is on its way counts: the voucher goes with it.
    bench.deposit(1, 50).unwrap();
    bench.draw(1, 21, Some((first, 30))).unwrap();
}

#[test]
fn what_was_signed_and_not_charged_stays_held_until_the_next_voucher_covers_it() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 50, None).unwrap();
    bench.charge(1, first, 20).unwrap();
    assert_eq!(bench.numbers(), (20, 30), "the voucher for 50 is in the payee's hands");
    // 20 + 10 is beneath it: of what was signed, 20 stay held by the first call.
    let second = bench.draw(1, 10, None).unwrap();
    assert_eq!(bench.numbers(), (20, 30));
    bench.charge(1, second, 10).unwrap();
    assert_eq!(bench.numbers(), (30, 20));
    // 30 + 40 covers all of it.
    let third = bench.draw(1, 40, None).unwrap();
    assert_eq!(bench.numbers(), (30, 40));
    assert!(bench.desk.ledger.find_draw(first).is_none());
    bench.charge(1, third, 40).unwrap();
    assert_eq!(bench.numbers(), (70, 0));
}

#[test]
fn what_a_voucher_covers_makes_room_for_it() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 90, None).unwrap();
    bench.charge(1, first, 10).unwrap();
    // 10 spent and 80 held by the first: the next one's 90 holds those 80 instead.
    bench.draw(1, 90, None).unwrap();
    assert_eq!(bench.numbers(), (10, 90));
}

#[test]
fn a_voucher_that_was_never_signed_gives_back_only_what_no_other_voucher_says() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 50, None).unwrap();
    bench.charge(1, first, 20).unwrap();
    let second = bench.draw(1, 60, None).unwrap();
    assert_eq!(bench.numbers(), (20, 60));
    bench.void(1, second).unwrap();
    assert_eq!(bench.numbers(), (20, 30), "the voucher for 50 is out there still");
    let event = bench.draw(1, 80, None);
    event.unwrap();
    assert_eq!(bench.numbers(), (20, 80));
}

#[test]
fn only_the_process_that_drew_can_say_that_nothing_was_signed() {
    let mut bench = Bench::new(100, 600);
    let payment = bench.draw(1, 50, None).unwrap();
    let other = ChannelCommand::Void { channel: id(1), payment, boot: BOOT + 1 };
    assert_eq!(code(bench.ask(other)), "ledger.wrong_state");
}

#[test]
fn e09_a_claim_above_what_was_charged_is_counted_and_ends_the_signing() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 50, None).unwrap();
    bench.charge(1, first, 20).unwrap();
    bench.see(1, 600, 45).unwrap();
    assert_eq!(bench.numbers(), (45, 5));
    assert_eq!(bench.state(1), ChannelState::Frozen(Frozen::Overclaimed));
    assert_eq!(code(bench.draw(1, 1, None)), "ledger.channel_frozen");
}

#[test]
fn a_claim_of_the_last_call_before_its_answer_came_is_no_lie() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 50, None).unwrap();
    bench.see(1, 600, 40).unwrap();
    assert_eq!(bench.state(1), ChannelState::Open);
    bench.charge(1, first, 40).unwrap();
    assert_eq!(bench.numbers(), (40, 10));
}

#[test]
fn money_that_comes_back_ends_the_channel_and_frees_what_cannot_be_drawn() {
    let mut bench = Bench::new(100, 600);
    let before = bench.available();
    let first = bench.draw(1, 50, None).unwrap();
    bench.charge(1, first, 20).unwrap();
    bench.see(1, 20, 20).unwrap();
    assert_eq!(bench.state(1), ChannelState::Closed);
    assert_eq!(bench.numbers(), (20, 0));
    assert_eq!(bench.available(), before + 580);
    assert_eq!(bench.desk.ledger.locked(), Nano::ZERO);
    assert_eq!(code(bench.deposit(1, 10)), "ledger.channel_frozen");
}

#[test]
fn what_was_charged_and_never_claimed_comes_back_as_money_and_stays_spent_in_the_budget() {
    let mut bench = Bench::new(100, 600);
    let before = bench.available();
    let first = bench.draw(1, 50, None).unwrap();
    bench.charge(1, first, 50).unwrap();
    bench.see(1, 0, 0).unwrap();
    assert_eq!(bench.numbers(), (50, 0));
    assert_eq!(bench.available(), before + 600);
    assert!(bench.desk.ledger.books().balanced());
}

#[test]
fn a_deposit_that_never_arrives_pays_nobody() {
    let mut bench = Bench::new(100, 0);
    let before = bench.available();
    bench.deposit(1, 600).unwrap();
    let first = bench.draw(1, 50, None).unwrap();
    bench.charge(1, first, 50).unwrap();
    let limit = bench.desk.now.as_secs() + LIFE_S;
    bench.ask(ChannelCommand::ExpireDeposit { channel: id(1), block: block(limit) }).unwrap();
    assert_eq!(bench.available(), before);
    assert_eq!(code(bench.deposit(1, 10)), "ledger.channel_frozen", "its vouchers would draw it");
}

#[test]
fn a_channel_serves_one_role_and_one_provider() {
    let mut bench = Bench::new(100, 600);
    bench.desk.agent("eve", "clerk", "red", "main");
    let ask = bench.call(1, 10);
    let provider = HoldAsk { provider: name("scribe-2"), ..ask.clone() };
    let command = |ask| {
        ChannelCommand::Draw(Box::new(DrawAsk { ask, channel: id(1), last: None, fund: None }))
    };
    assert_eq!(code(bench.ask(command(provider))), "ledger.other_channel");
    let eve = agent_id("eve");
    let payment = PaymentId::derive(eve, ask.request, 0);
    let role = HoldAsk { agent: eve, payment, ..ask };
    assert_eq!(code(bench.ask(command(role))), "ledger.other_channel");
}

/// The demo's books called such a call open for ever.
#[test]
fn a_call_that_cost_nothing_is_open_no_more_once_another_voucher_covers_it() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 50, None).unwrap();
    bench.charge(1, first, 0).unwrap();
    let open = |bench: &Bench| {
        let mut audit = Audit::default();
        for (at, event) in &bench.desk.log {
            audit.see(*at, event);
        }
        audit.open()
    };
    assert_eq!(open(&bench), 1, "what was signed may be drawn still");
    let second = bench.draw(1, 50, None).unwrap();
    assert_eq!(open(&bench), 1, "the second one covers it");
    bench.charge(1, second, 50).unwrap();
    assert_eq!(open(&bench), 0);
}
