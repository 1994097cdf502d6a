//! Takes up what was left open: settles again while that can be, asks the chain after that.
//!
//! Source: threats.md section 5.4, first row, from the payee's side.

use std::time::Duration;

use crate::domain::commitment::{Authorization, AuthorizationKey, Scheme};
use crate::domain::ledger::claim::{Accepted, Claim, ClaimState};
use crate::domain::ledger::{Command, Ledger};
use crate::ports::rail::{Evidence, Fee, NonceState, RailError, RefusedBy, Settlement};
use crate::runtime::payee::settle::{can_never_settle, paid_another};
use crate::runtime::payee::slots::within;
use crate::runtime::payee::{Desk, Payee};
use crate::runtime::treasury::Refused;

/// Claims that one round works on at most, oldest first.
const CLAIMS_MAX: usize = 256;

/// How long the chain may take to show a nonce.
const EVIDENCE_WAIT_MAX: Duration = Duration::from_secs(20);

/// How old a due item is before somebody is woken.
const DUE_ALARM_AGE: Duration = Duration::from_secs(600);

/// Due items that one round names, or pays back, at most.
const DUE_MAX: usize = 16;

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Claims whose money is known to be ours since.
    pub settled: u64,
    /// Claims that are known to be worth nothing since.
    pub dead: u64,
    /// Claims whose outcome stays open.
    pub open: u64,
    /// Claims that are paid and not served.
    pub due: u64,
    /// Claims that were paid back.
    pub refunded: u64,
    /// Why the rail gave no answer, where it gave none.
    pub silent: Option<RailError>,
}

/// What the ledger has open, oldest first, as far as one round looks.
#[derive(Default)]
struct Found {
    open: Vec<AuthorizationKey>,
    open_len: u64,
    /// Due, or being paid back.
    due: Vec<Claim>,
    due_len: u64,
}

/// One claim whose outcome is open.
struct Open {
    accepted: Accepted,
    doubted: bool,
    /// Whether the rail may be asked for it: nothing is settled of a maximum before it is charged.
    charged: bool,
}

impl Open {
    const fn key(&self) -> AuthorizationKey {
        self.accepted.key()
    }
}

/// What a round makes of a claim.
enum Verdict {
    Settled(Command),
    Dead(Command),
    Doubted(Command),
    StillOpen,
}

impl Payee {
    /// Round after round, until dropped. Cancel-safe: a round that is cut short is done again.
    ///
    /// # Errors
    /// [`Refused::Stopped`] once the treasury has stopped.
    pub async fn run(&self, interval: Duration) -> Result<(), Refused> {
        loop {
            let round = self.round().await?;
            let claimed = self.claim_round(false).await?;
            if let Some(channels) = &self.desk.channels {
                self.give_back_idle(channels.claims.idle_max).await?;
            }
            if let Some(problem) = round.silent.or(claimed.silent) {
                tracing::warn!(%problem, "rail silent");
            }
            let next = self.desk.parts.clock.now().after(interval);
            self.desk.parts.clock.sleep_until(next).await;
        }
    }

    /// One round over the claims that nobody works on. What is served right now is left alone.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn round(&self) -> Result<Round, Refused> {
        let desk = self.desk.as_ref();
        let found = desk.find_open().await?;
        desk.alarm(&found.due);
        desk.book_fees().await?;
        let mut round = Round { open: found.open_len, due: found.due_len, ..Round::default() };
        for key in found.open {
            let Ok(_flight) = desk.flights.take(key) else { continue };
            // Whoever worked on it when the round began may have closed it since.
            let Some(open) = desk.find_still_open(key).await? else { continue };
            let verdict = match desk.conclude(&open).await {
                Ok(verdict) => verdict,
                Err(problem) => {
                    // The others would hear the same: the next round asks again.
                    round.silent = Some(problem);
                    break;
                }
            };
            let (command, counter) = match verdict {
                Verdict::Settled(command) => (command, Some(&mut round.settled)),
                Verdict::Dead(command) => (command, Some(&mut round.dead)),
                Verdict::Doubted(command) => (command, None),
                Verdict::StillOpen => continue,
            };
            let (closed, counter) = match desk.close(command).await {
                // The nonce is used, and by a transfer that is not for this claim.
                Err(refused) if paid_another(&refused) => {
                    let dead = Command::KillClaim { claim: key };
                    (desk.close(dead).await, Some(&mut round.dead))
                }
                closed => (closed, counter),
            };
            match (closed, counter) {
                (Ok(()), Some(counter)) => {
                    *counter = counter.saturating_add(1);
                    round.open = round.open.saturating_sub(1);
                }
                (Err(refused @ Refused::Stopped { .. }), _) => return Err(refused),
                // Refused: somebody was faster, and the next round looks again.
                (Ok(()), None) | (Err(Refused::Rejected(_)), _) => {}
            }
        }
        if round.silent.is_none() {
            self.pay_back(&found.due, &mut round).await?;
        }
        Ok(round)
    }

    /// Pays back what has been due for too long, and what a crash left half paid back.
    async fn pay_back(&self, due: &[Claim], round: &mut Round) -> Result<(), Refused> {
        let desk = self.desk.as_ref();
        for claim in due {
            let begun = matches!(claim.state, ClaimState::Refunding { .. });
            if !begun && !desk.is_overdue(claim) {
                continue;
            }
            // Somebody who is being served right now is not paid back.
            let Ok(_flight) = desk.flights.take(claim.accepted.key()) else { continue };
            match desk.refund(claim).await? {
                Ok(true) => {
                    round.refunded = round.refunded.saturating_add(1);
                    round.due = round.due.saturating_sub(1);
                }
                Ok(false) => {}
                Err(problem) => {
                    round.silent = Some(problem);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Desk {
    async fn find_open(&self) -> Result<Found, Refused> {
        let network = self.parts.settler.network();
        let now_s = self.parts.clock.now().as_secs();
        let look = move |ledger: &Ledger| {
            let mut found = Found::default();
            // What was lost may be paid after all, while its authorization lives.
            let lost = ledger.claims().filter(|claim| {
                claim.state == ClaimState::Lost
                    && claim.accepted.commitment.asset.network == network
                    && now_s < claim.accepted.commitment.valid_before_s
            });
            found.open.extend(lost.take(CLAIMS_MAX).map(|claim| claim.accepted.key()));
            for claim in ledger.open_claims() {
                match claim.state {
                    _ if claim.accepted.commitment.asset.network != network => {}
                    ClaimState::Due { .. } | ClaimState::Refunding { .. } => {
                        found.due_len = found.due_len.saturating_add(1);
                        if found.due.len() < DUE_MAX {
                            found.due.push(claim.clone());
                        }
                    }
                    _ => {
                        found.open_len = found.open_len.saturating_add(1);
                        if found.open.len() < CLAIMS_MAX {
                            found.open.push(claim.accepted.key());
                        }
                    }
                }
            }
            found
        };
        self.parts.treasury.read(look).await
    }

    /// Writes what the settler's transactions have cost since the last round.
    async fn book_fees(&self) -> Result<(), Refused> {
        let network = self.parts.settler.network();
        for Fee { transaction, amount } in self.parts.settler.take_fees() {
            match self.close(Command::SpendGas { network, amount, transaction }).await {
                Err(refused @ Refused::Stopped { .. }) => return Err(refused),
                Ok(()) | Err(Refused::Rejected(_)) => {}
            }
        }
        Ok(())
    }

    async fn find_still_open(&self, key: AuthorizationKey) -> Result<Option<Open>, Refused> {
        let look = move |ledger: &Ledger| {
            let claim = ledger.find_claim(&key)?;
            let doubted = match claim.state {
                ClaimState::Accepted | ClaimState::Charged => false,
                ClaimState::Unknown | ClaimState::Credited | ClaimState::Lost => true,
                _ => return None,
            };
            let has_maximum = matches!(claim.accepted.commitment.scheme, Scheme::Upto { .. });
            let charged = !has_maximum || claim.state != ClaimState::Accepted;
            Some(Open { accepted: claim.accepted.clone(), doubted, charged })
        };
        self.parts.treasury.read(look).await
    }

    /// Wakes somebody for what was paid long ago and not served.
    fn alarm(&self, due: &[Claim]) {
        let now = self.parts.clock.now();
        let old = |claim: &&Claim| now.since(claim.accepted_at) > DUE_ALARM_AGE;
        for claim in due.iter().filter(old) {
            let age_s = now.since(claim.accepted_at).as_secs();
            let accepted = &claim.accepted;
            let payment = accepted.payment.map(tracing::field::display);
            let (payer, amount) = (accepted.payer(), accepted.amount);
            let asset = accepted.commitment.asset;
            tracing::error!(payment, %payer, %amount, %asset, age_s, "paid and still not served");
        }
    }

    /// What became of a claim: by settling it while that can be, by the chain where there is a witness.
    async fn conclude(&self, open: &Open) -> Result<Verdict, RailError> {
        let Accepted { commitment, signature, .. } = open.accepted;
        let now_s = self.parts.clock.now().as_secs();
        match &self.parts.evidence {
            Some(evidence) if now_s >= commitment.valid_before_s => {
                return self.look(open, evidence.as_ref()).await;
            }
            _ => {}
        }
        if !open.charged {
            // Only we could settle it, and never did: without a witness its time is enough.
            let over = now_s >= commitment.valid_before_s;
            let dead = Verdict::Dead(Command::KillClaim { claim: open.key() });
            return Ok(if over { dead } else { Verdict::StillOpen });
        }
        if let Some(settled) = self.nothing_settled(&open.accepted) {
            return Ok(Verdict::Settled(settled));
        }
        let authorization = Authorization { commitment, signature };
        match self.ask_to_settle(&authorization, open.accepted.amount).await? {
            Settlement::Settled { transaction, amount, moved_at_s } => {
                let claim = open.key();
                let settled = Command::SettleClaim { claim, amount, transaction, moved_at_s };
                Ok(Verdict::Settled(settled))
            }
            Settlement::Unknown { transaction } if !open.doubted => {
                Ok(Verdict::Doubted(Command::DoubtClaim { claim: open.key(), transaction }))
            }
            Settlement::Unknown { .. } => Ok(Verdict::StillOpen),
            Settlement::Refused(by) => self.after_refusal(open, by).await,
        }
    }

    async fn after_refusal(&self, open: &Open, by: RefusedBy) -> Result<Verdict, RailError> {
        match &self.parts.evidence {
            // Something may have been sent before: only a final block is the last word.
            Some(evidence) => self.look(open, evidence.as_ref()).await,
            None if can_never_settle(by) => {
                Ok(Verdict::Dead(Command::KillClaim { claim: open.key() }))
            }
            None => Ok(Verdict::StillOpen),
        }
    }

    /// The table of threats.md 5.4, row "exact EIP-3009".
    async fn look(&self, open: &Open, evidence: &dyn Evidence) -> Result<Verdict, RailError> {
        let (claim, commitment) = (open.key(), &open.accepted.commitment);
        let clock = self.parts.clock.as_ref();
        let looked = within(clock, EVIDENCE_WAIT_MAX, evidence.find_nonce(commitment)).await;
        let network = commitment.asset.network;
        let late = || RailError::Unreachable { network, problem: "not in time".to_owned() };
        let sighting = looked.unwrap_or_else(|| Err(late()))?;
        let is_over = sighting.block_time_s >= commitment.valid_before_s;
        Ok(match sighting.nonce {
            NonceState::Used { transaction, amount, moved_at_s, .. } => {
                let settled = Command::SettleClaim { claim, amount, transaction, moved_at_s };
                Verdict::Settled(settled)
            }
            NonceState::Canceled { .. } => Verdict::Dead(Command::KillClaim { claim }),
            NonceState::Unused if is_over || planted!("claim_dies_before_its_time") => {
                Verdict::Dead(Command::KillClaim { claim })
            }
            // Absence of logs is not evidence: it stays open, and is asked about again.
            NonceState::Unused | NonceState::UsedWithoutTrace => Verdict::StillOpen,
        })
    }
}
