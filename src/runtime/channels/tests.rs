//! The keeper over a ledger in memory: which channels lie unused.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use alloy::primitives::{B256, U256};

use super::*;
use crate::domain::asset::{AssetInfo, AssetRegistry, Network};
use crate::domain::channel::Deposit;
use crate::domain::commitment::TransferMethod;
use crate::domain::id::PaymentId;
use crate::domain::ledger::agent::Principal;
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::channel::{ChannelCommand, Opened};
use crate::domain::ledger::hold::FinalBlock;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::ledger::{Bounds, Command, Refusal, Rejection};
use crate::domain::money::{Nano, Rate};
use crate::domain::policy::PolicyDocument;
use crate::domain::x402::batch::funding::deposit_nonce;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::clock::ManualClock;
use crate::ports::journal::MemoryJournal;
use crate::ports::signer::SeededSigner;
use crate::runtime::treasury::Settings;

const START_S: u64 = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const BLOCK: FinalBlock = FinalBlock { hash: B256::repeat_byte(1), time_s: START_S };
const USDC: Asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(9) };
const CAP: Nano = Nano::new(1_000_000);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The channel of a fleet's one wallet.
fn opened() -> Opened {
    let terms = ChannelTerms {
        asset: USDC,
        payer: Address::repeat_byte(1),
        payer_authorizer: Address::repeat_byte(2),
        receiver: Address::repeat_byte(3),
        receiver_authorizer: Address::repeat_byte(4),
        withdraw_delay_s: 900,
        salt: B256::repeat_byte(5),
    };
    let (wallet, role, provider) = (WalletId::named(&name("main")), name("role"), name("seller"));
    Opened { id: id_of(&terms), terms, wallet, role, provider }
}

/// A keeper with one channel, in which 400 lie.
async fn keeper(clock: &ManualClock) -> Keeper {
    let settings = Settings { bounds: Bounds::default(), boot: 1, snapshot_every: 1_000 };
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let journal = Arc::new(MemoryJournal::default());
    let (treasury, task) = Treasury::open(journal, Arc::clone(&shared), settings).await.unwrap();
    tokio::spawn(task.run());
    let token = AssetInfo {
        asset: USDC,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000, per: 1 },
    };
    let assets = AssetRegistry::new([token]);
    let policy = PolicyDocument { assets: assets.clone(), ..PolicyDocument::default() };
    let fleet = BudgetDef {
        name: name("fleet"),
        selector: Selector::Fleet,
        per: Per::All,
        limit: CAP,
        window: WindowSpec::Lifetime,
    };
    let (opened, amount, salt) = (opened(), Amount::new(400), B256::repeat_byte(6));
    let channel = opened.id;
    let deposit = Deposit {
        amount,
        nano: Nano::new(400_000),
        nonce: deposit_nonce(channel.0, U256::from_be_bytes(salt.0)),
        salt,
        valid_before_s: START_S + 60,
    };
    let caps = ChannelCaps { provider: CAP, total: CAP };
    let (wallet, address) = (name("main"), opened.terms.payer);
    let (document, reason, by) = (policy.to_json(), "test".to_owned(), Principal::Operator);
    let see = Command::SeeFunds {
        wallet: wallet.clone(),
        asset: USDC,
        entered: Amount::new(1_000),
        left: Amount::ZERO,
        after: None,
        up_to: 1,
    };
    for command in [
        Command::OpenWallet { wallet, address },
        Command::ApplyPolicy { budgets: vec![fleet], document, reason, by },
        see,
        Command::Channel(ChannelCommand::Open(Box::new(opened))),
        Command::Channel(ChannelCommand::Deposit { channel, deposit, caps, policy_version: 1 }),
        Command::Channel(ChannelCommand::ConfirmDeposit {
            channel,
            transaction: B256::repeat_byte(7),
            block: BLOCK,
        }),
    ] {
        treasury.execute(command).await.unwrap();
    }
    let signer = Arc::new(SeededSigner::new(Arc::new(treasury.clone()), &assets, 1));
    let (calls_a_deposit, pool_max, wait_max) = (10, 1, Duration::ZERO);
    let settings = KeeperSettings { caps, calls_a_deposit, pool_max, wait_max, credit: false };
    Keeper::open(treasury, signer, shared, settings).await.unwrap()
}

/// Once such a call came again and again, its channel was never unused, and what was held for it never ended.
#[tokio::test]
async fn a_voucher_that_is_only_presented_again_is_no_use_of_its_channel() {
    let clock = ManualClock::at(Timestamp::from_secs(START_S));
    let keeper = keeper(&clock).await;
    let (id, terms) = (opened().id, opened().terms);
    let key = keeper.pools.lock().unwrap().keys().next().unwrap().clone();
    clock.advance(HOUR / 2);
    assert!(keeper.endable(HOUR, 9).await.unwrap().is_empty());
    let lease = keeper.lend_again(&key, (id, terms), (Amount::new(400), false)).unwrap();
    clock.advance(HOUR / 2);
    assert!(keeper.endable(HOUR, 9).await.unwrap().is_empty(), "a call has it");
    drop(lease);
    assert_eq!(keeper.endable(HOUR, 9).await.unwrap(), [id]);
}

/// It would be lent for the small call again and again, and refuse each time.
#[tokio::test]
async fn a_crowded_channel_is_lent_only_for_more_than_it_refused() {
    let clock = ManualClock::at(Timestamp::from_secs(START_S));
    let keeper = keeper(&clock).await;
    let key = keeper.pools.lock().unwrap().keys().next().unwrap().clone();
    let need = |amount| Need {
        payment: PaymentId::from_bytes([7; 16]),
        amount: Amount::new(amount),
        nano: Nano::new(1),
        timeout_s: 60,
        method: TransferMethod::Eip3009,
        doubtful: Doubtful::Ask,
        deposit_min: Amount::ZERO,
    };
    let Ok(Lent::Known(mut lease)) = keeper.lend(&key, &need(10)).await else { panic!("not lent") };
    let (channel, bound, asked) = (lease.channel, 8, Amount::new(10));
    let crowded = Rejection::ChannelCrowded { channel, bound, asked };
    let refusal = Refusal { rejection: crowded, checks: Vec::new() };
    lease.learn(&Refused::Rejected(Box::new(refusal)), false);
    lease.give_back_unused();
    assert!(matches!(keeper.lend(&key, &need(10)).await, Err(NotLent::Busy)));
    assert!(matches!(keeper.lend(&key, &need(11)).await, Ok(Lent::Known(_))));
}

/// A voucher had left, its signer was paused, and the same request came again: what could not be given back
/// took a good channel out of its pool.
#[tokio::test]
async fn a_channel_whose_call_cannot_be_given_back_stays_in_its_pool_to_be_asked_about() {
    let clock = ManualClock::at(Timestamp::from_secs(START_S));
    let keeper = keeper(&clock).await;
    let (id, terms) = (opened().id, opened().terms);
    let key = keeper.pools.lock().unwrap().keys().next().unwrap().clone();
    let lease = keeper.lend_again(&key, (id, terms), (Amount::new(400), false)).unwrap();
    let payment = PaymentId::from_bytes([1; 16]);
    assert!(!lease.void(payment, Amount::new(100)).await, "no call of that name was drawn");
    let pools = keeper.pools.lock().unwrap();
    let slot = pools.values().flatten().next().unwrap();
    assert_eq!((slot.id, slot.lent, slot.doubts), (id, false, UNKNOWN));
}
