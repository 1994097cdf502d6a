//! Deposits, where the process dies between what it writes.

use alloy::primitives::U256;

use super::*;
use crate::domain::channel::{ChannelId, ChannelTerms, Deposit};
use crate::domain::ledger::channel::{ChannelCaps, ChannelCommand, Opened};
use crate::domain::x402::batch::funding::deposit_nonce;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::channel_rail::{ChannelSettler, SignedDeposit};
use crate::ports::memory_channels::MemoryChannels;

const AUTHORIZER: Address = Address::repeat_byte(8);

pub(super) fn terms() -> ChannelTerms {
    ChannelTerms {
        asset: asset(),
        payer: PAYER,
        payer_authorizer: Address::repeat_byte(4),
        receiver: PAYEE,
        receiver_authorizer: AUTHORIZER,
        withdraw_delay_s: 900,
        salt: B256::repeat_byte(5),
    }
}

/// Holds a deposit of 400 in the ledger, and lets it arrive on the chain.
async fn deposit(world: &World, channels: &MemoryChannels) -> ChannelId {
    let (terms, amount, salt) = (terms(), Amount::new(400), B256::repeat_byte(6));
    let channel = id_of(&terms);
    let wallet = crate::domain::id::WalletId::named(&name("payer"));
    let opened =
        Opened { id: channel, terms, wallet, role: name("role"), provider: name("seller") };
    let tell = |command| world.treasury.execute(Command::Channel(command));
    tell(ChannelCommand::Open(Box::new(opened))).await.unwrap();
    let nonce = deposit_nonce(channel.0, U256::from_be_bytes(salt.0));
    let valid_before_s = START_S + 60;
    let nano = Nano::new(400_000);
    let held = Deposit { amount, nano, nonce, salt, valid_before_s };
    let caps = ChannelCaps { provider: nano, total: nano };
    let policy_version = world.treasury.read(|ledger| ledger.policy().version).await.unwrap();
    tell(ChannelCommand::Deposit { channel, deposit: held, caps, policy_version }).await.unwrap();
    let signature = Signature::test_signature();
    let method = TransferMethod::Eip3009;
    let signed = SignedDeposit { terms, amount, method, valid_before_s, salt, signature };
    channels.by(AUTHORIZER).deposit(&signed).await.unwrap();
    channel
}

/// It lay locked for ever: the transfers that tell of it had been passed, and nobody asked its nonce.
#[tokio::test]
async fn a_deposit_that_arrived_while_the_process_died_is_counted_all_the_same() {
    let mut world = world().await;
    let channels = MemoryChannels::new(world.rail.clone(), Arc::new(world.clock.clone()));
    let clock = Arc::new(world.clock.clone());
    let every = Duration::from_secs(1);
    let rails: Vec<Arc<dyn Evidence>> = vec![Arc::new(channels.clone())];
    world.reconciler = Reconciler::new(world.treasury.clone(), rails, clock, every);
    let channel = deposit(&world, &channels).await;

    // The height is written, and the process dies before it confirms the deposit.
    let look = |ledger: &Ledger| {
        ledger.find_wallet_at(PAYER).and_then(|wallet| wallet.find(asset())).map(|it| it.up_to)
    };
    let after = world.treasury.read(look).await.unwrap();
    let found = world.rail.transfers(asset(), PAYER, after.unwrap()).await.unwrap();
    let see = Command::SeeFunds {
        wallet: name("payer"),
        asset: asset(),
        entered: Amount::ZERO,
        left: Amount::ZERO,
        after,
        up_to: found.up_to,
    };
    world.treasury.execute(see).await.unwrap();
    world.round().await;
    let state = move |ledger: &Ledger| {
        let found = ledger.find_channel(channel).unwrap();
        (found.pending.is_some(), found.deposited)
    };
    assert_eq!(world.treasury.read(state).await.unwrap(), (true, Amount::ZERO));

    world.clock.set(Timestamp::from_secs(START_S + 61));
    world.round().await;
    assert_eq!(world.treasury.read(state).await.unwrap(), (false, Amount::new(400)));
}
