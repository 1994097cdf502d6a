//! Budgets, roles and provider rates: the part of the file that the journal keeps.

use std::collections::BTreeMap;

use crate::domain::asset::{AssetRegistry, Network};
use crate::domain::id::{AgentId, GroupId, Name, ProviderId, RoleId};
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::order::Units;
use crate::domain::policy::{List, Lists, Pattern, PolicyDocument, Rates, Role, SessionRule};
use crate::edge::config::money::{Unit, read_span};
use crate::edge::config::network::{Networks, address};
use crate::edge::config::node::zone;
use crate::edge::config::problem::{Kind, nearest};
use crate::edge::config::reader::{Item, Section};

/// What the rest of the file said.
#[derive(Copy, Clone)]
pub(super) struct Facts<'f, 't> {
    pub money: Unit<'f>,
    pub timezone: &'f str,
    pub networks: &'f Networks<'t>,
    pub assets: &'f AssetRegistry,
}

pub(super) fn read_policy(root: &Section<'_>, facts: &Facts<'_, '_>) -> PolicyDocument {
    let sections = root.named("role");
    let role_names: Vec<Name> = sections.iter().map(|(name, _)| name.clone()).collect();
    let mut budgets = Vec::new();
    for (name, section) in root.named("budget") {
        budgets.extend(read_budget(&name, &section, facts, &role_names));
        section.end();
    }
    let mut roles = BTreeMap::new();
    for (name, section) in sections {
        let role = read_role(&name, &section, facts);
        section.end();
        let capped = budgets.iter().any(|def: &BudgetDef| match &def.selector {
            Selector::Fleet | Selector::Group(_) | Selector::Agent(_) => true,
            Selector::Role(id) => *id == RoleId::named(&name),
            Selector::Provider(_) | Selector::Model(_) => false,
        });
        if !capped {
            let what = format!("no budget applies to role {name}: each of its payments is refused");
            let right = format!("a [budget.NAME] section with applies_to = \"role/{name}\"");
            section.wrong::<()>(Kind::Risky, what, right);
        }
        roles.extend(role.map(|role| (name, role)));
    }
    let mut provider_rates = BTreeMap::new();
    for (name, section) in root.named("provider_rates") {
        provider_rates.insert(name, read_rates(&section, &facts.money));
    }
    PolicyDocument {
        currency: facts.money.currency.to_owned(),
        roles,
        budgets,
        provider_rates,
        assets: facts.assets.clone(),
    }
}

fn read_budget(
    name: &Name,
    section: &Section<'_>,
    facts: &Facts<'_, '_>,
    roles: &[Name],
) -> Option<BudgetDef> {
    if name.as_str().contains(':') {
        let what = format!("`{name}` could be taken for a budget that a role makes");
        section.wrong::<()>(Kind::BadValue, what, "a name without `:`");
    }
    let right = "applies_to = \"*\", or group/, role/, agent/, provider/ or model/ and a name";
    let applies_to = section.required("applies_to", right);
    let selector = applies_to.as_ref().and_then(|item| read_selector(item, roles));
    let many = applies_to
        .filter(Item::is_text)
        .and_then(|item| item.text())
        .is_some_and(|text| text.starts_with("role/") || text.starts_with("group/"));
    let window = section
        .required("window", "window = { calendar = \"day\" }, or \"lifetime\"")
        .and_then(|item| read_window(&item, facts.timezone));
    let per = read_per(section, many, window.as_ref());
    let limit = facts.money.required(section, "limit");
    Some(BudgetDef {
        name: name.clone(),
        selector: selector?,
        per: per?,
        limit: limit?,
        window: window?,
    })
}

fn read_selector(item: &Item<'_>, roles: &[Name]) -> Option<Selector> {
    let text = item.text()?;
    let right = "\"*\", or group/, role/, agent/, provider/ or model/ and a name";
    if text == "*" {
        return Some(Selector::Fleet);
    }
    let wrong = || item.wrong(Kind::BadValue, format!("`{text}` selects nothing"), right);
    let Some((kind, rest)) = text.split_once('/') else { return wrong() };
    if kind == "model" {
        return match rest.parse::<Pattern>() {
            Ok(pattern) => Some(Selector::Model(pattern.as_str().to_owned())),
            Err(error) => item.wrong(Kind::BadValue, error.to_string(), right),
        };
    }
    let Ok(name) = rest.parse::<Name>() else { return wrong() };
    match kind {
        "group" => Some(Selector::Group(GroupId::named(&name))),
        "agent" => Some(Selector::Agent(AgentId::named(&name))),
        "provider" => Some(Selector::Provider(ProviderId::named(&name))),
        "role" if roles.contains(&name) => Some(Selector::Role(RoleId::named(&name))),
        "role" => {
            let right = match nearest(rest, roles.iter().map(Name::as_str)) {
                Some(near) => format!("did you mean `role/{near}`?"),
                None => format!("a [role.{name}] section"),
            };
            item.wrong(Kind::UnknownName, format!("no role is called `{name}`"), right)
        }
        _ => wrong(),
    }
}

fn read_window(item: &Item<'_>, timezone: &str) -> Option<WindowSpec> {
    let right =
        "{ calendar = \"day\" }, { rolling = \"1h\" }, { session = \"15m\" } or \"lifetime\"";
    if item.is_text() {
        let text = item.text()?;
        let what = format!("`{text}` is no window");
        return if text == "lifetime" {
            Some(WindowSpec::Lifetime)
        } else {
            item.wrong(Kind::BadValue, what, right)
        };
    }
    let table = item.table()?;
    let (calendar, rolling) = (table.find("calendar"), table.find("rolling"));
    let (session, own_zone) = (table.find("session"), table.find("zone"));
    table.end();
    let window = match (calendar, rolling, session) {
        (Some(unit), None, None) => {
            let zone = own_zone.map_or_else(|| Some(timezone.to_owned()), |item| zone(&item))?;
            return read_unit(&unit).map(|unit| WindowSpec::Calendar { unit, zone });
        }
        (None, Some(span), None) => WindowSpec::Rolling { span: read_span(&span)? },
        (None, None, Some(span)) => WindowSpec::Session { span: read_span(&span)? },
        _ => return item.wrong(Kind::BadValue, "a window is of one kind".to_owned(), right),
    };
    if let Some(zone) = own_zone {
        let what = "only a calendar window has a zone".to_owned();
        return zone.wrong(Kind::BadValue, what, "leave `zone` out");
    }
    match window.check() {
        Ok(()) => Some(window),
        Err(error) => item.wrong(Kind::BadValue, error.to_string(), right),
    }
}

fn read_unit(item: &Item<'_>) -> Option<CalendarUnit> {
    match item.text()? {
        "hour" => Some(CalendarUnit::Hour),
        "day" => Some(CalendarUnit::Day),
        "week" => Some(CalendarUnit::Week),
        "month" => Some(CalendarUnit::Month),
        other => {
            let right = "\"hour\", \"day\", \"week\" or \"month\"";
            item.wrong(Kind::BadValue, format!("`{other}` is no unit of a calendar"), right)
        }
    }
}

/// One pool or one for each: where both can be meant, the file has to say.
fn read_per(section: &Section<'_>, many: bool, window: Option<&WindowSpec>) -> Option<Per> {
    let right = "per = \"all\" (one pool), \"group\", \"role\", \"agent\" or \"session\"";
    let item = section.find("per");
    let in_session = matches!(window, Some(WindowSpec::Session { .. }));
    let Some(item) = item else {
        let what = "one pool for all, or one for each agent? `per` is missing".to_owned();
        return match (in_session, many) {
            (true, _) => Some(Per::Session),
            (false, true) => section.wrong(Kind::MissingKey, what, right),
            (false, false) => Some(Per::All),
        };
    };
    let per = match item.text()? {
        "all" => Per::All,
        "group" => Per::Group,
        "role" => Per::Role,
        "agent" => Per::Agent,
        "session" => Per::Session,
        other => return item.wrong(Kind::BadValue, format!("per what is `{other}`?"), right),
    };
    if window.is_some() && (per == Per::Session) != in_session {
        let what = "per = \"session\" and a session window go together".to_owned();
        return item.wrong(Kind::BadValue, what, "window = { session = \"15m\" }");
    }
    Some(per)
}

fn read_role(name: &Name, section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<Role> {
    let money = &facts.money;
    let description = section.find("description").map(|item| item.text());
    let allow = section.section("allow");
    if !allow.is_there() {
        let what = format!("role {name} allows nothing: it has no `allow`");
        let right = "allow = { capabilities = […], models = […], providers = […], payees = […], \
                     networks = […], assets = […], schemes = [\"exact\"] }";
        section.wrong::<()>(Kind::MissingKey, what, right);
    }
    let deny = section.section("deny");
    let (allowed, denied) = (read_lists(&allow, facts), read_lists(&deny, facts));
    let allow_any = section.find("allow_any").and_then(|item| item.flag()).unwrap_or(false);
    let open: Vec<_> = allowed.as_ref().map_or_else(Vec::new, wide_open);
    if !allow_any && !open.is_empty() {
        let what = format!("role {name} allows any of its {}", open.join(", "));
        allow.wrong::<()>(Kind::Risky, what, "names, or allow_any = true where any is meant");
    }
    if let Some(allowed) = allowed.as_ref().filter(|_| allow.is_there()) {
        for list in List::ALL.into_iter().filter(|list| list.of(allowed).is_empty()) {
            let what = format!("role {name} allows none of its {list}: each payment is refused");
            allow.wrong::<()>(Kind::Risky, what, format!("{list} = [\"…\"]"));
        }
    }
    let per_call_max = money.required(section, "per_call_max");
    let rates = read_rates(&section.section("rates"), money);
    let role_rates = read_rates(&section.section("role_rates"), money);
    let session = read_session(&section.section("session"), money);
    let output_max = section.find("output_max").map(|item| item.integer().map(Units));
    let can_delegate = section.find("can_delegate").map(|item| item.flag());
    Some(Role {
        name: name.clone(),
        description: description.unwrap_or(Some(""))?.to_owned(),
        allow: allowed?,
        deny: denied?,
        per_call_max: per_call_max?,
        rates,
        role_rates,
        session,
        output_max: output_max.map_or(Some(None), |units| units.map(Some))?,
        can_delegate: can_delegate.unwrap_or(Some(false))?,
    })
}

fn wide_open(lists: &Lists) -> Vec<&'static str> {
    let any = |list: &List| list.of(lists).iter().any(Pattern::is_any);
    List::ALL.into_iter().filter(any).map(List::as_str).collect()
}

fn read_session(section: &Section<'_>, money: &Unit<'_>) -> Option<SessionRule> {
    let limit = money.required(section, "limit");
    let span = section.required("span", "span = \"15m\"");
    let span = span.and_then(|item| {
        let span = read_span(&item)?;
        match (WindowSpec::Session { span }).check() {
            Ok(()) => Some(span),
            Err(error) => item.wrong(Kind::BadValue, error.to_string(), "\"15m\""),
        }
    });
    section.end();
    Some(SessionRule { limit: limit?, span: span? })
}

/// A rate that is written is read or reported: a bound that nobody reads would not bite.
pub(super) fn read_rates(section: &Section<'_>, money: &Unit<'_>) -> Rates {
    let rates = Rates {
        calls_per_minute: section.find("calls_per_minute").and_then(|item| item.count()),
        concurrency: section.find("concurrency").and_then(|item| item.count()),
        nano_per_minute: money.find(section, "spend_per_minute"),
    };
    section.end();
    rates
}

/// Those of somebody who is paid: what a payer spends in a minute is its own node's to bound, and is no key
/// here.
pub(super) fn read_call_rates(section: &Section<'_>) -> Rates {
    let rates = Rates {
        calls_per_minute: section.find("calls_per_minute").and_then(|item| item.count()),
        concurrency: section.find("concurrency").and_then(|item| item.count()),
        nano_per_minute: None,
    };
    section.end();
    rates
}

fn read_lists(section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<Lists> {
    let read = |list: List| -> Option<Vec<Pattern>> {
        let Some(item) = section.find(list.as_str()) else { return Some(Vec::new()) };
        let mut patterns = Vec::new();
        let mut whole = true;
        for element in item.list()? {
            match read_patterns(list, &element, facts) {
                Some(found) => patterns.extend(found),
                None => whole = false,
            }
        }
        whole.then_some(patterns)
    };
    let [capabilities, models, providers, payees, networks, assets, schemes] = List::ALL.map(read);
    section.end();
    Some(Lists {
        capabilities: capabilities?,
        models: models?,
        providers: providers?,
        payees: payees?,
        networks: networks?,
        assets: assets?,
        schemes: schemes?,
    })
}

/// The patterns that one element stands for: the names of networks and assets become CAIP names.
fn read_patterns(list: List, item: &Item<'_>, facts: &Facts<'_, '_>) -> Option<Vec<Pattern>> {
    let pattern: Pattern = item.parsed("a name, a start and one `*`, or `*`")?;
    let text = pattern.as_str();
    let exact = !text.ends_with('*');
    match list {
        List::Capabilities | List::Models | List::Providers => {
            if exact && let Err(error) = text.parse::<Name>() {
                return item.wrong(Kind::BadValue, error.to_string(), "a name, or a pattern");
            }
        }
        List::Payees if exact => {
            if let Err(what) = address(text) {
                return item.wrong(Kind::BadValue, what, "0x and 40 digits, or `*`");
            }
        }
        List::Networks if exact && text.contains(':') => {
            let network: Network =
                item.parsed("a network's name, or \"eip155:\" and a chain id")?;
            if !facts.networks.has(network) {
                let what = format!("nothing watches {network}: a payer would have no evidence");
                return item.wrong(Kind::NoEvidence, what, "a [network.NAME] section for it");
            }
        }
        List::Networks if exact => {
            let network = facts.networks.named(item)?;
            return Some(network.map(|network| caip(&network)).into_iter().collect());
        }
        List::Assets if exact && !text.contains('/') => return read_symbol(item, text, facts),
        List::Schemes if !["exact", "upto", "batch-settlement", "*"].contains(&text) => {
            let what = format!("`{text}` is no scheme that can be paid by");
            return item.wrong(Kind::BadValue, what, "\"exact\", \"upto\" or \"batch-settlement\"");
        }
        List::Payees | List::Networks | List::Assets | List::Schemes => {}
    }
    Some(vec![pattern])
}

fn read_symbol(item: &Item<'_>, symbol: &str, facts: &Facts<'_, '_>) -> Option<Vec<Pattern>> {
    let found: Vec<_> = facts
        .assets
        .iter()
        .filter(|info| info.symbol == symbol)
        .map(|info| caip(&info.asset))
        .collect();
    if !found.is_empty() {
        return Some(found);
    }
    let known = facts.assets.iter().map(|info| info.symbol.as_str());
    let right = match nearest(symbol, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("an [asset.{symbol}] section"),
    };
    item.wrong(Kind::UnknownName, format!("no asset is called `{symbol}`"), right)
}

fn caip(name: &impl ToString) -> Pattern {
    name.to_string().parse().expect("a CAIP name is short, visible and has no star")
}
