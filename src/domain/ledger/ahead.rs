//! Looking ahead: the rows of a batch are fetched together. Decides nothing and changes nothing.
//!
//! Over a million wallets every row that a hold needs is out of the processor's caches, and one hold
//! after another waits for memory row by row. Holds of a batch need rows that do not depend on each
//! other: read in short loops, they are fetched at the same time, and are close when decided upon. Each
//! loop reads one thing for every hold, by what the loop before it found: the shorter a round, the more
//! rounds a processor has under way at once. Rows are guessed by their hashes alone, for the same
//! reason; a wrong guess fetches a row that nobody needs.

use std::hint::black_box;

use crate::domain::ledger::agents::Found;
use crate::domain::ledger::budget::AccountKey;
use crate::domain::ledger::caps::Spender;
use crate::domain::ledger::command::{Command, HoldAsk};
use crate::domain::ledger::state::Ledger;
use crate::domain::ledger::table::Row;

/// Accounts of a hold, about: room for them is made at once.
const LEVELS: usize = 4;

impl Ledger {
    /// Reads what the holds among `commands` will need. Worth it from a few commands on; the answers
    /// of [`Ledger::decide`] are the same with and without it.
    pub fn look_ahead<'a>(&self, commands: impl Iterator<Item = &'a Command> + Clone) {
        let holds = || {
            commands.clone().filter_map(|command| match command {
                Command::Hold(ask) => Some(ask.as_ref()),
                _ => None,
            })
        };
        // What is asked was written elsewhere, and is fetched like any row.
        holds().for_each(look_at_ask);
        let agents: Vec<Row> = holds().filter_map(|ask| self.agents.guess_row(ask.agent)).collect();
        for ask in holds() {
            black_box(self.holds.guess_row(&ask.payment));
        }
        for row in &agents {
            black_box((self.agents.id_at(*row), self.agents.at(*row).wallet));
            black_box(self.agents.at(*row).agent.delegation);
        }
        let mut accounts: Vec<Row> = Vec::with_capacity(agents.len().saturating_mul(LEVELS));
        for row in &agents {
            let found = self.agents.at(*row);
            black_box(self.wallets.at(found.wallet).address);
            black_box(self.wallets.at(found.wallet).positions.len());
            self.guess_accounts(*row, &found, &mut accounts);
        }
        for row in &agents {
            let wallet = self.agents.at(*row).wallet;
            let position = self.wallets.at(wallet).positions.first();
            black_box((self.wallets.id_at(wallet), position.map(|position| position.available())));
        }
        for row in accounts {
            black_box((*self.accounts.key_at(row), self.accounts.at(row).bounds()));
        }
    }

    /// The accounts of a hold; those of a parent or a provider are few, and close.
    fn guess_accounts(&self, row: Row, found: &Found<'_>, accounts: &mut Vec<Row>) {
        let agent = self.agents.id_at(row);
        let spender = Spender {
            root: agent,
            agent,
            ancestors: &[],
            role: found.role,
            group: found.group,
            session: None,
            provider: None,
            model: None,
        };
        self.caps.path(&spender, |account: AccountKey, _| {
            accounts.extend(self.accounts.guess_row(&account));
        });
    }
}

/// Reads from each part of what is asked.
fn look_at_ask(ask: &HoldAsk) {
    let commitment = &ask.commitment;
    black_box((ask.agent, ask.payment, ask.policy_version, ask.quote, ask.nano));
    black_box((commitment.asset, commitment.payer, commitment.nonce, commitment.valid_before_s));
}
