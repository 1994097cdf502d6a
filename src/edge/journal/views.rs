//! Looking at the readable tables: for the command line beside a running node, and for the operator's
//! service inside it. Reads only; what it shows can be a second old, and nothing decides by it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use super::projection::values::SqlAmount;
use super::{archive, chain, file, projection};
use crate::domain::id::{Name, PaymentId};
use crate::domain::money::{Amount, Nano};
use crate::ports::archive::Decision;
use crate::ports::journal::JournalError;

/// Selects payments in words; a condition may follow, on the columns of their rows as `r.`.
pub(super) const PAYMENTS: &str = include_str!("payments.sql");

/// Rows of a page, at most.
pub const PAGE_MAX: u32 = 1_000;

/// The readable tables of one file.
#[derive(Clone)]
pub struct Views {
    conn: Arc<Mutex<Connection>>,
}

/// Which payments are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// Of this agent.
    pub agent: Option<Name>,
    /// Of this role's agents, as it was when they paid.
    pub role: Option<Name>,
    /// Of this group's agents, as it was when they paid.
    pub group: Option<Name>,
    /// To this provider.
    pub provider: Option<Name>,
    /// In this state: `signable`, `unknown`, `captured`, `settled`, `void`, `expired`, `reversed`.
    pub state: Option<String>,
}

/// Which rows of many: newest first.
#[derive(Copy, Clone, Debug)]
pub struct Page {
    /// Only rows before this one, by the last row's own number; `None` from the newest on.
    pub before: Option<u64>,
    /// At most this many, and at most [`PAGE_MAX`].
    pub limit: u32,
}

/// A payment, by the payer's books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PaymentRow {
    /// The entry that held it: the page's number.
    pub seq: u64,
    /// Its only name.
    pub payment: String,
    /// Who spent.
    pub agent: String,
    /// As which role.
    pub role: Option<String>,
    /// In which group.
    pub group: Option<String>,
    /// In which session.
    pub session: Option<String>,
    /// For which request.
    pub request: String,
    /// Who sold.
    pub provider: String,
    /// What, in words.
    pub description: String,
    /// Where it stands.
    pub state: String,
    /// Where the money is, by CAIP-2.
    pub network: String,
    /// The token.
    pub asset: String,
    /// Who paid on the rail.
    pub from: String,
    /// Who was paid on the rail.
    pub to: String,
    /// What was held, in atomic units.
    pub amount_held: Amount,
    /// What was charged, in atomic units.
    pub amount: Option<Amount>,
    /// What was held, as budgets count.
    pub held_nano: Nano,
    /// What was charged, as budgets count.
    pub spent_nano: Option<Nano>,
    /// The transfer.
    pub transaction: Option<String>,
    /// When it was held.
    pub held_at: String,
    /// When it ended, by the payee's word or the rail's.
    pub ended_at: Option<String>,
    /// When the rail showed it.
    pub verified_at: Option<String>,
}

/// A refusal, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalRow {
    /// The page's number.
    pub no: u64,
    /// The payment that was not made.
    pub payment: String,
    /// Whose: a name, or an id that no agent has any more.
    pub agent: String,
    /// For which request.
    pub request: String,
    /// When.
    pub at: String,
    /// The refusal's code.
    pub code: String,
    /// In words.
    pub reason: Option<String>,
}

/// A budget's account, as of the last event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetRow {
    /// The budget's name, or `delegation`.
    pub budget: String,
    /// Whose: `all`, `role/x`, `agent/x`, `session/x/y`.
    pub whose: String,
    /// Its window, in words.
    pub window: String,
    /// The window's end.
    pub until: String,
    /// The cap.
    pub limit_nano: Nano,
    /// Captured in it.
    pub spent_nano: Nano,
    /// Held in it.
    pub held_nano: Nano,
    /// What is left.
    pub left_nano: Nano,
}

/// A claim, by the payee's books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimRow {
    /// The entry that bound it: the page's number.
    pub seq: u64,
    /// The payer's name for the payment.
    pub payment: Option<String>,
    /// Who sold.
    pub provider: String,
    /// What, in words.
    pub description: String,
    /// Where it stands.
    pub state: String,
    /// Where the money is, by CAIP-2.
    pub network: String,
    /// The token.
    pub asset: String,
    /// Who paid on the rail.
    pub from: String,
    /// Who is paid on the rail.
    pub to: String,
    /// The price, in atomic units.
    pub amount: Amount,
    /// The transfer.
    pub transaction: Option<String>,
    /// When it was bound.
    pub accepted_at: String,
    /// When it was served, or ended otherwise.
    pub ended_at: Option<String>,
}

impl Views {
    /// Opens the file to read, beside whoever writes it.
    ///
    /// # Errors
    /// [`JournalError::Unfit`] where there is no journal, or one of a later version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self::over(Arc::new(Mutex::new(file::open_to_read_all(path)?))))
    }

    pub(super) const fn over(conn: Arc<Mutex<Connection>>) -> Self {
        Self { conn }
    }

    /// Payments, newest first.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn payments(
        &self,
        filter: &PaymentFilter,
        page: Page,
    ) -> Result<Vec<PaymentRow>, JournalError> {
        let number = "(SELECT no FROM words WHERE word = ?)";
        let wanted = [
            (format!("r.agent = {number}"), filter.agent.as_ref().map(Name::as_str)),
            (format!("r.role = {number}"), filter.role.as_ref().map(Name::as_str)),
            (format!("r.group_name = {number}"), filter.group.as_ref().map(Name::as_str)),
            (format!("r.provider = {number}"), filter.provider.as_ref().map(Name::as_str)),
            ("r.state = ?".to_owned(), filter.state.as_deref()),
        ];
        self.page(PAYMENTS, "seq", &wanted, page, read_payment)
    }

    /// One payment; `None` for a refusal, which never became one.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn payment(&self, payment: PaymentId) -> Result<Option<PaymentRow>, JournalError> {
        self.conn()
            .prepare_cached(&format!("{PAYMENTS} WHERE r.payment = ?1"))
            .and_then(|mut select| select.query_row([payment.as_bytes()], read_payment).optional())
            .map_err(|e| chain::damaged(0, &e))
    }

    /// Why a payment was allowed or refused, while that is among the newest decisions.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn decision(&self, payment: PaymentId) -> Result<Option<Decision>, JournalError> {
        archive::find_decision(&self.conn(), payment).map_err(|e| chain::damaged(0, &e))
    }

    /// Refusals, newest first: of one agent or one group, or all.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn refusals(
        &self,
        agent: Option<&Name>,
        group: Option<&Name>,
        page: Page,
    ) -> Result<Vec<RefusalRow>, JournalError> {
        let wanted = [
            ("agents.agent = ?", agent.map(Name::as_str)),
            ("agents.group_name = ?", group.map(Name::as_str)),
        ];
        self.page(
            "SELECT no, payment, coalesce(agents.agent, refusals.agent) AS agent, request, at,
                    refused, reason
             FROM refusals LEFT JOIN agents ON agents.agent_id = refusals.agent",
            "no",
            &wanted,
            page,
            |row| {
                Ok(RefusalRow {
                    no: row.get("no").map(chain::from_sql)?,
                    payment: row.get("payment")?,
                    agent: row.get("agent")?,
                    request: row.get("request")?,
                    at: row.get("at")?,
                    code: row.get("refused")?,
                    reason: row.get("reason")?,
                })
            },
        )
    }

    /// Claims, newest first; of one provider or all, in one state or any.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn claims(
        &self,
        provider: Option<&Name>,
        state: Option<&str>,
        page: Page,
    ) -> Result<Vec<ClaimRow>, JournalError> {
        let wanted = [("provider = ?", provider.map(Name::as_str)), ("state = ?", state)];
        self.page("SELECT * FROM claims", "seq", &wanted, page, read_claim)
    }

    /// The accounts of all budgets in force, as of the last event.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn budgets(&self) -> Result<Vec<BudgetRow>, JournalError> {
        let nano = |row: &Row<'_>, column| row.get(column).map(chain::from_sql).map(Nano::new);
        let read = |row: &Row<'_>| {
            Ok(BudgetRow {
                budget: row.get("budget")?,
                whose: row.get("whose")?,
                window: row.get("window_spec")?,
                until: row.get("window_until")?,
                limit_nano: nano(row, "limit_nano")?,
                spent_nano: nano(row, "spent_nano")?,
                held_nano: nano(row, "held_nano")?,
                left_nano: nano(row, "left_nano")?,
            })
        };
        self.conn()
            .prepare_cached("SELECT * FROM budgets ORDER BY budget, whose")
            .and_then(|mut select| select.query_map([], read)?.collect())
            .map_err(|e| chain::damaged(0, &e))
    }

    /// The last event that the tables know; 0 before the first.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn known(&self) -> Result<u64, JournalError> {
        let known = projection::find_progress(&self.conn()).map_err(|e| chain::damaged(0, &e))?;
        Ok(known.map_or(0, |(seq, _)| seq))
    }

    /// A page of what `select` finds, of those rows for which every condition of `wanted` is met: its
    /// one `?` stands for its value. One without a value does not matter.
    fn page<T>(
        &self,
        select: &str,
        number: &str,
        wanted: &[(impl AsRef<str>, Option<&str>)],
        page: Page,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        let mut sql = select.to_owned();
        let before = chain::to_sql(page.before.unwrap_or(u64::MAX));
        let limit = page.limit.min(PAGE_MAX);
        let mut params: Vec<&dyn ToSql> = vec![&before];
        // Only what is asked for stands in the query, so that an index on it is of use.
        sql.push_str(&format!(" WHERE {number} < ?"));
        for (condition, value) in wanted {
            if let Some(value) = value {
                params.push(value);
                sql.push_str(" AND ");
                sql.push_str(condition.as_ref());
            }
        }
        params.push(&limit);
        sql.push_str(&format!(" ORDER BY {number} DESC LIMIT ?"));
        self.conn()
            .prepare_cached(&sql)
            .and_then(|mut select| select.query_map(params.as_slice(), read)?.collect())
            .map_err(|e| chain::damaged(0, &e))
    }

    pub(super) fn conn(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().expect("no holder of the reader panics")
    }
}

fn read_payment(row: &Row<'_>) -> rusqlite::Result<PaymentRow> {
    Ok(PaymentRow {
        seq: row.get("seq").map(chain::from_sql)?,
        payment: row.get("payment")?,
        agent: row.get("agent")?,
        role: row.get("role")?,
        group: row.get("group_name")?,
        session: row.get("session")?,
        request: row.get("request")?,
        provider: row.get("provider")?,
        description: row.get("description")?,
        state: row.get("state")?,
        network: row.get("network")?,
        asset: row.get("asset")?,
        from: row.get("from_address")?,
        to: row.get("to_address")?,
        amount_held: amount(row, "amount_held")?,
        amount: maybe(row, "amount", |SqlAmount(amount)| amount)?,
        held_nano: row.get("held_nano").map(chain::from_sql).map(Nano::new)?,
        spent_nano: maybe(row, "spent_nano", |nano| Nano::new(chain::from_sql(nano)))?,
        transaction: row.get("transaction_hash")?,
        held_at: row.get("held_at")?,
        ended_at: row.get("ended_at")?,
        verified_at: row.get("verified_at")?,
    })
}

fn read_claim(row: &Row<'_>) -> rusqlite::Result<ClaimRow> {
    Ok(ClaimRow {
        seq: row.get("seq").map(chain::from_sql)?,
        payment: row.get("payment")?,
        provider: row.get("provider")?,
        description: row.get("description")?,
        state: row.get("state")?,
        network: row.get("network")?,
        asset: row.get("asset")?,
        from: row.get("from_address")?,
        to: row.get("to_address")?,
        amount: amount(row, "amount")?,
        transaction: row.get("transaction_hash")?,
        accepted_at: row.get("accepted_at")?,
        ended_at: row.get("ended_at")?,
    })
}

fn amount(row: &Row<'_>, column: &str) -> rusqlite::Result<Amount> {
    row.get(column).map(|SqlAmount(amount)| amount)
}

fn maybe<T: FromSql, U>(
    row: &Row<'_>,
    column: &str,
    make: impl FnOnce(T) -> U,
) -> rusqlite::Result<Option<U>> {
    row.get::<_, Option<T>>(column).map(|value| value.map(make))
}
