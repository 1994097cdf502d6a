//! Accounts, payments and decisions as they are shown.

use crate::domain::id::{AgentId, DelegationId, GroupId, PaymentId, RoleId, SessionId};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::budget::{AccountKey, BudgetCheck, Per};
use crate::domain::ledger::hold::{Held, Hold, HoldState};
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::policy::RuleCheck;
use crate::domain::time::Timestamp;
use crate::edge::grpc::convert::time_to_pb;
use crate::edge::grpc::pb;
use crate::ports::archive::Decision;
use crate::ports::history::{PastPayment, PaymentState};
use crate::runtime::payer::{Outcome, Placed};

/// An account as it is shown.
pub(super) fn account(ledger: &Ledger, check: &BudgetCheck) -> pb::BudgetAccount {
    let def = ledger.caps().find(check.account.budget);
    pb::BudgetAccount {
        budget: check.budget.to_string(),
        subject: subject(ledger, check.account),
        limit_nano: check.limit.get().to_string(),
        spent_nano: check.spent.get().to_string(),
        held_nano: check.held.get().to_string(),
        left_nano: check.left().get().to_string(),
        window: def.map_or_else(|| "lifetime".to_owned(), |def| window(&def.window)),
        resets_at: check.resets_at.map(time_to_pb),
    }
}

fn subject(ledger: &Ledger, account: AccountKey) -> String {
    let agent = |id: AgentId| match ledger.find_agent(id) {
        Some(agent) => format!("agent/{}", agent.name),
        None => id.to_string(),
    };
    if account.budget == AccountKey::DELEGATION {
        let id = DelegationId::from_bytes(account.subject);
        let child = ledger.find_delegation(id).map(|terms| agent(terms.child));
        return child.unwrap_or_else(|| id.to_string());
    }
    match ledger.caps().find(account.budget).map(|def| def.per) {
        Some(Per::All) | None => String::new(),
        Some(Per::Group) => GroupId::from_bytes(account.subject).to_string(),
        Some(Per::Role) => RoleId::from_bytes(account.subject).to_string(),
        Some(Per::Agent) => agent(AgentId::from_bytes(account.subject)),
        Some(Per::Session) => SessionId::from_bytes(account.subject).to_string(),
    }
}

fn window(spec: &WindowSpec) -> String {
    match spec {
        WindowSpec::Calendar { unit, zone } => {
            let unit = match unit {
                CalendarUnit::Hour => "hour",
                CalendarUnit::Day => "day",
                CalendarUnit::Week => "week",
                CalendarUnit::Month => "month",
            };
            format!("calendar {unit} {zone}")
        }
        WindowSpec::Rolling { span } => format!("rolling {}s", span.as_secs()),
        WindowSpec::Session { span } => format!("session {}s", span.as_secs()),
        WindowSpec::Lifetime => "lifetime".to_owned(),
    }
}

/// A rule that was looked at.
pub(super) fn rule(check: &RuleCheck) -> pb::RuleCheck {
    pb::RuleCheck {
        rule: check.rule.clone(),
        says: check.says.clone(),
        found: check.found.clone(),
        passed: check.passed,
    }
}

/// What an account said to a payment.
pub(super) fn budget(ledger: &Ledger, check: &BudgetCheck) -> pb::BudgetCheck {
    pb::BudgetCheck {
        account: Some(account(ledger, check)),
        asked_nano: check.asked.get().to_string(),
        fits: check.fits(),
    }
}

/// Why a payment was allowed or refused.
pub(super) fn decision(ledger: &Ledger, decision: &Decision) -> pb::Decision {
    pb::Decision {
        payment_id: decision.payment.to_string(),
        agent_id: decision.agent.to_string(),
        request_id: decision.request.to_string(),
        at: Some(time_to_pb(decision.at)),
        policy_version: decision.policy_version,
        refused: decision.refused.clone(),
        reason: decision.reason.clone(),
        rules: decision.rules.iter().map(rule).collect(),
        budgets: decision.budgets.iter().map(|check| budget(ledger, check)).collect(),
    }
}

/// An open payment, as the ledger has it now.
pub(super) fn open_payment(ledger: &Ledger, payment: PaymentId) -> Option<pb::Payment> {
    let Hold { held, placed_at, state } = ledger.find_hold(payment)?;
    let shown = held_payment(ledger, held, *placed_at);
    Some(match state {
        HoldState::Signable => shown,
        HoldState::Unknown => pb::Payment { state: pb::PaymentState::Unknown.into(), ..shown },
        HoldState::Captured { amount, nano, transaction } => pb::Payment {
            transaction: Some(transaction.to_string()),
            ..captured(shown, *amount, *nano)
        },
    })
}

/// A call that a channel pays, by what it came to: the channel's next record tells the ledger.
pub(super) fn drawn_payment(
    ledger: &Ledger,
    drawn: &Placed,
    outcome: Outcome,
    (charged, nano): (Money, Nano),
) -> pb::Payment {
    let shown = held_payment(ledger, &drawn.held, drawn.at);
    match outcome {
        Outcome::Captured => captured(shown, charged.amount, nano),
        Outcome::Unknown => pb::Payment { state: pb::PaymentState::Unknown.into(), ..shown },
    }
}

fn captured(shown: pb::Payment, amount: Amount, nano: Nano) -> pb::Payment {
    pb::Payment {
        state: pb::PaymentState::Captured.into(),
        captured_amount: Some(amount.to_string()),
        captured_nano: Some(nano.get().to_string()),
        ..shown
    }
}

/// A payment of which nothing is known but its hold.
fn held_payment(ledger: &Ledger, held: &Held, placed_at: Timestamp) -> pb::Payment {
    let agent = ledger.find_agent(held.agent);
    pb::Payment {
        payment_id: held.payment.to_string(),
        state: pb::PaymentState::Held.into(),
        agent: agent.map_or_else(|| held.agent.to_string(), |agent| agent.name.to_string()),
        request_id: held.request.to_string(),
        attempt: held.attempt,
        provider: held.provider.to_string(),
        capability: held.capability.to_string(),
        model: held.model.to_string(),
        session: held.session.as_ref().map(ToString::to_string),
        asset: held.commitment.asset.to_string(),
        authorized_amount: held.commitment.amount_max.to_string(),
        held_nano: held.nano.get().to_string(),
        held_at: Some(time_to_pb(placed_at)),
        ..pb::Payment::default()
    }
}

/// A payment that the journal's events tell of.
pub(super) fn past_payment(past: &PastPayment) -> pb::Payment {
    pb::Payment {
        payment_id: past.payment.to_string(),
        state: state_to_pb(past.state).into(),
        agent: past.agent.to_string(),
        request_id: past.request.to_string(),
        attempt: past.attempt,
        provider: past.provider.to_string(),
        capability: past.capability.to_string(),
        model: past.model.to_string(),
        session: past.session.as_ref().map(ToString::to_string),
        asset: past.asset.to_string(),
        authorized_amount: past.amount_held.to_string(),
        captured_amount: past.amount_captured.map(|amount| amount.to_string()),
        held_nano: past.nano_held.get().to_string(),
        captured_nano: past.nano_captured.map(|nano| nano.get().to_string()),
        transaction: past.transaction.map(|transaction| transaction.to_string()),
        held_at: Some(time_to_pb(past.held_at)),
        ended_at: past.ended_at.map(time_to_pb),
        refused: None,
    }
}

/// A payment that never was: only its refusal is known.
pub(super) fn refused_payment(ledger: &Ledger, decision: &Decision) -> pb::Payment {
    let agent = ledger.find_agent(decision.agent);
    pb::Payment {
        payment_id: decision.payment.to_string(),
        state: pb::PaymentState::Refused.into(),
        agent: agent.map_or_else(|| decision.agent.to_string(), |agent| agent.name.to_string()),
        request_id: decision.request.to_string(),
        held_at: Some(time_to_pb(decision.at)),
        refused: decision.refused.clone(),
        ..pb::Payment::default()
    }
}

const fn state_to_pb(state: PaymentState) -> pb::PaymentState {
    match state {
        PaymentState::Signable => pb::PaymentState::Held,
        PaymentState::Unknown => pb::PaymentState::Unknown,
        PaymentState::Captured => pb::PaymentState::Captured,
        PaymentState::Settled => pb::PaymentState::Settled,
        PaymentState::Void => pb::PaymentState::Void,
        PaymentState::Expired => pb::PaymentState::Expired,
        PaymentState::Reversed => pb::PaymentState::Reversed,
        PaymentState::Charged => pb::PaymentState::Charged,
    }
}

/// Which state is asked for. Refusals are not among the payments.
pub(super) fn state_from_pb(state: pb::PaymentState) -> Option<PaymentState> {
    match state {
        pb::PaymentState::Held => Some(PaymentState::Signable),
        pb::PaymentState::Unknown => Some(PaymentState::Unknown),
        pb::PaymentState::Captured => Some(PaymentState::Captured),
        pb::PaymentState::Settled => Some(PaymentState::Settled),
        pb::PaymentState::Void => Some(PaymentState::Void),
        pb::PaymentState::Expired => Some(PaymentState::Expired),
        pb::PaymentState::Reversed => Some(PaymentState::Reversed),
        pb::PaymentState::Charged => Some(PaymentState::Charged),
        pb::PaymentState::Refused | pb::PaymentState::Unspecified => None,
    }
}
