//! What the signer was told of may be signed: only the chain says that it is void.

use super::channels::terms;
use super::*;
use crate::domain::channel::{ChannelId, Deposit};
use crate::domain::commitment::ChannelOffer;
use crate::domain::id::WalletId;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::channel::{ChannelCaps, ChannelCommand, Charge, DrawAsk, Opened};
use crate::domain::ledger::hold::{FinalBlock, VoidProof};
use crate::domain::x402::batch::typed::id_of;
use crate::ports::holds::{Holds, NotSignable};

#[tokio::test]
async fn a_hold_that_the_signer_was_told_of_is_never_void_as_unsigned() {
    let world = world().await;
    let (told, _) = world.hold(STRANGER, 1).await;
    let (untold, _) = world.hold(STRANGER, 2).await;
    drop(world.treasury.release(told).await.unwrap());
    let void = |payment| Command::Void { payment, proof: VoidProof::NeverSigned, boot: 1 };
    world.treasury.execute(void(untold)).await.unwrap();
    let refused = world.treasury.execute(void(told)).await.unwrap_err();
    assert!(matches!(refused.rejection(), Some(Rejection::WrongState { .. })), "{refused}");
    assert_eq!(world.payer_wallet().await, (1000, 100));
}

/// A channel with a deposit on its way.
async fn channel(world: &World) -> ChannelId {
    let (terms, channel) = (terms(), id_of(&terms()));
    let wallet = WalletId::named(&name("payer"));
    let opened =
        Opened { id: channel, terms, wallet, role: name("role"), provider: name("provider") };
    let tell = |command| world.treasury.execute(Command::Channel(command));
    tell(ChannelCommand::Open(Box::new(opened))).await.unwrap();
    let nano = Nano::new(400_000);
    let (amount, salt) = (Amount::new(400), B256::repeat_byte(6));
    let valid_before_s = START_S + 60;
    let deposit = Deposit { amount, nano, nonce: B256::repeat_byte(7), salt, valid_before_s };
    let caps = ChannelCaps { provider: nano, total: nano };
    tell(ChannelCommand::Deposit { channel, deposit, caps, policy_version: 1 }).await.unwrap();
    channel
}

/// Holds a call of `amount` on a channel, and lets it be signed.
async fn sign(
    world: &World,
    channel: ChannelId,
    (number, amount): (u8, u128),
    last: Option<Charge>,
) -> PaymentId {
    let offer = ChannelOffer {
        receiver_authorizer: Address::repeat_byte(8),
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    };
    let ask = world.ask(PAYEE, number);
    let commitment = Commitment {
        amount_max: Amount::new(amount),
        scheme: Scheme::BatchSettlement(offer),
        nonce: channel.0,
        valid_before_s: u64::MAX,
        ..ask.commitment
    };
    let ask = HoldAsk { commitment, ..ask };
    let payment = ask.payment;
    let draw = ChannelCommand::Draw(Box::new(DrawAsk { ask, channel, last, fund: None }));
    world.treasury.execute(Command::Channel(draw)).await.unwrap();
    drop(world.treasury.release_voucher(payment).await.unwrap());
    payment
}

#[tokio::test]
async fn only_a_channels_newest_voucher_is_signed() {
    let world = world().await;
    let channel = channel(&world).await;
    // The second says less than the first, which stays held above it.
    let first = sign(&world, channel, (1, 100), None).await;
    let last = Charge { payment: first, amount: Amount::new(30) };
    let second = sign(&world, channel, (2, 50), Some(last)).await;
    let again = world.treasury.release_voucher(second).await.unwrap();
    assert_eq!(again.ceiling.amount, Amount::new(80), "the newest, as often as it is asked for");
    drop(again);
    let old = world.treasury.release_voucher(first).await.unwrap_err();
    assert_eq!(old, NotSignable::Ended(first));
}

/// Most of the channel came back while a voucher was out: what it could take of the rest was given back to
/// the budgets once, when the same call was tried again and could not be signed. Found by the simulator
/// (seed 4222).
#[tokio::test]
async fn i07_what_is_left_of_a_voucher_whose_portion_was_cut_is_never_void_as_unsigned() {
    let world = world().await;
    let channel = channel(&world).await;
    let block = |time_s| FinalBlock { hash: B256::repeat_byte(9), time_s };
    let tell = |command| world.treasury.execute(Command::Channel(command));
    let (transaction, at) = (B256::repeat_byte(5), block(START_S + 1));
    tell(ChannelCommand::ConfirmDeposit { channel, transaction, block: at }).await.unwrap();
    let payment = sign(&world, channel, (1, 100), None).await;
    let (balance, claimed) = (Amount::new(60), Amount::ZERO);
    tell(ChannelCommand::See { channel, balance, claimed, block: block(START_S + 2) })
        .await
        .unwrap();
    let refused = tell(ChannelCommand::Void { channel, payment, boot: 1 }).await.unwrap_err();
    assert!(matches!(refused.rejection(), Some(Rejection::WrongState { .. })), "{refused}");
    let exposed = world.look(move |ledger| ledger.find_channel(channel).unwrap().exposure()).await;
    assert_eq!(exposed, Amount::new(60), "the payee can still take that");
}

/// A rail whose node has lost its logs: a nonce is used, and nobody can say by what.
struct Traceless(MemoryRail);

#[async_trait::async_trait]
impl Evidence for Traceless {
    async fn find_nonce(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        let seen = self.0.find_nonce(commitment).await?;
        Ok(Sighting { nonce: NonceState::UsedWithoutTrace, ..seen })
    }

    async fn balance(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        self.0.balance(asset, holder).await
    }

    async fn transfers(
        &self,
        asset: Asset,
        holder: Address,
        after: u64,
    ) -> Result<Transfers, RailError> {
        self.0.transfers(asset, holder, after).await
    }

    async fn allowance(
        &self,
        asset: Asset,
        owner: Address,
    ) -> Result<Option<Allowance>, RailError> {
        self.0.allowance(asset, owner).await
    }

    fn network(&self) -> Network {
        Evidence::network(&self.0)
    }
}

#[tokio::test]
async fn k13_the_absence_of_a_log_is_no_evidence() {
    let mut world = world().await;
    let (payment, _) = world.hold(STRANGER, 1).await;
    let rails: Vec<Arc<dyn Evidence>> = vec![Arc::new(Traceless(world.rail.clone()))];
    let clock = Arc::new(world.clock.clone());
    let every = Duration::from_secs(1);
    world.reconciler = Reconciler::new(world.treasury.clone(), rails, clock, every);
    world.clock.set(Timestamp::from_secs(START_S + 3_600));
    assert_eq!(world.round().await.closed, 0);
    assert_eq!(world.payer_wallet().await, (1000, 100), "it stays held");
    assert!(world.look(move |ledger| ledger.find_hold(payment).is_some()).await);
}
