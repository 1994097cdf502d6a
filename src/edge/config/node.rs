//! The node's own sections: server, ledger, keys, wallets, directory, discovery, telemetry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use alloy::primitives::Address;
use tracing_subscriber::EnvFilter;

use crate::domain::id::Name;
use crate::domain::ledger::Bounds;
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::order::Units;
use crate::domain::policy::Rates;
use crate::domain::quote::Stride;
use crate::edge::config::checked::{
    Access, ChannelSettings, DirectorySettings, Discovery, FacilitatorSettings, KeyFiles,
    KeySource, LedgerFile, Listen, LogFormat, Server, Telemetry, WalletSettings,
};
use crate::edge::config::money::{Unit, span_within};
use crate::edge::config::network::{Networks, read_address};
use crate::edge::config::policy::read_call_rates;
use crate::edge::config::problem::Kind;
use crate::edge::config::reader::{Item, Section, Source};
use crate::edge::config::secured::{read_ca, read_listen};
use crate::runtime::facilitator::PAYER_RATES;

/// The port of a node for agents and the operator.
const PORT: u16 = 8402;
/// The port of `bursar directory`.
const DIRECTORY_PORT: u16 = 8404;
/// The port of `bursar facilitator`.
const FACILITATOR_PORT: u16 = 8405;
/// The port of `/metrics`.
const METRICS_PORT: u16 = 9402;

/// How few and how many requests may be remembered.
const REQUESTS_MAX: (u64, u64) = (1_000, 4_000_000);

const DAY: Duration = Duration::from_secs(24 * 3600);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub(super) fn read_currency(root: &Section<'_>) -> String {
    let read = || {
        let item = root.find("currency")?;
        let text = item.text()?;
        let code = (3..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase());
        let what = format!("`{text}` is not a currency's code");
        if code { Some(text.to_owned()) } else { item.wrong(Kind::BadValue, what, "\"USD\"") }
    };
    read().unwrap_or_else(|| "USD".to_owned())
}

pub(super) fn read_timezone(root: &Section<'_>) -> String {
    root.find("timezone").and_then(|item| zone(&item)).unwrap_or_else(|| "UTC".to_owned())
}

/// The name of a time zone that the binary knows.
pub(super) fn zone(item: &Item<'_>) -> Option<String> {
    let zone = item.text()?.to_owned();
    let window = WindowSpec::Calendar { unit: CalendarUnit::Day, zone: zone.clone() };
    match window.check() {
        Ok(()) => Some(zone),
        Err(_) => {
            let right = "an IANA name such as \"UTC\" or \"Europe/Berlin\"";
            item.wrong(Kind::BadValue, format!("`{zone}` is not a time zone"), right)
        }
    }
}

pub(super) fn read_server(source: &Source<'_>, section: &Section<'_>) -> Option<Server> {
    let listen = read_listen(section, loopback(PORT), true);
    let socket = section.find("operator_socket").map(|item| path(source, &item));
    let token = path_or(source, section, "operator_token_file", "keys/operator.token");
    let metrics = read_metrics(section, Some(loopback(METRICS_PORT)));
    section.end();
    Some(Server {
        listen: listen?,
        operator: Access {
            socket: socket.map_or(Some(None), |path| path.map(Some))?,
            token_file: token?,
        },
        metrics: metrics?,
    })
}

/// `metrics = "127.0.0.1:9402"`, or `"off"`.
pub(super) fn read_metrics(
    section: &Section<'_>,
    otherwise: Option<SocketAddr>,
) -> Option<Option<SocketAddr>> {
    let Some(item) = section.find("metrics") else { return Some(otherwise) };
    match item.text()? {
        "off" => Some(None),
        _ => tcp(&item).map(Some),
    }
}

pub(super) fn read_ledger(source: &Source<'_>, section: &Section<'_>) -> Option<LedgerFile> {
    let path = path_or(source, section, "path", "bursar.db");
    let snapshot_every =
        section.find("snapshot_every").map(|item| item.integer_within(1, 1_000_000));
    let requests_max = section.find("requests_max").map(|item| {
        let found = item.integer_within(REQUESTS_MAX.0, REQUESTS_MAX.1)?;
        Some(usize::try_from(found).expect("a usize has 32 bits at least"))
    });
    let bounds = (DAY, DAY.saturating_mul(366));
    let request_memory = span_within(section, "request_memory", DAY.saturating_mul(30), bounds);
    section.end();
    Some(LedgerFile {
        path: path?,
        snapshot_every: snapshot_every.unwrap_or(Some(100_000))?,
        request_memory,
        requests_max: requests_max.unwrap_or(Some(Bounds::default().requests_max))?,
    })
}

pub(super) fn read_keys(source: &Source<'_>, section: &Section<'_>) -> Option<KeyFiles> {
    let folder = path_or(source, section, "folder", "keys");
    let passphrase = section.find("passphrase_file").map(|item| path(source, &item));
    section.end();
    Some(KeyFiles {
        folder: folder?,
        passphrase_file: passphrase.map_or(Some(None), |path| path.map(Some))?,
    })
}

/// The wallets of a file.
pub(super) struct Wallets(BTreeMap<Name, WalletSettings>);

impl Wallets {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Name::as_str)
    }

    pub fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    pub fn into_settings(self) -> BTreeMap<Name, WalletSettings> {
        self.0
    }
}

pub(super) fn read_wallets(root: &Section<'_>, networks: &Networks<'_>) -> Wallets {
    let mut wallets = BTreeMap::new();
    let mut keys: BTreeMap<KeySource, Name> = BTreeMap::new();
    for (name, section) in root.named("wallet") {
        let item = section.required("key", &format!("key = \"keystore:{name}\""));
        section.end();
        if networks.is_empty() {
            let what = format!("wallet {name} pays on no network that is watched");
            section.wrong::<()>(Kind::NoEvidence, what, "a [network.NAME] section");
        }
        let Some((item, key)) = item.and_then(|item| Some((item.clone(), key_source(&item)?)))
        else {
            continue;
        };
        if let Some(other) = keys.insert(key.clone(), name.clone()) {
            let what = format!("wallet {other} has this key already");
            item.wrong::<()>(Kind::Duplicate, what, "one key, one wallet: make another key");
        }
        wallets.insert(name, WalletSettings { key });
    }
    Wallets(wallets)
}

/// Says nothing of what it read: it may be the key itself. Source: threats.md O01.
fn key_source(item: &Item<'_>) -> Option<KeySource> {
    let right = "\"keystore:NAME\", or \"env:VARIABLE\"; never the key itself";
    let text = item.text()?;
    let keystore = text.strip_prefix("keystore:").and_then(|name| name.parse().ok());
    let variable = text.strip_prefix("env:").filter(|name| {
        name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    });
    keystore
        .map(KeySource::Keystore)
        .or_else(|| variable.map(|name| KeySource::Env(name.to_owned())))
        .or_else(|| {
            let what = format!("`{}` does not say where the key is", item.path());
            item.wrong(Kind::BadValue, what, right)
        })
}

pub(super) fn read_directory(section: &Section<'_>) -> Option<DirectorySettings> {
    let listen = read_listen(section, loopback(DIRECTORY_PORT), false);
    let serve = section.find("serve").map(|item| item.flag());
    let connect = section.find("connect").and_then(|item| {
        // All of them before the verdict, so that each bad one is reported.
        let read: Vec<_> = item.list()?.iter().map(endpoint_or_tls).collect();
        read.into_iter().collect::<Option<Vec<String>>>()
    });
    let bounds = (Duration::from_secs(10), Duration::from_secs(3600));
    let lease = span_within(section, "lease", Duration::from_secs(60), bounds);
    section.end();
    Some(DirectorySettings {
        listen: listen?,
        serve: serve.unwrap_or(Some(true))?,
        connect: connect.unwrap_or_default(),
        lease,
    })
}

/// Factories that a facilitator lets make wallets, at most.
const FACTORIES_MAX: usize = 64;

/// `[facilitator]`: a rate that is not written has the bound that it has without the section.
pub(super) fn read_facilitator(section: &Section<'_>) -> Option<FacilitatorSettings> {
    let listen = read_listen(section, loopback(FACILITATOR_PORT), false);
    let rates = read_call_rates(&section.section("payer_rates"));
    let directory = section.find("directory").map_or(Some(false), |item| item.flag());
    let factories =
        section.find("factories").map_or(Some(BTreeSet::new()), |item| read_factories(&item));
    section.end();
    let payer_rates = Rates {
        calls_per_minute: rates.calls_per_minute.or(PAYER_RATES.calls_per_minute),
        concurrency: rates.concurrency.or(PAYER_RATES.concurrency),
        ..rates
    };
    let (listen, directory, factories) = (listen?, directory?, factories?);
    Some(FacilitatorSettings { listen, payer_rates, directory, factories })
}

/// `factories = ["0x..."]`: what the gas account pays for the calls of, as strangers say.
fn read_factories(item: &Item<'_>) -> Option<BTreeSet<Address>> {
    let named = item.list()?;
    if named.len() > FACTORIES_MAX {
        let what = format!("{} factories are named", named.len());
        return item.wrong(Kind::BadValue, what, format!("at most {FACTORIES_MAX}"));
    }
    // All of them before the verdict, so that each bad one is reported.
    let read: Vec<_> = named.iter().map(read_address).collect();
    read.into_iter().collect()
}

/// The most channels to one provider: what the keeper takes.
const AT_ONCE_MAX: u64 = 64;

/// `[channels]`: without it nobody is paid by channel.
pub(super) fn read_channels(section: &Section<'_>, money: &Unit<'_>) -> Option<ChannelSettings> {
    if !section.is_there() {
        return None;
    }
    let per_provider = money.required(section, "per_provider");
    let total = money.required(section, "total");
    let calls = section.find("calls_per_deposit").map(|item| item.integer_within(1, 1_000_000));
    let at_once = section.find("at_once").map(|item| item.integer_within(1, AT_ONCE_MAX));
    let list = Stride::ahead();
    let output = section.find("stream_tokens").map(|item| item.integer_within(1, 1_000_000));
    let bytes = section.find("stream_bytes").map(|item| item.integer_within(1, 1 << 30));
    let compute_ms = section.find("stream_ms").map(|item| item.integer_within(1, 600_000));
    let credit = section.find("credit").map(|item| item.flag());
    section.end();
    let at_once = at_once.unwrap_or(Some(AT_ONCE_MAX))?;
    Some(ChannelSettings {
        per_provider: per_provider?,
        total: total?,
        calls_per_deposit: calls.unwrap_or(Some(50))?,
        at_once: usize::try_from(at_once).unwrap_or(usize::MAX),
        credit: credit.unwrap_or(Some(true))?,
        stream: Stride {
            output: Units(output.unwrap_or(Some(list.output.0))?),
            bytes: bytes.unwrap_or(Some(list.bytes))?,
            compute_ms: compute_ms.unwrap_or(Some(list.compute_ms))?,
        },
    })
}

pub(super) fn read_discovery(section: &Section<'_>) -> Discovery {
    let allow_private = section.find("allow_private").and_then(|item| item.flag());
    let ca = read_ca(section).flatten();
    section.end();
    Discovery { allow_private: allow_private.unwrap_or(false), ca }
}

pub(super) fn read_telemetry(section: &Section<'_>) -> Option<Telemetry> {
    let log = section.find("log").map(|item| {
        let text = item.text()?;
        let right = "\"info\", or \"warn,bursar=debug\"";
        match EnvFilter::try_new(text) {
            Ok(_) => Some(text.to_owned()),
            Err(_) => item.wrong(Kind::BadValue, format!("`{text}` selects no logs"), right),
        }
    });
    let format = section.find("format").map(|item| match item.text()? {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        other => {
            item.wrong(Kind::BadValue, format!("`{other}` is no format"), "\"text\" or \"json\"")
        }
    });
    section.end();
    Some(Telemetry {
        log: log.unwrap_or_else(|| Some("info".to_owned()))?,
        format: format.unwrap_or(Some(LogFormat::Text))?,
    })
}

const NEEDS_TLS: &str =
    "127.0.0.1 or [::1], or tls = { cert, key }: tokens and payments do not travel in the clear";

/// A loopback address and a port.
pub(super) fn tcp(item: &Item<'_>) -> Option<SocketAddr> {
    let text = item.text()?;
    let right = "an address and a port: \"127.0.0.1:8402\"";
    let Ok(addr) = text.parse::<SocketAddr>() else {
        return item.wrong(Kind::BadValue, format!("`{text}` is not an address"), right);
    };
    if addr.ip().is_loopback() {
        Some(addr)
    } else {
        item.wrong(Kind::NotLoopback, format!("others could reach {addr}"), NEEDS_TLS)
    }
}

/// `unix:` and a path.
pub(super) fn socket(source: &Source<'_>, item: &Item<'_>) -> Option<Listen> {
    match item.text()?.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Some(Listen::Unix(beside(source.path, path))),
        _ => item.wrong(Kind::BadValue, "no path".to_owned(), "unix:run/bursar.sock"),
    }
}

/// `https://` to any host, or what [`endpoint`] is.
fn endpoint_or_tls(item: &Item<'_>) -> Option<String> {
    match item.text()?.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") => {
            let whole = uri.port_u16().is_some() && uri.path() == "/" && uri.query().is_none();
            let text = item.text()?;
            if whole && !text.contains('@') {
                return Some(text.trim_end_matches('/').to_owned());
            }
            let what = format!("`{text}` is no endpoint");
            item.wrong(Kind::BadValue, what, "\"https://HOST:PORT\"")
        }
        _ => endpoint(item),
    }
}

/// `http://` to a loopback address, without a path.
pub(super) fn endpoint(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let right = "\"http://127.0.0.1:PORT\"";
    let Ok(uri) = text.parse::<http::Uri>() else {
        return item.wrong(Kind::BadValue, format!("`{text}` is not a URL"), right);
    };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return item.wrong(Kind::BadValue, format!("`{text}` is not a URL"), right);
    };
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if user || uri.query().is_some() {
        let what = "a URL with a name, a password or a query".to_owned();
        return item.wrong(Kind::BadValue, what, right);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let near = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if scheme != "http" || !near {
        let what = format!("{scheme}://{host} is not on this machine");
        return item.wrong(Kind::NotLoopback, what, right);
    }
    Some(text.trim_end_matches('/').to_owned())
}

/// A path; a relative one begins in the configuration's folder.
pub(super) fn path(source: &Source<'_>, item: &Item<'_>) -> Option<PathBuf> {
    let text = item.text()?;
    if text.is_empty() || text.starts_with('~') || text.contains("://") {
        let what = format!("`{text}` is not a path");
        let right = "an absolute path, or one from this file's folder; `~` is not expanded";
        return item.wrong(Kind::BadValue, what, right);
    }
    Some(beside(source.path, text))
}

fn path_or(
    source: &Source<'_>,
    section: &Section<'_>,
    key: &'static str,
    default: &str,
) -> Option<PathBuf> {
    match section.find(key) {
        Some(item) => path(source, &item),
        None => Some(beside(source.path, default)),
    }
}

fn beside(file: &Path, path: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let joined = folder.join(path);
    // `./keys` and `keys` are one folder, and messages should show the shorter.
    joined.components().filter(|part| *part != Component::CurDir).collect()
}
