//! Channels in memory: the twin of the contract that holds them, over a [`MemoryRail`] whose money moves.
//!
//! It verifies no signature, and keeps the contract's rules: claims only rise, up to the voucher's ceiling
//! and the balance, and money goes back to the payer with the payee's consent or after a delay. What goes
//! wrong is scripted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use alloy::primitives::{Address, B256, Signature, keccak256};
use async_trait::async_trait;

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::commitment::{Authorization, Commitment};
use crate::domain::money::Amount;
use crate::domain::x402::batch::authorized::{claim_digest, refund_digest};
use crate::domain::x402::batch::permitted::movement;
use crate::domain::x402::batch::typed::{BATCH_SETTLEMENT, WITHDRAW_DELAY_S, id_of};
use crate::domain::x402::signature::is_signed_by;
use crate::ports::channel_rail::{
    CLAIM_ROWS_MAX, ChannelEvidence, ChannelSettler, ChannelSight, ChannelSights, ClaimRow,
    ClaimSettlement, Depth, PendingWithdrawal, SignedDeposit, SignedRefund, Withdrawals,
};
use crate::ports::clock::Clock;
use crate::ports::memory_rail::{MemoryRail, RailFault};
use crate::ports::rail::{
    Allowance, Evidence, Holding, RailError, RefusedBy, Settlement, Sighting, Transfers,
};

/// A channel as the contract keeps it.
#[derive(Clone, Copy)]
struct Channel {
    sight: ChannelSight,
    /// What was done last of each kind, for whoever asks again.
    given_back: Option<Settlement>,
    begun: Option<Settlement>,
    finished: Option<Settlement>,
}

impl Default for Channel {
    fn default() -> Self {
        let (balance, claimed) = (Amount::ZERO, Amount::ZERO);
        let sight = ChannelSight { balance, claimed, withdrawal: None, refund_nonce: 0 };
        Self { sight, given_back: None, begun: None, finished: None }
    }
}

impl Channel {
    fn unclaimed(&self) -> Amount {
        let ChannelSight { balance, claimed, .. } = self.sight;
        balance.checked_sub(claimed).expect("claims stay within the balance")
    }

    /// Takes `amount` of what is not claimed out.
    fn take_out(&mut self, amount: Amount) {
        let rest = self.sight.balance.checked_sub(amount);
        self.sight.balance = rest.expect("what goes out was not claimed");
    }
}

#[derive(Default)]
struct State {
    channels: BTreeMap<ChannelId, Channel>,
    /// What was claimed and not paid out yet.
    owed: BTreeMap<(Address, Asset), Amount>,
    poisoned: BTreeSet<ChannelId>,
    faults: VecDeque<RailFault>,
}

/// The contract. Clones are the same one.
#[derive(Clone)]
pub struct MemoryChannels {
    rail: MemoryRail,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

/// Who acts on channels: a payee's authorizer, or a payer's.
#[derive(Clone)]
pub struct ChannelAccount {
    chain: MemoryChannels,
    account: Address,
}

impl MemoryChannels {
    /// The contract on `rail`, whose blocks have the time of `clock`.
    pub fn new(rail: MemoryRail, clock: Arc<dyn Clock>) -> Self {
        Self { rail, clock, state: Arc::default() }
    }

    /// Acts from `account`.
    pub fn by(&self, account: Address) -> ChannelAccount {
        ChannelAccount { chain: self.clone(), account }
    }

    /// Lets the next deposits, claims and so on go wrong, in this order.
    pub fn script(&self, faults: impl IntoIterator<Item = RailFault>) {
        self.with(|state| state.faults.extend(faults));
    }

    /// Lets the contract take no more vouchers of a channel, or take them again.
    pub fn set_poisoned(&self, channel: ChannelId, poisoned: bool) {
        self.with(|state| {
            if poisoned {
                state.poisoned.insert(channel);
            } else {
                state.poisoned.remove(&channel);
            }
        });
    }

    /// What a channel is like now.
    pub fn sight(&self, channel: ChannelId) -> ChannelSight {
        self.with(|state| state.channels.get(&channel).copied().unwrap_or_default().sight)
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock().expect("no holder of the channels panics"))
    }

    fn settled(&self, transaction: B256, amount: Amount) -> Settlement {
        Settlement::Settled { transaction, amount, moved_at_s: self.clock.now().as_secs() }
    }

    /// Does `act`, unless the script says otherwise; `tell` makes an answer of what it says.
    async fn scripted<T>(
        &self,
        tell: impl FnOnce(Settlement) -> T + Send,
        act: impl FnOnce(&mut State) -> T + Send,
    ) -> Result<T, RailError> {
        self.rail.check_answers()?;
        match self.with(|state| state.faults.pop_front()) {
            None => Ok(self.with(act)),
            Some(RailFault::MovedButUnknown) => {
                self.with(act);
                Ok(tell(UNKNOWN))
            }
            Some(RailFault::LostButUnknown) => Ok(tell(UNKNOWN)),
            Some(RailFault::Refused(by)) => Ok(tell(Settlement::Refused(by))),
            Some(RailFault::MovedAndSilent) => {
                self.with(act);
                std::future::pending().await
            }
            Some(RailFault::LostAndSilent) => std::future::pending().await,
            Some(RailFault::Unreachable) => Err(self.rail.unreachable()),
        }
    }
}

impl ChannelAccount {
    fn deposit_now(&self, state: &mut State, deposit: &SignedDeposit) -> Settlement {
        let SignedDeposit { terms, amount, signature, .. } = *deposit;
        let channel = id_of(&terms);
        let sides = [terms.payer, terms.receiver, terms.receiver_authorizer];
        let is_sound = !amount.is_zero()
            && WITHDRAW_DELAY_S.contains(&terms.withdraw_delay_s)
            && !sides.contains(&Address::ZERO);
        if !is_sound {
            return REVERTED;
        }
        let commitment = movement(&terms, &deposit.word().incoming(channel));
        let (settlement, is_new) =
            self.chain.rail.pass_on(&Authorization { commitment, signature }, BATCH_SETTLEMENT);
        if is_new {
            let balance = &mut state.channels.entry(channel).or_default().sight.balance;
            *balance = balance.checked_add(amount).expect("scripts stay in range");
        }
        settlement
    }

    /// Whether the authorizer of all of `rows` signed for them.
    fn is_signed(&self, rows: &[ClaimRow], signature: &Signature) -> bool {
        let Some(authorizer) = rows.first().map(|row| row.terms.receiver_authorizer) else {
            return false;
        };
        let is_common = rows.iter().all(|row| row.terms.receiver_authorizer == authorizer);
        let digest = claim_digest(rows, self.chain.rail.network);
        is_common && is_signed_by(authorizer, digest, signature)
    }

    fn claim_signed_now(
        &self,
        state: &mut State,
        rows: &[ClaimRow],
        signature: &Signature,
    ) -> ClaimSettlement {
        let Some(first) = rows.first() else {
            return ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        };
        // What it would take of the authorizer itself, it takes by its word.
        let authorizer = self.chain.by(first.terms.receiver_authorizer);
        let spoilers = rows.iter().enumerate();
        let spoilers = spoilers.filter(|(_, row)| !authorizer.takes(state, row));
        let mut poisoned: Vec<usize> = spoilers.map(|(place, _)| place).collect();
        if rows.len() > CLAIM_ROWS_MAX || (poisoned.is_empty() && !self.is_signed(rows, signature))
        {
            poisoned = (0..rows.len()).collect();
        }
        if poisoned.is_empty() {
            return authorizer.claim_now(state, rows);
        }
        ClaimSettlement { transaction: None, claimed: vec![], poisoned }
    }

    fn give_back_signed_now(
        &self,
        state: &mut State,
        refund: &SignedRefund,
        claim: Option<(&ClaimRow, &Signature)>,
    ) -> Settlement {
        let SignedRefund { terms, amount, nonce, signature } = refund;
        let channel = state.channels.entry(id_of(terms)).or_default();
        if channel.sight.refund_nonce != *nonce {
            return Settlement::Refused(RefusedBy::NonceUsed);
        }
        let digest = refund_digest(terms, *nonce, *amount);
        let is_claim_signed = claim
            .is_none_or(|(row, signature)| self.is_signed(std::slice::from_ref(row), signature));
        if !is_signed_by(terms.receiver_authorizer, digest, signature) || !is_claim_signed {
            return REVERTED;
        }
        let authorizer = self.chain.by(terms.receiver_authorizer);
        authorizer.give_back_now(state, terms, claim.map(|(row, _)| row), *amount)
    }

    fn is_receiver_side(&self, terms: &ChannelTerms) -> bool {
        [terms.receiver, terms.receiver_authorizer].contains(&self.account)
    }

    fn is_payer_side(&self, terms: &ChannelTerms) -> bool {
        [terms.payer, terms.payer_authorizer].contains(&self.account)
    }

    /// Whether the contract takes a row: one that says nothing new is taken, and does nothing.
    fn takes(&self, state: &State, row: &ClaimRow) -> bool {
        let channel = id_of(&row.terms);
        let ChannelSight { balance, claimed, .. } =
            state.channels.get(&channel).copied().unwrap_or_default().sight;
        let is_signed = !state.poisoned.contains(&channel);
        self.is_receiver_side(&row.terms)
            && (row.total <= claimed
                || (is_signed && row.total <= row.ceiling && row.total <= balance))
    }

    /// Claims a row that the contract takes. Whether anything was left of it to claim.
    fn claim_row(state: &mut State, row: &ClaimRow) -> bool {
        let channel = state.channels.entry(id_of(&row.terms)).or_default();
        let Some(more) = row.total.checked_sub(channel.sight.claimed) else { return false };
        channel.sight.claimed = row.total;
        let owed = state.owed.entry((row.terms.receiver, row.terms.asset)).or_default();
        *owed = owed.checked_add(more).expect("scripts stay in range");
        !more.is_zero()
    }

    fn claim_now(&self, state: &mut State, rows: &[ClaimRow]) -> ClaimSettlement {
        let mut claim = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        let mut is_new = false;
        for (place, row) in rows.iter().take(CLAIM_ROWS_MAX).enumerate() {
            if self.takes(state, row) {
                is_new |= Self::claim_row(state, row);
                claim.claimed.push(place);
            } else {
                claim.poisoned.push(place);
            }
        }
        claim.transaction = is_new.then(|| self.chain.rail.act());
        claim
    }

    fn give_back_now(
        &self,
        state: &mut State,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        most: Amount,
    ) -> Settlement {
        let id = id_of(terms);
        let is_taken = row.is_none_or(|row| self.takes(state, row));
        if !self.is_receiver_side(terms) || most.is_zero() || !is_taken {
            return REVERTED;
        }
        let has_claimed = row.is_some_and(|row| Self::claim_row(state, row));
        let channel = state.channels.entry(id).or_default();
        let amount = most.min(channel.unclaimed());
        if amount.is_zero() && !has_claimed {
            return channel.given_back.unwrap_or(NO_FUNDS);
        }
        channel.sight.refund_nonce = channel.sight.refund_nonce.saturating_add(1);
        if amount.is_zero() {
            return self.chain.settled(self.chain.rail.act(), amount);
        }
        channel.take_out(amount);
        let pending = channel.sight.withdrawal.take();
        channel.sight.withdrawal = pending.and_then(|pending| {
            let rest = pending.amount.checked_sub(amount).filter(|rest| !rest.is_zero())?;
            Some(PendingWithdrawal { amount: rest, ..pending })
        });
        let transaction = self.chain.rail.pay_out(terms.asset, terms.payer, amount, Some(id));
        let settled = self.chain.settled(transaction, amount);
        (channel.given_back, channel.finished) = (Some(settled), None);
        settled
    }

    fn begin_now(&self, state: &mut State, terms: &ChannelTerms) -> Settlement {
        if !self.is_payer_side(terms) {
            return Settlement::Refused(RefusedBy::BadSignature);
        }
        let channel = state.channels.entry(id_of(terms)).or_default();
        if let (Some(_), Some(begun)) = (channel.sight.withdrawal, channel.begun) {
            return begun;
        }
        let amount = channel.unclaimed();
        if amount.is_zero() {
            return NO_FUNDS;
        }
        let requested_at_s = self.chain.clock.now().as_secs();
        channel.sight.withdrawal = Some(PendingWithdrawal { amount, requested_at_s });
        let settled = self.chain.settled(self.chain.rail.act(), amount);
        (channel.begun, channel.finished) = (Some(settled), None);
        settled
    }

    fn finish_now(&self, state: &mut State, terms: &ChannelTerms) -> Settlement {
        if !self.is_payer_side(terms) {
            return Settlement::Refused(RefusedBy::BadSignature);
        }
        let id = id_of(terms);
        let channel = state.channels.entry(id).or_default();
        let Some(pending) = channel.sight.withdrawal else {
            return channel.finished.unwrap_or(Settlement::Refused(RefusedBy::NotYetValid));
        };
        let ready_at_s = pending.requested_at_s.saturating_add(terms.withdraw_delay_s);
        if self.chain.clock.now().as_secs() < ready_at_s {
            return Settlement::Refused(RefusedBy::NotYetValid);
        }
        let amount = pending.amount.min(channel.unclaimed());
        channel.take_out(amount);
        channel.sight.withdrawal = None;
        let transaction = if amount.is_zero() {
            self.chain.rail.act()
        } else {
            self.chain.rail.pay_out(terms.asset, terms.payer, amount, Some(id))
        };
        let settled = self.chain.settled(transaction, amount);
        (channel.finished, channel.given_back) = (Some(settled), None);
        settled
    }
}

const REVERTED: Settlement = Settlement::Refused(RefusedBy::Reverted);
const NO_FUNDS: Settlement = Settlement::Refused(RefusedBy::InsufficientFunds);
const UNKNOWN: Settlement = Settlement::Unknown { transaction: None };

#[async_trait]
impl ChannelSettler for ChannelAccount {
    fn authorizer(&self) -> Address {
        self.account
    }

    fn network(&self) -> Network {
        self.chain.rail.network
    }

    async fn deposit(&self, deposit: &SignedDeposit) -> Result<Settlement, RailError> {
        self.chain.scripted(|it| it, |state| self.deposit_now(state, deposit)).await
    }

    async fn claim(&self, rows: &[ClaimRow]) -> Result<ClaimSettlement, RailError> {
        let none = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        self.chain.scripted(|_| none, |state| self.claim_now(state, rows)).await
    }

    async fn sweep(
        &self,
        receiver: Address,
        asset: Asset,
    ) -> Result<Option<Settlement>, RailError> {
        let sweep = |state: &mut State| {
            let amount = state.owed.remove(&(receiver, asset)).filter(|owed| !owed.is_zero())?;
            let transaction = self.chain.rail.pay_out(asset, receiver, amount, None);
            Some(self.chain.settled(transaction, amount))
        };
        self.chain.scripted(Some, sweep).await
    }

    async fn give_back(
        &self,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        let give_back = |state: &mut State| self.give_back_now(state, terms, row, amount);
        self.chain.scripted(|it| it, give_back).await
    }

    async fn claim_signed(
        &self,
        rows: &[ClaimRow],
        signature: &Signature,
    ) -> Result<ClaimSettlement, RailError> {
        let none = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        let claim = |state: &mut State| self.claim_signed_now(state, rows, signature);
        self.chain.scripted(|_| none, claim).await
    }

    async fn give_back_signed(
        &self,
        refund: &SignedRefund,
        claim: Option<(&ClaimRow, &Signature)>,
    ) -> Result<Settlement, RailError> {
        let give_back = |state: &mut State| self.give_back_signed_now(state, refund, claim);
        self.chain.scripted(|it| it, give_back).await
    }
}

#[async_trait]
impl Withdrawals for ChannelAccount {
    async fn begin(&self, terms: &ChannelTerms) -> Result<Settlement, RailError> {
        self.chain.scripted(|it| it, |state| self.begin_now(state, terms)).await
    }

    async fn finish(&self, terms: &ChannelTerms) -> Result<Settlement, RailError> {
        self.chain.scripted(|it| it, |state| self.finish_now(state, terms)).await
    }
}

#[async_trait]
impl ChannelEvidence for MemoryChannels {
    async fn look(&self, channels: &[ChannelId], depth: Depth) -> Result<ChannelSights, RailError> {
        // Blocks are final at once.
        let (Depth::Newest | Depth::Final) = depth;
        self.rail.check_answers()?;
        let seen = channels.iter().map(|channel| self.sight(*channel)).collect();
        let height = self.rail.height();
        let block_time_s = self.clock.now().as_secs();
        Ok(ChannelSights { seen, block: keccak256(height.to_be_bytes()), height, block_time_s })
    }

    fn network(&self) -> Network {
        self.rail.network
    }
}

/// The rail beneath, with its channels.
#[async_trait]
impl Evidence for MemoryChannels {
    async fn find_nonce(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        self.rail.find_nonce(commitment).await
    }

    async fn balance(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        self.rail.balance(asset, holder).await
    }

    async fn transfers(
        &self,
        asset: Asset,
        holder: Address,
        after: u64,
    ) -> Result<Transfers, RailError> {
        self.rail.transfers(asset, holder, after).await
    }

    fn channels(&self) -> Option<&dyn ChannelEvidence> {
        Some(self)
    }

    async fn allowance(
        &self,
        asset: Asset,
        owner: Address,
    ) -> Result<Option<Allowance>, RailError> {
        self.rail.allowance(asset, owner).await
    }

    fn network(&self) -> Network {
        self.rail.network
    }
}

#[cfg(test)]
mod tests;
