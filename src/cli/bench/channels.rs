//! Channels of one payee: what each costs in memory, how long claiming all of them takes, and how long a
//! restart with them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::channel::{Ceiling, ChannelTerms, Deposit};
use bursar::domain::commitment::TransferMethod;
use bursar::domain::id::Fingerprint;
use bursar::domain::ledger::claim::Delivery;
use bursar::domain::ledger::tab::{Charged, Sight, Standing, TabCommand};
use bursar::domain::ledger::{Bounds, Command};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::x402::TokenDomains;
use bursar::domain::x402::batch::check::{deposit_digest, nonce_of};
use bursar::domain::x402::batch::read::voucher_digest;
use bursar::domain::x402::batch::typed::{batch_domain, id_of};
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmSettler};
use bursar::edge::journal::{Options, Store};
use bursar::edge::keys::SigningKey;
use bursar::node::{Provider, RailPlan, SandboxChain, StartError, connect_rail, sandbox_assets};
use bursar::ports::channel_rail::{ChannelSettler, SignedDeposit};
use bursar::ports::clock::Clock;
use bursar::ports::rail::Settlement;
use bursar::runtime::directory::Registry;
use bursar::runtime::treasury::{Settings, Treasury};

use super::holds::{name, resident_bytes, usdc};
use super::settled::{DRAIN_MAX, Stall, Way, key, loopback};
use crate::scribe::Scribe;
use crate::shared::GENERATE;

/// What lies in each channel, and what was charged of it.
const DEPOSIT: Amount = Amount::new(1_000);
const CHARGED: Amount = Amount::new(100);

/// Deposits that the sandbox's gift of gas lasts for, with room to spare.
const DEPOSITS_A_GIFT: u64 = 500;

/// Channels that are opened in the ledger at once.
const OPENED_AT_ONCE: usize = 500;

/// What so many channels cost.
#[derive(Copy, Clone, Debug)]
pub struct Cost {
    /// Resident bytes of each in the payee's ledger.
    pub bytes: u64,
    /// From the start of the provider until it sells.
    pub restart: Duration,
    /// Claiming what each of them owes, in one transaction for each hundred.
    pub claim: Duration,
    /// How many were claimed.
    pub claimed: u64,
}

/// A chain with channels on it, a payee whose ledger knows them, and a call charged on each.
pub struct Harbour {
    folder: PathBuf,
    chain: SandboxChain,
    evm: Arc<Evm>,
    settler: Arc<EvmSettler>,
    pay_to: SigningKey,
    bytes: u64,
}

impl Harbour {
    /// Deposits in `count` channels, one transaction each, and charges a call on each.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(folder: PathBuf, count: u64) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let file = folder.join("chain.db");
        let chain = SandboxChain::start(Some(&file), loopback(), Arc::clone(&clock)).await?;
        let (gas, pay_to, secret) = (key(), key(), keccak256("bursar bench: a payer of channels"));
        let payer = PrivateKeySigner::from_bytes(&secret).expect("a hash is a key");
        let payer = payer.into_secp256k1();
        let all = DEPOSIT.checked_mul(count.into()).expect("the benchmark's sums are small");
        chain.fund(payer.address(), all).await?;
        let gift = Amount::new(1);
        chain.fund(gas.address(), gift).await?;
        let rail = RailPlan::sandbox(chain.url());
        let (evm, settler) = connect_rail(&rail, Some(&gas), Arc::clone(&clock)).await?;
        let settler = settler.expect("a rail with a gas account settles");
        let tokens = TokenDomains::new(&sandbox_assets());
        let token = tokens.find(usdc()).expect("the sandbox's token is registered");
        let vouchers = batch_domain(usdc().network).separator();
        let mut tabs = Vec::new();
        for number in 0..count {
            if number.is_multiple_of(DEPOSITS_A_GIFT) {
                chain.fund(gas.address(), gift).await?;
            }
            let terms = ChannelTerms {
                asset: usdc(),
                payer: payer.address(),
                payer_authorizer: payer.address(),
                receiver: pay_to.address(),
                receiver_authorizer: settler.account(),
                withdraw_delay_s: 900,
                salt: B256::from(U256::from(number)),
            };
            let channel = id_of(&terms);
            let (amount, salt) = (DEPOSIT, B256::ZERO);
            let valid_before_s = clock.now().as_secs().saturating_add(600);
            let (nonce, nano) = (nonce_of(channel, salt), Nano::ZERO);
            let method = TransferMethod::Eip3009;
            let deposit = Deposit { amount, nano, nonce, salt, valid_before_s }.by(method);
            let digest = deposit_digest(token, channel, payer.address(), &deposit);
            let signature = payer.sign_hash_sync(&digest).expect("a key signs every digest");
            let signed = SignedDeposit { terms, amount, method, valid_before_s, salt, signature };
            let settled = settler.deposit(&signed).await;
            let arrived = matches!(settled, Ok(Settlement::Settled { .. }));
            assert!(arrived, "deposit {number} arrives: {settled:?}");
            let digest = voucher_digest(vouchers, &Ceiling { channel, amount: CHARGED });
            let signature = payer.sign_hash_sync(&digest).expect("a key signs every digest");
            tabs.push(open_tab(terms, signature));
        }
        let bytes = charge(folder.join("scribe.db"), clock, tabs).await?;
        Ok(Self { folder, chain, evm, settler, pay_to, bytes })
    }

    /// Starts the payee over its ledger, claims everything, and ends it.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// Where the rail does not answer, or a voucher cannot be claimed.
    pub async fn measure(self) -> Result<Cost, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let Self { folder, chain, evm, settler, pay_to, bytes } = self;
        let registry = Arc::new(Registry::new(Arc::clone(&clock), sandbox_assets()));
        let stall =
            Stall { folder: &folder, evm, settler, pay_to, way: Way::Channel, registry: &registry };
        let plan = stall.plan(Arc::new(Scribe::new(Duration::ZERO)), Arc::clone(&clock)).await?;
        let began = clock.now();
        let provider = Provider::start(plan).await?;
        let restart = clock.now().since(began);
        let (began, mut claimed) = (clock.now(), 0_u64);
        loop {
            let round = provider.payee.claim_round(true).await.expect("the treasury runs");
            assert!(round.silent.is_none() && round.poisoned == 0, "every voucher is claimed");
            if round.channels == 0 {
                break;
            }
            claimed = claimed.saturating_add(round.channels);
        }
        let claim = clock.now().since(began);
        provider.drain(DRAIN_MAX).await;
        chain.stop().await;
        Ok(Cost { bytes, restart, claim, claimed })
    }
}

/// What makes a channel one that a call was charged on.
fn open_tab(terms: ChannelTerms, signature: alloy::primitives::Signature) -> [TabCommand; 3] {
    let (channel, zero) = (id_of(&terms), Amount::ZERO);
    let newest = Standing { balance: DEPOSIT, claimed: zero };
    let nothing = Sight { newest: Standing::EMPTY, withdrawable_at_s: None };
    let seen = TabCommand::Look { channel, before: nothing, sight: Sight { newest, ..nothing } };
    let charged = Charged {
        channel,
        asset: terms.asset,
        base: zero,
        amount: CHARGED,
        ceiling: CHARGED,
        signature,
        fingerprint: Fingerprint::from_bytes([1; 16]),
        payment: None,
        provider: name("scribe"),
        capability: name(GENERATE),
        model: name("bench"),
        delivery: Delivery { usage: Default::default(), answer: B256::ZERO },
    };
    [TabCommand::Open { channel, terms }, seen, TabCommand::Charge(Box::new(charged))]
}

/// Writes the tabs into the ledger at `path`, as a payee does, and says how much memory each took.
async fn charge(
    path: PathBuf,
    clock: Arc<dyn Clock>,
    tabs: Vec<[TabCommand; 3]>,
) -> Result<u64, StartError> {
    let store = Store::open(&path, Options::default())?;
    let settings = Settings { bounds: Bounds::default(), boot: 1, snapshot_every: 100_000 };
    let journal = Arc::new(store.clone());
    let (treasury, task) = Treasury::open(journal, clock, settings).await?;
    let writer = tokio::spawn(task.run());
    let (count, before) = (u64::try_from(tabs.len()).unwrap_or(u64::MAX), resident_bytes());
    for some in tabs.chunks(OPENED_AT_ONCE) {
        let mut opening = tokio::task::JoinSet::new();
        for commands in some.iter().cloned() {
            let treasury = treasury.clone();
            opening.spawn(async move {
                for command in commands {
                    let done = treasury.execute(Command::Tab(command)).await;
                    done.expect("a new channel is taken");
                }
            });
        }
        opening.join_all().await;
    }
    store.catch_up().await?;
    let bytes = resident_bytes().saturating_sub(before).checked_div(count).unwrap_or(0);
    drop((treasury, store));
    let _ = writer.await;
    Ok(bytes)
}
