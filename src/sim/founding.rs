//! What every ledger of the world begins with: a policy, a wallet with its money, and agents.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::Address;

use crate::domain::id::{AgentId, GroupId, ProviderId, WalletId};
use crate::domain::ledger::Command;
use crate::domain::ledger::agent::{Agent, Principal, TokenHash};
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::money::{Amount, Nano};
use crate::domain::policy::{Lists, PolicyDocument, Rates, Role, SessionRule};
use crate::ports::signer::SeededSigner;
use crate::sim::fate::Fault;
use crate::sim::plan::Plan;
use crate::sim::roles::{PRICE, USDC, assets, name};

/// What the wallet has at first, where it has plenty.
const PLENTY: u64 = 1_000_000;

/// How long a session lasts.
const SESSION: Duration = Duration::from_secs(240);

/// The agents that are there from the first, with their roles and groups.
pub const AGENTS: [(&str, &str, &str); 3] =
    [("ann", "scout", "red"), ("bob", "scout", "red"), ("cid", "clerk", "blue")];

/// What the wallet has at first.
pub fn funds(plan: &Plan) -> Amount {
    let funds = if plan.funds == 0 { PLENTY } else { plan.funds };
    Amount::new(u128::from(funds))
}

/// Where the payers' wallet is.
pub fn wallet_address(seed: u64) -> Address {
    SeededSigner::address_of(seed, WalletId::named(&name("main")))
}

/// The policy that is in force at first, and again at the end.
pub fn policy(plan: &Plan) -> PolicyDocument {
    let budget = |label: &str, selector, per, calls: u64, window| BudgetDef {
        name: name(label),
        selector,
        per,
        limit: Nano::new(PRICE.saturating_mul(calls.max(1))),
        window,
    };
    let minute = WindowSpec::Rolling { span: Duration::from_secs(60) };
    let most = plan.calls_max;
    let mut budgets = vec![
        budget("pool", Selector::Fleet, Per::All, most, WindowSpec::Lifetime),
        budget("minute", Selector::Fleet, Per::Agent, most, minute.clone()),
    ];
    if plan.is_tight {
        let hour = WindowSpec::Calendar { unit: CalendarUnit::Hour, zone: "UTC".to_owned() };
        let (red, ann) = (GroupId::named(&name("red")), AgentId::named(&name("ann")));
        let echoer = ProviderId::named(&name("echoer"));
        let most = most.saturating_sub(1);
        budgets.extend([
            budget("red", Selector::Group(red), Per::Group, most, hour),
            budget("ann", Selector::Agent(ann), Per::All, most.div_ceil(2), WindowSpec::Lifetime),
            budget("echoer", Selector::Provider(echoer), Per::All, most.div_ceil(2), minute),
        ]);
    }
    let roles = [role("scout", plan), role("clerk", plan)];
    PolicyDocument {
        currency: "USD".to_owned(),
        roles: roles.into_iter().map(|role| (role.name.clone(), role)).collect(),
        budgets,
        provider_rates: BTreeMap::new(),
        assets: assets(),
    }
}

fn role(label: &str, plan: &Plan) -> Role {
    let any = || vec!["*".parse().expect("a literal pattern")];
    let allow = Lists {
        capabilities: any(),
        models: any(),
        providers: any(),
        payees: any(),
        networks: any(),
        assets: any(),
        schemes: any(),
    };
    let limit = Nano::new(PRICE.saturating_mul(plan.calls_max.div_ceil(3).max(1)));
    let session = SessionRule { limit, span: SESSION };
    Role {
        name: name(label),
        description: String::new(),
        allow,
        deny: Lists::default(),
        per_call_max: Nano::new(PRICE),
        rates: Rates::default(),
        role_rates: Rates::default(),
        session: plan.knows(Fault::InSession).then_some(session),
        output_max: None,
        can_delegate: plan.knows(Fault::Delegated),
    }
}

/// What founds a ledger; refused where an earlier start did it already.
pub fn commands(plan: &Plan) -> Vec<Command> {
    let policy = policy(plan);
    let (budgets, document) = (policy.all_budgets(), policy.to_json());
    let (reason, by) = ("founding".to_owned(), Principal::Operator);
    let wallet = name("main");
    let mut all = vec![
        Command::ApplyPolicy { budgets, document, reason, by },
        Command::OpenWallet { wallet: wallet.clone(), address: wallet_address(plan.seed) },
        Command::SeeFunds {
            wallet: wallet.clone(),
            asset: USDC,
            entered: funds(plan),
            left: Amount::ZERO,
            after: None,
            up_to: 1,
        },
    ];
    for (at, (label, role, group)) in (1_u8..).zip(AGENTS) {
        let (role, group, token) = (name(role), name(group), TokenHash([at; 32]));
        let (name, wallet) = (name(label), wallet.clone());
        let agent = Agent { name, role, group, wallet, token, delegation: None };
        all.push(Command::AddAgent { agent, by: Principal::Operator });
    }
    all
}
