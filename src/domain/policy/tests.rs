//! What a role allows, and each denial by its name.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use alloy::primitives::{Address, address};
use proptest::prelude::*;

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::commitment::Scheme;
use crate::domain::fault::Fault;
use crate::domain::id::{Name, RoleId};
use crate::domain::ledger::budget::{Per, Selector};
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::{Amount, Nano, Rate};
use crate::domain::order::{Order, Units};
use crate::domain::policy::*;

const PAYEE: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
const TOKEN: Address = address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
const USDC: Asset = Asset { network: Network::SANDBOX, contract: TOKEN };

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn role() -> Role {
    let any = || patterns(&["*"]);
    Role {
        name: name("scout"),
        description: String::new(),
        allow: Lists {
            capabilities: patterns(&["text.*"]),
            models: patterns(&["bursar-*"]),
            providers: any(),
            payees: any(),
            networks: patterns(&["eip155:31337"]),
            assets: any(),
            schemes: patterns(&["exact"]),
        },
        deny: Lists::default(),
        per_call_max: Nano::new(50_000_000),
        rates: Rates::default(),
        role_rates: Rates::default(),
        session: None,
        output_max: Some(Units(100)),
        can_delegate: false,
    }
}

fn order() -> Order {
    Order {
        capability: name("text.generate"),
        model: None,
        input_max: Units(10),
        output_max: Units(100),
        maxima: Default::default(),
    }
}

fn code_of(role: &Role, change: impl FnOnce(&mut Order, &mut Nano, &mut Name)) -> &'static str {
    let (mut order, mut nano, mut model) = (order(), Nano::new(50_000_000), name("bursar-lm"));
    change(&mut order, &mut nano, &mut model);
    let offer = Offer {
        order: &order,
        provider: &name("scribe"),
        model: &model,
        pay_to: PAYEE,
        asset: USDC,
        scheme: Scheme::Exact,
        amount: Amount::new(50_000),
        nano,
    };
    decide(role, &offer).map_or_else(|denied| denied.code(), |_| "allowed")
}

#[test]
fn at_every_bound_a_call_passes_and_one_above_it_does_not() {
    let role = role();
    assert_eq!(code_of(&role, |_, _, _| {}), "allowed");
    assert_eq!(code_of(&role, |_, nano, _| *nano = Nano::new(50_000_001)), "policy.above_per_call");
    let longer = |order: &mut Order, _: &mut Nano, _: &mut Name| order.output_max = Units(101);
    assert_eq!(code_of(&role, longer), "policy.above_output");
    let other = |_: &mut Order, _: &mut Nano, model: &mut Name| *model = name("gpt-9");
    assert_eq!(code_of(&role, other), "policy.model_not_allowed");
}

#[test]
fn an_empty_allow_list_denies_whatever_it_is_for() {
    let codes = [
        (List::Capabilities, "policy.capability_not_allowed"),
        (List::Models, "policy.model_not_allowed"),
        (List::Providers, "policy.provider_not_allowed"),
        (List::Payees, "policy.payee_not_allowed"),
        (List::Networks, "policy.network_not_allowed"),
        (List::Assets, "policy.asset_not_allowed"),
        (List::Schemes, "policy.scheme_not_allowed"),
    ];
    for (list, code) in codes {
        let mut role = role();
        list_mut(&mut role.allow, list).clear();
        assert_eq!(code_of(&role, |_, _, _| {}), code);
    }
}

#[test]
fn deny_beats_allow_in_every_list() {
    let cases = [
        (List::Capabilities, "text.gen*", "policy.capability_denied"),
        (List::Models, "bursar-lm", "policy.model_denied"),
        (List::Providers, "s*", "policy.provider_denied"),
        // Written in lower case, though the address has capitals for its checksum.
        (List::Payees, "0x70997970c51812dc3a010c7d01b50e0d17dc79c8", "policy.payee_denied"),
        (List::Networks, "*", "policy.network_denied"),
        (List::Assets, "eip155:31337/erc20:0x833589FCD6*", "policy.asset_denied"),
        (List::Schemes, "exact", "policy.scheme_denied"),
    ];
    for (list, pattern, code) in cases {
        let mut role = role();
        *list_mut(&mut role.deny, list) = patterns(&["nothing-like-it", pattern]);
        assert_eq!(code_of(&role, |_, _, _| {}), code);
    }
}

#[test]
fn a_denial_shows_every_rule_and_names_the_first_that_failed() {
    let mut role = role();
    role.deny.providers = patterns(&["evil"]);
    role.allow.payees.clear();
    let order = order();
    let (provider, model) = (name("scribe"), name("bursar-lm"));
    let offer = Offer {
        order: &order,
        provider: &provider,
        model: &model,
        pay_to: PAYEE,
        asset: USDC,
        scheme: Scheme::Exact,
        amount: Amount::new(60_000),
        nano: Nano::new(60_000_000),
    };
    let denied = decide(&role, &offer).unwrap_err();
    assert_eq!(denied.code(), "policy.payee_not_allowed");
    let seen: Vec<_> =
        denied.rules.iter().map(|check| (check.rule.as_str(), check.passed)).collect();
    assert_eq!(
        seen,
        [
            ("allow.capabilities", true),
            ("allow.models", true),
            ("deny.providers", true),
            ("allow.providers", true),
            ("allow.payees", false),
            ("allow.networks", true),
            ("allow.assets", true),
            ("allow.schemes", true),
            ("per_call_max", false),
            ("output_max", true),
        ]
    );
    assert_eq!(denied.rules[4].says, "nothing");
    assert_eq!(denied.rules[8].found, "0.06");
}

/// Before there is an offer: only what was found is held against its own list.
#[test]
fn what_was_found_passes_the_lists_it_is_for_or_is_refused_by_the_first_that_it_does_not() {
    let mut role = role();
    role.deny.providers = patterns(&["evil*"]);
    let good = (name("text.generate"), name("bursar-lm"), name("scribe"));
    let odd = (name("embed"), name("gpt-9"), name("evil-1"));
    let (capability, model, provider) = (List::Capabilities, List::Models, List::Providers);
    for (found, code) in [
        (vec![], "allowed"),
        (vec![(capability, &good.0), (model, &good.1), (provider, &good.2)], "allowed"),
        (vec![(capability, &odd.0), (model, &good.1)], "policy.capability_not_allowed"),
        (vec![(capability, &good.0), (model, &odd.1)], "policy.model_not_allowed"),
        (vec![(provider, &odd.2)], "policy.provider_denied"),
        (vec![(model, &odd.1), (provider, &odd.2)], "policy.model_not_allowed"),
    ] {
        let checked = role.check_lists(&found);
        assert_eq!(checked.map_or_else(|denial| denial.code(), |()| "allowed"), code, "{found:?}");
    }
}

#[test]
fn only_a_role_that_may_delegate_delegates() {
    let mut role = role();
    assert_eq!(role.check_delegation().unwrap_err().code(), "policy.no_delegation");
    role.can_delegate = true;
    assert_eq!(role.check_delegation(), Ok(()));
}

#[test]
fn patterns_are_exact_or_end_in_one_star() {
    for (text, error) in [
        ("", PatternError::Empty),
        ("a*b", PatternError::StarInside),
        ("*a", PatternError::StarInside),
        ("**", PatternError::StarInside),
        ("a b", PatternError::NotVisible),
        ("ä", PatternError::NotVisible),
    ] {
        assert_eq!(text.parse::<Pattern>(), Err(error), "{text}");
    }
    assert_eq!("x".repeat(PATTERN_LEN_MAX + 1).parse::<Pattern>(), Err(PatternError::TooLong));
    let longest = "x".repeat(PATTERN_LEN_MAX);
    assert!(longest.parse::<Pattern>().unwrap().matches(&longest));
    for (pattern, text, matches) in [
        ("*", "anything", true),
        ("llama*", "llama", true),
        ("llama*", "llama-70b", true),
        ("llama*", "lama", false),
        ("llama", "llama-70b", false),
        ("llama", "Llama", false),
    ] {
        let pattern: Pattern = pattern.parse().unwrap();
        assert_eq!(pattern.matches(text), matches, "{pattern} {text}");
    }
}

/// A policy's check warns of lists that allow everything.
#[test]
fn only_a_star_alone_matches_everything_and_a_pattern_reads_as_it_is_shown() {
    for (text, is_any) in [("*", true), ("a*", false), ("a", false), ("eip155:*", false)] {
        let pattern: Pattern = text.parse().unwrap();
        assert_eq!(pattern.is_any(), is_any, "{text}");
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }
}

#[test]
fn session_and_minute_rules_become_budgets() {
    let mut role = role();
    assert_eq!(role.budgets(), []);
    role.session = Some(SessionRule { limit: Nano::new(5), span: Duration::from_secs(900) });
    role.rates.nano_per_minute = Some(Nano::new(6));
    role.role_rates.nano_per_minute = Some(Nano::new(7));
    let budgets = role.budgets();
    let names: Vec<_> = budgets.iter().map(|def| def.name.as_str()).collect();
    assert_eq!(names, ["role:scout:session", "role:scout:agent-minute", "role:scout:minute"]);
    assert!(budgets.iter().all(|def| def.selector == Selector::Role(RoleId::named(&role.name))));
    let pers: Vec<_> = budgets.iter().map(|def| (def.per, def.limit.get())).collect();
    assert_eq!(pers, [(Per::Session, 5), (Per::Agent, 6), (Per::Role, 7)]);
    assert_eq!(budgets[0].window, WindowSpec::Session { span: Duration::from_secs(900) });
    assert_eq!(budgets[1].window, WindowSpec::Rolling { span: Duration::from_secs(60) });

    role.name = name(&"r".repeat(64));
    let longest = role.budgets();
    assert_eq!(longest[1].name.as_str(), format!("role:{}:agent-minute", role.id()));
}

#[test]
fn a_document_survives_the_journal_byte_for_byte() {
    let mut document = PolicyDocument { currency: "USD".to_owned(), ..Default::default() };
    for text in ["zeta", "alpha"] {
        document.roles.insert(name(text), Role { name: name(text), ..role() });
    }
    let rates = Rates { nano_per_minute: Some(Nano::ONE), ..Rates::default() };
    document.provider_rates.insert(name("scribe"), rates);
    document.assets = AssetRegistry::new([AssetInfo {
        asset: USDC,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000, per: 1 },
    }]);
    let text = document.to_json();
    let again = PolicyDocument::from_json(&text).unwrap();
    assert_eq!(again, document);
    assert_eq!(again.to_json(), text);
    assert!(text.find("alpha").unwrap() < text.find("zeta").unwrap());
    assert_eq!(document.all_budgets()[0].name.as_str(), "provider:scribe:minute");
    assert_eq!(document.find_role_name(RoleId::named(&name("zeta"))), Some(&name("zeta")));
    let of = |text: &str| document.find_role(&name(text)).map(|role| role.name.to_string());
    assert_eq!((of("zeta"), of("scout")), (Some("zeta".to_owned()), None));
    let unknown = PolicyDocument::from_json("{\"roles\":{},\"more\":1}").unwrap_err();
    assert_eq!(unknown.code(), "policy.unreadable");
}

fn list_mut(lists: &mut Lists, list: List) -> &mut Vec<Pattern> {
    match list {
        List::Capabilities => &mut lists.capabilities,
        List::Models => &mut lists.models,
        List::Providers => &mut lists.providers,
        List::Payees => &mut lists.payees,
        List::Networks => &mut lists.networks,
        List::Assets => &mut lists.assets,
        List::Schemes => &mut lists.schemes,
    }
}

/// A second opinion, written from the words of the rule and not from the code: character by character,
/// one list after the other, no early way out.
fn oracle_allows(role: &Role, facts: &[(List, String)], nano: u64, output: u64) -> bool {
    let hit = |patterns: &[Pattern], text: &str, any_case: bool| {
        let fold = |c: char| if any_case { c.to_ascii_lowercase() } else { c };
        patterns.iter().any(|pattern| {
            let wanted: Vec<char> = pattern.as_str().chars().map(fold).collect();
            let given: Vec<char> = text.chars().map(fold).collect();
            if wanted.last() == Some(&'*') {
                let start = wanted.len() - 1;
                given.len() >= start && (0..start).all(|at| wanted[at] == given[at])
            } else {
                wanted == given
            }
        })
    };
    let listed = facts.iter().filter(|(list, text)| {
        let any_case = matches!(list, List::Payees | List::Assets);
        hit(list.of(&role.allow), text, any_case) && !hit(list.of(&role.deny), text, any_case)
    });
    listed.count() == List::ALL.len()
        && nano <= role.per_call_max.get()
        && role.output_max.is_none_or(|most| output <= most.0)
}

fn some_patterns() -> impl Strategy<Value = Vec<Pattern>> {
    let words = prop_oneof![
        4 => Just("*".to_owned()),
        3 => "[ab]{1,2}\\*?",
        1 => Just("eip155:*".to_owned()),
        1 => Just("eip155:31337".to_owned()),
        1 => Just("EIP155:31337/erc20:0x8335*".to_owned()),
        1 => Just("exact".to_owned()),
        1 => Just(PAYEE.to_string()),
        1 => Just(format!("{PAYEE:#x}")),
        1 => Just("0x7099*".to_owned()),
    ];
    proptest::collection::vec(words.prop_map(|text| text.parse().unwrap()), 0..3)
}

fn some_lists() -> impl Strategy<Value = Lists> {
    let mostly_any = prop_oneof![3 => Just(patterns(&["*"])), 1 => some_patterns()];
    proptest::collection::vec(mostly_any, 7).prop_map(lists_of)
}

fn lists_of(found: Vec<Vec<Pattern>>) -> Lists {
    let mut lists = Lists::default();
    for (list, patterns) in List::ALL.into_iter().zip(found) {
        *list_mut(&mut lists, list) = patterns;
    }
    lists
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// FZ3: never allow what a naive oracle denies; nor the other way round.
    #[test]
    fn fz3_policy_decides_as_a_naive_oracle_does(
        allow in some_lists(),
        deny in prop_oneof![
            2 => Just(Lists::default()),
            1 => proptest::collection::vec(some_patterns(), 7).prop_map(lists_of),
        ],
        words in proptest::collection::vec("[ab]{1,3}", 3),
        numbers in (0_u64..4, 0_u64..4, 0_u64..4, proptest::option::of(0_u64..4)),
    ) {
        let (nano, per_call_max, output, output_max) = numbers;
        let role = Role {
            allow,
            deny,
            per_call_max: Nano::new(per_call_max),
            output_max: output_max.map(Units),
            ..role()
        };
        let (capability, model, provider) = (name(&words[0]), name(&words[1]), name(&words[2]));
        let order = Order {
            capability: capability.clone(),
            model: None,
            input_max: Units(1),
            output_max: Units(output),
            maxima: Default::default(),
        };
        let offer = Offer {
            order: &order,
            provider: &provider,
            model: &model,
            pay_to: PAYEE,
            asset: USDC,
            scheme: Scheme::Exact,
            amount: Amount::new(1),
            nano: Nano::new(nano),
        };
        let facts = [
            (List::Capabilities, capability.to_string()),
            (List::Models, model.to_string()),
            (List::Providers, provider.to_string()),
            (List::Payees, PAYEE.to_string()),
            (List::Networks, "eip155:31337".to_owned()),
            (List::Assets, format!("eip155:31337/erc20:{TOKEN}")),
            (List::Schemes, "exact".to_owned()),
        ];
        let decided = decide(&role, &offer);
        prop_assert_eq!(decided.is_ok(), oracle_allows(&role, &facts, nano, output));
        let rules = decided.clone().unwrap_or_else(|denied| denied.rules);
        prop_assert_eq!(decided.is_ok(), rules.iter().all(|check| check.passed));
    }
}
