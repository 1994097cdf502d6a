//! Budgets: what each account has seen, window by window.

use rusqlite::{OptionalExtension, Transaction, params};

use super::payments::Spender;
use super::run;
use crate::domain::id::{AgentId, DelegationId, GroupId, RoleId, SessionId};
use crate::domain::ledger::budget::{AccountKey, BudgetDef, BudgetNo, Per, Seat, Selector};
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;
use crate::edge::journal::chain::to_sql;

/// A policy's budgets: those that it does not name are no longer in force.
pub(super) fn define(
    tx: &Transaction<'_>,
    budgets: &[(BudgetNo, BudgetDef)],
) -> rusqlite::Result<()> {
    run(tx, "UPDATE budget_defs SET active = 0", [])?;
    for (no, def) in budgets {
        let (window, span) = window(&def.window);
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        run(
            tx,
            "INSERT INTO budget_defs
             (no, budget, selector, per, limit_nano, window_spec, span_ns, active)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)
             ON CONFLICT (no) DO UPDATE SET limit_nano = excluded.limit_nano, active = 1",
            params![
                no.0,
                def.name.as_str(),
                selector(&def.selector),
                per(def.per),
                to_sql(def.limit.get()),
                window,
                to_sql(span),
            ],
        )?;
    }
    Ok(())
}

/// Counts a hold in each of its seats.
pub(super) fn hold(
    tx: &Transaction<'_>,
    at: Timestamp,
    held: &Held,
    spender: &Spender,
) -> rusqlite::Result<()> {
    for seat in &held.seats {
        if change(tx, seat, "held_nano = held_nano + ?4", [held.nano, Nano::ZERO])? > 0 {
            continue;
        }
        run(
            tx,
            "INSERT INTO budget_windows (no, subject, from_ns, until_ns, whose,
                                         window_from, window_until, spent_nano, held_nano)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8)",
            params![
                seat.account.budget.0,
                seat.account.subject,
                to_sql(seat.from.as_nanos()),
                to_sql(seat.until.as_nanos()),
                whose(tx, held, seat.account, spender)?,
                seat.from.to_string(),
                seat.until.to_string(),
                to_sql(held.nano.get()),
            ],
        )?;
        // A new bucket of a rolling budget: those that have left the span count no more.
        run(
            tx,
            "DELETE FROM budget_windows WHERE no = ?1 AND subject = ?2 AND held_nano = 0
             AND until_ns <= ?3 - (SELECT span_ns FROM budget_defs WHERE no = ?1 AND span_ns > 0)",
            params![seat.account.budget.0, seat.account.subject, to_sql(at.as_nanos())],
        )?;
    }
    Ok(())
}

/// Gives back what was held in each seat.
pub(super) fn release(tx: &Transaction<'_>, seats: &[Seat], held: Nano) -> rusqlite::Result<()> {
    seats.iter().try_for_each(|seat| {
        change(tx, seat, "held_nano = held_nano - ?4", [held, Nano::ZERO]).map(drop)
    })
}

/// Takes what was charged, and gives back what was held.
pub(super) fn capture(
    tx: &Transaction<'_>,
    seats: &[Seat],
    held: Nano,
    spent: Nano,
) -> rusqlite::Result<()> {
    seats.iter().try_for_each(|seat| {
        let set = "held_nano = held_nano - ?4, spent_nano = spent_nano + ?5";
        change(tx, seat, set, [held, spent]).map(drop)
    })
}

/// Takes a capture back.
pub(super) fn reverse(tx: &Transaction<'_>, seats: &[Seat], spent: Nano) -> rusqlite::Result<()> {
    seats.iter().try_for_each(|seat| {
        change(tx, seat, "spent_nano = spent_nano - ?4", [spent, Nano::ZERO]).map(drop)
    })
}

fn change(
    tx: &Transaction<'_>,
    seat: &Seat,
    set: &str,
    nanos: [Nano; 2],
) -> rusqlite::Result<usize> {
    // `?5` is bound even where `set` does not name it, so that one shape of parameters fits all.
    let sql = format!(
        "UPDATE budget_windows SET {set} WHERE no = ?1 AND subject = ?2 AND from_ns = ?3 AND ?5 >= 0"
    );
    let [first, second] = nanos.map(|nano| to_sql(nano.get()));
    let (no, from) = (seat.account.budget.0, to_sql(seat.from.as_nanos()));
    run(tx, &sql, params![no, seat.account.subject, from, first, second])
}

/// Whose account it is, in words. Ids are digests of names, so names are tried until one fits.
fn whose(
    tx: &Transaction<'_>,
    held: &Held,
    account: AccountKey,
    spender: &Spender,
) -> rusqlite::Result<String> {
    let subject = account.subject;
    if account.budget == AccountKey::DELEGATION {
        let id = DelegationId::from_bytes(subject);
        let child: Option<String> = tx
            .prepare_cached("SELECT child FROM delegations WHERE delegation = ?1")?
            .query_row([id.to_string()], |row| row.get(0))
            .optional()?;
        return Ok(child.map_or_else(|| id.to_string(), |child| format!("agent/{child}")));
    }
    if subject == [0; 16] {
        return Ok("all".to_owned());
    }
    if let Some(role) =
        spender.role.as_ref().filter(|name| *RoleId::named(name).as_bytes() == subject)
    {
        return Ok(format!("role/{role}"));
    }
    if let Some(group) =
        spender.group.as_ref().filter(|name| *GroupId::named(name).as_bytes() == subject)
    {
        return Ok(format!("group/{group}"));
    }
    if let Some(session) = &held.session
        && *SessionId::of_agent(held.agent, session).as_bytes() == subject
    {
        return Ok(format!("session/{}/{session}", spender.agent));
    }
    let id = AgentId::from_bytes(subject);
    let agent: Option<String> = tx
        .prepare_cached("SELECT agent FROM agents WHERE agent_id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?;
    Ok(agent.map_or_else(
        || format!("{:032x}", u128::from_be_bytes(subject)),
        |name| format!("agent/{name}"),
    ))
}

fn selector(selector: &Selector) -> String {
    match selector {
        Selector::Fleet => "fleet".to_owned(),
        Selector::Group(id) => id.to_string(),
        Selector::Role(id) => id.to_string(),
        Selector::Agent(id) => id.to_string(),
        Selector::Provider(id) => id.to_string(),
        Selector::Model(pattern) => format!("model/{pattern}"),
    }
}

const fn per(per: Per) -> &'static str {
    match per {
        Per::All => "all",
        Per::Group => "group",
        Per::Role => "role",
        Per::Agent => "agent",
        Per::Session => "session",
    }
}

/// A window in words, and for how long after its end a bucket of it still counts.
fn window(spec: &WindowSpec) -> (String, std::time::Duration) {
    match spec {
        WindowSpec::Calendar { unit, zone } => {
            let unit = match unit {
                CalendarUnit::Hour => "hour",
                CalendarUnit::Day => "day",
                CalendarUnit::Week => "week",
                CalendarUnit::Month => "month",
            };
            (format!("calendar {unit} {zone}"), std::time::Duration::ZERO)
        }
        WindowSpec::Rolling { span } => (format!("rolling {}s", span.as_secs()), *span),
        WindowSpec::Session { span } => {
            (format!("session {}s", span.as_secs()), std::time::Duration::ZERO)
        }
        WindowSpec::Lifetime => ("lifetime".to_owned(), std::time::Duration::ZERO),
    }
}
