//! Which way is the cheapest in total, at the step where that turns.

use alloy::primitives::Address;

use super::*;
use crate::domain::asset::Asset;
use crate::domain::commitment::{ChannelOffer, TransferMethod};

const FACILITATOR: Address = Address::repeat_byte(7);

fn way(scheme: Scheme, method: TransferMethod) -> PayBy {
    let asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(1) };
    PayBy { scheme, method, asset, pay_to: Address::repeat_byte(2), timeout_s: 60 }
}

fn channel(deposit_min: u128) -> PayBy {
    let offer = ChannelOffer {
        receiver_authorizer: Address::repeat_byte(3),
        withdraw_delay_s: 900,
        deposit_min: Amount::new(deposit_min),
    };
    way(Scheme::BatchSettlement(offer), TransferMethod::Eip3009)
}

fn cost(reckoning: &Reckoning, way: &PayBy, terms: &PriceTerms) -> WayCost {
    let worst = WorstCase { amount: Amount::new(1_000), nano: Nano::new(1_000_000), terms };
    reckoning.cost(way, &worst)
}

fn numbers(cost: WayCost) -> (u64, u64, u64) {
    (cost.price.get(), cost.gas.get(), cost.capital.get())
}

#[test]
fn a_way_costs_its_price_its_share_of_gas_and_what_lies_locked() {
    let (flat, reckoning) = (PriceTerms::default(), Reckoning::default());
    let exact = way(Scheme::Exact, TransferMethod::Eip3009);
    assert_eq!(numbers(cost(&reckoning, &exact, &flat)), (1_000_000, 1_000_000, 0));
    let permit2 = way(Scheme::Exact, TransferMethod::Permit2);
    assert_eq!(numbers(cost(&reckoning, &permit2, &flat)), (1_000_000, 1_400_000, 0));
    // 3.5 settlements for fifty calls; an hour of fifty calls' money at five percent a year: 5.7.
    assert_eq!(numbers(cost(&reckoning, &channel(0), &flat)), (1_000_000, 70_000, 6));
}

#[test]
fn the_network_decides_what_a_settlement_costs() {
    let dear = Reckoning {
        settlements: BTreeMap::from([(Network::SANDBOX, Nano::new(10))]),
        ..Reckoning::default()
    };
    let exact = way(Scheme::Exact, TransferMethod::Eip3009);
    assert_eq!(cost(&dear, &exact, &PriceTerms::default()).gas, Nano::new(10));
}

#[test]
fn a_channel_is_cheaper_from_the_call_on_that_pays_for_its_transactions() {
    let flat = PriceTerms::default();
    let exact = way(Scheme::Exact, TransferMethod::Eip3009);
    for (calls, is_cheaper) in [(1, false), (3, false), (4, true), (50, true)] {
        let reckoning = Reckoning { calls_per_deposit: calls, ..Reckoning::default() };
        let by_channel = cost(&reckoning, &channel(0), &flat).total();
        let alone = cost(&reckoning, &exact, &flat).total();
        assert_eq!(by_channel < alone, is_cheaper, "{calls} calls: {by_channel} and {alone}");
    }
}

#[test]
fn a_least_deposit_that_lies_long_makes_a_channel_dearer_than_a_settlement() {
    let flat = PriceTerms::default();
    let exact = way(Scheme::Exact, TransferMethod::Eip3009);
    let long = Reckoning { locked_s: 30 * 24 * 3600, ..Reckoning::default() };
    let alone = cost(&long, &exact, &flat).total();
    assert!(cost(&long, &channel(0), &flat).total() < alone);
    // Eleven dollars and a third at five percent for thirty days, over fifty calls.
    assert!(cost(&long, &channel(11_000_000), &flat).total() < alone);
    assert!(cost(&long, &channel(12_000_000), &flat).total() > alone);
}

#[test]
fn what_is_used_of_a_maximum_counts_only_where_it_decides_what_is_charged() {
    let half = Reckoning { used_permille: 500, ..Reckoning::default() };
    let metered = PriceTerms { per_1k_output: Amount::new(1), ..PriceTerms::default() };
    let upto = way(Scheme::Upto { facilitator: FACILITATOR }, TransferMethod::Permit2);
    let exact = way(Scheme::Exact, TransferMethod::Eip3009);
    assert_eq!(cost(&half, &upto, &metered).price, Nano::new(500_000));
    assert_eq!(cost(&half, &channel(0), &metered).price, Nano::new(500_000));
    assert_eq!(cost(&half, &exact, &metered).price, Nano::new(1_000_000));
    assert_eq!(cost(&half, &upto, &PriceTerms::default()).price, Nano::new(1_000_000));
}

/// A price for the call alone is charged in full, however little is used.
#[test]
fn a_flat_price_is_not_metered_and_every_other_part_is() {
    let half = Reckoning { used_permille: 500, ..Reckoning::default() };
    let upto = way(Scheme::Upto { facilitator: FACILITATOR }, TransferMethod::Permit2);
    for part in 0..6 {
        let parts = core::array::from_fn(|at| Amount::new(u128::from(at == part)));
        let expected = if part == 0 { 1_000_000 } else { 500_000 };
        let found = cost(&half, &upto, &PriceTerms::of_parts(parts));
        assert_eq!(found.price, Nano::new(expected), "part {part}");
    }
}

#[test]
fn the_largest_numbers_there_are_give_a_cost_and_no_panic() {
    let most = Reckoning {
        settlement: Nano::new(u64::MAX),
        calls_per_deposit: u64::MAX,
        locked_s: u64::MAX,
        yearly_basis_points: u64::MAX,
        ..Reckoning::default()
    };
    let terms = PriceTerms::default();
    let worst = WorstCase { amount: Amount::new(1), nano: Nano::new(u64::MAX), terms: &terms };
    assert!(most.cost(&channel(u128::MAX), &worst).total() > 0);
}
