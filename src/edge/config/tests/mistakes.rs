//! Files with one thing wrong, and where it has to be reported.

use crate::domain::asset::Network;
use crate::edge::config::known::Known;
use crate::edge::config::tests::load;
use crate::edge::config::*;

/// What every file has, so that a table's row shows only what is wrong. Its problems begin at line 7.
pub const HEAD: &str = "version = 1
[network.sandbox]
kind = \"sandbox\"
[wallet.main]
key = \"keystore:main\"
";

pub fn kinds(text: &str) -> Vec<(usize, Kind)> {
    let problems = load(text).err().unwrap_or_default();
    problems.iter().map(|problem| (problem.line, problem.kind)).collect()
}

const FILES: &[(&str, &[(usize, Kind)])] = &[
    ("[server]\nlisten = \"0.0.0.0:8402\"", &[(8, Kind::NotLoopback)]),
    (
        "[server]\nlisten = \"192.168.1.4:1\"\nmetrics = \"[::]:9\"",
        &[(8, Kind::NotLoopback), (9, Kind::NotLoopback)],
    ),
    ("[server]\nlisten = \"8402\"", &[(8, Kind::BadValue)]),
    ("[server]\nlisten = \"0.0.0.0:1\"\ntls = { cert = \"a.crt\" }", &[(9, Kind::MissingKey)]),
    (
        "[server]\ntls = { cert = \"~/a\", key = \"b\", ca = \"c\" }",
        &[(8, Kind::BadValue), (8, Kind::UnknownKey)],
    ),
    ("[directory]\nlisten = \"0.0.0.0:1\"", &[(8, Kind::NotLoopback)]),
    (
        "[directory]\nconnect = [\"https://a.example:1/x\", \"https://a.example\"]",
        &[(8, Kind::BadValue), (8, Kind::BadValue)],
    ),
    ("[server]\nlisten = 8402", &[(8, Kind::WrongType)]),
    ("[facilitator]\nfactories = \"0x12\"", &[(8, Kind::WrongType)]),
    ("[facilitator]\nfactories = [\"0x12\", 7]", &[(8, Kind::BadValue), (8, Kind::WrongType)]),
    ("[ledger]\npath = \"~/x.db\"", &[(8, Kind::BadValue)]),
    ("[ledger]\nrequest_memory = \"30\"", &[(8, Kind::BadValue)]),
    ("[ledger]\nrequest_memory = \"0d\"", &[(8, Kind::BadValue)]),
    ("[ledger]\nrequests_max = 999", &[(8, Kind::BadValue)]),
    ("[ledger]\nsnapshot_every = 0", &[(8, Kind::BadValue)]),
    ("[network.base]\nkind = \"evm\"\nrpc = \"http://127.0.0.1:1\"", &[(7, Kind::Mainnet)]),
    (
        "[network.x]\nkind = \"evm\"\nchain = \"eip155:999999\"\nrpc = \"http://127.0.0.1:1\"",
        &[(7, Kind::Mainnet)],
    ),
    ("[network.x]\nkind = \"sandbox\"\nchain = \"eip155:8453\"", &[(9, Kind::Mainnet)]),
    ("[network.x]\nkind = \"sandbox\"", &[(7, Kind::Duplicate)]),
    ("[network.base-sepolia]\nkind = \"evm\"", &[(7, Kind::NoEvidence)]),
    (
        "[network.base-sepolia]\nkind = \"evm\"\nrpc = \"https://sepolia.base.org\"",
        &[(9, Kind::NotLoopback)],
    ),
    (
        "[network.base-sepolia]\nkind = \"evm\"\nrpc = \"http://u:p@127.0.0.1:1\"",
        &[(9, Kind::BadValue)],
    ),
    (
        "[network.base]\nkind = \"evm\"\nrpc = \"http://127.0.0.1:1\"\nchain = \"eip155:84532\"",
        &[(10, Kind::BadValue)],
    ),
    ("[network.x]\nkind = \"evm\"\nrpc = \"http://127.0.0.1:1\"", &[(7, Kind::MissingKey)]),
    ("[network.x]\nkind = \"solana\"", &[(8, Kind::BadValue)]),
    (
        "[network.x]\nkind = \"sandbox\"\nchain = \"eip155:1337\"\ngas_account = \"mian\"",
        &[(10, Kind::UnknownName)],
    ),
    ("[wallet.two]\nkey = \"keystore:main\"", &[(8, Kind::Duplicate)]),
    ("[wallet.two]\nkey = \"0xabc\"", &[(8, Kind::BadValue)]),
    ("[wallet.two]\nkey = \"env:lower\"", &[(8, Kind::BadValue)]),
    ("[wallet.two]", &[(7, Kind::MissingKey)]),
    ("[wallet.\"a b\"]\nkey = \"keystore:x\"", &[(7, Kind::BadValue)]),
    (
        "[asset.X]\nnetwork = \"sandbox\"\ncontract = \"0x70997970c51812DC3A010C7d01b50e0d17dc79C8\"",
        &[(7, Kind::MissingKey), (7, Kind::MissingKey), (9, Kind::BadValue)],
    ),
    (
        "[directory]\nconnect = [\"http://10.0.0.1:1\", \"ftp://127.0.0.1\"]",
        &[(8, Kind::NotLoopback), (8, Kind::NotLoopback)],
    ),
    ("[negotiation]\nrounds_max = 9", &[(8, Kind::BadValue)]),
    ("[telemetry]\nformat = \"xml\"\nlog = \"a=b=c\"", &[(8, Kind::BadValue), (9, Kind::BadValue)]),
    ("[discovery]\nallow_private = \"yes\"", &[(8, Kind::WrongType)]),
    ("[ledger\npath = 3", &[(7, Kind::Syntax)]),
];

#[test]
fn each_mistake_is_reported_at_its_line() {
    for (text, expected) in FILES {
        assert_eq!(kinds(&format!("{HEAD}\n{text}")), *expected, "{text}");
    }
    assert_eq!(
        kinds("timezone = \"Mars\"\ncurrency = \"usd\"\nversion = 2"),
        [(1, Kind::BadValue), (2, Kind::BadValue), (3, Kind::BadValue),]
    );
    assert_eq!(kinds(""), [(1, Kind::MissingKey)]);
    assert_eq!(kinds("version = 1\n[wallet.main]\nkey = \"env:K\""), [(2, Kind::NoEvidence)]);
}

#[test]
fn each_mistake_in_a_policy_is_reported_at_its_line() {
    let budget = |lines: &str| format!("{HEAD}\n[budget.b]\n{lines}");
    let day = "window = { calendar = \"day\" }";
    let cases = [
        (format!("applies_to = \"*\"\nlimit = \"9223372036.854775807 USD\"\n{day}"), vec![]),
        (format!("applies_to = \"*\"\nlimit = \"9223372036.854775808 USD\"\n{day}"), vec![(9, Kind::BadValue)]),
        (format!("applies_to = \"*\"\nlimit = \"5\"\n{day}"), vec![(9, Kind::BadValue)]),
        (format!("applies_to = \"*\"\nlimit = \"5 EUR\"\n{day}"), vec![(9, Kind::BadValue)]),
        (format!("applies_to = \"*\"\nlimit = 5\n{day}"), vec![(9, Kind::WrongType)]),
        (format!("applies_to = \"role/x\"\nlimit = \"5 USD\"\n{day}"), vec![(7, Kind::MissingKey), (8, Kind::UnknownName)]),
        (format!("applies_to = \"group/x\"\nlimit = \"5 USD\"\n{day}"), vec![(7, Kind::MissingKey)]),
        (format!("applies_to = \"team/x\"\nlimit = \"5 USD\"\n{day}"), vec![(8, Kind::BadValue)]),
        ("applies_to = \"*\"\nlimit = \"5 USD\"".to_owned(), vec![(7, Kind::MissingKey)]),
        ("applies_to = \"*\"\nlimit = \"5 USD\"\nwindow = \"1d\"".to_owned(), vec![(10, Kind::BadValue)]),
        ("applies_to = \"*\"\nlimit = \"5 USD\"\nwindow = { calendar = \"year\" }".to_owned(), vec![(10, Kind::BadValue)]),
        ("applies_to = \"*\"\nlimit = \"5 USD\"\nwindow = { rolling = \"0s\" }".to_owned(), vec![(10, Kind::BadValue)]),
        ("applies_to = \"*\"\nlimit = \"5 USD\"\nwindow = { rolling = \"1h\", calendar = \"day\" }".to_owned(), vec![(10, Kind::BadValue)]),
        ("applies_to = \"*\"\nlimit = \"5 USD\"\nwindow = { rolling = \"1h\", zone = \"UTC\" }".to_owned(), vec![(10, Kind::BadValue)]),
        (format!("applies_to = \"*\"\nlimit = \"5 USD\"\nper = \"session\"\n{day}"), vec![(10, Kind::BadValue)]),
        ("applies_to = \"*\"\nlimit = \"5 USD\"\nper = \"agent\"\nwindow = { session = \"15m\" }".to_owned(), vec![(10, Kind::BadValue)]),
    ];
    for (lines, expected) in cases {
        assert_eq!(kinds(&budget(&lines)), expected, "{lines}");
    }

    let role = |lines: &str| format!("{HEAD}\n[role.r]\nper_call_max = \"1 USD\"\n{lines}");
    let cases = [
        ("", vec![(7, Kind::MissingKey)]),
        ("allow = { networks = [\"sandbx\"] }", vec![(9, Kind::UnknownName)]),
        ("allow = { networks = [\"eip155:1\"] }", vec![(9, Kind::NoEvidence)]),
        ("allow = { assets = [\"USDT\"] }", vec![(9, Kind::UnknownName)]),
        ("allow = { schemes = [\"upfront\"] }", vec![(9, Kind::BadValue)]),
        (
            "allow = { models = [\"a*b\", \"\", 3] }",
            vec![(9, Kind::BadValue), (9, Kind::BadValue), (9, Kind::WrongType)],
        ),
        ("allow = { payees = [\"0x12\"] }", vec![(9, Kind::BadValue)]),
        ("allow = {}\nsession = { limit = \"1 USD\" }", vec![(10, Kind::MissingKey)]),
        ("allow = {}\nrates = { calls_per_minute = -1 }", vec![(10, Kind::WrongType)]),
    ];
    for (lines, expected) in cases {
        assert_eq!(kinds(&role(lines)), expected, "{lines}");
    }
}

#[test]
fn each_mistake_of_a_provider_is_reported_at_its_line() {
    let provider = |lines: &str| {
        format!(
            "{HEAD}\n[provider.p]\nengine = \"e\"\ncapability = \"c\"\nmodel = \"m\"\n\
             network = \"sandbox\"\n{lines}"
        )
    };
    let price = "price = { call = \"0.001 USD\" }";
    let cases = [
        (format!("{price}\npay_to = \"wallet/main\""), vec![]),
        (format!("{price}\npay_to = \"wallet/mian\""), vec![(13, Kind::UnknownName)]),
        (
            format!("{price}\npay_to = \"0x70997970C51812dc3A010C7d01b50e0d17dc79C8\""),
            vec![(13, Kind::MissingKey)],
        ),
        ("pay_to = \"wallet/main\"".to_owned(), vec![(7, Kind::MissingKey)]),
        (
            "pay_to = \"wallet/main\"\nprice = { call = \"0.0000001 USD\" }".to_owned(),
            vec![(13, Kind::BadValue)],
        ),
        (
            format!("{price}\npay_to = \"wallet/main\"\nfloor = {{ call = \"0.002 USD\" }}"),
            vec![(14, Kind::BadValue)],
        ),
        (
            format!("{price}\npay_to = \"wallet/main\"\nasset = \"USDX\""),
            vec![(14, Kind::UnknownName)],
        ),
        (
            format!("{price}\npay_to = \"wallet/main\"\nlisten = \"0.0.0.0:1\""),
            vec![(14, Kind::NotLoopback)],
        ),
        (format!("{price}\npay_to = \"wallet/main\"\nconcurrency = 0"), vec![(14, Kind::BadValue)]),
        (
            format!(
                "{price}\npay_to = \"wallet/main\"\nfree = {{ calls = 10 }}\n\
                 tiers = [{{ after = 10, call = \"0.0005 USD\" }}]"
            ),
            vec![(15, Kind::BadValue)],
        ),
        (
            format!(
                "{price}\npay_to = \"wallet/main\"\ntiers = [{{ after = 10, cal = \"1 USD\" }}]"
            ),
            vec![(14, Kind::MissingKey), (14, Kind::UnknownKey)],
        ),
        (
            format!("{price}\npay_to = \"wallet/main\"\nfree = {{ per_day = 10 }}"),
            vec![(14, Kind::MissingKey)],
        ),
        (
            format!(
                "{price}\npay_to = \"wallet/main\"\n\
                 serve_first = {{ per_payer = \"2 USD\", total = \"1 USD\" }}"
            ),
            vec![(14, Kind::BadValue)],
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(kinds(&provider(&lines)), expected, "{lines}");
    }
}

#[test]
fn a07_two_providers_that_are_paid_at_one_address_are_refused() {
    let provider = |name: &str, wallet: &str| {
        format!(
            "\n[provider.{name}]\nengine = \"e\"\ncapability = \"c\"\nmodel = \"m\"\n\
             network = \"sandbox\"\nprice = {{ call = \"0.001 USD\" }}\npay_to = \"wallet/{wallet}\""
        )
    };
    let (one, two) = (provider("one", "main"), provider("two", "main"));
    assert_eq!(kinds(&format!("{HEAD}{one}\n{two}")), [(21, Kind::BadValue)]);
    let two = provider("two", "till");
    let till = "\n[wallet.till]\nkey = \"keystore:till\"";
    assert_eq!(kinds(&format!("{HEAD}{till}\n{one}\n{two}")), []);
}

/// A section of every known network, by every chain, with and without leave to spend what is worth something.
#[test]
fn o02_a_mainnet_needs_leave_and_no_name_stands_for_another_chain() {
    let unknown = [Network::Eip155(999_999), Network::Eip155(10)];
    let chains: Vec<Network> =
        Known::ALL.map(|known| known.network).into_iter().chain(unknown).collect();
    for known in Known::ALL {
        for leave in ["", "allow_mainnet = false", "allow_mainnet = true"] {
            let base = format!(
                "{HEAD}\n[network.{}]\nkind = \"evm\"\nrpc = \"http://127.0.0.1:1\"\n{leave}\n",
                known.name
            );
            let is_allowed = !known.mainnet || leave.ends_with("true");
            let expected: &[(usize, Kind)] = if is_allowed { &[] } else { &[(7, Kind::Mainnet)] };
            assert_eq!(kinds(&base), expected, "{base}");
            for chain in &chains {
                let text = format!("{base}chain = \"{chain}\"\n");
                let other: &[(usize, Kind)] = &[(11, Kind::BadValue)];
                let expected = if *chain == known.network { expected } else { other };
                assert_eq!(kinds(&text), expected, "{text}");
            }
        }
    }
    for chain in chains {
        let worth = !matches!(Known::by_network(chain), Some(Known { mainnet: false, .. }));
        // By a name of its own a chain that nobody knows is a mainnet too.
        let named = format!(
            "{HEAD}\n[network.x]\nkind = \"evm\"\nrpc = \"http://127.0.0.1:1\"\nchain = \"{chain}\"\n"
        );
        let expected: &[(usize, Kind)] = if worth { &[(7, Kind::Mainnet)] } else { &[] };
        assert_eq!(kinds(&named), expected, "{named}");
        assert_eq!(kinds(&format!("{named}allow_mainnet = true\n")), [], "{named}");
        // No sandbox takes a mainnet's name, with leave or without.
        let sandbox = format!("{HEAD}\n[network.x]\nkind = \"sandbox\"\nchain = \"{chain}\"\n");
        let expected: &[(usize, Kind)] = if worth { &[(9, Kind::Mainnet)] } else { &[] };
        assert_eq!(kinds(&sandbox), expected, "{sandbox}");
    }
}
