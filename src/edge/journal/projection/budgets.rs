//! Budgets: what each account has seen, window by window.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;
use rusqlite::{OptionalExtension, Transaction, params};

use super::run;
use super::sheet::Spender;
use super::values::Pace;
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

/// Windows that are remembered; then the remembering begins anew.
const WINDOWS_MAX: usize = 100_000;

/// The windows of accounts that events counted in, by their key: as the table has them, and as a run
/// of events changes them.
#[derive(Default)]
pub(super) struct Windows {
    known: HashMap<Key, Counted, RandomState>,
    changed: Vec<Key>,
}

/// Number, subject and begin: the table's key, in its order.
type Key = (u32, [u8; 16], i64);

/// What a window has seen.
struct Counted {
    /// What the row is made of, while it is not yet in the table.
    new: Option<New>,
    spent: i64,
    held: i64,
    /// Whether it is among those that have to be written.
    changed: bool,
}

struct New {
    seat: Seat,
    whose: String,
    /// When it was first counted in.
    at: Timestamp,
}

impl Windows {
    /// Counts a hold in each of its seats.
    pub(super) fn hold(
        &mut self,
        tx: &Transaction<'_>,
        at: Timestamp,
        held: &Held,
        spender: &Spender,
    ) -> rusqlite::Result<()> {
        let nano = to_sql(held.nano.get());
        for seat in &held.seats {
            if let Some(window) = self.find_to_change(tx, seat)? {
                window.held = window.held.saturating_add(nano);
                continue;
            }
            let whose = whose(tx, held, seat.account, spender)?;
            let new = Some(New { seat: *seat, whose, at });
            self.known.insert(key(seat), Counted { new, spent: 0, held: nano, changed: true });
            self.changed.push(key(seat));
        }
        Ok(())
    }

    /// Forgets them: some may be no longer as the table has them.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Gives back what was held in each seat.
    pub(super) fn release(
        &mut self,
        tx: &Transaction<'_>,
        seats: &[Seat],
        held: Nano,
    ) -> rusqlite::Result<()> {
        self.change(tx, seats, |window| window.held = less(window.held, held))
    }

    /// Takes what was charged, and gives back what was held.
    pub(super) fn capture(
        &mut self,
        tx: &Transaction<'_>,
        seats: &[Seat],
        held: Nano,
        spent: Nano,
    ) -> rusqlite::Result<()> {
        self.change(tx, seats, |window| {
            window.held = less(window.held, held);
            window.spent = window.spent.saturating_add(to_sql(spent.get()));
        })
    }

    /// Takes a capture back.
    pub(super) fn reverse(
        &mut self,
        tx: &Transaction<'_>,
        seats: &[Seat],
        spent: Nano,
    ) -> rusqlite::Result<()> {
        self.change(tx, seats, |window| window.spent = less(window.spent, spent))
    }

    fn change(
        &mut self,
        tx: &Transaction<'_>,
        seats: &[Seat],
        change: impl Fn(&mut Counted),
    ) -> rusqlite::Result<()> {
        for seat in seats {
            // A bucket that was dropped counts no more, whatever becomes of it.
            if let Some(window) = self.find_to_change(tx, seat)? {
                change(window);
            }
        }
        Ok(())
    }

    /// The seat's window, from the table where it is not known yet; it will be written.
    fn find_to_change(
        &mut self,
        tx: &Transaction<'_>,
        seat: &Seat,
    ) -> rusqlite::Result<Option<&mut Counted>> {
        let key = key(seat);
        let window = match self.known.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let (no, subject, from) = key;
                let found = tx
                    .prepare_cached(
                        "SELECT spent_nano, held_nano FROM budget_windows
                         WHERE no = ?1 AND subject = ?2 AND from_ns = ?3",
                    )?
                    .query_row(params![no, subject, from], |row| {
                        let (spent, held) = (row.get(0)?, row.get(1)?);
                        Ok(Counted { new: None, spent, held, changed: false })
                    })
                    .optional()?;
                let Some(found) = found else { return Ok(None) };
                place.insert(found)
            }
        };
        if !window.changed {
            window.changed = true;
            self.changed.push(key);
        }
        Ok(Some(window))
    }

    /// Writes what changed, in the table's order.
    pub(super) fn write(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        self.changed.sort_unstable();
        let mut update = tx.prepare_cached(
            "UPDATE budget_windows SET spent_nano = ?4, held_nano = ?5
             WHERE no = ?1 AND subject = ?2 AND from_ns = ?3",
        )?;
        let mut begun = Vec::new();
        let mut pace = Pace::default();
        for key in self.changed.drain(..) {
            pace.step();
            let window = self.known.get_mut(&key).expect("what changed is known");
            window.changed = false;
            let Some(new) = window.new.take() else {
                let (no, subject, from) = key;
                update.execute(params![no, subject, from, window.spent, window.held])?;
                continue;
            };
            insert(tx, key, window, &new)?;
            begun.push((key, new.at));
        }
        // A new bucket of a rolling budget: those that have left the span count no more.
        let mut dropped = 0_usize;
        for ((no, subject, _), at) in begun {
            dropped = dropped.saturating_add(run(
                tx,
                "DELETE FROM budget_windows WHERE no = ?1 AND subject = ?2 AND held_nano = 0 AND
                 until_ns <= ?3 - (SELECT span_ns FROM budget_defs WHERE no = ?1 AND span_ns > 0)",
                params![no, subject, to_sql(at.as_nanos())],
            )?);
        }
        if dropped > 0 || self.known.len() > WINDOWS_MAX {
            self.forget();
        }
        Ok(())
    }
}

fn insert(
    tx: &Transaction<'_>,
    (no, subject, from): Key,
    window: &Counted,
    new: &New,
) -> rusqlite::Result<()> {
    run(
        tx,
        "INSERT INTO budget_windows (no, subject, from_ns, until_ns, whose,
                                     window_from, window_until, spent_nano, held_nano)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            no,
            subject,
            from,
            to_sql(new.seat.until.as_nanos()),
            new.whose,
            new.seat.from.to_string(),
            new.seat.until.to_string(),
            window.spent,
            window.held,
        ],
    )
    .map(drop)
}

fn key(seat: &Seat) -> Key {
    (seat.account.budget.0, seat.account.subject, to_sql(seat.from.as_nanos()))
}

fn less(nano: i64, taken: Nano) -> i64 {
    nano.saturating_sub(to_sql(taken.get()))
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
