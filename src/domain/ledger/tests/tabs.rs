//! Tabs: what a payee charges stands on a voucher and on what lies in the channel.

use alloy::primitives::{Address, Signature, U256};

use super::fixture::*;
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::id::Fingerprint;
use crate::domain::ledger::books::{BookAccount, Commodity};
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::ledger::tab::{Charged, Sight, Standing, Tab, TabCommand, TabEvent, Voucher};
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::Amount;

pub(super) const ID: ChannelId = ChannelId(alloy::primitives::B256::repeat_byte(0xc1));

pub(super) fn units(n: u64) -> Amount {
    Amount::new(n.into())
}

pub(super) fn standing(balance: u64, claimed: u64) -> Standing {
    Standing { balance: units(balance), claimed: units(claimed) }
}

fn sight(balance: u64, claimed: u64) -> Sight {
    Sight { newest: standing(balance, claimed), withdrawable_at_s: None }
}

pub(super) struct Shop(pub(super) Desk);

impl Shop {
    /// A shop with one channel, in which `balance` lies.
    pub(super) fn new(balance: u64) -> Self {
        let mut shop = Self(Desk::new(vec![pool(1)]));
        let terms = ChannelTerms {
            asset: asset(),
            payer: Address::repeat_byte(3),
            payer_authorizer: Address::repeat_byte(4),
            receiver: wallet_address("main"),
            receiver_authorizer: Address::repeat_byte(8),
            withdraw_delay_s: 900,
            salt: number(1),
        };
        shop.ask(TabCommand::Open { channel: ID, terms }).unwrap();
        if balance > 0 {
            shop.see(balance, 0).unwrap();
        }
        shop
    }

    pub(super) fn ask(&mut self, command: TabCommand) -> Result<TabEvent, Rejection> {
        match self.0.execute(Command::Tab(command))? {
            Event::Tab(event) => Ok(event),
            other => panic!("a tab's command becomes its event, not {other:?}"),
        }
    }

    pub(super) fn charge(
        &mut self,
        base: u64,
        amount: u64,
        ceiling: u64,
    ) -> Result<TabEvent, Rejection> {
        self.ask(TabCommand::Charge(Box::new(call(base, amount, ceiling))))
    }

    /// A call on credit, which names the newest voucher.
    pub(super) fn lend(&mut self, base: u64, amount: u64) -> Result<TabEvent, Rejection> {
        let ceiling = self.tab().voucher.map_or(0, |voucher| voucher.ceiling.get());
        self.lend_by(call(base, amount, u64::try_from(ceiling).unwrap()))
    }

    fn lend_by(&mut self, call: Charged) -> Result<TabEvent, Rejection> {
        let (per_payer, total, owned) = (units(30), units(40), units(1_000));
        let limits = CreditLimits { per_payer, total, owned };
        self.ask(TabCommand::ChargeOnCredit { call: Box::new(call), limits })
    }

    pub(super) fn cover(&mut self, ceiling: u64) -> Result<TabEvent, Rejection> {
        let voucher = Voucher { ceiling: units(ceiling), signature: call(0, 0, 0).signature };
        self.ask(TabCommand::Cover { channel: ID, voucher })
    }

    /// What the channel's payer owes, and what it was found not to pay.
    fn owes(&self) -> (u128, u128) {
        let owed = self.0.ledger.credit().of(asset(), Address::repeat_byte(3));
        assert_eq!(owed, self.0.ledger.credit().total(asset()), "there is one payer");
        (owed.outstanding.get(), owed.lost.get())
    }

    pub(super) fn step(
        &mut self,
        base: u64,
        amount: u64,
        ceiling: u64,
    ) -> Result<TabEvent, Rejection> {
        let call = Box::new(call(base, amount, ceiling));
        self.ask(TabCommand::Step { call, ended: false })
    }

    pub(super) fn end(
        &mut self,
        base: u64,
        amount: u64,
        ceiling: u64,
    ) -> Result<TabEvent, Rejection> {
        let call = Box::new(call(base, amount, ceiling));
        self.ask(TabCommand::Step { call, ended: true })
    }

    /// The newest block shows that, and it is final already.
    fn see(&mut self, balance: u64, claimed: u64) -> Result<TabEvent, Rejection> {
        self.look(balance, claimed)?;
        self.count(balance, claimed, u64::MAX)
    }

    pub(super) fn look(&mut self, balance: u64, claimed: u64) -> Result<TabEvent, Rejection> {
        let sight = sight(balance, claimed);
        self.ask(TabCommand::Look { channel: ID, before: self.tab().sight(), sight })
    }

    pub(super) fn count(
        &mut self,
        balance: u64,
        claimed: u64,
        over_s: u64,
    ) -> Result<TabEvent, Rejection> {
        let counted = standing(balance, claimed);
        self.ask(TabCommand::Count { channel: ID, counted, deposits_over_s: over_s })
    }

    pub(super) fn tab(&self) -> &Tab {
        self.0.ledger.find_tab(ID).unwrap()
    }

    /// What came into an account of the books, less what left it.
    pub(super) fn books(&self, account: BookAccount) -> i128 {
        let sums = self.0.ledger.books().find(Commodity::Asset(asset()), account);
        i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
    }
}

fn call(base: u64, amount: u64, ceiling: u64) -> Charged {
    Charged {
        channel: ID,
        asset: asset(),
        base: units(base),
        amount: units(amount),
        ceiling: units(ceiling),
        signature: Signature::new(U256::from(1), U256::from(1), false),
        fingerprint: Fingerprint::from_bytes([2; 16]),
        payment: None,
        provider: name("scribe-1"),
        capability: name("text.generate"),
        model: name("tiny"),
        delivery: delivery(),
    }
}

#[test]
fn what_is_charged_adds_up_from_call_to_call() {
    let mut shop = Shop::new(100);
    shop.charge(0, 10, 20).unwrap();
    shop.charge(10, 5, 30).unwrap();
    assert_eq!((shop.tab().charged, shop.tab().calls), (units(15), 2));
    assert_eq!(code(shop.charge(10, 5, 30)), "ledger.amount_mismatch", "that was charged");
}

#[test]
fn e22_no_charge_passes_its_voucher() {
    let mut shop = Shop::new(100);
    assert_eq!(code(shop.charge(0, 21, 20)), "ledger.channel_empty");
    shop.charge(0, 20, 20).unwrap();
}

#[test]
fn e04_no_charge_passes_what_lies_in_the_channel() {
    let mut shop = Shop::new(15);
    assert_eq!(code(shop.charge(0, 16, 20)), "ledger.channel_empty");
    shop.see(40, 0).unwrap();
    shop.charge(0, 16, 20).unwrap();
}

#[test]
fn a_call_may_cost_nothing() {
    let mut shop = Shop::new(15);
    shop.charge(0, 0, 10).unwrap();
    assert_eq!(shop.tab().charged, units(0));
}

#[test]
fn what_is_owed_is_earned_once_it_is_claimed() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Earned)], [30, 0]);
    assert!(shop.tab().unclaimed_since.is_some());
    shop.see(100, 30).unwrap();
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Earned)], [0, 30]);
    assert!(shop.tab().unclaimed_since.is_none());
}

#[test]
fn e14_a_ledger_older_than_its_channel_charges_nothing_twice() {
    let mut shop = Shop::new(100);
    shop.charge(0, 10, 10).unwrap();
    // It was restored: the chain shows more claimed than it ever charged.
    shop.see(100, 40).unwrap();
    assert_eq!(shop.tab().charged, units(40));
    assert_eq!(code(shop.charge(10, 5, 15)), "ledger.amount_mismatch");
    shop.charge(40, 5, 45).unwrap();
    assert!(shop.0.ledger.books().balanced());
}

/// Somebody else claimed between the look at the newest block and that at the final one: nothing of it was
/// charged on credit. Found by the simulator (seed 3185).
#[test]
fn e14_a_claim_that_a_final_block_shows_first_is_owed_by_nobody() {
    let mut shop = Shop::new(100);
    shop.charge(0, 10, 10).unwrap();
    shop.look(100, 10).unwrap();
    shop.count(100, 20, u64::MAX).unwrap();
    assert_eq!((shop.tab().charged, shop.tab().owed(), shop.owes()), (units(20), units(0), (0, 0)));
    assert!(shop.tab().is_settled());
    assert!(shop.0.ledger.books().balanced());
}

#[test]
fn e16_what_was_taken_out_before_it_was_claimed_is_a_loss_and_says_so() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    shop.see(0, 0).unwrap();
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Loss)], [0, 30]);
    assert_eq!(shop.tab().lost, units(30));
}

/// A claim of all that was charged is refused whole, where a part of it was taken out before.
#[test]
fn e16_what_is_left_after_a_withdrawal_can_be_claimed_up_to_that() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    assert_eq!(shop.tab().claimable(), units(30));
    shop.see(20, 0).unwrap();
    assert_eq!((shop.tab().claimable(), shop.tab().lost), (units(20), units(10)));
    shop.see(20, 20).unwrap();
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Earned)], [0, 20]);
}

#[test]
fn no_claim_is_taken_back_once_it_is_final() {
    let mut shop = Shop::new(100);
    shop.see(100, 30).unwrap();
    assert_eq!(code(shop.count(100, 20, 0)), "ledger.channel_mismatch");
    assert_eq!(code(shop.look(20, 30)), "ledger.channel_mismatch", "more than came in");
}

#[test]
fn k03_a_claim_that_the_chain_forgot_is_due_again_and_was_never_earned() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    shop.look(100, 30).unwrap();
    assert_eq!((shop.tab().due(), shop.tab().unclaimed_since), (units(0), None));
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Earned)], [30, 0]);
    assert!(!shop.tab().is_settled(), "a final block has not shown it yet");
    shop.look(100, 0).unwrap();
    assert_eq!((shop.tab().due(), shop.tab().unclaimed_since.is_some()), (units(30), true));
    shop.see(100, 30).unwrap();
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Earned)], [0, 30]);
    assert!(shop.tab().is_settled());
}

/// A call was served on it, and it may come in again until its authorization is over.
#[test]
fn k03_a_deposit_that_the_chain_forgot_is_lost_once_it_can_never_come_in() {
    let mut shop = Shop::new(0);
    shop.look(100, 0).unwrap();
    shop.charge(0, 30, 30).unwrap();
    let used_s = shop.tab().used_at.as_secs();
    shop.look(0, 0).unwrap();
    assert_eq!(shop.tab().due(), units(0), "there is nothing to claim");
    assert_eq!(code(shop.count(0, 0, used_s - 1)), "ledger.unchanged");
    shop.look(100, 0).unwrap();
    assert_eq!(code(shop.count(0, 0, used_s)), "ledger.unchanged", "it came in again");
    shop.look(0, 0).unwrap();
    shop.count(0, 0, used_s).unwrap();
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Loss)], [0, 30]);
    assert!(shop.tab().is_settled());
    assert_eq!(code(shop.count(0, 0, used_s)), "ledger.unchanged", "it is lost once");
}

#[test]
fn k03_a_withdrawal_that_the_chain_forgot_costs_nothing() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    shop.look(0, 0).unwrap();
    assert_eq!(code(shop.count(100, 0, u64::MAX)), "ledger.unchanged");
    shop.see(100, 30).unwrap();
    assert_eq!([shop.books(BookAccount::Loss), shop.books(BookAccount::Earned)], [0, 30]);
}

/// What was lost and is claimed all the same came from outside: it was written off.
#[test]
fn a_loss_that_comes_in_after_all_is_earned() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    shop.see(0, 0).unwrap();
    shop.see(50, 0).unwrap();
    assert_eq!(shop.tab().due(), units(30), "another deposit covers its voucher");
    shop.see(50, 30).unwrap();
    assert_eq!([shop.books(BookAccount::Loss), shop.books(BookAccount::Earned)], [30, 30]);
    assert!(shop.0.ledger.books().balanced());
}

#[test]
fn calls_on_credit_are_owed_up_to_the_limit_and_one_voucher_covers_them_all() {
    let mut shop = Shop::new(200);
    // Who has not paid by a voucher gets none.
    assert_eq!(code(shop.lend(0, 1)), "ledger.other_channel");
    shop.charge(0, 10, 10).unwrap();
    for turn in 0..3 {
        shop.lend(10 + turn * 10, 10).unwrap();
    }
    assert_eq!(
        (shop.tab().charged, shop.tab().owed(), shop.owes()),
        (units(40), units(30), (30, 0))
    );
    // Just the limit; nothing more, and nothing half done.
    let before = shop.0.ledger.clone();
    assert_eq!(code(shop.lend(40, 1)), "ledger.no_credit");
    assert_eq!(shop.0.ledger, before);
    assert_eq!(shop.tab().claimable(), units(10), "no more is claimed than was signed for");
    shop.charge(40, 10, 50).unwrap();
    assert_eq!((shop.tab().owed(), shop.owes()), (units(0), (0, 0)));
    assert_eq!(shop.tab().claimable(), units(50));
    shop.lend(50, 30).unwrap();
    assert_eq!(shop.owes(), (30, 0));
    assert_eq!(shop.tab().calls, 6);
    assert_eq!(shop.books(BookAccount::Claimable), 80);
}

/// What a voucher allows above what was charged is used first: it is signed for.
#[test]
fn what_the_voucher_still_covers_is_no_credit() {
    let mut shop = Shop::new(200);
    shop.charge(0, 5, 50).unwrap();
    shop.lend(5, 45).unwrap();
    assert_eq!(shop.owes(), (0, 0));
    shop.lend(50, 30).unwrap();
    assert_eq!(shop.owes(), (30, 0));
    assert_eq!(code(shop.lend(80, 1)), "ledger.no_credit");
}

#[test]
fn e01_a_call_on_credit_goes_on_where_the_last_one_ended_and_names_its_channels_own_voucher() {
    let mut shop = Shop::new(200);
    shop.charge(0, 10, 10).unwrap();
    for base in [9, 11] {
        assert_eq!(code(shop.lend(base, 5)), "ledger.amount_mismatch");
    }
    let forged = Charged {
        signature: Signature::new(U256::from(2), U256::from(1), false),
        ..call(10, 5, 10)
    };
    assert_eq!(code(shop.lend_by(forged)), "ledger.other_channel");
    assert_eq!(code(shop.lend_by(call(10, 5, 11))), "ledger.other_channel");
    shop.lend(10, 5).unwrap();
}

#[test]
fn e04_no_credit_passes_what_lies_in_the_channel() {
    let mut shop = Shop::new(20);
    shop.charge(0, 10, 10).unwrap();
    assert_eq!(code(shop.lend(10, 11)), "ledger.channel_empty");
    shop.lend(10, 10).unwrap();
}

/// threats.md E15: after a claim anybody can read the voucher, and a payer that leaves is lent nothing.
#[test]
fn e15_a_voucher_that_was_claimed_lends_nothing_any_more() {
    let mut shop = Shop::new(200);
    shop.charge(0, 10, 10).unwrap();
    shop.lend(10, 10).unwrap();
    shop.see(200, 10).unwrap();
    assert_eq!(code(shop.lend(20, 1)), "ledger.no_credit");
    assert_eq!(shop.owes(), (10, 0), "it is owed all the same");
    shop.charge(20, 10, 30).unwrap();
    shop.lend(30, 10).unwrap();
    let sight = Sight { withdrawable_at_s: Some(9), ..sight(200, 10) };
    shop.ask(TabCommand::Look { channel: ID, before: shop.tab().sight(), sight }).unwrap();
    assert_eq!(code(shop.lend(40, 1)), "ledger.no_credit");
}

/// Else a deposit that came would be forgotten, and a call served on what went back.
#[test]
fn a_look_that_began_before_another_one_was_counted_changes_nothing() {
    let mut shop = Shop::new(200);
    let began = shop.tab().sight();
    shop.look(50, 0).unwrap();
    let older = TabCommand::Look { channel: ID, before: began, sight: sight(300, 0) };
    assert_eq!(shop.ask(older), Err(Rejection::Unchanged));
    assert_eq!(shop.tab().newest, standing(50, 0));
}

#[test]
fn a_voucher_for_just_what_was_charged_covers_it_without_a_call() {
    let mut shop = Shop::new(200);
    shop.charge(0, 10, 10).unwrap();
    shop.lend(10, 20).unwrap();
    assert_eq!(code(shop.cover(31)), "ledger.amount_mismatch");
    // One for a part of it is better than none.
    for (part, left) in [(29, 1), (30, 0)] {
        shop.cover(part).unwrap();
        assert_eq!((shop.owes(), shop.tab().claimable()), ((left, 0), units(part)));
        assert_eq!(shop.cover(part), Err(Rejection::Unchanged));
        shop.see(200, part).unwrap(); // E15: anybody can read it.
        assert_eq!(code(shop.lend(30, 1)), "ledger.no_credit");
    }
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Earned)], [0, 30]);
}

/// A payer that takes its money out and never signs: a loss within the limit, and no credit until it signs.
#[test]
fn e16_what_was_never_signed_for_is_a_loss_within_the_limit_and_ends_the_credit() {
    let mut shop = Shop::new(200);
    shop.charge(0, 10, 10).unwrap();
    shop.lend(10, 30).unwrap();
    shop.see(10, 10).unwrap();
    assert_eq!((shop.owes(), shop.tab().lost), ((0, 30), units(30)));
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Loss)], [0, 30]);
    shop.see(210, 10).unwrap();
    // It comes back with money: by a voucher, which covers what it owed, and then on credit again.
    shop.charge(40, 5, 45).unwrap();
    assert_eq!(shop.owes(), (0, 0));
    shop.lend(45, 30).unwrap();
    assert_eq!(shop.owes(), (30, 0));
    assert!(shop.0.ledger.books().balanced());
}

/// What every ledger keeps to, whatever is asked of it in whatever order.
#[test]
fn whatever_is_asked_no_more_is_owed_or_lost_on_credit_than_the_limit() {
    let mut state = 7_u64;
    let mut next = move |most: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let (mut lent, mut lost, mut covered) = (0, 0, 0);
    for _ in 0..200 {
        let mut shop = Shop::new(300);
        for _ in 0..40 {
            let charged = u64::try_from(shop.tab().charged.get()).unwrap();
            let (balance, claimed) =
                (shop.tab().newest.balance.get(), shop.tab().newest.claimed.get());
            let amount = next(20);
            let asked = match next(6) {
                0 => shop.charge(charged, amount, charged + amount + next(5)),
                1 | 2 => shop.lend(charged, amount),
                3 => shop.cover(charged.saturating_sub(next(3))),
                4 => shop.see(
                    u64::try_from(balance).unwrap() + next(50),
                    u64::try_from(claimed).unwrap(),
                ),
                _ => {
                    let most = shop.tab().claimable().get().max(claimed);
                    let left = most + u128::from(next(100)) % (balance - most + 1);
                    shop.see(u64::try_from(left).unwrap(), u64::try_from(most).unwrap())
                }
            };
            lent += u64::from(matches!(asked, Ok(TabEvent::ChargedOnCredit(_))));
            covered += u64::from(matches!(asked, Ok(TabEvent::Covered { .. })));
            let (outstanding, given_up) = shop.owes();
            assert!(outstanding + given_up <= 30, "{outstanding} owed and {given_up} lost");
            assert_eq!(outstanding, shop.tab().owed().get());
            assert_eq!(given_up, shop.tab().credit_lost.get());
            lost += u64::from(given_up > 0);
            assert!(shop.0.ledger.books().balanced());
        }
    }
    assert!(lent > 100 && lost > 10 && covered > 10, "{lent} {lost} {covered}: all of it happened");
}
