//! Says why money did not move through us, by the chain's own word.

use crate::ports::rail::{NonceState, RefusedBy, Settlement};

use super::evidence::nonce_at;
use super::moves::Move;
use super::node::{Head, Node, Trouble};

/// What is true of an authorization that our own transaction did not settle.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is settled, by whomever: somebody else may have sent it first.
    Settled(Settlement),
    /// It did not settle.
    Refused(RefusedBy),
    /// Its nonce is spent, and nothing was found that says by what.
    Untraced,
}

/// Judges `wanted` as of `block`; `now_s` is the wall clock.
pub(super) async fn judge(
    node: &Node,
    wanted: &Move,
    block: &Head,
    now_s: u64,
) -> Result<Verdict, Trouble> {
    let key = &wanted.sought.key;
    match nonce_at(node, &wanted.sought, block).await? {
        NonceState::Unused => {}
        NonceState::Used { transaction, amount, moved_at_s, .. } if amount == wanted.amount => {
            let settled = Settlement::Settled { transaction, amount, moved_at_s };
            return Ok(Verdict::Settled(settled));
        }
        NonceState::Used { .. } => return Ok(Verdict::Refused(RefusedBy::NonceUsed)),
        NonceState::Canceled { .. } => return Ok(Verdict::Refused(RefusedBy::Canceled)),
        NonceState::UsedWithoutTrace => return Ok(Verdict::Untraced),
    }
    // In the order in which the contract looks, so that the first reason is the one it had.
    let reason = if block.time_s() <= wanted.valid_after_s {
        RefusedBy::NotYetValid
    } else if block.time_s().max(now_s) >= wanted.valid_before_s {
        RefusedBy::Expired
    } else {
        let (word, allowed, balance) = tokio::try_join!(
            wanted.check_word(node, block.hash),
            wanted.is_allowed(node, block.hash),
            node.balance_of(key.asset, key.payer, block.hash),
        )?;
        if let Err(reason) = word {
            reason
        } else if !allowed {
            RefusedBy::AllowanceRequired
        } else if balance < wanted.amount {
            RefusedBy::InsufficientFunds
        } else {
            RefusedBy::Reverted
        }
    };
    Ok(Verdict::Refused(reason))
}
