//! Claims of vouchers that their payer's own account answers for. Where that is a contract, the claim asks it, and
//! what it says then costs what it likes: so much gas is let, and one that denies in a block what it said when it
//! was tried out is not believed for a while. Source: threats.md A13, E21.

use crate::domain::channel::ChannelTerms;
use crate::edge::evm::sender::Sender;
use crate::edge::evm::wallets::CONTRACT_GAS_MAX;

use super::claim::Row;
use super::look::look_at;

/// What a row that asks nobody may use beside one that does, in gas: twice what one of many was seen to.
const ROW_GAS_MAX: u64 = 50_000;

/// What giving back behind a claim may use, in gas: it moves the token once.
const REFUND_GAS_MAX: u64 = 150_000;

/// Whether a channel's payer answers for its vouchers itself.
fn is_asked(terms: &ChannelTerms) -> bool {
    terms.payer_authorizer.is_zero()
}

/// What a claim of `rows` may use, in gas, where it asks anybody.
pub(super) fn gas_max(rows: &[Row<'_>]) -> Option<u64> {
    let of = |row: &Row<'_>| match is_asked(&row.row.terms) {
        true => CONTRACT_GAS_MAX,
        false => ROW_GAS_MAX,
    };
    let is_any = rows.iter().any(|row| is_asked(&row.row.terms));
    is_any.then(|| rows.iter().map(of).fold(0, u64::saturating_add))
}

/// The same with a refund behind it.
pub(super) fn refund_gas_max(rows: &[Row<'_>]) -> Option<u64> {
    gas_max(rows).map(|most| most.saturating_add(REFUND_GAS_MAX))
}

impl Sender {
    /// The places of rows that are not sent now: of payers who denied their word, and of those who may have, but
    /// where one of them is asked and nobody else, so that it is known the next time.
    pub(super) fn doubted(&self, rows: &[Row<'_>]) -> Vec<usize> {
        let now = self.clock.now();
        let asked = || rows.iter().filter(|row| is_asked(&row.row.terms));
        let is_denied = |payer| self.denials.holds(payer, now);
        let is_trusted = |payer| !is_denied(payer) && !self.suspects.holds(payer, now);
        let payers = || asked().map(|row| row.row.terms.payer);
        let alone = match payers().any(is_trusted) {
            true => None,
            false => payers().find(|payer| !is_denied(*payer)),
        };
        let is_sent = |payer| is_trusted(payer) || alone == Some(payer);
        asked().filter(|row| !is_sent(row.row.terms.payer)).map(|row| row.place).collect()
    }

    /// Remembers that a claim of `rows` failed in its block, though it was good when it was tried out: by the
    /// word of a contract, where nothing else explains it.
    pub(super) async fn blame(&self, rows: &[Row<'_>]) {
        let mut asked = rows.iter().map(|row| &row.row.terms).filter(|terms| is_asked(terms));
        let Some(first) = asked.next() else { return };
        // Money that left meanwhile is no denial: whoever moved it paid for that.
        let channels: Vec<_> = rows.iter().map(|row| row.channel).collect();
        let Ok(head) = self.node.latest().await else { return };
        let Ok(sights) = look_at(&self.node, &channels, head.hash).await else { return };
        if rows.iter().zip(&sights).any(|(row, sight)| row.row.total > sight.balance) {
            return;
        }
        let now = self.clock.now();
        let asked: Vec<_> = asked.chain([first]).collect();
        if asked.iter().all(|terms| terms.payer == first.payer) {
            self.denials.add(first.payer, now);
            return;
        }
        for terms in asked {
            self.suspects.add(terms.payer, now);
        }
    }
}
