//! The chain itself: its head, how blocks come to be, and what may be asked of it. Lives on one
//! thread.

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2930::AccessList;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::rpc::types::TransactionRequest;
use revm::Database;
use revm::state::AccountInfo;

use super::block::{self, BASE_FEE, Block, GAS_MAX, Head, Mined};
use super::error::{SandboxError, StoreError, TxRefusal};
use super::execution::{self, Failure};
use super::genesis::{self, Genesis, TOKEN};
use super::state::{Cache, Changes, View};
use super::store::{BlockRow, Place, Store};
use super::{token, transaction};

/// How far the chain's time may run ahead of the clock, in seconds. Each block is later than the
/// one before, so a burst of blocks borrows from the future; an authorization lives by the chain's
/// time and must not die of a burst. From here on blocks share a second, as they do on chains that
/// make many a second.
pub(super) const AHEAD_MAX_S: u64 = 15;

/// What the faucet adds for gas, in wei: enough for ten thousand payments.
const GIFT_NATIVE: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// The gas that each of the faucet's transactions may use.
const FAUCET_GAS: u64 = 200_000;

/// An estimate is at most this part (one in so many) above what would just have sufficed.
const ESTIMATE_TOLERANCE: u64 = 64;

pub(super) struct Chain {
    store: Store,
    cache: Cache,
    head: Head,
    genesis_hash: B256,
    chain_id: u64,
    /// How many blocks have to stand on one until it is final.
    depth: u64,
    /// Set by the first write that failed: what the disk holds is unknown from then on.
    broken: bool,
}

impl Chain {
    /// Opens the chain at `place`, and begins it where there is none.
    pub(super) fn open(place: &Place, genesis: &Genesis) -> Result<Self, SandboxError> {
        let store = Store::open(place)?;
        let stored = store.chain_id()?;
        if let Some(stored) = stored
            && stored != genesis.chain_id
        {
            return Err(SandboxError::OtherChain { stored, given: genesis.chain_id });
        }
        let (first, changes) = genesis::begin(genesis, &Store::open(&Place::Memory)?)?;
        if stored.is_none() {
            store.append(&block::to_row(&first), &[], &changes, Some(genesis.chain_id))?;
        }
        let hash = store.hash_of(0)?.ok_or(StoreError::Damaged { number: 0 })?;
        if hash != first.hash {
            return Err(SandboxError::OtherGenesis { stored: hash, given: first.hash });
        }
        let row = store.head()?.ok_or(StoreError::Damaged { number: 0 })?;
        let head = Head {
            number: row.number,
            hash: row.hash,
            timestamp: row.timestamp,
            state_root: row.state_root,
        };
        let cache = Cache::default();
        let (genesis_hash, chain_id) = (first.hash, genesis.chain_id);
        let chain = Self { store, cache, head, genesis_hash, chain_id, depth: 0, broken: false };
        if row.number > 0 {
            chain.load(&row)?;
        }
        Ok(chain)
    }

    pub(super) fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(super) fn genesis_hash(&self) -> B256 {
        self.genesis_hash
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Blocks are final once `depth` others stand on them.
    pub(super) fn final_after(&mut self, depth: u64) {
        self.depth = depth;
    }

    /// Whether a write has failed. Nothing may be answered then.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Mines what waits and answers for each, in order. Everything fits into one block unless its
    /// gas does not.
    pub(super) fn mine(
        &mut self,
        waiting: Vec<Recovered<TxEnvelope>>,
        now_s: u64,
    ) -> Result<Vec<Result<B256, TxRefusal>>, StoreError> {
        let mut answers: Vec<Option<Result<B256, TxRefusal>>> = vec![None; waiting.len()];
        let mut left: Vec<(usize, Recovered<TxEnvelope>)> =
            waiting.into_iter().enumerate().collect();
        // One account's transactions may have overtaken each other on the way here.
        left.sort_by_key(|(_, transaction)| transaction.nonce());
        while !left.is_empty() {
            left = self.mine_block(left, &mut answers, now_s)?;
        }
        Ok(answers.into_iter().map(|one| one.expect("every place was answered")).collect())
    }

    /// Mines a block without transactions.
    pub(super) fn mine_empty(&mut self, now_s: u64) -> Result<(), StoreError> {
        let header = self.next_header(now_s);
        self.append(Block { hash: B256::ZERO, header, mined: Vec::new() }, Changes::default())
    }

    /// Mines one block of `waiting`, whose first fits always, and gives back what did not fit.
    fn mine_block(
        &mut self,
        waiting: Vec<(usize, Recovered<TxEnvelope>)>,
        answers: &mut [Option<Result<B256, TxRefusal>>],
        now_s: u64,
    ) -> Result<Vec<(usize, Recovered<TxEnvelope>)>, StoreError> {
        let header = self.next_header(now_s);
        let view = View {
            store: &self.store,
            cache: Some(&mut self.cache),
            at: self.head.number,
            changes: Changes::default(),
        };
        let mut evm = execution::evm(view, block::environment(&header), self.chain_id);
        let (mut mined, mut later, mut gas_used) = (Vec::new(), Vec::new(), 0_u64);
        for (place, transaction) in waiting {
            let needed = gas_used.saturating_add(transaction.gas_limit());
            if gas_used > 0 && needed > GAS_MAX {
                later.push((place, transaction));
                continue;
            }
            let hash = *transaction.tx_hash();
            let answer = if self.store.transaction(hash)?.is_some() {
                Err(TxRefusal::Known)
            } else {
                match execution::run(&mut evm, transaction::environment(&transaction)) {
                    Ok(result) => {
                        gas_used = gas_used.saturating_add(result.tx_gas_used());
                        mined.push(Mined { transaction, outcome: result.into() });
                        Ok(hash)
                    }
                    Err(Failure::Refused(reason)) => Err(TxRefusal::Invalid(reason)),
                    Err(Failure::Broken(error)) => return Err(error),
                }
            };
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        }
        let changes = evm.ctx.journaled_state.database.changes;
        if !mined.is_empty() {
            self.append(Block { hash: B256::ZERO, header, mined }, changes)?;
        }
        Ok(later)
    }

    /// The header of the block after the head, without transactions yet.
    fn next_header(&self, now_s: u64) -> alloy::consensus::Header {
        let Head { number, hash, timestamp, state_root } = self.head;
        let next = timestamp.saturating_add(1);
        let ahead = next > now_s.saturating_add(AHEAD_MAX_S);
        let timestamp = if ahead { timestamp } else { next.max(now_s) };
        block::empty_header(hash, number.saturating_add(1), timestamp, state_root)
    }

    /// Makes the block durable, and only then the head.
    fn append(&mut self, mut block: Block, changes: Changes) -> Result<(), StoreError> {
        block.header.state_root = changes.state_root(block.header.state_root);
        block::seal(&mut block.header, &block.mined);
        block.hash = block.header.hash_slow();
        let row = block::to_row(&block);
        let hashes: Vec<B256> = block.mined.iter().map(|one| *one.transaction.tx_hash()).collect();
        self.store.append(&row, &hashes, &changes, None).inspect_err(|_| self.broken = true)?;
        self.cache.absorb(changes);
        self.head = Head {
            number: row.number,
            hash: row.hash,
            timestamp: row.timestamp,
            state_root: row.state_root,
        };
        Ok(())
    }

    /// Gives `to` so many atomic units more, and native units for gas: two transactions of the
    /// faucet in one block. Answers the first one's hash.
    pub(super) fn fund(
        &mut self,
        to: Address,
        amount: U256,
        now_s: u64,
    ) -> Result<B256, SandboxError> {
        let faucet = genesis::faucet();
        let nonce = self.account(faucet.address(), self.head.number)?.nonce;
        // Tried out first: a mint that overflows must not be mined as a failure.
        let mint = token::mint_call(to, amount);
        let request = TransactionRequest::default()
            .from(faucet.address())
            .to(TOKEN)
            .input(mint.clone().into());
        self.call(request, self.head.number).map_err(|_| SandboxError::FaucetRefused { to })?;
        let gifts = vec![
            gift(self.chain_id, nonce, TOKEN, U256::ZERO, mint),
            gift(self.chain_id, nonce.saturating_add(1), to, GIFT_NATIVE, Bytes::new()),
        ];
        let mut answers = self.mine(gifts, now_s)?.into_iter();
        let minted = answers.next().expect("as many answers as transactions");
        minted.map_err(SandboxError::Refused)
    }

    /// The number of the block that `at` names.
    pub(super) fn number(&self, at: BlockId) -> Result<u64, SandboxError> {
        let number = match at {
            BlockId::Hash(hash) => self.store.number_of(hash.block_hash)?,
            BlockId::Number(BlockNumberOrTag::Number(number)) => {
                (number <= self.head.number).then_some(number)
            }
            BlockId::Number(BlockNumberOrTag::Earliest) => Some(0),
            BlockId::Number(BlockNumberOrTag::Latest | BlockNumberOrTag::Pending) => {
                Some(self.head.number)
            }
            BlockId::Number(BlockNumberOrTag::Safe | BlockNumberOrTag::Finalized) => {
                Some(self.head.number.saturating_sub(self.depth))
            }
        };
        number.ok_or(SandboxError::NoBlock { at })
    }

    /// Takes the newest `blocks` back, and mines others in their place: what was in them again, the last
    /// block's first, or without it nothing. Answers the transactions that were taken back.
    pub(super) fn reorganise(
        &mut self,
        blocks: u64,
        again: bool,
        now_s: u64,
    ) -> Result<Vec<B256>, SandboxError> {
        let last = self.head.number.checked_sub(blocks).filter(|_| blocks <= self.depth);
        let Some(last) = last else {
            return Err(SandboxError::FinalBlock { blocks, depth: self.depth });
        };
        let mut taken = Vec::new();
        for number in (last.saturating_add(1)..=self.head.number).rev() {
            taken.extend(self.block(number)?.mined.into_iter().map(|mined| mined.transaction));
        }
        let row = self.store.block(last)?.ok_or(StoreError::Damaged { number: last })?;
        let before = self.head.timestamp;
        self.store.cut(last).inspect_err(|_| self.broken = true)?;
        self.cache = Cache::default();
        self.head = Head {
            number: row.number,
            hash: row.hash,
            timestamp: row.timestamp,
            state_root: row.state_root,
        };
        let hashes = taken.iter().map(|transaction| *transaction.tx_hash()).collect();
        // Later than what it replaces, so that no block comes to be that was there before.
        let now_s = now_s.max(before.saturating_add(1));
        self.mine_empty(now_s)?;
        if again {
            // Whoever finds no place any more is left out, as its sender has to find out.
            self.mine(taken, now_s)?;
        }
        while self.head.number < last.saturating_add(blocks) {
            self.mine_empty(now_s)?;
        }
        Ok(hashes)
    }

    /// The block with this number, which exists.
    pub(super) fn block(&self, number: u64) -> Result<Block, SandboxError> {
        let row = self.store.block(number)?.ok_or(StoreError::Damaged { number })?;
        Ok(self.load(&row)?)
    }

    /// The block that holds a transaction, and the transaction's place in it.
    pub(super) fn find_transaction(
        &self,
        hash: B256,
    ) -> Result<Option<(Block, usize)>, SandboxError> {
        let Some((number, place)) = self.store.transaction(hash)? else { return Ok(None) };
        Ok(Some((self.block(number)?, place)))
    }

    /// Every block from `first` to `last` that holds transactions, as the file has it.
    pub(super) fn scan(
        &self,
        first: u64,
        last: u64,
        look: impl FnMut(BlockRow) -> Result<(), SandboxError>,
    ) -> Result<(), SandboxError> {
        self.store.scan(first, last, look)
    }

    fn load(&self, row: &BlockRow) -> Result<Block, StoreError> {
        let parent = match row.number.checked_sub(1) {
            None => B256::ZERO,
            Some(number) => self.store.hash_of(number)?.ok_or(StoreError::Damaged { number })?,
        };
        block::from_row(row, parent)
    }

    /// An account after block `at`.
    pub(super) fn account(
        &mut self,
        address: Address,
        at: u64,
    ) -> Result<AccountInfo, SandboxError> {
        Ok(self.view(at).basic(address)?.unwrap_or_default())
    }

    /// An account's code after block `at`.
    pub(super) fn code(&mut self, address: Address, at: u64) -> Result<Bytes, SandboxError> {
        let info = self.account(address, at)?;
        Ok(self.view(at).code_by_hash(info.code_hash)?.original_bytes())
    }

    /// A slot after block `at`.
    pub(super) fn slot(
        &mut self,
        address: Address,
        slot: U256,
        at: u64,
    ) -> Result<U256, SandboxError> {
        Ok(self.view(at).storage(address, slot)?)
    }

    /// Runs a call on the state after block `at`, in that block's environment, and forgets it.
    pub(super) fn call(
        &mut self,
        request: TransactionRequest,
        at: u64,
    ) -> Result<Bytes, SandboxError> {
        execution::output(self.try_out(request, at)?)
    }

    /// The gas with which a transaction would succeed after block `at`: what it used, or where that
    /// is not enough to get there, the least that is, within one part in [`ESTIMATE_TOLERANCE`].
    pub(super) fn estimate(
        &mut self,
        request: TransactionRequest,
        at: u64,
    ) -> Result<u64, SandboxError> {
        let mut enough = request.gas.unwrap_or(GAS_MAX).min(GAS_MAX);
        let at_most = self.try_out(request.clone().gas_limit(enough), at)?;
        let spent = at_most.gas().total_gas_spent();
        execution::output(at_most)?;
        let mut too_little = spent.saturating_sub(1);
        let mut guess = spent;
        while enough.saturating_sub(too_little) > 1 {
            if self.try_out(request.clone().gas_limit(guess), at)?.is_success() {
                enough = guess;
            } else {
                too_little = guess;
            }
            if enough.saturating_sub(too_little) <= too_little.div_euclid(ESTIMATE_TOLERANCE) {
                break;
            }
            guess = too_little.midpoint(enough);
        }
        Ok(enough)
    }

    fn try_out(
        &mut self,
        request: TransactionRequest,
        at: u64,
    ) -> Result<revm::context::result::ExecutionResult, SandboxError> {
        let mut environment = block::environment(&self.block(at)?.header);
        environment.basefee = 0;
        let chain_id = self.chain_id;
        let mut evm = execution::evm(self.view(at), environment, chain_id);
        let call = execution::fill_call(&mut evm, request, chain_id)?;
        Ok(execution::try_out(&mut evm, call)?)
    }

    fn view(&mut self, at: u64) -> View<'_> {
        let cache = (at == self.head.number).then_some(&mut self.cache);
        View { store: &self.store, cache, at, changes: Changes::default() }
    }
}

/// A transaction of the faucet.
fn gift(
    chain_id: u64,
    nonce: u64,
    to: Address,
    value: U256,
    input: Bytes,
) -> Recovered<TxEnvelope> {
    let faucet = genesis::faucet();
    let mut gift = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: FAUCET_GAS,
        max_fee_per_gas: BASE_FEE.into(),
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(to),
        value,
        access_list: AccessList::default(),
        input,
    };
    let signature = faucet.sign_transaction_sync(&mut gift).expect("a key in memory signs always");
    Recovered::new_unchecked(gift.into_signed(signature).into(), faucet.address())
}
