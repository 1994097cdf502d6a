//! `bursar provider --upstream URL`: a provider that no file names, on the network that the file has.

use std::time::Duration;

use bursar::domain::asset::AssetInfo;
use bursar::domain::commitment::TransferMethod;
use bursar::domain::id::Name;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::negotiation::{PayeeTerms, VolumeDiscount};
use bursar::domain::policy::Rates;
use bursar::domain::quote::PriceTerms;
use bursar::edge::config::{
    Config, FreeSettings, KeySource, Listen, NetworkSettings, PaidBy, PayTo, PriceSettings,
    ProviderSettings, SecretSource, UpstreamSettings, WalletSettings,
};
use bursar::runtime::payee::{ClaimPolicy, DEPOSIT_MIN};

use super::args::ProviderArgs;
use super::exit::Exit;
use super::failure::Failure;

/// What it is called where no name is given.
const NAME: &str = "upstream";

/// The most input of one call, in tokens: a body's length in bytes bounds them.
const INPUT_MAX: u64 = 1024 * 1024;

/// The most output of one call, in tokens.
const OUTPUT_MAX: u64 = 16_384;

/// Calls that run at once.
const CONCURRENCY: u32 = 8;

/// How long an authorization lives: local models are slow.
const AUTHORIZATION_LIFE: Duration = Duration::from_secs(120);

/// How long a payer waits for what was not claimed of its channel: the least that the contract takes.
const WITHDRAW_DELAY: Duration = Duration::from_secs(15 * 60);

/// Tokens that a price is for, in units of a thousand.
const THOUSANDS_PER_MILLION: u64 = 1000;

/// Adds the provider that the flags describe, and gives its name; nothing without `--upstream`.
pub fn add(config: &mut Config, asked: &ProviderArgs) -> Result<Option<Name>, Failure> {
    let Some(url) = &asked.upstream else { return Ok(None) };
    let name = asked.name.clone().unwrap_or_else(|| NAME.parse().expect("a literal name"));
    if config.providers.contains_key(&name) {
        return Err(usage(format!("the configuration has a provider {name} already"))
            .help("another NAME, or `upstream = { url = .. }` in its section"));
    }
    let asset = find_asset(config, asked.network.as_ref())?;
    let terms = read_price(&asked.price, &asset)?;
    let volume_discount = VolumeDiscount::default();
    let pay_to = pay_to(config, asked, &name)?;
    let key = asked.upstream_key.as_deref().map(read_source).transpose()?;
    let upstream = UpstreamSettings { url: url.clone(), key, models: asked.model.clone() };
    let settings = ProviderSettings {
        listen: Listen::Tcp(asked.listen),
        public: None,
        engine: name.clone(),
        upstream: Some(upstream),
        capability: name.clone(),
        model: name.clone(),
        price: PriceSettings {
            terms: PayeeTerms { list: terms, floor: terms, volume_discount, rounds_max: 1 },
            tiers: Default::default(),
            free: FreeSettings { calls: 0, peer_per_day: 0, per_day: 0, payers_max: 0 },
            serve_first: None,
            credit: None,
        },
        asset: asset.asset,
        pay_to,
        input_max: INPUT_MAX,
        output_max: OUTPUT_MAX,
        concurrency: CONCURRENCY,
        payer_rates: Rates::default(),
        peer_rates: Rates::default(),
        quote_life: Duration::from_secs(60),
        authorization_life: AUTHORIZATION_LIFE,
        refund_after: Some(Duration::from_secs(3600)),
        ways: vec![PaidBy::Exact(TransferMethod::Eip3009)],
        deposit_by: TransferMethod::Eip3009,
        withdraw_delay: Some(WITHDRAW_DELAY),
        deposit_min: asset.rate.to_amount(DEPOSIT_MIN).unwrap_or_default(),
        claims: ClaimPolicy::for_delay(WITHDRAW_DELAY),
        flowing: Default::default(),
        facilitators: Vec::new(),
        metrics: asked.metrics,
    };
    config.providers.insert(name.clone(), settings);
    Ok(Some(name))
}

fn usage(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Config, "cli.usage", message)
}

/// The network's USDC.
fn find_asset(config: &Config, network: Option<&Name>) -> Result<AssetInfo, Failure> {
    let mut fitting =
        config.networks.iter().filter(|(name, _)| network.is_none_or(|asked| asked == *name));
    let (Some((name, network)), None) = (fitting.next(), fitting.next()) else {
        return Err(usage("which network?").help("--network NAME, one of the configuration's"));
    };
    let on_it = |info: &&AssetInfo| info.asset.network == network.network();
    let found = config.policy.assets.iter().filter(on_it).find(|info| info.symbol == "USDC");
    found.cloned().ok_or_else(|| usage(format!("{name} has no USDC: write a [provider] section")))
}

/// `in=0.05,out=0.20`: units of account for a million tokens.
fn read_price(text: &str, asset: &AssetInfo) -> Result<PriceTerms, Failure> {
    let wrong = || usage(format!("`{text}` is no price")).help("--price in=0.05,out=0.20");
    let mut terms = PriceTerms::default();
    for part in text.split(',') {
        let (which, price) = part.split_once('=').ok_or_else(wrong)?;
        let nano = read_nano(price).ok_or_else(wrong)?;
        let of_million = asset.rate.to_amount(nano).ok_or_else(wrong)?;
        let per_1k = of_million.get().div_ceil(u128::from(THOUSANDS_PER_MILLION));
        let amount = Amount::new(per_1k);
        match which {
            "in" => terms.per_1k_input = amount,
            "out" => terms.per_1k_output = amount,
            _ => return Err(wrong()),
        }
    }
    if terms.parts().iter().all(|part| part.is_zero()) {
        return Err(wrong());
    }
    Ok(terms)
}

fn read_nano(text: &str) -> Option<Nano> {
    let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(units) || !is_digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let units: u64 = units.parse().ok()?;
    let rest: u64 = format!("{decimals:0<9}").parse().ok()?;
    units.checked_mul(Nano::ONE.get())?.checked_add(rest).map(Nano::new)
}

/// Who is paid. A sandbox's money is worth nothing: there a wallet is made for it.
fn pay_to(config: &mut Config, asked: &ProviderArgs, name: &Name) -> Result<PayTo, Failure> {
    if let Some(text) = &asked.pay_to {
        let wallet = text.strip_prefix("wallet/").and_then(|wallet| wallet.parse::<Name>().ok());
        let known = wallet.filter(|wallet| config.wallets.contains_key(wallet));
        return known.map(PayTo::Wallet).ok_or_else(|| {
            usage(format!("`{text}` is no wallet")).help("wallet/NAME, one of the configuration's")
        });
    }
    let is_sandbox = |network: &NetworkSettings| matches!(network, NetworkSettings::Sandbox { .. });
    if !config.networks.values().all(is_sandbox) {
        return Err(usage("who is paid?").help("--pay-to wallet/NAME, one of the configuration's"));
    }
    let till: Name = format!("{name}-till").parse().map_err(|error| usage(&error))?;
    let settings = WalletSettings { key: KeySource::Keystore(till.clone()) };
    config.wallets.entry(till.clone()).or_insert(settings);
    Ok(PayTo::Wallet(till))
}

/// `env:VARIABLE` or `file:PATH`; what it says is not repeated, because it may be the key itself.
fn read_source(text: &str) -> Result<SecretSource, Failure> {
    let source = SecretSource::read(text);
    source.ok_or_else(|| {
        usage("--upstream-key does not say where the key is").help("env:VARIABLE or file:PATH")
    })
}
