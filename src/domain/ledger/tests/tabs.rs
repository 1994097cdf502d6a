//! Tabs: what a payee charges stands on a voucher and on what lies in the channel.

use alloy::primitives::{Address, Signature, U256};

use super::fixture::*;
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::id::Fingerprint;
use crate::domain::ledger::books::{BookAccount, Commodity};
use crate::domain::ledger::tab::{Charged, Tab, TabCommand, TabEvent};
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::Amount;

const ID: ChannelId = ChannelId(alloy::primitives::B256::repeat_byte(0xc1));

fn units(n: u64) -> Amount {
    Amount::new(n.into())
}

struct Shop(Desk);

impl Shop {
    /// A shop with one channel, in which `balance` lies.
    fn new(balance: u64) -> Self {
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

    fn ask(&mut self, command: TabCommand) -> Result<TabEvent, Rejection> {
        match self.0.execute(Command::Tab(command))? {
            Event::Tab(event) => Ok(event),
            other => panic!("a tab's command becomes its event, not {other:?}"),
        }
    }

    fn charge(&mut self, base: u64, amount: u64, ceiling: u64) -> Result<TabEvent, Rejection> {
        self.ask(TabCommand::Charge(Box::new(Charged {
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
        })))
    }

    fn see(&mut self, balance: u64, claimed: u64) -> Result<TabEvent, Rejection> {
        self.ask(TabCommand::See {
            channel: ID,
            balance: units(balance),
            claimed: units(claimed),
            withdrawable_at_s: None,
            transaction: None,
        })
    }

    fn tab(&self) -> &Tab {
        self.0.ledger.find_tab(ID).unwrap()
    }

    /// What came into an account of the books, less what left it.
    fn books(&self, account: BookAccount) -> i128 {
        let sums = self.0.ledger.books().find(Commodity::Asset(asset()), account);
        i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
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

#[test]
fn e16_what_was_taken_out_before_it_was_claimed_is_a_loss_and_says_so() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    shop.see(0, 0).unwrap();
    assert_eq!([shop.books(BookAccount::Claimable), shop.books(BookAccount::Loss)], [0, 30]);
    assert_eq!(shop.tab().lost, units(30));
}

#[test]
fn no_claim_is_ever_taken_back() {
    let mut shop = Shop::new(100);
    shop.see(100, 30).unwrap();
    assert_eq!(code(shop.see(100, 20)), "ledger.channel_mismatch");
    assert_eq!(code(shop.see(20, 30)), "ledger.channel_mismatch");
}
