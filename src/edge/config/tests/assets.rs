//! Assets that are no USDC, and how a provider is paid in them.

use crate::domain::asset::{Asset, AssetRegistry, Network};
use crate::domain::commitment::TransferMethod;
use crate::domain::money::{Amount, Rate};
use crate::edge::config::known::KnownToken;
use crate::edge::config::network::address;
use crate::edge::config::tests::load;
use crate::edge::config::{Kind, PaidBy};

/// A file with these sections beside what every file needs.
fn with(sections: &str) -> String {
    format!(
        "version = 1
[network.base]
kind = \"evm\"
rpc = \"http://127.0.0.1:8546\"
allow_mainnet = true
[network.ethereum]
kind = \"evm\"
rpc = \"http://127.0.0.1:8547\"
allow_mainnet = true
[wallet.till]
key = \"keystore:till\"
{sections}"
    )
}

fn assets(sections: &str) -> AssetRegistry {
    load(&with(sections)).unwrap().policy.assets
}

/// Their letters' checksums hold, so that none of them has a typing error.
#[test]
fn known_tokens_are_spelled_right() {
    let spelled = [
        "0xdAC17F958D2ee523a2206206994597C13D831ec7",
        "0x6B175474E89094C44Da98b954EedeAC495271d0F",
        "0xdB25f211AB05b1c97D595516F45794528a807ad8",
        "0xc2132D05D31c914a87C6611C10748AEb04B58e8F",
        "0x8f3Cf7ad23Cd3CaDbD9735AFf958023239c6A063",
        "0xE111178A87A3BFf0c8d18DECBa5798827539Ae99",
        "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2",
        "0x50c5725949A6F0c72E6C4a641F24049A917DB0Cb",
    ];
    for (known, text) in KnownToken::ALL.iter().zip(spelled) {
        assert_eq!(address(text), Ok(known.contract), "{}", known.symbol);
    }
}

#[test]
fn a_known_token_needs_only_its_network_and_its_rate() {
    let assets = assets(
        "[asset.DAI]\nnetwork = \"ethereum\"\nrate = \"1 USD\"
[asset.tether]\nsymbol = \"USDT\"\nnetwork = \"base\"\nrate = \"0.999 USD\"
[asset.EURS]\nnetwork = \"ethereum\"\nrate = \"1.08 USD\"",
    );
    let find = |symbol: &str| assets.iter().find(|info| info.symbol == symbol).unwrap();
    let dai = find("DAI");
    assert_eq!((dai.asset.network, dai.decimals), (Network::Eip155(1), 18));
    assert!(!dai.has_domain());
    assert_eq!(dai.rate, Rate { nano: 1_000_000_000, per: 1_000_000_000_000_000_000 });
    assert_eq!((find("USDT").asset.network, find("USDT").decimals), (Network::Eip155(8453), 6));
    assert_eq!(find("EURS").rate, Rate { nano: 1_080_000_000, per: 100 });
}

/// Rounded against the spender: what is smaller than a billionth counts as one.
#[test]
fn c05_the_rate_table_converts_whatever_the_decimals() {
    let assets = assets(
        "[asset.DAI]\nnetwork = \"ethereum\"\nrate = \"1 USD\"
[asset.EURS]\nnetwork = \"ethereum\"\nrate = \"1.08 USD\"",
    );
    let nano = |symbol: &str, amount: u128| {
        let asset: Asset = assets.iter().find(|info| info.symbol == symbol).unwrap().asset;
        assets.to_nano(asset, Amount::new(amount)).unwrap().get()
    };
    assert_eq!(nano("DAI", 10_u128.pow(18)), 1_000_000_000);
    assert_eq!(nano("DAI", 1), 1);
    assert_eq!(nano("DAI", 1_500_000_001), 2);
    assert_eq!(nano("EURS", 100), 1_080_000_000);
    assert_eq!(nano("EURS", 1), 10_800_000);
}

#[test]
fn any_other_token_is_written_out() {
    let token = "[asset.odd]\nnetwork = \"base\"\nrate = \"2 USD\"\ndecimals = 3
contract = \"0x70997970C51812dc3A010C7d01b50e0d17dc79C8\"";
    let assets = assets(token);
    let odd = assets.iter().find(|info| info.symbol == "odd").unwrap();
    assert_eq!((odd.decimals, odd.has_domain()), (3, false));
    let problems = load(&with("[asset.odd]\nnetwork = \"base\"\nrate = \"2 USD\"")).unwrap_err();
    assert!(problems.iter().all(|problem| problem.kind == Kind::MissingKey), "{problems:?}");
}

fn provider(asset: &str, more: &str) -> String {
    with(&format!(
        "[asset.DAI]\nnetwork = \"base\"\nrate = \"1 USD\"
[provider.scribe]\nengine = \"scribe\"\ncapability = \"text.generate\"\nmodel = \"lm\"
network = \"base\"\nasset = \"{asset}\"\npay_to = \"wallet/till\"\nprice = {{ call = \"0.001 USD\" }}\n{more}"
    ))
}

#[test]
fn a_provider_says_by_which_schemes_it_is_paid() {
    use PaidBy::{Exact, Upto};
    use TransferMethod::{Eip3009, Permit2, Permit2Sponsored};
    let cases: [(&str, &str, &[PaidBy]); 7] = [
        ("USDC", "", &[Exact(Eip3009)]),
        ("USDC", "schemes = [\"upto\", \"exact\"]", &[Upto(Permit2Sponsored), Exact(Eip3009)]),
        ("USDC", "transfer = \"permit2\"", &[Exact(Permit2Sponsored)]),
        ("USDC", "transfer = \"permit2\"\npermits = false", &[Exact(Permit2)]),
        ("USDC", "schemes = [\"upto\"]\npermits = false", &[Upto(Permit2)]),
        ("DAI", "", &[Exact(Permit2)]),
        ("DAI", "schemes = [\"upto\"]", &[Upto(Permit2)]),
    ];
    for (asset, more, expected) in cases {
        let config = load(&provider(asset, more));
        let config = config.unwrap_or_else(|problems| panic!("{asset} {more}: {problems:?}"));
        let ways = &config.providers.values().next().unwrap().ways;
        assert_eq!(ways, expected, "{asset} {more}");
    }
    // The deposits of its channels come as `exact` would.
    let deposits = [
        ("USDC", "", Eip3009),
        ("USDC", "transfer = \"permit2\"", Permit2Sponsored),
        ("DAI", "", Permit2),
    ];
    for (asset, more, expected) in deposits {
        let config = load(&provider(asset, &format!("withdraw_delay = \"15m\"\n{more}"))).unwrap();
        assert_eq!(
            config.providers.values().next().unwrap().deposit_by,
            expected,
            "{asset} {more}"
        );
    }
    for (asset, more) in [
        ("DAI", "transfer = \"eip3009\""),
        ("DAI", "permits = true"),
        ("USDC", "schemes = [\"batch-settlement\"]"),
        ("USDC", "schemes = [\"free\"]"),
        ("USDC", "schemes = []"),
        ("USDC", "transfer = \"wire\""),
    ] {
        let problems = load(&provider(asset, more)).unwrap_err();
        assert_eq!(problems.len(), 1, "{asset} {more}: {problems:?}");
        assert_eq!(problems[0].kind, Kind::BadValue, "{asset} {more}");
    }
}

#[test]
fn credit_is_for_who_takes_channels_and_each_bound_is_within_the_next() {
    let with = |bounds: &str| format!("withdraw_delay = \"15m\"\ncredit = {{ {bounds} }}");
    let bounds = "per_channel = \"0.001 USD\", per_payer = \"0.01 USD\", total = \"1 USD\"";
    let config = load(&provider("USDC", &with(bounds))).unwrap();
    let credit = config.providers.values().next().unwrap().price.credit.unwrap();
    let amounts = [credit.per_channel, credit.per_payer, credit.total];
    assert_eq!(amounts, [1_000, 10_000, 1_000_000].map(Amount::new));
    let none = load(&provider("USDC", "withdraw_delay = \"15m\"")).unwrap();
    assert_eq!(none.providers.values().next().unwrap().price.credit, None);
    for wrong in [
        format!("credit = {{ {bounds} }}"),
        with("per_channel = \"0 USD\", per_payer = \"0.01 USD\", total = \"1 USD\""),
        with("per_channel = \"0.02 USD\", per_payer = \"0.01 USD\", total = \"1 USD\""),
        with("per_channel = \"0.001 USD\", per_payer = \"2 USD\", total = \"1 USD\""),
    ] {
        let problems = load(&provider("USDC", &wrong)).unwrap_err();
        assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        assert_eq!(problems[0].kind, Kind::BadValue, "{wrong}");
    }
}

/// A million of the smallest units is a dollar of USDC, and nothing of DAI.
#[test]
fn what_may_lie_unclaimed_counts_by_the_rate_of_its_asset() {
    let unclaimed = |asset: &str, more: &str| {
        let config = load(&provider(asset, more)).unwrap();
        config.providers.values().next().unwrap().claims.amount_max.get()
    };
    assert_eq!(unclaimed("USDC", ""), 1_000_000);
    assert_eq!(unclaimed("DAI", ""), 10_u128.pow(18));
    assert_eq!(unclaimed("DAI", "claim_at = \"0.25 USD\""), 25 * 10_u128.pow(16));
}

/// What is put in and given back is worth a transaction, unless the provider says otherwise.
#[test]
fn the_least_deposit_is_a_hundredth_of_the_unit_of_account_in_any_asset() {
    let least = |asset: &str, more: &str| {
        let config = load(&provider(asset, more)).unwrap();
        config.providers.values().next().unwrap().deposit_min.get()
    };
    assert_eq!(least("USDC", ""), 10_000);
    assert_eq!(least("DAI", ""), 10_u128.pow(16));
    assert_eq!(least("USDC", "deposit_min = \"0.25 USD\""), 250_000);
    assert_eq!(least("USDC", "deposit_min = \"0 USD\""), 0);
    let finer = load(&provider("USDC", "deposit_min = \"0.0000001 USD\"")).unwrap_err();
    assert_eq!((finer.len(), finer[0].kind), (1, Kind::BadValue), "{finer:?}");
}

/// What its payer may have taken out by then is claimed too late.
#[test]
fn nothing_may_lie_unclaimed_for_as_long_as_a_payer_waits_for_its_money() {
    let age = |more: &str| -> Result<u64, usize> {
        let config = load(&provider("USDC", more)).map_err(|problems| problems.len())?;
        Ok(config.providers.values().next().unwrap().claims.age_max.as_secs())
    };
    assert_eq!(age(""), Ok(3600));
    assert_eq!(age("withdraw_delay = \"1d\""), Ok(3600));
    assert_eq!(age("withdraw_delay = \"15m\""), Ok(450));
    assert_eq!(age("withdraw_delay = \"15m\"\nclaim_after = \"899s\""), Ok(899));
    assert_eq!(age("withdraw_delay = \"15m\"\nclaim_after = \"900s\""), Err(1));
    assert_eq!(age("claim_after = \"900s\""), Ok(900));
    let wrong = "withdraw_delay = \"15m\"\nclaim_after = \"1h\"";
    assert_eq!(load(&provider("USDC", wrong)).unwrap_err()[0].kind, Kind::BadValue);
}
