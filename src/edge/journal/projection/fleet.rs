//! Who there is and what they own: rails, policies, agents, wallets, pauses. A token's hash stays in
//! the events.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::payments::{asset_columns, less};
use super::sheet::Sheet;
use super::values::{AssetWords, Pace, SqlAmount, lower, principal};
use super::{Place, budgets, run};
use crate::domain::asset::Asset;
use crate::domain::id::{AgentId, DelegationId, Name, WalletId};
use crate::domain::ledger::Event;
use crate::domain::ledger::agent::{Agent, Delegation};
use crate::domain::money::{Amount, Money};
use crate::edge::journal::chain::to_sql;

pub(super) fn apply(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    event: &Event,
) -> rusqlite::Result<()> {
    let (tx, now) = (sheet.tx, place.now);
    match event {
        Event::RailPinned { network, genesis } => run(
            tx,
            "INSERT OR REPLACE INTO rails (network, genesis, pinned_at) VALUES (?1, ?2, ?3)",
            params![network.to_string(), genesis.to_string(), now],
        )
        .map(drop),
        Event::PolicyApplied { version, budgets, document, reason, by } => {
            run(
                tx,
                "INSERT INTO policies (version, applied_at, applied_by, reason, document)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![version, now, principal(by), reason, document],
            )?;
            budgets::define(tx, budgets)
        }
        Event::AgentAdded { agent, by } => {
            sheet.spenders.forget();
            add_agent(tx, place, agent, &principal(by))
        }
        Event::TokenReplaced { agent, .. } => run(
            tx,
            "UPDATE agents SET token_replaced_at = ?2 WHERE agent = ?1",
            params![agent.as_str(), now],
        )
        .map(drop),
        Event::WalletOpened { wallet, address } => run(
            tx,
            "INSERT OR REPLACE INTO wallets (wallet, wallet_id, address, opened_at)
             VALUES (?1, ?2, ?3, ?4)",
            params![wallet.as_str(), WalletId::named(wallet).to_string(), lower(address), now],
        )
        .map(drop),
        Event::FundsSeen { wallet, asset, entered, left, up_to } => {
            sheet.positions.change(tx, WalletId::named(wallet), *asset, |position| {
                position.entered = plus(position.entered, *entered);
                position.left = plus(position.left, *left);
                position.up_to = position.up_to.max(to_sql(*up_to));
            })
        }
        Event::Delegated { delegation, terms, name, .. } => {
            sheet.spenders.forget();
            delegate(tx, place, *delegation, terms, name)
        }
        Event::Paused { scope, reason, by } => run(
            tx,
            "INSERT OR REPLACE INTO pauses (scope, reason, paused_at, paused_by)
             VALUES (?1, ?2, ?3, ?4)",
            params![scope.to_string(), reason, now, principal(by)],
        )
        .map(drop),
        Event::Resumed { scope, .. } => {
            run(tx, "DELETE FROM pauses WHERE scope = ?1", [scope.to_string()]).map(drop)
        }
        Event::GasSpent { network, amount, transaction } => {
            let words = (network.to_string(), transaction.to_string());
            spend_gas(tx, place, &words, *amount)
        }
        _ => unreachable!("the projection passes the fleet's events only"),
    }
}

fn spend_gas(
    tx: &Transaction<'_>,
    place: Place<'_>,
    (network, transaction): &(String, String),
    amount: Amount,
) -> rusqlite::Result<()> {
    run(
        tx,
        "INSERT INTO gas (seq, at, network, amount, transaction_hash)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![to_sql(place.seq), place.now, network, SqlAmount(amount), transaction],
    )
    .map(drop)
}

fn add_agent(
    tx: &Transaction<'_>,
    place: Place<'_>,
    agent: &Agent,
    by: &str,
) -> rusqlite::Result<()> {
    run(
        tx,
        "INSERT OR REPLACE INTO agents
         (agent, agent_id, role, group_name, wallet, delegation, added_at, added_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            agent.name.as_str(),
            agent.id().to_string(),
            agent.role.as_str(),
            agent.group.as_str(),
            agent.wallet.as_str(),
            agent.delegation.map(|id| id.to_string()),
            place.now,
            by,
        ],
    )
    .map(drop)
}

fn delegate(
    tx: &Transaction<'_>,
    place: Place<'_>,
    delegation: DelegationId,
    terms: &Delegation,
    child: &Name,
) -> rusqlite::Result<()> {
    let parent = terms.parent.to_string();
    run(
        tx,
        "INSERT INTO delegations (delegation, subject, parent, child, limit_nano,
                                  delegated_at, until, until_ns)
         VALUES (?1, ?2, coalesce((SELECT agent FROM agents WHERE agent_id = ?3), ?3), ?4, ?5,
                 ?6, ?7, ?8)",
        params![
            delegation.to_string(),
            delegation.as_bytes(),
            parent,
            child.as_str(),
            to_sql(terms.limit.get()),
            place.now,
            terms.until.to_string(),
            to_sql(terms.until.as_nanos()),
        ],
    )?;
    // The sub-agent has its parent's role, group and wallet.
    run(
        tx,
        "INSERT OR REPLACE INTO agents
         (agent, agent_id, role, group_name, wallet, delegation, added_at, added_by)
         SELECT ?1, ?2, role, group_name, wallet, ?3, ?4, agent_id FROM agents WHERE agent_id = ?5",
        params![
            child.as_str(),
            AgentId::named(child).to_string(),
            delegation.to_string(),
            place.now,
            parent,
        ],
    )
    .map(drop)
}

/// Positions that are remembered; then the remembering begins anew.
const POSITIONS_MAX: usize = 100_000;

/// What wallets have of assets: as the table has it, and as a run of events changes it.
#[derive(Default)]
pub(super) struct Positions {
    known: HashMap<(WalletId, Asset), Position, RandomState>,
    changed: Vec<(WalletId, Asset)>,
}

/// A wallet's row for one asset.
#[derive(Default)]
pub(super) struct Position {
    entered: Amount,
    left: Amount,
    pub(super) paid: Amount,
    held: Amount,
    pub(super) locked: Amount,
    up_to: i64,
    /// Whether it is among those that have to be written.
    changed: bool,
}

impl Positions {
    /// Forgets them: some may be no longer as the table has them.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn hold(
        &mut self,
        tx: &Transaction<'_>,
        wallet: WalletId,
        asset: Asset,
        held: Amount,
    ) -> rusqlite::Result<()> {
        self.change(tx, wallet, asset, |position| position.held = plus(position.held, held))
    }

    pub(super) fn release(
        &mut self,
        tx: &Transaction<'_>,
        wallet: WalletId,
        held: Money,
    ) -> rusqlite::Result<()> {
        self.change(tx, wallet, held.asset, |position| {
            position.held = less(position.held, held.amount);
        })
    }

    pub(super) fn capture(
        &mut self,
        tx: &Transaction<'_>,
        wallet: WalletId,
        held: Money,
        paid: Money,
    ) -> rusqlite::Result<()> {
        self.change(tx, wallet, held.asset, |position| {
            position.held = less(position.held, held.amount);
            position.paid = plus(position.paid, paid.amount);
        })
    }

    pub(super) fn reverse(
        &mut self,
        tx: &Transaction<'_>,
        wallet: WalletId,
        paid: Money,
    ) -> rusqlite::Result<()> {
        self.change(tx, wallet, paid.asset, |position| {
            position.paid = less(position.paid, paid.amount);
        })
    }

    /// Read, changed and written in Rust: SQLite would add beyond 64 bits in floating point.
    pub(super) fn change(
        &mut self,
        tx: &Transaction<'_>,
        wallet: WalletId,
        asset: Asset,
        change: impl FnOnce(&mut Position),
    ) -> rusqlite::Result<()> {
        let position = match self.known.entry((wallet, asset)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                place.insert(find_position(tx, wallet, asset)?.unwrap_or_default())
            }
        };
        change(position);
        if !position.changed {
            position.changed = true;
            self.changed.push((wallet, asset));
        }
        Ok(())
    }

    /// Writes what changed, in the table's order.
    pub(super) fn write(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        self.changed.sort_unstable();
        let mut replace = tx.prepare_cached(
            "INSERT OR REPLACE INTO positions
             (wallet_id, network, asset, entered, left, paid, held, locked, up_to_block)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        let mut words = AssetWords::default();
        let mut pace = Pace::default();
        for (wallet, asset) in self.changed.drain(..) {
            pace.step();
            let position = self.known.get_mut(&(wallet, asset)).expect("what changed is known");
            position.changed = false;
            let [network, contract] = words.of(asset);
            replace.execute(params![
                wallet.to_string(),
                network,
                contract,
                SqlAmount(position.entered),
                SqlAmount(position.left),
                SqlAmount(position.paid),
                SqlAmount(position.held),
                SqlAmount(position.locked),
                position.up_to,
            ])?;
        }
        if self.known.len() > POSITIONS_MAX {
            self.forget();
        }
        Ok(())
    }
}

fn find_position(
    tx: &Transaction<'_>,
    wallet: WalletId,
    asset: Asset,
) -> rusqlite::Result<Option<Position>> {
    let [network, contract] = asset_columns(asset);
    let amount = |row: &Row<'_>, column| row.get(column).map(|SqlAmount(amount)| amount);
    tx.prepare_cached(
        "SELECT entered, left, paid, held, locked, up_to_block FROM positions
         WHERE wallet_id = ?1 AND network = ?2 AND asset = ?3",
    )?
    .query_row(params![wallet.to_string(), network, contract], |row| {
        Ok(Position {
            entered: amount(row, 0)?,
            left: amount(row, 1)?,
            paid: amount(row, 2)?,
            held: amount(row, 3)?,
            locked: amount(row, 4)?,
            up_to: row.get(5)?,
            changed: false,
        })
    })
    .optional()
}

fn plus(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).expect("amounts are bounded when they enter the ledger")
}
