//! What is sold, and how both sides bargain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, Signature};

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry};
use crate::domain::commitment::TransferMethod;
use crate::domain::id::Name;
use crate::domain::money::{Amount, Nano};
use crate::domain::negotiation::{PayerStrategy, ROUNDS_MAX, VolumeDiscount};
use crate::domain::order::Units;
use crate::domain::policy::Rates;
use crate::domain::quote::Stride;
use crate::domain::x402::batch::typed::WITHDRAW_DELAY_S;
use crate::edge::config::checked::Listen;
use crate::edge::config::money::{Unit, span_within};
use crate::edge::config::network::{Networks, read_address};
use crate::edge::config::node::{Wallets, endpoint, read_metrics};
use crate::edge::config::policy::read_call_rates;
use crate::edge::config::problem::{Kind, nearest};
use crate::edge::config::reader::Section;
use crate::edge::config::secured::{read_listen, read_public};
use crate::edge::config::terms::{PriceSettings, read_amount, read_price};
use crate::edge::config::ways::{PaidBy, Ways, read_ways};
use crate::runtime::payee::{ClaimPolicy, DEPOSIT_MIN, Flowing};

/// How much may lie unclaimed in a channel where nothing says otherwise: one unit of account.
const CLAIM_AT: Nano = Nano::new(1_000_000_000);

/// Facilitators of one provider at most.
const FACILITATORS_MAX: usize = 8;

/// What the rest of the file said.
#[derive(Copy, Clone)]
pub(super) struct Facts<'f, 't> {
    pub money: Unit<'f>,
    pub networks: &'f Networks<'t>,
    pub assets: &'f AssetRegistry,
    pub wallets: &'f Wallets,
}

/// A server elsewhere that is sold with its models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Where it answers, with its `/v1`.
    pub url: String,
    /// Where its key is, if it wants one.
    pub key: Option<SecretSource>,
    /// Its own names of the models that are sold; empty sells all.
    pub models: Vec<String>,
}

/// Where a secret is; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In an environment variable.
    Env(String),
    /// In a file, and nothing else in it.
    File(PathBuf),
}

impl SecretSource {
    /// `env:VARIABLE` or `file:PATH`.
    pub fn read(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("env", name) if !name.is_empty() => Some(Self::Env(name.to_owned())),
            ("file", path) if !path.is_empty() => Some(Self::File(PathBuf::from(path))),
            _ => None,
        }
    }
}

/// One provider: one model, sold at one price; or one server with its models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Where it listens.
    pub listen: Listen,
    /// Where others find it, where that is not where it listens.
    pub public: Option<String>,
    /// Which of the built-in engines does the work; of no meaning where there is an upstream.
    pub engine: Name,
    /// The server that does the work instead, with models and kinds of work of its own.
    pub upstream: Option<UpstreamSettings>,
    /// What kind of work.
    pub capability: Name,
    /// Which model.
    pub model: Name,
    /// What it asks for, in atomic units of `asset`.
    pub price: PriceSettings,
    /// In what it is paid, and on which network.
    pub asset: Asset,
    /// Who is paid.
    pub pay_to: PayTo,
    /// The most input of one call.
    pub input_max: u64,
    /// The most output of one call.
    pub output_max: u64,
    /// Calls that run at once; more are turned away.
    pub concurrency: u32,
    /// How fast each payer may go.
    pub payer_rates: Rates,
    /// How fast each peer address may go.
    pub peer_rates: Rates,
    /// How long a quote holds.
    pub quote_life: Duration,
    /// The longest life of an authorization that it asks for.
    pub authorization_life: Duration,
    /// How long a paid call may wait to be served before it is paid back; `None` where it never is.
    pub refund_after: Option<Duration>,
    /// How it is paid call by call, in order of preference; never empty.
    pub ways: Vec<PaidBy>,
    /// What moves the deposits of its channels.
    pub deposit_by: TransferMethod,
    /// How long a payer waits for what was not claimed of its channel; `None` takes no channels.
    pub withdraw_delay: Option<Duration>,
    /// The least that its channels are filled with, and the least part of their rest that is given back.
    pub deposit_min: Amount,
    /// When vouchers are claimed.
    pub claims: ClaimPolicy,
    /// How streamed answers are paid by channel while they flow.
    pub flowing: Flowing,
    /// Facilitators elsewhere that settle for it, in the order in which they are tried; where there are
    /// none, it settles from the network's gas account.
    pub facilitators: Vec<String>,
    /// Where `/metrics` is served of it, on loopback; `None` serves none.
    pub metrics: Option<SocketAddr>,
}

/// Who is paid, and so who delegates to the service key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayTo {
    /// A wallet of this file: its key signs the delegation.
    Wallet(Name),
    /// An address whose key is elsewhere, with the delegation that it signed.
    Address {
        /// Who is paid.
        address: Address,
        /// Its word for the service key.
        delegation: Signature,
    },
}

impl PayTo {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wallet(one), Self::Wallet(two)) => one == two,
            (Self::Address { address: one, .. }, Self::Address { address: two, .. }) => one == two,
            // A wallet's address is known only once its key is open.
            (Self::Wallet(_), Self::Address { .. }) | (Self::Address { .. }, Self::Wallet(_)) => {
                false
            }
        }
    }
}

pub(super) fn read_providers(
    root: &Section<'_>,
    facts: &Facts<'_, '_>,
) -> BTreeMap<Name, ProviderSettings> {
    let mut providers: BTreeMap<Name, ProviderSettings> = BTreeMap::new();
    for (name, section) in root.named("provider") {
        let settings = read_provider(&section, facts);
        if let Some(settings) = &settings {
            check_alone(&section, settings, &providers);
        }
        section.end();
        providers.extend(settings.map(|settings| (name, settings)));
    }
    providers
}

/// Each provider has a ledger of its own: were two paid at one address, one authorization could be
/// bound in both, and its one transfer would pay for two answers. Source: threats.md A07.
fn check_alone(
    section: &Section<'_>,
    settings: &ProviderSettings,
    others: &BTreeMap<Name, ProviderSettings>,
) {
    let network = settings.asset.network;
    let same = others
        .iter()
        .find(|(_, it)| it.asset.network == network && it.pay_to.is_same(&settings.pay_to));
    if let Some((other, _)) = same
        && let Some(item) = section.find("pay_to")
    {
        let what = format!("[provider.{other}] is paid at the same address");
        let right = "an address of its own for each provider";
        let _: Option<()> = item.wrong(Kind::BadValue, what, right);
    }
}

fn read_provider(section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<ProviderSettings> {
    let name = |key, right: &str| {
        section.required(key, right).and_then(|item| item.parsed::<Name>("a name"))
    };
    let listen = read_listen(section, ([127, 0, 0, 1], 0).into(), false);
    let public = read_public(section);
    let upstream = section.find("upstream").is_some().then(|| read_upstream(section));
    // A server elsewhere has kinds of work and models of its own.
    let name = |key, right: &str| match &upstream {
        Some(_) => Some(UPSTREAM.parse::<Name>().expect("a literal name")),
        None => name(key, right),
    };
    let engine = name("engine", "engine = \"scribe\"");
    let capability = name("capability", "capability = \"text.generate\"");
    let model = name("model", "model = \"bursar-lm\"");
    let asset = read_asset(section, facts);
    let price = read_price(section, facts, asset.as_ref());
    let pay_to = read_pay_to(section, facts);
    let count = |key, default| match section.find(key) {
        Some(item) => item.integer_within(1, u64::from(u32::MAX)),
        None => Some(default),
    };
    let (input_max, output_max) = (count("input_max", 8_192), count("output_max", 1_024));
    let concurrency = count("concurrency", 8).and_then(|number| u32::try_from(number).ok());
    let payer_rates = read_call_rates(&section.section("payer_rates"));
    let peer_rates = read_call_rates(&section.section("peer_rates"));
    let bounds = (Duration::from_secs(1), Duration::from_secs(3600));
    let quote_life = span_within(section, "quote_life", Duration::from_secs(60), bounds);
    let bounds = (Duration::from_secs(10), Duration::from_secs(600));
    let life = span_within(section, "authorization_life", Duration::from_secs(60), bounds);
    let refund_after = read_refund_after(section);
    let ways = read_ways(section, asset.as_ref());
    let withdraw_delay = read_withdraw_delay(section);
    let deposit_min = read_deposit_min(section, facts, asset.as_ref());
    let claims = read_claims(section, facts, asset.as_ref(), withdraw_delay);
    let flowing = read_flowing(section);
    let facilitators = read_facilitators(section, withdraw_delay);
    let metrics = read_metrics(section, None);
    let Ways { by_call, deposit_by } = ways?;
    Some(ProviderSettings {
        listen: listen?,
        public: public?,
        engine: engine?,
        upstream: upstream.map_or(Some(None), |read| read.map(Some))?,
        capability: capability?,
        model: model?,
        price: price?,
        asset: asset?.asset,
        pay_to: pay_to?,
        input_max: input_max?,
        output_max: output_max?,
        concurrency: concurrency?,
        payer_rates,
        peer_rates,
        quote_life,
        authorization_life: life,
        refund_after,
        ways: by_call,
        deposit_by,
        withdraw_delay,
        deposit_min: deposit_min?,
        claims: claims?,
        flowing: flowing?,
        facilitators: facilitators?,
        metrics: metrics?,
    })
}

/// `deposit_min = "0.01 USD"`: what is put into a channel and given back of one costs this provider a
/// transaction each, and is worth that.
fn read_deposit_min(
    section: &Section<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
) -> Option<Amount> {
    match section.find("deposit_min") {
        Some(item) => read_amount(&item, facts, asset),
        None => asset?.rate.to_amount(DEPOSIT_MIN),
    }
}

/// `claim_after = "1h"` and `claim_at = "1 USD"`: so long, or so much, may lie unclaimed in a channel. What its
/// payer may have taken out by then is claimed too late: nothing lies unclaimed for as long as a payer waits.
fn read_claims(
    section: &Section<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
    withdraw_delay: Option<Duration>,
) -> Option<ClaimPolicy> {
    let usual = withdraw_delay.map_or_else(ClaimPolicy::default, ClaimPolicy::for_delay);
    let bounds = (Duration::from_secs(5), Duration::from_secs(24 * 3600));
    let age_max = span_within(section, "claim_after", usual.age_max, bounds);
    if let (Some(item), Some(delay)) = (section.find("claim_after"), withdraw_delay)
        && age_max >= delay
    {
        let what = format!("`claim_after` is {age_max:?}, and `withdraw_delay` {delay:?}");
        return item.wrong(Kind::BadValue, what, "a `claim_after` below `withdraw_delay`");
    }
    let amount_max = match section.find("claim_at") {
        Some(item) => read_amount(&item, facts, asset),
        None => asset?.rate.to_amount(CLAIM_AT),
    };
    Some(ClaimPolicy { age_max, amount_max: amount_max?, ..usual })
}

/// `facilitators = ["http://127.0.0.1:8405"]`. What they do is seen on the network's own `rpc`, which every
/// network has: a facilitator is no evidence. Channels need a gas account of one's own, which is their
/// authorizer.
fn read_facilitators(
    section: &Section<'_>,
    withdraw_delay: Option<Duration>,
) -> Option<Vec<String>> {
    let Some(item) = section.find("facilitators") else { return Some(Vec::new()) };
    // All of them before the verdict, so that each bad one is reported.
    let read: Vec<_> = item.list()?.iter().map(endpoint).collect();
    let urls = read.into_iter().collect::<Option<Vec<String>>>()?;
    if urls.is_empty() || urls.len() > FACILITATORS_MAX {
        let what = format!("{} facilitators are named", urls.len());
        let right = format!("one to {FACILITATORS_MAX}, or no `facilitators` at all");
        return item.wrong(Kind::BadValue, what, right);
    }
    if withdraw_delay.is_some() {
        let what = "channels are claimed from a gas account of one's own".to_owned();
        return item.wrong(Kind::BadValue, what, "`facilitators` or `withdraw_delay`, not both");
    }
    Some(urls)
}

/// What stands for the engine, the work and the model of a server elsewhere.
const UPSTREAM: &str = "upstream";

/// `upstream = { url = "http://127.0.0.1:11434/v1", key = "env:UPSTREAM_KEY", models = ["llama3.2"] }`.
fn read_upstream(section: &Section<'_>) -> Option<UpstreamSettings> {
    let table = section.section("upstream");
    let url = table.required("url", "url = \"http://127.0.0.1:11434/v1\"");
    let url = url.and_then(|item| endpoint(&item));
    let key = table.find("key").map(|item| match SecretSource::read(item.text()?) {
        Some(source) => Some(source),
        None => {
            // Says nothing of what it read: it may be the key itself. Source: threats.md O01.
            let what = "`key` does not say where the key is".to_owned();
            item.wrong(Kind::BadValue, what, "\"env:VARIABLE\" or \"file:PATH\"")
        }
    });
    let models = table.find("models").map(|item| {
        let read: Vec<_> =
            item.list()?.iter().map(|model| model.text().map(str::to_owned)).collect();
        read.into_iter().collect::<Option<Vec<String>>>()
    });
    table.end();
    Some(UpstreamSettings {
        url: url?,
        key: key.map_or(Some(None), |read| read.map(Some))?,
        models: models.map_or(Some(Vec::new()), |read| read)?,
    })
}

/// `stream_tokens = 64`, `stream_bytes = 262144`, `stream_ms = 250`: so much of a streamed answer a
/// voucher pays for at least; `stream_wait = "20s"`: so long the next one may take.
fn read_flowing(section: &Section<'_>) -> Option<Flowing> {
    let list = Flowing::default();
    let bounds = (Duration::from_secs(1), Duration::from_secs(300));
    let wait_max = span_within(section, "stream_wait", list.wait_max, bounds);
    let output = section.find("stream_tokens").map(|item| item.integer_within(1, 1_000_000));
    let bytes = section.find("stream_bytes").map(|item| item.integer_within(1, 1 << 26));
    let compute_ms = section.find("stream_ms").map(|item| item.integer_within(1, 60_000));
    let stride = Stride {
        output: Units(output.unwrap_or(Some(list.stride.output.0))?),
        bytes: bytes.unwrap_or(Some(list.stride.bytes))?,
        compute_ms: compute_ms.unwrap_or(Some(list.stride.compute_ms))?,
    };
    Some(Flowing { stride, wait_max })
}

/// `withdraw_delay = "15m"`: from a quarter of an hour to thirty days. Where there is none, no channels
/// are taken. Source: x402 scheme `batch-settlement` on EVM.
fn read_withdraw_delay(section: &Section<'_>) -> Option<Duration> {
    section.find("withdraw_delay")?;
    let least = Duration::from_secs(*WITHDRAW_DELAY_S.start());
    let bounds = (least, Duration::from_secs(*WITHDRAW_DELAY_S.end()));
    Some(span_within(section, "withdraw_delay", least, bounds))
}

fn read_asset(section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<AssetInfo> {
    let network = section
        .required("network", "network = \"NAME\", one of the file's networks")
        .and_then(|item| facts.networks.named(&item));
    let item = section.find("asset");
    let symbol = item.as_ref().map_or(Some("USDC"), |item| item.text())?;
    let network = network??;
    let of_network = || facts.assets.iter().filter(|info| info.asset.network == network);
    if let Some(info) = of_network().find(|info| info.symbol == symbol) {
        return Some(info.clone());
    }
    let what = format!("no asset on {network} is called `{symbol}`");
    let right = match nearest(symbol, of_network().map(|info| info.symbol.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("an [asset.{symbol}] section"),
    };
    match item {
        Some(item) => item.wrong(Kind::UnknownName, what, right),
        None => section.wrong(Kind::UnknownName, what, right),
    }
}

fn read_pay_to(section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<PayTo> {
    let item = section.required("pay_to", "pay_to = \"wallet/NAME\"")?;
    let delegation = section.find("delegation");
    let text = item.text()?;
    if let Some(name) = text.strip_prefix("wallet/") {
        let name = name.parse::<Name>().ok();
        if let Some(name) = name.filter(|name| facts.wallets.has(name)) {
            return Some(PayTo::Wallet(name));
        }
        let right = "\"wallet/NAME\", one of the file's wallets";
        return item.wrong(Kind::UnknownName, format!("`{text}` is no wallet"), right);
    }
    let address = read_address(&item)?;
    let Some(delegation) = delegation else {
        let what = format!("nothing shows that {address} lets this provider speak for it");
        return item.wrong(Kind::MissingKey, what, "\"wallet/NAME\", or a `delegation` as well");
    };
    let delegation = delegation.parsed::<Signature>("0x and 130 digits")?;
    Some(PayTo::Address { address, delegation })
}

/// `refund_after = "1h"`, or `"off"`.
fn read_refund_after(section: &Section<'_>) -> Option<Duration> {
    let item = section.find("refund_after");
    if item.is_some_and(|item| item.is_text() && item.text() == Some("off")) {
        return None;
    }
    let bounds = (Duration::from_secs(60), Duration::from_secs(30 * 24 * 3600));
    Some(span_within(section, "refund_after", Duration::from_secs(3600), bounds))
}

/// Thousandths: at most all.
fn permille(section: &Section<'_>, key: &'static str, default: u16) -> Option<u16> {
    match section.find(key) {
        Some(item) => item.integer_within(0, 1000).and_then(|number| u16::try_from(number).ok()),
        None => Some(default),
    }
}

pub(super) fn rounds(section: &Section<'_>, default: u8) -> Option<u8> {
    let most = u64::from(ROUNDS_MAX);
    section.find("rounds_max").map_or(Some(default), |item| {
        item.integer_within(0, most).and_then(|number| u8::try_from(number).ok())
    })
}

pub(super) fn read_discount(table: &Section<'_>) -> Option<VolumeDiscount> {
    let calls = table.find("calls").map_or(Some(0), |item| item.count());
    let each = permille(table, "permille", 0);
    let permille_max = permille(table, "permille_max", 1000);
    table.end();
    if !table.is_there() {
        return Some(VolumeDiscount::default());
    }
    Some(VolumeDiscount { calls: calls?, permille: each?, permille_max: permille_max? })
}

pub(super) fn read_negotiation(section: &Section<'_>) -> Option<PayerStrategy> {
    let target = permille(section, "target_permille_of_list", 700);
    let step = permille(section, "step_permille", 100);
    let limit = permille(section, "limit_permille_of_list", 1000);
    let rounds_max = rounds(section, 3);
    let volume = section.find("volume").map_or(Some(0), |item| item.count());
    section.end();
    if !section.is_there() {
        return None;
    }
    Some(PayerStrategy {
        target_permille_of_list: target?,
        step_permille: step?,
        limit_permille_of_list: limit?,
        rounds_max: rounds_max?,
        volume: volume?,
    })
}
