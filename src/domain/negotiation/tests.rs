//! Both sides' strategies: bounded, deterministic, and never beneath the floor.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests fail by panicking")]

use std::cmp::Ordering;

use alloy::primitives::Address;
use proptest::prelude::*;

use super::*;
use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::money::{Amount, Nano, Rate};
use crate::domain::order::{Order, Units};
use crate::domain::pricing::is_at_most;
use crate::domain::quote::{PayBy, Quote};
use crate::domain::time::Timestamp;

fn terms(flat: u128, input: u128, output: u128) -> PriceTerms {
    PriceTerms {
        flat: Amount::new(flat),
        per_1k_input: Amount::new(input),
        per_1k_output: Amount::new(output),
        ..PriceTerms::default()
    }
}

fn flat(flat: u128) -> PriceTerms {
    terms(flat, 0, 0)
}

fn payee() -> PayeeTerms {
    PayeeTerms {
        list: flat(1000),
        floor: flat(600),
        volume_discount: VolumeDiscount { calls: 10, permille: 50, permille_max: 100 },
        rounds_max: 3,
    }
}

fn counter(offer: u128, volume: u32, round: u8) -> CounterOffer {
    CounterOffer { terms: flat(offer), volume, round }
}

const IDLE: Load = Load { running: 0, limit: 4 };
const HALF: Load = Load { running: 2, limit: 4 };
const FULL: Load = Load { running: 4, limit: 4 };
const CLOSED: Load = Load { running: 0, limit: 0 };

#[test]
fn terms_of_a_payee_are_good_up_to_each_of_their_bounds() {
    let rounds = |rounds_max| PayeeTerms { rounds_max, ..payee() }.check();
    assert_eq!(rounds(ROUNDS_MAX), Ok(()));
    assert_eq!(rounds(9), Err(PayeeTermsError::TooManyRounds(9)));
    let discount = |permille_max| {
        let volume_discount = VolumeDiscount { permille_max, ..payee().volume_discount };
        PayeeTerms { volume_discount, ..payee() }.check()
    };
    assert_eq!(discount(1000), Ok(()));
    assert_eq!(discount(1001), Err(PayeeTermsError::DiscountAboveAll(1001)));
    let floor = |floor| PayeeTerms { floor, ..payee() }.check();
    assert_eq!(floor(flat(1000)), Ok(()));
    assert_eq!(floor(flat(1001)), Err(PayeeTermsError::FloorAboveList));
}

#[test]
fn a_lower_list_price_is_asked_and_takes_the_floor_down_with_it() {
    for (list, floor) in [(800, 600), (600, 600), (599, 599), (0, 0)] {
        let lower = payee().with_list(flat(list));
        let expected = PayeeTerms { list: flat(list), floor: flat(floor), ..payee() };
        assert_eq!(lower, expected);
        assert_eq!(lower.check(), Ok(()));
        assert_eq!(lower.answer(None, IDLE), (flat(list), Verdict::List));
    }
}

#[test]
fn a_payee_answers_within_its_floor_its_list_price_and_its_load() {
    use Verdict::*;
    for (ask, load, quoted, verdict) in [
        (None, IDLE, 1000, List),
        (None, FULL, 1000, List),
        (Some(counter(600, 0, 1)), IDLE, 600, Accepted),
        (Some(counter(599, 0, 1)), IDLE, 800, Floor),
        (Some(counter(599, 0, 2)), IDLE, 700, Floor),
        (Some(counter(599, 0, 3)), IDLE, 600, Floor),
        (Some(counter(0, 0, 1)), IDLE, 800, Floor),
        // Half full: the floor stands at 800.
        (Some(counter(800, 0, 1)), HALF, 800, Accepted),
        (Some(counter(799, 0, 1)), HALF, 900, Countered),
        (Some(counter(799, 0, 2)), HALF, 850, Countered),
        (Some(counter(799, 0, 3)), HALF, 800, Floor),
        // Ten calls promised: 5 % less, a hundred: 10 %, the bound.
        (Some(counter(760, 10, 1)), HALF, 760, Accepted),
        (Some(counter(759, 19, 1)), HALF, 880, Countered),
        (Some(counter(720, 100, 1)), HALF, 720, Accepted),
        (Some(counter(719, 1_000_000, 3)), HALF, 720, Floor),
        // No promise goes beneath the floor.
        (Some(counter(599, 1_000_000, 3)), IDLE, 600, Floor),
        (Some(counter(999, 0, 1)), FULL, 1000, Countered),
        (Some(counter(1000, 0, 1)), FULL, 1000, Accepted),
        (Some(counter(999, 0, 1)), CLOSED, 1000, Countered),
        // Nobody pays above list, and nobody plays a fourth round, or one before the first.
        (Some(counter(5000, 0, 1)), IDLE, 1000, Accepted),
        (Some(counter(900, 0, 4)), IDLE, 1000, List),
        (Some(counter(900, 0, 0)), IDLE, 1000, List),
    ] {
        assert_eq!(payee().answer(ask.as_ref(), load), (flat(quoted), verdict), "{ask:?} {load:?}");
    }
}

#[test]
fn rounds_are_bounded_whatever_the_configuration_says() {
    let endless = PayeeTerms { rounds_max: u8::MAX, ..payee() };
    assert_eq!(endless.check(), Err(PayeeTermsError::TooManyRounds(255)));
    let (quoted, verdict) = endless.answer(Some(&counter(1, 0, ROUNDS_MAX)), IDLE);
    assert_eq!((quoted, verdict), (flat(600), Verdict::Floor));
    assert_eq!(endless.answer(Some(&counter(900, 0, ROUNDS_MAX + 1)), IDLE).1, Verdict::List);
}

#[test]
fn terms_that_make_no_sense_are_refused_when_read() {
    let cases = [
        (payee(), Ok(())),
        (PayeeTerms { floor: flat(1001), ..payee() }, Err(PayeeTermsError::FloorAboveList)),
        (PayeeTerms { floor: flat(1000), ..payee() }, Ok(())),
        (PayeeTerms { rounds_max: 9, ..payee() }, Err(PayeeTermsError::TooManyRounds(9))),
        (
            PayeeTerms {
                volume_discount: VolumeDiscount { calls: 1, permille: 1, permille_max: 1001 },
                ..payee()
            },
            Err(PayeeTermsError::DiscountAboveAll(1001)),
        ),
    ];
    for (terms, expected) in cases {
        assert_eq!(terms.check(), expected);
    }
}

#[test]
fn both_strategies_are_read_from_configuration() {
    let read: PayeeTerms = toml::from_str(
        "list = { flat = '1000', per_1k_input = '0', per_1k_output = '0' }\n\
         floor = { flat = '600', per_1k_input = '0', per_1k_output = '0' }\n\
         volume_discount = { calls = 10, permille = 50, permille_max = 100 }",
    )
    .unwrap();
    assert_eq!(read, payee());
    let read: PayerStrategy =
        toml::from_str("target_permille_of_list = 700\nrounds_max = 2\nvolume = 20").unwrap();
    let expected = PayerStrategy {
        target_permille_of_list: 700,
        rounds_max: 2,
        volume: 20,
        ..PayerStrategy::default()
    };
    assert_eq!(read, expected);
    assert!(toml::from_str::<PayerStrategy>("target_permille_of_list = 700\nmood = 3").is_err());
}

fn strategy() -> PayerStrategy {
    PayerStrategy {
        target_permille_of_list: 700,
        step_permille: 100,
        limit_permille_of_list: 850,
        rounds_max: 2,
        volume: 20,
    }
}

#[test]
fn a_payer_counters_takes_or_leaves() {
    use Verdict::*;
    let offer = |offer, round| Move::Counter(counter(offer, 20, round));
    for (quoted, verdict, round, expected) in [
        (1000, List, 0, offer(700, 1)),
        (700, List, 0, Move::Take),
        (701, List, 0, offer(700, 1)),
        (700, Accepted, 1, Move::Take),
        (800, Countered, 1, Move::Take),
        (801, Countered, 1, offer(800, 2)),
        (801, Floor, 1, offer(800, 2)),
        // The rounds are over: up to the limit it takes, above it leaves.
        (850, Floor, 2, Move::Take),
        (851, Floor, 2, Move::Leave),
        // Called accepted, but above every offer: what counts is the price.
        (1000, Accepted, 2, Move::Leave),
    ] {
        let table = Table { list: flat(1000), quoted: flat(quoted), verdict, round };
        assert_eq!(strategy().next(&table), expected, "{quoted} {verdict:?} {round}");
    }
}

#[test]
fn a_payer_that_never_raises_does_not_repeat_itself_beneath_the_floor() {
    let firm = PayerStrategy { step_permille: 0, ..strategy() };
    let table = Table { list: flat(1000), quoted: flat(900), verdict: Verdict::Floor, round: 1 };
    assert_eq!(firm.next(&table), Move::Leave);
    let countered = Table { verdict: Verdict::Countered, ..table };
    assert_eq!(firm.next(&countered), Move::Counter(counter(700, 20, 2)));
}

#[test]
fn without_a_strategy_the_list_price_is_taken() {
    let table = Table { list: flat(9), quoted: flat(9), verdict: Verdict::List, round: 0 };
    assert_eq!(PayerStrategy::default().next(&table), Move::Take);
    let above = Table { quoted: flat(10), ..table };
    assert_eq!(PayerStrategy::default().next(&above), Move::Leave);
}

/// Plays both sides until somebody stops.
fn play(payee: &PayeeTerms, payer: &PayerStrategy, load: Load) -> (Table, Move) {
    let (quoted, verdict) = payee.answer(None, load);
    let mut table = Table { list: payee.list, quoted, verdict, round: 0 };
    loop {
        match payer.next(&table) {
            Move::Counter(offer) => {
                let (quoted, verdict) = payee.answer(Some(&offer), load);
                table = Table { quoted, verdict, round: offer.round, ..table };
            }
            end => return (table, end),
        }
    }
}

#[test]
fn a_bargain_is_struck_below_list_and_another_fails_at_the_floor() {
    let (table, end) = play(&payee(), &strategy(), IDLE);
    assert_eq!((table.quoted, table.verdict, end), (flat(700), Verdict::Accepted, Move::Take));
    let stingy =
        PayerStrategy { target_permille_of_list: 300, limit_permille_of_list: 500, ..strategy() };
    let (table, end) = play(&payee(), &stingy, IDLE);
    assert_eq!((table.verdict, end), (Verdict::Floor, Move::Leave));
}

const TOKEN: Asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(1) };
const OTHER: Asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(2) };

fn quote(provider: &str, terms: PriceTerms, asset: Asset) -> Quote {
    let pay_by = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset,
        pay_to: Address::repeat_byte(9),
        timeout_s: 60,
    };
    Quote {
        provider: provider.parse().unwrap(),
        resource: "grpc://127.0.0.1:1/a.B/C".to_owned(),
        capability: "embed".parse().unwrap(),
        model: "m".parse().unwrap(),
        terms,
        pay_by: vec![pay_by],
        output_max: 10,
        valid_until: Timestamp::MAX,
        rounds: 0,
        standing: None,
        stride: None,
    }
}

#[test]
fn quotes_are_compared_by_what_the_order_costs() {
    let info = |asset, per| AssetInfo {
        asset,
        symbol: "T".to_owned(),
        decimals: 6,
        eip712_name: "T".to_owned(),
        eip712_version: "1".to_owned(),
        rate: Rate { nano: 1000, per },
    };
    let assets = AssetRegistry::new([info(TOKEN, 1), info(OTHER, 10)]);
    let order = |input| Order {
        capability: "embed".parse().unwrap(),
        model: None,
        input_max: Units(input),
        output_max: Units(0),
        maxima: Default::default(),
    };
    let metered = quote("a", terms(0, 10, 0), TOKEN);
    let flat_rate = quote("b", flat(20), TOKEN);
    let cheap_coin = quote("c", flat(100), OTHER);
    let (metered, flat_rate, cheap_coin) = (
        Bid { quote: &metered, asset: TOKEN },
        Bid { quote: &flat_rate, asset: TOKEN },
        Bid { quote: &cheap_coin, asset: OTHER },
    );
    let foreign = Bid { asset: OTHER, ..flat_rate };
    assert_eq!(cheap_coin.total(&order(1), &assets), Some(Nano::new(10_000)));
    assert_eq!(foreign.total(&order(1), &assets), None);
    for (a, b, input, expected) in [
        (&metered, &flat_rate, 1000, Ordering::Less),
        (&metered, &flat_rate, 2000, Ordering::Equal),
        (&metered, &flat_rate, 2001, Ordering::Greater),
        (&cheap_coin, &flat_rate, 1, Ordering::Less),
        (&foreign, &flat_rate, 1, Ordering::Greater),
        (&foreign, &foreign, 1, Ordering::Equal),
    ] {
        assert_eq!(compare(a, b, &order(input), &assets), expected, "{input}");
        assert_eq!(compare(b, a, &order(input), &assets), expected.reverse(), "{input}");
    }
}

prop_compose! {
    fn any_terms(max: u128)(flat in 0..max, input in 0..max, output in 0..max) -> PriceTerms {
        terms(flat, input, output)
    }
}

prop_compose! {
    fn any_payee()(
        floor in any_terms(1 << 90), above in any_terms(1 << 90), rounds_max in any::<u8>(),
        calls in any::<u32>(), permille in any::<u16>(), permille_max in 0u16..=1000,
    ) -> PayeeTerms {
        PayeeTerms {
            list: each(&floor, &above, |floor, above| floor + above),
            floor,
            volume_discount: VolumeDiscount { calls, permille, permille_max },
            rounds_max,
        }
    }
}

prop_compose! {
    fn any_counter()(terms in any_terms(1 << 92), volume in any::<u32>(), round in 0u8..12)
        -> CounterOffer {
        CounterOffer { terms, volume, round }
    }
}

prop_compose! {
    fn any_load()(running in 0u32..20, limit in 0u32..10) -> Load {
        Load { running, limit }
    }
}

proptest! {
    #[test]
    fn no_answer_is_beneath_the_floor_or_above_the_list(
        payee in any_payee(), counter in any_counter(), load in any_load(),
    ) {
        let (quoted, verdict) = payee.answer(Some(&counter), load);
        prop_assert!(is_at_most(&payee.floor, &quoted));
        prop_assert!(is_at_most(&quoted, &payee.list));
        if verdict == Verdict::Accepted {
            prop_assert!(is_at_most(&quoted, &counter.terms));
        }
    }

    #[test]
    fn more_load_never_makes_it_cheaper_and_more_volume_never_dearer(
        payee in any_payee(), volume in any::<u32>(), more in any::<u32>(),
        running in 0u32..8, limit in 1u32..10,
    ) {
        let load = Load { running, limit };
        let busier = Load { running: running + 1, limit };
        let now = payee.effective_floor(volume, load);
        prop_assert!(is_at_most(&now, &payee.effective_floor(volume, busier)));
        prop_assert!(is_at_most(&payee.effective_floor(volume.saturating_add(more), load), &now));
    }

    #[test]
    fn nothing_is_gained_by_a_lower_offer(
        payee in any_payee(), volume in any::<u32>(), round in 0u8..12, load in any_load(),
        less in any_terms(1 << 91),
    ) {
        let least = payee.effective_floor(volume, load);
        let beneath = each(&least, &less, |least, less| least.saturating_sub(less + 1));
        let answer = |terms| payee.answer(Some(&CounterOffer { terms, volume, round }), load);
        let (quoted, verdict) = answer(beneath);
        if verdict != Verdict::Accepted && least.flat > Amount::ZERO
            && least.per_1k_input > Amount::ZERO && least.per_1k_output > Amount::ZERO
        {
            prop_assert_eq!(quoted, answer(PriceTerms::default()).0);
            prop_assert!(is_at_most(&answer(least).0, &quoted));
        }
    }

    #[test]
    fn every_negotiation_ends_in_bounded_rounds(
        payee in any_payee(), load in any_load(), rounds_max in any::<u8>(),
        target in any::<u16>(), step in any::<u16>(), limit in any::<u16>(), volume in any::<u32>(),
    ) {
        let payer = PayerStrategy {
            target_permille_of_list: target,
            step_permille: step,
            limit_permille_of_list: limit,
            rounds_max,
            volume,
        };
        let (table, end) = play(&payee, &payer, load);
        prop_assert!(table.round <= ROUNDS_MAX);
        prop_assert_eq!(play(&payee, &payer, load), (table, end));
        if end == Move::Take {
            let most = each(&payee.list, &payee.list, |list, _| share_down(list, limit.into()));
            prop_assert!(is_at_most(&table.quoted, &most));
        }
    }
}
