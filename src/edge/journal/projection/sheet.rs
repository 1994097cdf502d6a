//! What a run of events changes, gathered before it is written: a row that many of them change is
//! read once and written once, and rows are written in the order of their keys.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::books::Postings;
use super::budgets::Windows;
use super::channels::Channels;
use super::dictionary::Dictionary;
use super::fleet::Positions;
use super::payments::Payments;
use super::tabs::Tabs;
use crate::domain::id::{AgentId, Name};

/// Agents whose names are remembered; then the remembering begins anew.
const SPENDERS_MAX: usize = 100_000;

/// Who spends, by name.
pub(super) struct Spender {
    pub(super) agent: String,
    pub(super) role: Option<Name>,
    pub(super) group: Option<Name>,
}

/// Agents by id, as the tables have them.
#[derive(Default)]
pub(super) struct Spenders(HashMap<AgentId, Arc<Spender>, RandomState>);

impl Spenders {
    /// Forgets them: some agent is no longer what it was.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// The agent's names; its id where the tables do not know it.
    pub(super) fn find(
        &mut self,
        tx: &Transaction<'_>,
        agent: AgentId,
    ) -> rusqlite::Result<Arc<Spender>> {
        if let Some(known) = self.0.get(&agent) {
            return Ok(Arc::clone(known));
        }
        let name = |text: String| text.parse().ok();
        let read = |row: &Row<'_>| {
            Ok(Spender { agent: row.get(0)?, role: name(row.get(1)?), group: name(row.get(2)?) })
        };
        let found = tx
            .prepare_cached("SELECT agent, role, group_name FROM agents WHERE agent_id = ?1")?
            .query_row([agent.to_string()], read)
            .optional()?;
        let Some(found) = found else {
            return Ok(Arc::new(Spender { agent: agent.to_string(), role: None, group: None }));
        };
        if self.0.len() >= SPENDERS_MAX {
            self.0.clear();
        }
        let found = Arc::new(found);
        self.0.insert(agent, Arc::clone(&found));
        Ok(found)
    }
}

/// What is remembered from one transaction to the next, so that it need not be read again: nobody else
/// writes the tables.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) spenders: Spenders,
    windows: Windows,
    positions: Positions,
    words: Dictionary,
}

impl Memory {
    /// Forgets all of it: what was changed may never have been written.
    pub(super) fn forget(&mut self) {
        self.spenders.forget();
        self.windows.forget();
        self.positions.forget();
        self.words.forget();
    }
}

/// What one transaction changes.
pub(super) struct Sheet<'a> {
    pub(super) tx: &'a Transaction<'a>,
    pub(super) spenders: &'a mut Spenders,
    pub(super) payments: Payments,
    pub(super) channels: Channels,
    pub(super) tabs: Tabs,
    pub(super) postings: Postings,
    pub(super) windows: &'a mut Windows,
    pub(super) positions: &'a mut Positions,
    words: &'a mut Dictionary,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>, memory: &'a mut Memory) -> Self {
        let Memory { spenders, windows, positions, words } = memory;
        Self {
            tx,
            spenders,
            payments: Payments::default(),
            channels: Channels::default(),
            tabs: Tabs::default(),
            postings: Postings::default(),
            windows,
            positions,
            words,
        }
    }

    /// Writes all that was gathered.
    pub(super) fn write(self) -> rusqlite::Result<()> {
        self.payments.write(self.tx, self.words)?;
        self.channels.write(self.tx)?;
        self.tabs.write(self.tx)?;
        self.postings.write(self.tx, self.words)?;
        self.windows.write(self.tx)?;
        self.positions.write(self.tx)
    }
}
