//! The configuration, read whole.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod assets;
mod mistakes;

use std::path::Path;
use std::time::Duration;

use alloy::primitives::address;

use crate::domain::asset::{Asset, Network};
use crate::domain::id::{Name, RoleId};
use crate::domain::ledger::budget::{Per, Selector};
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::money::{Amount, Nano, Rate};
use crate::domain::policy::PolicyDocument;
use crate::edge::config::tests::mistakes::{HEAD, kinds};
use crate::edge::config::*;

fn load(text: &str) -> Result<Config, Vec<Problem>> {
    Config::load(Path::new("etc/bursar.toml"), text)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Everything that a file may have, right.
const WHOLE: &str = r#"
version = 1
currency = "USD"
timezone = "Europe/Berlin"

[server]
listen = "unix:run/agents.sock"
operator_socket = "/run/bursar/operator.sock"
operator_token_file = "operator.token"
metrics = "off"

[ledger]
path = "data/ledger.db"
snapshot_every = 50_000
request_memory = "7d"
requests_max = 100_000

[keys]
folder = "./secrets"
passphrase_file = "secrets/passphrase"

[network.sandbox]
kind = "sandbox"
listen = "127.0.0.1:8545"

[network.base]
kind = "evm"
rpc = "http://127.0.0.1:8546"
allow_mainnet = true
gas_account = "gas"

[network.devnet]
kind = "evm"
chain = "eip155:1337"
rpc = "http://localhost:8547/"
finality = "finalized"
poll = "100ms"
confirmations = 3
settlements_low = 10
fee_gwei_max = 50
answer_within = "2s"
genesis = "0x0101010101010101010101010101010101010101010101010101010101010101"

[settlement.base]
fastest = "1s"
slowest = "4s"
cost_min = "0.0001 USD"
cost_max = "0.002 USD"
[settlement.devnet]
chain = "eip155:1337"
fastest = "1s"
slowest = "1s"
cost_min = "0 USD"
cost_max = "0 USD"

[asset.EURX]
network = "devnet"
contract = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
decimals = 2
eip712 = { name = "Euro X", version = "1" }
rate = "1.1 USD"

[wallet.main]
key = "keystore:main"
[wallet.gas]
key = "env:GAS_KEY"

[budget.fleet-month]
applies_to = "*"
limit = "500 USD"
window = { calendar = "month" }
[budget.scout-hour]
applies_to = "role/scout"
per = "agent"
limit = "0.50 USD"
window = { rolling = "1h" }
[budget.research]
applies_to = "group/research"
per = "session"
limit = "1 USD"
window = { session = "15m" }
[budget.big]
applies_to = "model/*"
limit = "0 USD"
window = "lifetime"
[budget.alice]
applies_to = "agent/alice"
limit = "3 USD"
window = { calendar = "week", zone = "UTC" }

[role.scout]
description = "cheap web research"
per_call_max = "0.05 USD"
output_max = 4096
can_delegate = true
allow = { capabilities = ["text.*"], models = ["llama*", "bursar-lm"], providers = ["scribe"], payees = ["0x70997970*"], networks = ["sandbox", "eip155:8453"], assets = ["USDC"], schemes = ["exact"] }
deny = { payees = ["0x000000000000000000000000000000000000dEaD"], networks = ["eip155:8*"] }
rates = { calls_per_minute = 60, concurrency = 8, spend_per_minute = "0.20 USD" }
role_rates = { concurrency = 0 }
session = { limit = "0.25 USD", span = "15m" }

[provider_rates.scribe]
concurrency = 4
spend_per_minute = "1 USD"

[provider.my-llm]
listen = "127.0.0.1:8403"
engine = "scribe"
capability = "text.generate"
model = "bursar-lm"
network = "base"
price = { call = "0.001 USD", output_1k = "0.002 USD", second = "0.01 USD", gb = "0.001 USD", gb_stored = "0.00001 USD" }
free = { calls = 1_000, peer_per_day = 20 }
tiers = [{ after = 11_000, call = "0.0005 USD" }]
serve_first = { per_payer = "0.01 USD", total = "1 USD" }
floor = { call = "0.0005 USD", output_1k = "0.002 USD" }
rounds_max = 2
volume_discount = { calls = 10, permille = 50, permille_max = 200 }
pay_to = "wallet/main"
concurrency = 2
payer_rates = { calls_per_minute = 30 }
peer_rates = { calls_per_minute = 60 }
quote_life = "30s"
authorization_life = "90s"
input_max = 1000
output_max = 500

[directory]
listen = "127.0.0.1:0"
serve = false
connect = ["http://[::1]:8404"]
lease = "2m"

[negotiation]
target_permille_of_list = 600
limit_permille_of_list = 900
step_permille = 50
rounds_max = 2
volume = 50

[discovery]
allow_private = true

[telemetry]
log = "warn,bursar=debug"
format = "json"
"#;

#[test]
fn every_key_of_a_whole_file_arrives() {
    let config = load(WHOLE).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.timezone, "Europe/Berlin");
    assert_eq!(config.server.listen, Listen::Unix("etc/run/agents.sock".into()));
    assert_eq!(config.server.operator.socket, Some("/run/bursar/operator.sock".into()));
    assert_eq!(config.server.metrics, None);
    assert_eq!(config.ledger.path, Path::new("etc/data/ledger.db"));
    assert_eq!(config.ledger.snapshot_every, 50_000);
    assert_eq!(config.ledger.request_memory, Duration::from_secs(7 * 86_400));
    assert_eq!(config.ledger.requests_max, 100_000);
    assert_eq!(config.keys.folder, Path::new("etc/secrets"));
    assert_eq!(config.wallets[&name("gas")].key, KeySource::Env("GAS_KEY".to_owned()));
    let NetworkSettings::Evm(base) = &config.networks[&name("base")] else { panic!("not EVM") };
    assert_eq!(base.network, Network::Eip155(8453));
    assert_eq!(
        (base.finality, base.gas_account.as_ref()),
        (Finality::Depth(10), Some(&name("gas")))
    );
    assert_eq!(base.poll, Duration::from_millis(500));
    let NetworkSettings::Evm(devnet) = &config.networks[&name("devnet")] else { panic!("not EVM") };
    assert_eq!((devnet.rpc.as_str(), devnet.finality), ("http://localhost:8547", Finality::Tag));
    assert_eq!((devnet.settlements_low, devnet.fee_gwei_max), (10, 50));
    assert_eq!(devnet.genesis.unwrap()[0], 1);
    let provider = &config.providers[&name("my-llm")];
    assert_eq!(provider.price.terms.list.flat, Amount::new(1_000));
    assert_eq!(provider.price.terms.floor.flat, Amount::new(500));
    let parts = [1_000, 0, 2_000, 1_000, 10, 10_000].map(Amount::new);
    assert_eq!(provider.price.terms.list.parts(), parts);
    let tiers = &provider.price.tiers;
    assert_eq!((tiers.free_calls, tiers.steps[0].after_calls), (1_000, 11_000));
    assert_eq!(tiers.steps[0].flat, Amount::new(500));
    let free =
        FreeSettings { calls: 1_000, peer_per_day: 20, per_day: 100_000, payers_max: 100_000 };
    assert_eq!(provider.price.free, free);
    let serve_first = Some((Amount::new(10_000), Amount::new(1_000_000)));
    assert_eq!(provider.price.serve_first, serve_first);
    assert_eq!(provider.pay_to, PayTo::Wallet(name("main")));
    assert_eq!(provider.payer_rates.calls_per_minute, Some(30));
    assert_eq!(provider.asset.network, Network::Eip155(8453));
    assert_eq!(provider.price.terms.volume_discount.permille_max, 200);
    assert_eq!(config.directory.connect, ["http://[::1]:8404"]);
    let names: Vec<&str> = config.expected.keys().map(Name::as_str).collect();
    assert_eq!(names, ["base", "devnet", "ethereum", "polygon", "solana"]);
    let base = &config.expected[&name("base")];
    assert_eq!(base.network, Some(Network::Eip155(8453)));
    assert_eq!((base.fastest, base.slowest), (Duration::from_secs(1), Duration::from_secs(4)));
    assert_eq!((base.cost_min, base.cost_max), (Nano::new(100_000), Nano::new(2_000_000)));
    let solana = &config.expected[&name("solana")];
    assert_eq!((solana.network, solana.slowest), (None, Duration::from_millis(400)));
    assert_eq!(config.negotiation.unwrap().volume, 50);
    assert!(config.discovery.allow_private && !config.directory.serve);
    assert_eq!(config.telemetry.format, LogFormat::Json);
}

#[test]
fn the_policy_of_a_whole_file_is_what_it_says() {
    let policy = load(WHOLE).unwrap().policy;
    let scout = policy.find_role(&name("scout")).unwrap();
    let texts = |patterns: &[crate::domain::policy::Pattern]| {
        patterns.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(texts(&scout.allow.networks), ["eip155:31337", "eip155:8453"]);
    assert_eq!(scout.allow.assets.len(), 2, "USDC of the sandbox and of Base");
    assert!(texts(&scout.allow.assets).contains(&format!("eip155:31337/erc20:{SANDBOX_USDC}")));
    assert_eq!(scout.per_call_max, Nano::new(50_000_000));
    assert_eq!(scout.role_rates.concurrency, Some(0));
    assert!(scout.can_delegate);

    let budgets: Vec<_> = policy.all_budgets();
    let names: Vec<_> = budgets.iter().map(|def| def.name.as_str()).collect();
    let stated = ["alice", "big", "fleet-month", "research", "scout-hour"];
    let derived = ["role:scout:session", "role:scout:agent-minute", "provider:scribe:minute"];
    assert_eq!(names, [&stated[..], &derived[..]].concat());
    let zone = |unit, zone: &str| WindowSpec::Calendar { unit, zone: zone.to_owned() };
    assert_eq!(budgets[0].window, zone(CalendarUnit::Week, "UTC"));
    assert_eq!(budgets[1].selector, Selector::Model("*".to_owned()));
    assert_eq!(budgets[2].window, zone(CalendarUnit::Month, "Europe/Berlin"));
    assert_eq!((budgets[2].per, budgets[3].per), (Per::All, Per::Session));
    assert_eq!(budgets[4].selector, Selector::Role(RoleId::named(&name("scout"))));

    let eurx = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    let eurx = Asset { network: Network::Eip155(1337), contract: eurx };
    let info = policy.assets.find(eurx).unwrap();
    assert_eq!((info.symbol.as_str(), info.rate), ("EURX", Rate { nano: 1_100_000_000, per: 100 }));

    // The same file, the same text; and the text is the policy.
    assert_eq!(PolicyDocument::from_json(&policy.to_json()).unwrap(), policy);
}

#[test]
fn the_sandbox_file_is_small_and_without_a_warning() {
    let text = default_sandbox_file();
    assert!(text.lines().count() <= 30);
    let config = load(text).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.policy.assets.iter().count(), 1);
    assert_eq!(config.policy.all_budgets().len(), 1);
}

#[test]
fn an_unknown_key_is_reported_wherever_it_stands() {
    // One in each table of the whole file, inline ones too.
    let mut text = String::new();
    let mut lines = Vec::new();
    for line in WHOLE.lines() {
        let number = text.matches('\n').count() + 1;
        if line.starts_with('[') {
            text.push_str(line);
            text.push_str("\nzzz = 1\n");
            lines.push(number + 1);
        } else if line.contains("{ ") {
            text.push_str(&line.replacen("{ ", "{ zzz = 1, ", 1));
            text.push('\n');
            lines.push(number);
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    let found = kinds(&text);
    let unknown: Vec<_> =
        found.iter().filter(|(_, kind)| *kind == Kind::UnknownKey).map(|(line, _)| *line).collect();
    assert_eq!(unknown, lines);
    assert!(lines.len() > 30);
}

#[test]
fn a_near_key_is_suggested_and_all_problems_come_at_once() {
    let text = "version = 1\nlistn = 3\n[budget.b]\napplies_to = \"*\"\nlimt = \"5 USD\"\nwindow = \"lifetime\"\n[ledgr]";
    let problems = load(text).unwrap_err();
    let rights: Vec<_> = problems
        .iter()
        .map(|problem| (problem.line, problem.kind, problem.right.as_str()))
        .collect();
    assert_eq!(rights[1].2, "limit = \"0.05 USD\"");
    assert_eq!(rights[2], (5, Kind::UnknownKey, "did you mean `limit`?"));
    assert_eq!(rights[3], (7, Kind::UnknownKey, "did you mean `ledger`?"));
    assert_eq!(problems.len(), 4);
}

#[test]
fn a_problem_shows_its_line_with_a_mark_beneath() {
    let problem = &load("version = 1\n[ledger]\n snapshot_every = 0").unwrap_err()[0];
    let shown = problem.to_string();
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with("etc/bursar.toml:3:19: "));
    assert_eq!(lines[1], " 3 |  snapshot_every = 0");
    assert_eq!(lines[2], "   |                   ^");
    assert_eq!((problem.line, problem.column, problem.width), (3, 19, 1));
}

#[test]
fn o01_no_problem_prints_what_could_be_a_key() {
    let canary = "c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789";
    let password = "correct horse battery";
    for text in [
        format!("[wallet.main]\nkey = \"{canary}\""),
        format!("[wallet.main]\nkey = \"0x{canary}"),
        format!("[wallet.main]\nkey = 0x{canary}"),
        format!("[wallet.main]\nprivate = \"0x{canary}\""),
        format!("[wallet.main]\n{canary} = 1"),
        format!("[wallet.{canary}]\nkey = \"{password}\""),
        format!("[wallet.main]\nkey = \"keystore:{password}\""),
        format!("[wallet.main]\nkey = \"env:{canary}\""),
        format!("[wallet.main]\nmnemonic = \"{password}\""),
        format!("[wallet.main]\nkey = {password}"),
        format!("[wallet]\nmain = {{ key = \"{password}\" }}"),
        format!("[keys]\npassphrase = \"{password}\""),
        format!("[network.x]\nkind = \"evm\"\nrpc = \"http://{password}@127.0.0.1\""),
        format!("[role.r]\nallow = {{ payees = [\"0x{canary}\"] }}"),
        format!("[server]\noperator_token = \"bop_{canary}\""),
        format!("[server]\nlisten = \"bat_scout_{canary}\""),
    ] {
        let problems = load(&format!("version = 1\n{text}")).unwrap_err();
        for problem in problems {
            let shown = format!("{problem} {problem:?}");
            assert!(!shown.contains("c0ffee") && !shown.contains("horse"), "{text}: {shown}");
        }
    }
}

#[test]
fn o08_what_is_wide_open_or_never_pays_is_warned_of() {
    let role = |lines: &str| {
        let text = format!("{HEAD}\n[role.r]\nper_call_max = \"1 USD\"\n{lines}");
        let warnings = load(&text).unwrap().warnings;
        warnings.iter().map(|problem| (problem.line, problem.kind)).collect::<Vec<_>>()
    };
    let all = "capabilities = [\"*\"], models = [\"*\"], providers = [\"*\"], payees = [\"*\"], \
               networks = [\"sandbox\"], assets = [\"USDC\"], schemes = [\"exact\"]";
    let budget = "[budget.b]\napplies_to = \"*\"\nlimit = \"1 USD\"\nwindow = \"lifetime\"";
    // No budget, and wide open.
    assert_eq!(role(&format!("allow = {{ {all} }}")), [(7, Kind::Risky), (9, Kind::Risky)]);
    assert_eq!(role(&format!("allow = {{ {all} }}\n{budget}")), [(9, Kind::Risky)]);
    assert_eq!(role(&format!("allow_any = true\nallow = {{ {all} }}\n{budget}")), []);
    // An empty list denies all.
    assert_eq!(role(&format!("allow = {{}}\n{budget}")).len(), 7);
}

#[test]
fn money_is_read_strictly() {
    for (text, nano) in [
        ("5 USD", Some(5_000_000_000)),
        ("0.05 USD", Some(50_000_000)),
        ("0.000000001 USD", Some(1)),
        ("0 USD", Some(0)),
        ("9223372036.854775807 USD", Some(i64::MAX.unsigned_abs())),
        ("9223372036.854775808 USD", None),
        ("0.0000000001 USD", None),
        ("05 USD", None),
        ("5. USD", None),
        (".5 USD", None),
        ("-5 USD", None),
        ("+5 USD", None),
        ("5e3 USD", None),
        ("5,000 USD", None),
        ("5_000 USD", None),
        ("5  USD", None),
        ("5 usd", None),
        ("5USD", None),
        ("USD", None),
        ("", None),
        ("١ USD", None),
    ] {
        assert_eq!(parse_money(text, "USD").ok().map(Nano::get), nano, "{text}");
    }
}

#[test]
fn spans_are_read_strictly() {
    for (text, secs) in [
        ("15m", Some(900)),
        ("1h", Some(3600)),
        ("30d", Some(30 * 86_400)),
        ("2000ms", Some(2)),
        ("15", None),
        ("m", None),
        ("1.5h", None),
        ("-1h", None),
        ("1 h", None),
        ("1w", None),
        ("99999999999999999999s", None),
        ("9999999999999999999d", None),
    ] {
        assert_eq!(parse_span(text).ok(), secs.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn a_facilitator_makes_wallets_by_the_factories_that_are_named_and_by_no_others() {
    let config = load(mistakes::HEAD).unwrap();
    assert!(config.facilitator.factories.is_empty());
    let factory = "0x0BA5ED0c6AA8c49038F819E587E2633c4A9F428a";
    let named = format!("{}[facilitator]\nfactories = [\"{factory}\"]\n", mistakes::HEAD);
    let config = load(&named).unwrap();
    assert_eq!(config.facilitator.factories, [factory.parse().unwrap()].into());
}
