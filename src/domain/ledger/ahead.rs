//! Looking ahead: the rows of a batch are fetched together. Decides nothing and changes nothing.
//!
//! Over a million wallets every row that a hold needs is out of the processor's caches, and one hold
//! after another waits for memory row by row. Holds of a batch need rows that do not depend on each
//! other: read in one short loop, they are fetched at the same time, and are close when decided upon.

use std::hint::black_box;

use crate::domain::ledger::caps::Spender;
use crate::domain::ledger::command::{Command, HoldAsk};
use crate::domain::ledger::state::Ledger;

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
        // Two loops, because each is short enough for the processor to run several rounds at once.
        for ask in holds() {
            black_box(self.agents.find(ask.agent).map(|found| found.wallet));
            black_box(self.holds.find_row(&ask.payment));
        }
        for ask in holds() {
            self.look_at_money(ask);
        }
    }

    /// The wallet and the accounts of a hold; those of a parent or a provider are few, and close.
    fn look_at_money(&self, ask: &HoldAsk) {
        let Some(found) = self.agents.find(ask.agent) else { return };
        black_box(self.wallets.at(found.wallet).available(ask.commitment.asset));
        let spender = Spender {
            root: ask.agent,
            agent: ask.agent,
            ancestors: &[],
            role: found.role,
            group: found.group,
            session: None,
            provider: None,
            model: None,
        };
        self.caps.path(&spender, |account, _| {
            black_box(self.accounts.find(&account).map(|account| account.bounds()));
        });
    }
}
