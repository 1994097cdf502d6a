//! What the signer is told of holds and of channels, and what becomes of it in numbers.

use alloy::primitives::Address;

use super::*;
use crate::domain::channel::{Ceiling, Deposit};
use crate::domain::commitment::{ChannelOffer, Commitment, Scheme, TransferMethod};
use crate::domain::ledger::channel::{
    ChannelCaps, ChannelCommand, Charge, DrawAsk, Frozen, Opened,
};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::hold::{CaptureProof, VoidProof};
use crate::domain::ledger::tests::channels::opened;
use crate::domain::ledger::tests::fixture::{BOOT, LIFE_S, START_S, UPTO, asset, block, number};
use crate::domain::money::{Amount, Nano};

const CHANNEL: ChannelId = ChannelId(alloy::primitives::B256::repeat_byte(9));

fn units(n: u64) -> Amount {
    Amount::new(n.into())
}

/// The same ledger as a desk's, on a journal whose writes can be held up.
async fn start_from(desk: &Desk) -> (Treasury, Arc<FailingJournal>) {
    let journal = Arc::new(FailingJournal::default());
    let entry = |(seq, (at, event))| Entry { seq, at, event };
    journal.append((1..).zip(desk.log.clone()).map(entry).collect()).await.unwrap();
    let settings = Settings { snapshot_every: 1_000_000, ..settings(BOOT) };
    let clock = Arc::new(ManualClock::at(desk.now));
    let (treasury, task) = Treasury::open(journal.clone(), clock, settings).await.unwrap();
    tokio::spawn(task.run());
    (treasury, journal)
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Nothing more is written until permits are given.
fn hold_up(journal: &FailingJournal) {
    journal.writes.forget_permits(1_000);
}

/// Asks in the background, and is queued when this returns.
async fn begin(treasury: &Treasury, command: Command) -> tokio::task::JoinHandle<Done> {
    let treasury = treasury.clone();
    let asked = tokio::spawn(async move { treasury.execute(command).await.unwrap() });
    settle().await;
    asked
}

fn deposit(desk: &Desk, n: u64, amount: u64) -> Command {
    let deposit = Deposit {
        amount: units(amount),
        nano: Nano::new(amount),
        nonce: number(500 + n),
        salt: number(n),
        valid_before_s: desk.now.as_secs() + LIFE_S,
    };
    let most = Nano::new(1_000_000);
    let caps = ChannelCaps { provider: most, total: most };
    let policy_version = desk.ledger.policy().version;
    Command::Channel(ChannelCommand::Deposit { channel: CHANNEL, deposit, caps, policy_version })
}

fn confirm() -> Command {
    let (transaction, block) = (number(5), block(START_S));
    Command::Channel(ChannelCommand::ConfirmDeposit { channel: CHANNEL, transaction, block })
}

/// A desk with a channel of role `scout` that holds 600.
fn with_channel() -> Desk {
    let mut desk = Desk::new(vec![pool(1_000)]);
    let opened = Opened { id: CHANNEL, ..opened(1) };
    desk.execute(Command::Channel(ChannelCommand::Open(Box::new(opened)))).unwrap();
    let put_in = deposit(&desk, 1, 600);
    desk.execute(put_in).unwrap();
    desk.execute(confirm()).unwrap();
    desk
}

fn draw(desk: &mut Desk, amount: u64, last: Option<Charge>) -> (PaymentId, Command) {
    let ask = desk.ask("ann", amount);
    let scheme = Scheme::BatchSettlement(ChannelOffer {
        receiver_authorizer: Address::repeat_byte(8),
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    });
    let nonce = CHANNEL.0;
    let commitment = Commitment { scheme, nonce, valid_before_s: u64::MAX, ..ask.commitment };
    let (payment, ask) = (ask.payment, HoldAsk { commitment, ..ask });
    let ask = DrawAsk { ask, channel: CHANNEL, last, fund: None };
    (payment, Command::Channel(ChannelCommand::Draw(Box::new(ask))))
}

fn charge(payment: PaymentId, amount: u64) -> Command {
    let charge = Charge { payment, amount: units(amount) };
    Command::Channel(ChannelCommand::Charge { channel: CHANNEL, charge })
}

fn void(payment: PaymentId) -> Command {
    Command::Void { payment, proof: VoidProof::NeverSigned, boot: BOOT }
}

fn void_draw(payment: PaymentId) -> Command {
    Command::Channel(ChannelCommand::Void { channel: CHANNEL, payment, boot: BOOT })
}

fn capture(payment: PaymentId, amount: u64) -> Command {
    let (amount, transaction) = (units(amount), number(5));
    Command::Capture { payment, amount, transaction, proof: CaptureProof::Receipt }
}

async fn rejection(treasury: &Treasury, command: Command) -> Rejection {
    treasury.execute(command).await.unwrap_err().rejection().unwrap().clone()
}

/// Why a payment that the signer was told of is not voided.
fn released(payment: PaymentId) -> Rejection {
    Rejection::WrongState { payment, state: "released to the signer", asked: "voided" }
}

/// Each waits for the write with its own hold: not for the one before, and never for less.
#[tokio::test]
async fn a_hold_is_signed_once_the_write_that_it_is_in_is_durable() {
    let mut desk = Desk::new(vec![pool(1_000)]);
    let (treasury, journal) = start_from(&desk).await;
    let asks = [desk.ask("ann", 10), desk.ask("ann", 10), desk.ask("ann", 10)];
    let [first, second, third] = asks.each_ref().map(|ask| ask.payment);
    let [one, two, three] = asks.map(|ask| Command::Hold(Box::new(ask)));
    hold_up(&journal);
    // The first is being written; the others are decided meanwhile, and become one batch.
    let held = [begin(&treasury, one).await, begin(&treasury, two).await];
    let last = begin(&treasury, three).await;
    journal.writes.add_permits(1);
    settle().await;
    assert!(treasury.release(first).await.is_ok());
    let signing = treasury.clone();
    let early = tokio::spawn(async move { signing.release(second).await.map(|_| ()) });
    settle().await;
    assert!(!early.is_finished(), "the second is being written");
    journal.writes.add_permits(1);
    assert_eq!(early.await.unwrap(), Ok(()));
    for held in held.into_iter().chain([last]) {
        held.await.unwrap();
    }
    // All of a batch is durable with it, and waits for nothing that is written after it.
    let next = begin(&treasury, open_wallet(1)).await;
    for payment in [second, third] {
        let signing = treasury.clone();
        let asked = tokio::spawn(async move { signing.release(payment).await.map(|_| ()) });
        settle().await;
        assert!(asked.is_finished(), "{payment}");
        assert_eq!(asked.await.unwrap(), Ok(()));
    }
    journal.writes.add_permits(1_000);
    next.await.unwrap();
}

/// Nothing of a channel leaves while anything of it is still being written.
#[tokio::test]
async fn a_voucher_and_a_deposit_are_signed_once_their_channels_entries_are_durable() {
    let mut desk = with_channel();
    let (treasury, journal) = start_from(&desk).await;
    let (payment, drawn) = draw(&mut desk, 10, None);
    for (command, is_voucher) in [(drawn, true), (deposit(&desk, 2, 50), false)] {
        hold_up(&journal);
        let asked = begin(&treasury, command).await;
        let signing = treasury.clone();
        let early = tokio::spawn(async move {
            match is_voucher {
                true => signing.release_voucher(payment).await.map(|_| ()),
                false => signing.release_deposit(CHANNEL).await.map(|_| ()),
            }
        });
        let signing = treasury.clone();
        let charged =
            tokio::spawn(async move { signing.release_charged(CHANNEL).await.map(|_| ()) });
        settle().await;
        assert!(!early.is_finished() && !charged.is_finished(), "voucher: {is_voucher}");
        journal.writes.add_permits(1_000);
        assert_eq!((early.await.unwrap(), charged.await.unwrap()), (Ok(()), Ok(())));
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn only_the_newest_voucher_of_a_channel_is_signed_and_that_as_often_as_asked() {
    let mut desk = with_channel();
    let (treasury, _) = start_from(&desk).await;
    let ceiling = |amount| Ceiling { channel: CHANNEL, amount: units(amount) };
    let (first, drawn) = draw(&mut desk, 10, None);
    treasury.execute(drawn).await.unwrap();
    for _ in 0..2 {
        let told = treasury.release_voucher(first).await.unwrap();
        assert_eq!((told.ceiling, told.asset), (ceiling(10), asset()));
    }
    // What it holds above its charge may be drawn still, and is signed no more.
    treasury.execute(charge(first, 4)).await.unwrap();
    assert!(treasury.read(move |ledger| ledger.find_draw(first).is_some()).await.unwrap());
    let ended = treasury.release_voucher(first).await.map(|_| ());
    assert_eq!(ended, Err(NotSignable::Ended(first)));
    assert_eq!(treasury.release_charged(CHANNEL).await.unwrap().ceiling, ceiling(4));
    let (second, drawn) = draw(&mut desk, 20, None);
    let nobody = treasury.release_voucher(second).await.map(|_| ());
    assert_eq!(nobody, Err(NotSignable::NoHold(second)));
    treasury.execute(drawn).await.unwrap();
    assert_eq!(treasury.release_voucher(second).await.unwrap().ceiling, ceiling(24));
    assert!(treasury.release_voucher(first).await.is_err());
}

/// A pause of another role, or of one agent, is not the channel's: others of its role go on.
#[tokio::test]
async fn nothing_of_a_channel_is_signed_while_its_role_or_everything_is_paused() {
    let role = |text| Scope::Role(name(text));
    for (scope, is_paused) in [
        (Scope::All, true),
        (role("scout"), true),
        (role("other"), false),
        (Scope::Group(name("red")), false),
    ] {
        let (reason, by) = ("loop".to_owned(), Principal::Operator);
        let mut desk = with_channel();
        let put_in = deposit(&desk, 2, 50);
        desk.execute(put_in).unwrap();
        let (treasury, _) = start_from(&desk).await;
        treasury
            .execute(Command::Pause { scope: scope.clone(), reason, by: by.clone() })
            .await
            .unwrap();
        let expected = match is_paused {
            true => Err(NotSignable::ChannelPaused(CHANNEL)),
            false => Ok(()),
        };
        let charged = treasury.release_charged(CHANNEL).await.map(|_| ());
        let deposited = treasury.release_deposit(CHANNEL).await.map(|_| ());
        assert_eq!((charged, deposited), (expected, expected), "{scope:?}");
        treasury.execute(Command::Resume { scope, by }).await.unwrap();
        assert!(treasury.release_charged(CHANNEL).await.is_ok());
    }
}

#[tokio::test]
async fn a_deposit_is_signed_while_it_is_on_its_way_into_an_open_channel() {
    let desk = with_channel();
    let (treasury, _) = start_from(&desk).await;
    let asked = async || treasury.release_deposit(CHANNEL).await;
    let none = NotSignable::NoDeposit(CHANNEL);
    assert_eq!(asked().await.map(|_| ()), Err(none), "it arrived");
    treasury.execute(deposit(&desk, 2, 50)).await.unwrap();
    let told = asked().await.unwrap();
    assert_eq!((told.opened.id, told.incoming.deposit.amount), (CHANNEL, units(50)));
    let why = Frozen::Closing;
    let freeze = Command::Channel(ChannelCommand::Freeze { channel: CHANNEL, why });
    treasury.execute(freeze).await.unwrap();
    assert_eq!(asked().await.map(|_| ()), Err(none), "nothing more is put in");
    let unknown = ChannelId(number(77));
    let refused = treasury.release_deposit(unknown).await.map(|_| ());
    assert_eq!(refused, Err(NotSignable::NoDeposit(unknown)));
    let refused = treasury.release_charged(unknown).await.map(|_| ());
    assert_eq!(refused, Err(NotSignable::NoChannel(unknown)));
}

/// Until it has ended: then its end is what refuses it, and the treasury remembers it no more.
#[tokio::test]
async fn what_the_signer_was_told_of_is_never_voided_as_unsigned() {
    let mut desk = with_channel();
    let (treasury, _) = start_from(&desk).await;
    let asks = [desk.ask("ann", 10), desk.ask("ann", 10)];
    let [told, untold] = asks.each_ref().map(|ask| ask.payment);
    for ask in asks {
        treasury.execute(Command::Hold(Box::new(ask))).await.unwrap();
    }
    treasury.release(told).await.unwrap();
    treasury.execute(void(untold)).await.unwrap();
    assert_eq!(rejection(&treasury, void(told)).await, released(told));
    treasury.execute(capture(told, 10)).await.unwrap();
    let ended = rejection(&treasury, void(told)).await;
    assert_eq!(ended.code(), "ledger.wrong_state");
    assert_ne!(ended, released(told));

    let (first, drawn) = draw(&mut desk, 10, None);
    treasury.execute(drawn).await.unwrap();
    treasury.release_voucher(first).await.unwrap();
    assert_eq!(rejection(&treasury, void_draw(first)).await, released(first));
    treasury.execute(charge(first, 10)).await.unwrap();
    let ended = rejection(&treasury, void_draw(first)).await;
    assert_eq!(ended, Rejection::UnknownPayment(first));
    // Of what is charged in part the rest is signed for all the same.
    let (second, drawn) = draw(&mut desk, 10, None);
    treasury.execute(drawn).await.unwrap();
    treasury.release_voucher(second).await.unwrap();
    treasury.execute(charge(second, 4)).await.unwrap();
    assert_eq!(rejection(&treasury, void_draw(second)).await, released(second));
    let (third, drawn) = draw(&mut desk, 10, None);
    treasury.execute(drawn).await.unwrap();
    treasury.execute(void_draw(third)).await.unwrap();
}

/// By the agent's role, or the channel's.
#[tokio::test]
async fn what_is_spent_and_taken_back_is_counted_by_role() {
    let mut desk = with_channel();
    let (treasury, _) = start_from(&desk).await;
    let counts = || {
        let counts = treasury.meters().counts();
        let of = |counted: &std::collections::BTreeMap<Name, u64>| {
            assert!(counted.keys().all(|role| *role == name("scout")), "{counted:?}");
            counted.values().sum::<u64>()
        };
        (of(&counts.spent), of(&counts.reversed))
    };
    let exact = desk.ask("ann", 10);
    let mut upto = [desk.ask("ann", 10), desk.ask("ann", 10)];
    for ask in &mut upto {
        ask.commitment.scheme = UPTO;
        ask.commitment.method = TransferMethod::Permit2;
    }
    let (taken, [more, less]) = (exact.payment, upto.each_ref().map(|ask| ask.payment));
    for ask in [exact].into_iter().chain(upto) {
        treasury.execute(Command::Hold(Box::new(ask))).await.unwrap();
    }
    assert_eq!(counts(), (0, 0));
    for (payment, amount) in [(taken, 10), (more, 3), (less, 8)] {
        treasury.execute(capture(payment, amount)).await.unwrap();
    }
    assert_eq!(counts(), (21, 0));
    // A final block says what moved.
    for (payment, moved) in [(more, 9), (less, 2)] {
        let (transaction, amount, block) = (number(5), units(moved), block(START_S));
        let verify = Command::Verify { payment, transaction, amount, block };
        treasury.execute(verify).await.unwrap();
    }
    assert_eq!(counts(), (27, 6));
    let expire = Command::Expire { payment: taken, block: block(START_S + 10 * LIFE_S) };
    treasury.execute(expire).await.unwrap();
    assert_eq!(counts(), (27, 16));
    let (payment, drawn) = draw(&mut desk, 10, None);
    treasury.execute(drawn).await.unwrap();
    treasury.execute(charge(payment, 7)).await.unwrap();
    assert_eq!(counts(), (34, 16));
}
