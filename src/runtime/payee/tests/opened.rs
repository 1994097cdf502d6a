//! Channels that a payee does not know: what is asked by one, what of it stays, and what is worth a transaction.

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use futures_util::future::join_all;

use super::super::*;
use super::world::{AUTHORIZER, PAY_TO, PRICE, USDC, World, assets, call, collect};
use crate::domain::channel::{Ceiling, ChannelTerms, Deposit};
use crate::domain::commitment::{ChannelOffer, TransferMethod};
use crate::domain::money::{Amount, Nano};
use crate::domain::x402::batch::check::{deposit_digest, deposit_word, nonce_of};
use crate::domain::x402::batch::read::{DepositWord, voucher_digest};
use crate::domain::x402::batch::refund::refund_wish;
use crate::domain::x402::batch::typed::id_of;
use crate::domain::x402::batch::word;
use crate::domain::x402::payload::voucher_payload;
use crate::ports::channel_rail::{ChannelSettler, SignedDeposit};
use crate::ports::memory_rail::RailFault;
use crate::ports::paid_service::PaidService;
use crate::runtime::payee::given_back::GIVING_MAX;

/// What a call costs: 100 + ceil((2 * 1000 + 3 * 2000) / 1000).
const CHARGED: u128 = 108;

const PREFIX: &str = "invalid_batch_settlement_evm_";

/// A payer with a channel; nobody's money.
struct Stranger {
    key: PrivateKeySigner,
    terms: ChannelTerms,
}

impl Stranger {
    /// With a key of its own.
    fn nth(number: u64) -> Self {
        let seed = keccak256([b"a stranger".as_slice(), &number.to_be_bytes()].concat());
        Self::with(PrivateKeySigner::from_bytes(&seed).unwrap(), 1)
    }

    fn with(key: PrivateKeySigner, salt: u8) -> Self {
        let terms = ChannelTerms {
            asset: USDC,
            payer: key.address(),
            payer_authorizer: key.address(),
            receiver: PAY_TO,
            receiver_authorizer: AUTHORIZER,
            withdraw_delay_s: 900,
            salt: B256::repeat_byte(salt),
        };
        Self { key, terms }
    }

    fn voucher(&self, amount: u128) -> (Ceiling, alloy::primitives::Signature) {
        let ceiling = Ceiling { channel: id_of(&self.terms), amount: Amount::new(amount) };
        let tokens = TokenDomains::new(&assets());
        let separator = tokens.find(USDC).unwrap().batch_separator();
        (ceiling, self.key.sign_hash_sync(&voucher_digest(separator, &ceiling)).unwrap())
    }

    fn deposit(&self, world: &World, amount: u128) -> DepositWord {
        let (channel, salt) = (id_of(&self.terms), B256::repeat_byte(9));
        let deposit = Deposit {
            amount: Amount::new(amount),
            nano: Nano::ONE,
            nonce: nonce_of(channel, salt),
            salt,
            valid_before_s: world.clock.now().as_secs() + 60,
        };
        let incoming = deposit.by(TransferMethod::Eip3009);
        let tokens = TokenDomains::new(&assets());
        let token = tokens.find(USDC).unwrap();
        let digest = deposit_digest(token, channel, self.terms.payer, &incoming);
        deposit_word(&incoming, self.key.sign_hash_sync(&digest).unwrap())
    }

    /// A call by a voucher for so much in all; else what its refusal says.
    async fn say(
        &self,
        world: &World,
        amount: u128,
        deposit: Option<DepositWord>,
    ) -> Result<(), String> {
        let (ceiling, signature) = self.voucher(amount);
        let payload = word::payload(&self.terms, &ceiling, &signature, deposit.as_ref());
        ask(world, payload).await
    }

    /// Asks a part of the rest back, or all of it, by a voucher for what was charged.
    async fn ask_back(
        &self,
        world: &World,
        charged: u128,
        part: Option<u128>,
    ) -> Result<(), String> {
        let (ceiling, signature) = self.voucher(charged);
        let part = part.map(Amount::new);
        ask(world, refund_wish(&self.terms, &ceiling, &signature, part)).await
    }

    /// Puts money in by itself.
    async fn put_in(&self, world: &World, amount: u128) {
        let word = self.deposit(world, amount);
        let deposit = SignedDeposit::of(self.terms, &word);
        world.channels.by(AUTHORIZER).deposit(&deposit).await.unwrap();
    }
}

async fn ask(
    world: &World,
    payload: serde_json::Map<String, serde_json::Value>,
) -> Result<(), String> {
    let offer = world.required(call()).await;
    let accepted = offer.accepts[0].clone();
    let payment = voucher_payload(offer.resource.clone(), accepted, payload, None, None);
    match world.payee.infer(PaidCall { payment: Some(payment), ..call() }).await {
        Ok(answer) => collect(Ok(answer)).await.map(drop).map_err(|error| error.to_string()),
        Err(ServiceError::PaymentRequired(offer)) => Err(offer.error.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}

fn refused(code: &str) -> Result<(), String> {
    Err(format!("{PREFIX}{code}"))
}

/// A payee that takes channels, filled with at least so much.
async fn taking(deposit_min: u128) -> World {
    World::with(|offering| {
        offering.pay_by[0].scheme = Scheme::BatchSettlement(ChannelOffer {
            receiver_authorizer: AUTHORIZER,
            withdraw_delay_s: 900,
            deposit_min: Amount::new(deposit_min),
        });
    })
    .await
}

async fn tabs(world: &World) -> usize {
    world.treasury.read(|ledger| ledger.tabs().count()).await.unwrap()
}

/// What was written down so far.
fn written(world: &World) -> Vec<&'static str> {
    world.journal.entries().iter().map(|entry| entry.event.kind()).collect()
}

/// Each had opened a tab for good, and there is room for so many.
#[tokio::test]
async fn c13_words_of_payers_with_nothing_leave_nothing_behind() {
    let world = taking(0).await;
    for number in 0..100 {
        let stranger = Stranger::nth(number);
        let said = stranger.say(&world, PRICE, None).await;
        assert_eq!(said, refused("cumulative_exceeds_balance"));
        let asked = stranger.ask_back(&world, PRICE, None).await;
        assert_eq!(asked, refused("cumulative_amount_mismatch"));
        let deposit = stranger.deposit(&world, 10 * PRICE);
        let filled = stranger.say(&world, PRICE, Some(deposit)).await;
        assert_eq!(filled, refused("insufficient_balance"));
        // Nor one that does not fit its call, whoever would own it.
        world.rail.fund(USDC, stranger.terms.payer, Amount::new(10 * PRICE));
        let wrong = stranger.say(&world, PRICE + 1, Some(deposit)).await;
        assert_eq!(wrong, refused("cumulative_amount_mismatch"));
    }
    assert!(written(&world).is_empty());
    assert_eq!((tabs(&world).await, world.runs()), (0, 0));
}

#[tokio::test]
async fn a_channel_is_known_once_money_lies_in_it_or_comes_with_the_call() {
    let world = taking(0).await;
    let (filled, fills) = (Stranger::nth(1), Stranger::nth(2));
    for stranger in [&filled, &fills] {
        world.rail.fund(USDC, stranger.terms.payer, Amount::new(10 * PRICE));
    }
    filled.put_in(&world, 10 * PRICE).await;
    filled.say(&world, PRICE, None).await.unwrap();
    assert_eq!(written(&world), ["tab_opened", "tab_looked", "tab_charged"]);
    let deposit = fills.deposit(&world, 10 * PRICE);
    fills.say(&world, PRICE, Some(deposit)).await.unwrap();
    assert_eq!(written(&world)[3..], ["tab_opened", "tab_looked", "tab_charged"]);
    // The same deposit goes along once more, where its payer has not heard of it.
    fills.say(&world, CHARGED + PRICE, Some(deposit)).await.unwrap();
    assert_eq!(tabs(&world).await, 2);
}

#[tokio::test]
async fn a_payer_that_asks_for_its_money_by_a_channel_that_was_forgotten_gets_it() {
    let world = taking(0).await;
    let stranger = Stranger::nth(1);
    world.rail.fund(USDC, stranger.terms.payer, Amount::new(10 * PRICE));
    stranger.put_in(&world, 10 * PRICE).await;
    stranger.ask_back(&world, 0, None).await.unwrap();
    assert_eq!(world.rail.owned(USDC, stranger.terms.payer), Amount::new(10 * PRICE));
    assert_eq!(stranger.ask_back(&world, 0, None).await, refused("refund_no_balance"));
}

/// One wallet can fill one of them: the others are not there.
#[tokio::test]
async fn c13_one_wallet_opens_as_many_channels_at_once_as_it_can_fill() {
    let world = taking(0).await;
    let key = Stranger::nth(1).key;
    world.rail.fund(USDC, key.address(), Amount::new(10 * PRICE));
    let strangers: Vec<_> = (1..=8).map(|salt| Stranger::with(key.clone(), salt)).collect();
    let said = strangers.iter().map(|stranger| {
        let deposit = stranger.deposit(&world, 10 * PRICE);
        stranger.say(&world, PRICE, Some(deposit))
    });
    let said = world.passing(join_all(said)).await;
    assert_eq!(said.iter().filter(|said| said.is_ok()).count(), 1, "{said:?}");
    let poor = refused("insufficient_balance");
    assert_eq!(said.iter().filter(|said| **said == poor).count(), 7, "{said:?}");
    assert_eq!((tabs(&world).await, world.runs()), (1, 1));
}

/// Claims wait behind what is given back, and no longer than for these few.
#[tokio::test]
async fn what_payers_ask_back_at_once_is_under_way_a_few_at_a_time() {
    let world = taking(0).await;
    let strangers: Vec<_> = (0..).take(GIVING_MAX + 1).map(Stranger::nth).collect();
    for stranger in &strangers {
        world.rail.fund(USDC, stranger.terms.payer, Amount::new(PRICE));
        stranger.put_in(&world, PRICE).await;
    }
    world.channels.script([RailFault::LostAndSilent; GIVING_MAX]);
    let asked = strangers.iter().map(|stranger| stranger.ask_back(&world, 0, None));
    let asked = world.passing(join_all(asked)).await;
    assert!(asked.iter().all(Result::is_err), "{asked:?}");
    // Nobody had asked the rail for the last of them, and its next wish is granted.
    let (last, rest) = strangers.split_last().unwrap();
    assert_eq!(tabs(&world).await, rest.len());
    last.ask_back(&world, 0, None).await.unwrap();
}

/// Each part had cost a transaction of the payee's.
#[tokio::test]
async fn c13_a_part_that_is_worth_less_than_a_deposit_stays_where_it_is_unless_it_is_all() {
    let least = 2 * PRICE;
    let world = taking(least).await;
    let stranger = Stranger::nth(1);
    let payer: Address = stranger.terms.payer;
    world.rail.fund(USDC, payer, Amount::new(10 * PRICE));
    let dust = stranger.deposit(&world, least - 1);
    assert_eq!(stranger.say(&world, PRICE, Some(dust)).await, refused("deposit_below_min_deposit"));
    let deposit = stranger.deposit(&world, 10 * PRICE);
    stranger.say(&world, PRICE, Some(deposit)).await.unwrap();
    let before = written(&world).len();
    for part in [1, least - 1] {
        let asked = stranger.ask_back(&world, CHARGED, Some(part)).await;
        assert_eq!(asked, refused("refund_amount_invalid"), "{part}");
    }
    assert_eq!((written(&world).len(), world.rail.owned(USDC, payer)), (before, Amount::ZERO));
    stranger.ask_back(&world, CHARGED, Some(least)).await.unwrap();
    assert_eq!(world.rail.owned(USDC, payer), Amount::new(least));
    let left = 10 * PRICE - CHARGED - least;
    stranger.ask_back(&world, CHARGED, Some(left - 5)).await.unwrap();
    let asked = stranger.ask_back(&world, CHARGED, Some(4)).await;
    assert_eq!(asked, refused("refund_amount_invalid"));
    stranger.ask_back(&world, CHARGED, Some(5)).await.unwrap();
    assert_eq!(world.rail.owned(USDC, payer), Amount::new(10 * PRICE - CHARGED));
}
