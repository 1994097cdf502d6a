//! A rail in memory: the twin of a chain with one kind of money, for tests and the simulator.
//!
//! Blocks are final at once. What goes wrong is scripted: settlements that never answer, that are sent
//! and lost from sight, transfers by third parties, cancelled nonces, a rail that is silent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use alloy::primitives::{Address, B256, keccak256};
use async_trait::async_trait;

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::ChannelId;
use crate::domain::commitment::{Authorization, AuthorizationKey, Commitment, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::batch::typed::BATCH_SETTLEMENT;
use crate::ports::clock::Clock;
use crate::ports::rail::{
    Allowance, Evidence, Holding, NonceState, RailError, RefusedBy, Settlement, Settler, Sighting,
    Transfer, Transfers,
};

/// Who sends this rail's settlements.
pub const FACILITATOR: Address = Address::repeat_byte(0xfa);

/// What goes wrong with the next settlement.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RailFault {
    /// It moves the money, and says that nobody knows.
    MovedButUnknown,
    /// It moves nothing, and says that nobody knows.
    LostButUnknown,
    /// It moves the money, and never answers.
    MovedAndSilent,
    /// It moves nothing, and never answers.
    LostAndSilent,
    /// Nothing was sent, and it says so.
    Unreachable,
    /// Nothing was sent, because it cannot settle now.
    Refused(RefusedBy),
}

#[derive(Default)]
struct State {
    balances: BTreeMap<(Asset, Address), Amount>,
    nonces: BTreeMap<AuthorizationKey, NonceState>,
    /// What Permit2 may move, where it may not move everything.
    allowances: BTreeMap<(Asset, Address), Amount>,
    transfers: Vec<(Asset, Transfer)>,
    faults: VecDeque<RailFault>,
    silent: bool,
    height: u64,
    settled: u64,
}

/// The rail. Clones are the same one.
#[derive(Clone)]
pub struct MemoryRail {
    pub(super) network: Network,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

impl MemoryRail {
    /// A rail whose blocks have the time of `clock`.
    pub fn new(network: Network, clock: Arc<dyn Clock>) -> Self {
        Self { network, clock, state: Arc::default() }
    }

    /// Gives `holder` money from nowhere, as a transfer that everybody sees.
    pub fn fund(&self, asset: Asset, holder: Address, amount: Amount) {
        self.with(|state| state.transfer(asset, Address::ZERO, holder, amount, None));
    }

    /// Lets Permit2 move just so much of `holder`'s from here on.
    pub fn allow(&self, asset: Asset, holder: Address, amount: Amount) {
        self.with(|state| state.allowances.insert((asset, holder), amount));
    }

    /// Lets the next settlements go wrong, in this order.
    pub fn script(&self, faults: impl IntoIterator<Item = RailFault>) {
        self.with(|state| state.faults.extend(faults));
    }

    /// Stops or starts answering questions.
    pub fn set_silent(&self, silent: bool) {
        self.with(|state| state.silent = silent);
    }

    /// The payer cancels an authorization on chain.
    pub fn cancel(&self, key: AuthorizationKey) {
        self.with(|state| {
            let transaction = state.transaction();
            state.nonces.entry(key).or_insert(NonceState::Canceled { transaction });
        });
    }

    /// Somebody else broadcasts an authorization. Whether it moved money.
    pub fn broadcast(&self, authorization: &Authorization) -> bool {
        let now_s = self.clock.now().as_secs();
        let amount = authorization.commitment.amount_max;
        self.with(|state| {
            matches!(state.settle(authorization, amount, now_s), Settlement::Settled { .. })
        })
    }

    /// How many settlements moved money.
    pub fn settled(&self) -> u64 {
        self.with(|state| state.settled)
    }

    /// Moves money out of `holder`'s hands by no authorization, as far as there is any. How much.
    pub fn spend(&self, asset: Asset, holder: Address, to: Address, most: Amount) -> Amount {
        self.with(|state| {
            let amount = most.min(state.owned(asset, holder));
            state.transfer(asset, holder, to, amount, None);
            amount
        })
    }

    /// What became of an authorization, now and by the chain's own word.
    pub fn nonce(&self, key: &AuthorizationKey) -> NonceState {
        self.with(|state| state.nonces.get(key).copied().unwrap_or(NonceState::Unused))
    }

    /// Every transfer after the first `seen`, in order.
    pub fn moved_after(&self, seen: usize) -> Vec<Transfer> {
        self.with(|state| {
            let later = state.transfers.get(seen..).unwrap_or_default();
            later.iter().map(|(_, transfer)| *transfer).collect()
        })
    }

    /// What `holder` owns now.
    pub fn owned(&self, asset: Asset, holder: Address) -> Amount {
        self.with(|state| state.owned(asset, holder))
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock().expect("no holder of the rail panics"))
    }

    /// Settles `authorization`, and passes the money on to `to`. Whether it was not settled before.
    pub(super) fn pass_on(&self, authorization: &Authorization, to: Address) -> (Settlement, bool) {
        let now_s = self.clock.now().as_secs();
        self.with(|state| {
            let Commitment { asset, pay_to, amount_max, .. } = authorization.commitment;
            let before = state.settled;
            let settlement = state.settle(authorization, amount_max, now_s);
            let is_new = state.settled > before;
            if is_new && pay_to != to {
                state.transfer(asset, pay_to, to, amount_max, None);
            }
            (settlement, is_new)
        })
    }

    /// Moves `amount` from the contract that holds channels to `to`: out of `channel`, or what was
    /// claimed of many.
    pub(super) fn pay_out(
        &self,
        asset: Asset,
        to: Address,
        amount: Amount,
        channel: Option<ChannelId>,
    ) -> B256 {
        self.with(|state| {
            let transaction = state.transfer(asset, BATCH_SETTLEMENT, to, amount, None);
            if let Some((_, last)) = state.transfers.last_mut() {
                last.channel = channel;
            }
            transaction
        })
    }

    /// A transaction that moves nothing.
    pub(super) fn act(&self) -> B256 {
        self.with(State::transaction)
    }

    /// The newest block's number.
    pub(super) fn height(&self) -> u64 {
        self.with(|state| state.height)
    }

    pub(super) fn check_answers(&self) -> Result<(), RailError> {
        if self.with(|state| state.silent) { Err(self.unreachable()) } else { Ok(()) }
    }

    pub(super) fn unreachable(&self) -> RailError {
        RailError::Unreachable { network: self.network, problem: "silent by script".to_owned() }
    }
}

impl State {
    fn owned(&self, asset: Asset, holder: Address) -> Amount {
        self.balances.get(&(asset, holder)).copied().unwrap_or(Amount::ZERO)
    }

    fn allowed(&self, asset: Asset, holder: Address) -> Amount {
        self.allowances.get(&(asset, holder)).copied().unwrap_or(Amount::MAX)
    }

    fn transaction(&mut self) -> B256 {
        self.height = self.height.saturating_add(1);
        keccak256(self.height.to_be_bytes())
    }

    fn transfer(
        &mut self,
        asset: Asset,
        from: Address,
        to: Address,
        amount: Amount,
        key: Option<AuthorizationKey>,
    ) -> B256 {
        let transaction = self.transaction();
        if from != Address::ZERO {
            let rest = self.owned(asset, from).checked_sub(amount).expect("checked before");
            self.balances.insert((asset, from), rest);
        }
        let sum = self.owned(asset, to).checked_add(amount).expect("scripts stay in range");
        self.balances.insert((asset, to), sum);
        let block = self.height;
        let transfer = Transfer { from, to, amount, transaction, block, key, channel: None };
        self.transfers.push((asset, transfer));
        transaction
    }

    fn check(&self, authorization: &Authorization, now_s: u64) -> Result<(), RefusedBy> {
        let commitment = &authorization.commitment;
        match self.nonces.get(&commitment.key()) {
            Some(NonceState::Canceled { .. }) => return Err(RefusedBy::Canceled),
            Some(NonceState::Used { .. } | NonceState::UsedWithoutTrace) => {
                return Err(RefusedBy::NonceUsed);
            }
            Some(NonceState::Unused) | None => {}
        }
        // Permit2's times are inclusive.
        let early = match commitment.method.is_permit2() {
            true => now_s < commitment.valid_after_s,
            false => now_s <= commitment.valid_after_s,
        };
        if early {
            return Err(RefusedBy::NotYetValid);
        }
        if now_s >= commitment.valid_before_s {
            return Err(RefusedBy::Expired);
        }
        if commitment.method == TransferMethod::Permit2
            && self.allowed(commitment.asset, commitment.payer) < commitment.amount_max
        {
            return Err(RefusedBy::AllowanceRequired);
        }
        if self.owned(commitment.asset, commitment.payer) < commitment.amount_max {
            return Err(RefusedBy::InsufficientFunds);
        }
        Ok(())
    }

    /// Moves the money, or says what stands against it. The same again gives the first outcome.
    fn settle(&mut self, authorization: &Authorization, amount: Amount, now_s: u64) -> Settlement {
        let commitment = &authorization.commitment;
        let key = commitment.key();
        if let Some(NonceState::Used { transaction, amount, moved_at_s, .. }) =
            self.nonces.get(&key).copied()
        {
            return Settlement::Settled { transaction, amount, moved_at_s };
        }
        if let Err(refused) = self.check(authorization, now_s) {
            return Settlement::Refused(refused);
        }
        if amount > commitment.amount_max {
            return Settlement::Refused(RefusedBy::ExceedsAuthorized);
        }
        if amount.is_zero() {
            return Settlement::Refused(RefusedBy::Reverted);
        }
        let Commitment { asset, payer, pay_to, .. } = *commitment;
        let transaction = self.transfer(asset, payer, pay_to, amount, Some(key));
        let block = self.height;
        let moved_at_s = now_s;
        self.nonces.insert(key, NonceState::Used { transaction, amount, block, moved_at_s });
        self.settled = self.settled.saturating_add(1);
        Settlement::Settled { transaction, amount, moved_at_s }
    }
}

#[async_trait]
impl Settler for MemoryRail {
    async fn verify(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        self.check_answers()?;
        let now_s = self.clock.now().as_secs();
        Ok(self.with(|state| state.check(authorization, now_s)))
    }

    async fn settle_for(
        &self,
        authorization: &Authorization,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        self.check_answers()?;
        let now_s = self.clock.now().as_secs();
        let fault = self.with(|state| state.faults.pop_front());
        let settle = || self.with(|state| state.settle(authorization, amount, now_s));
        match fault {
            None => Ok(settle()),
            Some(RailFault::MovedButUnknown) => {
                settle();
                Ok(Settlement::Unknown { transaction: None })
            }
            Some(RailFault::LostButUnknown) => Ok(Settlement::Unknown { transaction: None }),
            Some(RailFault::MovedAndSilent) => {
                settle();
                std::future::pending().await
            }
            Some(RailFault::LostAndSilent) => std::future::pending().await,
            Some(RailFault::Unreachable) => Err(self.unreachable()),
            Some(RailFault::Refused(by)) => Ok(Settlement::Refused(by)),
        }
    }

    fn facilitator(&self) -> Option<Address> {
        Some(FACILITATOR)
    }

    async fn check_ready(&self) -> Result<(), RailError> {
        self.check_answers()
    }

    fn network(&self) -> Network {
        self.network
    }
}

#[async_trait]
impl Evidence for MemoryRail {
    async fn find_nonce(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        self.check_answers()?;
        let block_time_s = self.clock.now().as_secs();
        Ok(self.with(|state| Sighting {
            nonce: state.nonces.get(&commitment.key()).copied().unwrap_or(NonceState::Unused),
            block: keccak256(state.height.to_be_bytes()),
            block_time_s,
        }))
    }

    async fn balance(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        self.check_answers()?;
        Ok(self.with(|state| Holding { amount: state.owned(asset, holder), block: state.height }))
    }

    async fn transfers(
        &self,
        asset: Asset,
        holder: Address,
        after: u64,
    ) -> Result<Transfers, RailError> {
        self.check_answers()?;
        Ok(self.with(|state| {
            let here = state.transfers.iter().filter(|(of, _)| *of == asset);
            let moved = here
                .map(|(_, transfer)| *transfer)
                .filter(|transfer| transfer.block > after)
                .filter(|transfer| transfer.from == holder || transfer.to == holder)
                .collect();
            Transfers { moved, up_to: state.height.max(after) }
        }))
    }

    async fn allowance(
        &self,
        asset: Asset,
        owner: Address,
    ) -> Result<Option<Allowance>, RailError> {
        self.check_answers()?;
        let amount = self.with(|state| state.allowed(asset, owner));
        Ok(Some(Allowance { amount, permit_nonce: None }))
    }

    fn network(&self) -> Network {
        self.network
    }
}
