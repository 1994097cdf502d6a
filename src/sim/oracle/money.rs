//! The money, by a double entry of the oracle's own, and held against the chain.

use std::collections::BTreeMap;

use alloy::primitives::Address;

use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::books::{BookAccount, Books, Commodity};
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::tab::TabEvent;
use crate::domain::ledger::wallet::Position;
use crate::domain::money::Amount;
use crate::ports::rail::Transfer;
use crate::sim::oracle::Look;
use crate::sim::oracle::channels::Shift;
use crate::sim::roles::USDC;

/// One side's books: what each account has, debits less credits.
#[derive(Default)]
pub(super) struct Sheet(BTreeMap<BookAccount, i128>);

impl Sheet {
    /// Moves `amount` from one account to the other.
    pub fn post(&mut self, from: BookAccount, to: BookAccount, amount: Amount) {
        let amount = signed(amount);
        let left = self.0.entry(from).or_default();
        *left = left.saturating_sub(amount);
        let came = self.0.entry(to).or_default();
        *came = came.saturating_add(amount);
    }

    pub fn find(&self, account: BookAccount) -> i128 {
        self.0.get(&account).copied().unwrap_or(0)
    }

    /// I3: the ledger's own sums are these, account by account, and add up to nothing.
    pub fn compare(&self, books: &Books, look: &Look<'_>) {
        look.check(books.balanced(), || "I3: debits are not credits".to_owned());
        let accounts = [
            BookAccount::External,
            BookAccount::Wallet,
            BookAccount::Escrow,
            BookAccount::Due,
            BookAccount::Earned,
            BookAccount::Loss,
            BookAccount::Channel,
            BookAccount::Claimable,
        ];
        for account in accounts {
            let sums = books.find(Commodity::Asset(USDC), account);
            let theirs =
                signed(Amount::new(sums.debits)).saturating_sub(signed(Amount::new(sums.credits)));
            let ours = self.find(account);
            look.check(ours == theirs, || format!("I3: {account:?} is {ours}, not {theirs}"));
        }
    }
}

/// The payers' one wallet, and what the chain showed of it.
pub(super) struct Purse {
    address: Address,
    sheet: Sheet,
    entered: i128,
    left: i128,
    paid: i128,
    held: i128,
    locked: i128,
    /// What channels charged.
    charged: i128,
    /// What the chain shows of ours in the contract that holds channels, claimed or not.
    in_channels: i128,
    up_to: u64,
    /// What the chain moved of ours and the ledger has not taken yet.
    moved: i128,
    /// What came and went otherwise in blocks that the ledger has not counted yet.
    foreign: Vec<(u64, i128)>,
}

impl Purse {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            sheet: Sheet::default(),
            entered: 0,
            left: 0,
            paid: 0,
            held: 0,
            locked: 0,
            charged: 0,
            in_channels: 0,
            up_to: 0,
            moved: 0,
            foreign: Vec::new(),
        }
    }

    fn owned(&self) -> i128 {
        self.entered.saturating_sub(self.left).saturating_sub(self.paid)
    }

    /// I3: no hold takes what the wallet has not.
    pub fn hold(&mut self, held: &Held, look: &Look<'_>) {
        let amount = held.commitment.amount_max;
        self.sheet.post(BookAccount::Wallet, BookAccount::Escrow, amount);
        self.held = self.held.saturating_add(signed(amount));
        let (held, owned) = (self.held.saturating_add(self.locked), self.owned());
        look.check(held <= owned, || format!("I3: {held} is held of {owned}"));
    }

    /// What an event of a channel moved. I3: no deposit takes what the wallet has not.
    pub fn shift(&mut self, shift: &Shift, look: &Look<'_>) {
        use BookAccount::{Channel, Escrow, External, Wallet};
        let Shift { aside, arrived, expired, taken, returned, unclaimed } = *shift;
        let rest = |all: Amount| all.checked_sub(unclaimed).unwrap_or(Amount::ZERO);
        self.sheet.post(Wallet, Escrow, aside);
        self.sheet.post(Escrow, Channel, arrived);
        self.sheet.post(Channel, External, taken);
        if expired.is_zero() {
            self.sheet.post(Channel, Wallet, rest(returned));
        } else {
            self.sheet.post(Escrow, Wallet, rest(expired));
            self.sheet.post(Escrow, Channel, unclaimed);
        }
        self.sheet.post(External, Wallet, unclaimed);
        let freed = if expired.is_zero() { rest(returned) } else { rest(expired) };
        self.locked = self.locked.saturating_add(signed(aside)).saturating_sub(signed(freed));
        self.locked = self.locked.saturating_sub(signed(taken));
        let charged = signed(taken).saturating_sub(signed(unclaimed));
        self.paid = self.paid.saturating_add(charged);
        self.charged = self.charged.saturating_add(charged);
        if !aside.is_zero() {
            let (held, owned) = (self.held.saturating_add(self.locked), self.owned());
            look.check(held <= owned, || format!("I3: {held} is set aside of {owned}"));
        }
    }

    /// One more transfer of the chain, into a channel of ours or out of one.
    pub fn see_channel(&mut self, transfer: &Transfer) {
        let amount = signed(transfer.amount);
        let into = if transfer.from == self.address { amount } else { 0 };
        let back = if transfer.to == self.address { amount } else { 0 };
        self.in_channels = self.in_channels.saturating_add(into).saturating_sub(back);
    }

    pub fn free(&mut self, amount: Amount) {
        self.sheet.post(BookAccount::Escrow, BookAccount::Wallet, amount);
        self.held = self.held.saturating_sub(signed(amount));
    }

    /// What was held is gone: the chain had moved it, as the payments' own check says.
    pub fn take(&mut self, amount: Amount) {
        self.sheet.post(BookAccount::Escrow, BookAccount::External, amount);
        self.held = self.held.saturating_sub(signed(amount));
        self.paid = self.paid.saturating_add(signed(amount));
        self.moved = self.moved.saturating_sub(signed(amount));
    }

    /// What was taken on a receipt comes back, for the chain never moved it.
    pub fn give_back(&mut self, amount: Amount) {
        self.sheet.post(BookAccount::External, BookAccount::Wallet, amount);
        self.paid = self.paid.saturating_sub(signed(amount));
        self.moved = self.moved.saturating_add(signed(amount));
    }

    /// I24: what is counted as having come and gone otherwise is just what the chain shows in those
    /// blocks; nothing of a payment, nothing twice, nothing left out.
    pub fn see_funds(&mut self, entered: Amount, left: Amount, up_to: u64, look: &Look<'_>) {
        self.sheet.post(BookAccount::External, BookAccount::Wallet, entered);
        self.sheet.post(BookAccount::Wallet, BookAccount::External, left);
        self.entered = self.entered.saturating_add(signed(entered));
        self.left = self.left.saturating_add(signed(left));
        look.check(up_to > self.up_to, || format!("I24: {up_to} was counted before"));
        self.up_to = up_to;
        let (mut came, mut went) = (0_i128, 0_i128);
        for (_, amount) in self.foreign.extract_if(.., |(block, _)| *block <= up_to) {
            came = came.saturating_add(amount.max(0));
            went = went.saturating_sub(amount.min(0));
        }
        let same = came == signed(entered) && went == signed(left);
        look.check(same, || {
            format!(
                "I24: +{entered} -{left} was counted up to {up_to}, the chain shows +{came} -{went}"
            )
        });
    }

    /// One more transfer of the chain; `is_ours` where it is of a payment of this ledger.
    pub fn see_transfer(&mut self, transfer: &Transfer, is_ours: bool, is_taken: bool) {
        let amount = signed(transfer.amount);
        if transfer.from == self.address && is_ours {
            if !is_taken {
                self.moved = self.moved.saturating_add(amount);
            }
        } else if transfer.from == self.address {
            self.foreign.push((transfer.block, 0_i128.saturating_sub(amount)));
        } else if transfer.to == self.address {
            self.foreign.push((transfer.block, amount));
        }
    }

    /// I3, I24: nothing is below zero that came, and the ledger's wallet is the chain's, but for what the chain
    /// moved and the ledger has not counted yet.
    pub fn check(&self, look: &Look<'_>) {
        let owned = self.owned();
        // A receipt may tell of a transfer that was paid from money whose coming is not final yet.
        let coming =
            self.foreign.iter().fold(owned, |sum, (_, more)| sum.saturating_add((*more).max(0)));
        look.check(coming >= 0, || {
            format!("I3: the wallet owns {owned}, and {coming} with all that came")
        });
        let uncounted =
            self.foreign.iter().fold(0_i128, |sum, (_, more)| sum.saturating_add(*more));
        // What was charged lies in channels still, or was claimed there.
        let outside = self.in_channels.saturating_sub(self.charged);
        let expected =
            owned.saturating_add(uncounted).saturating_sub(self.moved).saturating_sub(outside);
        let chain = signed(look.chain.owned(USDC, self.address));
        look.check(expected == chain, || {
            format!(
                "I24: the chain has {chain}; the books {owned}, {uncounted} not yet counted, {} not yet taken",
                self.moved
            )
        });
    }

    /// I3: the ledger's own numbers of the wallet, and its books, are these.
    pub fn compare(&self, position: Option<&Position>, books: &Books, look: &Look<'_>) {
        if let Some(position) = position {
            let Position { entered, left, paid, held, locked, .. } = *position;
            let theirs = [entered, left, paid, held, locked].map(signed);
            let ours = [self.entered, self.left, self.paid, self.held, self.locked];
            look.check(ours == theirs, || format!("I3: the wallet is {ours:?}, not {theirs:?}"));
        }
        self.sheet.compare(books, look);
    }

    /// Whether all that the chain moved is counted.
    pub const fn is_counted(&self) -> bool {
        self.moved == 0 && self.foreign.is_empty()
    }

    /// I23, I24: at the end nothing is held, and all that moved is counted.
    pub fn check_end(&self, look: &Look<'_>) {
        let (held, moved) = (self.held, self.moved);
        let foreign = self.foreign.len();
        look.check(held == 0, || format!("I23: {held} is held at the end"));
        look.check(moved == 0, || format!("I24: {moved} moved that nobody took"));
        look.check(foreign == 0, || format!("I24: {foreign} foreign transfers are not counted"));
    }
}

/// What came to the payee.
#[derive(Default)]
pub(super) struct Till {
    sheet: Sheet,
    received: i128,
    /// What was claimed of channels and paid out.
    swept: i128,
    /// What the chain moved here and no claim has settled yet.
    unbooked: BTreeMap<AuthorizationKey, i128>,
}

impl Till {
    pub fn settle(&mut self, key: &AuthorizationKey, amount: Amount) {
        self.sheet.post(BookAccount::External, BookAccount::Due, amount);
        self.received = self.received.saturating_add(signed(amount));
        self.unbooked.remove(key);
    }

    /// A charge is owed by its channel until it is claimed, or lost.
    pub fn read_tab(&mut self, event: &TabEvent) {
        use BookAccount::{Claimable, Earned, External, Loss};
        match event {
            TabEvent::Opened { .. }
            | TabEvent::Covered { .. }
            | TabEvent::GivingBack { .. }
            | TabEvent::GivenBack { .. } => {}
            TabEvent::Charged(charged) | TabEvent::ChargedOnCredit(charged) => {
                self.sheet.post(External, Claimable, charged.amount)
            }
            TabEvent::Stepped(stepped) => self.sheet.post(External, Claimable, stepped.taken),
            TabEvent::Seen(_) | TabEvent::Looked(_) | TabEvent::Counted(_) => {
                if let Some(seen) = event.counted() {
                    self.sheet.post(Claimable, Earned, seen.gained.amount);
                    self.sheet.post(External, Earned, seen.stray.amount);
                    self.sheet.post(Claimable, Loss, seen.lost.amount);
                }
            }
        }
    }

    pub fn serve(&mut self, amount: Amount) {
        self.sheet.post(BookAccount::Due, BookAccount::Earned, amount);
    }

    pub fn see_transfer(&mut self, transfer: &Transfer, is_settled: bool) {
        match transfer.key {
            Some(key) if !is_settled => {
                self.unbooked.insert(key, signed(transfer.amount));
            }
            Some(_) => {}
            // Swept: what was claimed.
            None => self.swept = self.swept.saturating_add(signed(transfer.amount)),
        }
    }

    pub fn unbooked(&self) -> impl Iterator<Item = &AuthorizationKey> {
        self.unbooked.keys()
    }

    /// I3, I24: what the claims received and what no claim has settled yet is what the chain brought;
    /// what is due and what is earned is what was received.
    pub fn check(&self, address: Address, look: &Look<'_>) {
        let unbooked = self.unbooked.values().fold(0_i128, |sum, more| sum.saturating_add(*more));
        let chain = signed(look.chain.owned(USDC, address));
        let received = self.received.saturating_add(self.swept);
        look.check(received.saturating_add(unbooked) == chain, || {
            format!("I24: the payee has {chain}, its books {}, {unbooked} unbooked", self.received)
        });
    }

    pub fn compare(&self, sums: (u128, u128), books: &Books, look: &Look<'_>) {
        let (received, due) = (signed(Amount::new(sums.0)), signed(Amount::new(sums.1)));
        let same = received == self.received && due == self.sheet.find(BookAccount::Due);
        look.check(same, || format!("I3: claims of {received}, of it {due} due"));
        self.sheet.compare(books, look);
    }
}

fn signed(amount: Amount) -> i128 {
    i128::try_from(amount.get()).unwrap_or(i128::MAX)
}
