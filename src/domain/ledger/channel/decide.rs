//! What may become of a payer's channels.

use crate::domain::channel::{ChannelId, Deposit};
use crate::domain::commitment::Scheme;
use crate::domain::id::PaymentId;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::ledger::channel::command::{ChannelCaps, ChannelCommand, Charge, DrawAsk, Fund};
use crate::domain::ledger::channel::event::{ChannelEvent, Drawn, Extended, Funded, Seen};
use crate::domain::ledger::channel::state::{
    Channel, ChannelState, Frozen, NO_BOUND, Opened, PORTIONS_MAX, Step, less, more,
};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::decide::{Decided, Refusal, Source, full};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::hold::FinalBlock;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::time::Timestamp;

/// Channels at most, closed ones included: one that was forgotten could be opened again.
const CHANNELS_MAX: usize = 1_000_000;

impl Ledger {
    pub(in crate::domain::ledger) fn decide_channel(
        &self,
        now: Timestamp,
        command: ChannelCommand,
    ) -> Result<Decided, Refusal> {
        let event = match command {
            ChannelCommand::Draw(ask) => return self.decide_draw(now, *ask),
            ChannelCommand::Extend(ask) => return self.decide_extend(now, *ask),
            ChannelCommand::Open(opened) => self.decide_open(opened)?,
            ChannelCommand::Deposit { channel, deposit, caps, policy_version } => {
                self.decide_deposit(now, channel, deposit, caps, policy_version)?
            }
            ChannelCommand::ConfirmDeposit { channel, transaction, block } => {
                let (_, money) = self.pending(channel)?;
                ChannelEvent::Deposited { channel, money, transaction, block }
            }
            ChannelCommand::ExpireDeposit { channel, block } => {
                let (deposit, money) = self.pending(channel)?;
                if block.time_s < deposit.valid_before_s {
                    return Err(Rejection::DepositLive { channel }.into());
                }
                let found = self.channel(channel)?;
                let unclaimed = less(found.charged, found.balance());
                let unclaimed = Box::new(Money { amount: unclaimed, asset: money.asset });
                ChannelEvent::DepositExpired { channel, money, unclaimed, block }
            }
            ChannelCommand::Charge { channel, charge } => self.decide_charge(channel, charge)?,
            ChannelCommand::Void { channel, payment, boot } => {
                self.decide_void_draw(channel, payment, boot)?
            }
            ChannelCommand::See { channel, balance, claimed, block } => {
                self.decide_see(channel, balance, claimed, block)?
            }
            ChannelCommand::Resync { channel, charged, ceiling } => {
                self.decide_resync(channel, charged, ceiling)?
            }
            ChannelCommand::Freeze { channel, why } => match self.channel(channel)?.state {
                ChannelState::Open => ChannelEvent::Frozen { channel, why },
                ChannelState::Frozen(_) | ChannelState::Closed => {
                    return Err(Rejection::Unchanged.into());
                }
            },
        };
        Ok(Event::Channel(event).into())
    }

    fn channel(&self, channel: ChannelId) -> Result<&Channel, Rejection> {
        self.find_channel(channel).ok_or(Rejection::UnknownChannel(channel))
    }

    fn pending(&self, channel: ChannelId) -> Result<(Deposit, Money), Rejection> {
        let found = self.channel(channel)?;
        let deposit = found.pending.ok_or(Rejection::Unchanged)?.deposit;
        Ok((deposit, Money { amount: deposit.amount, asset: found.opened.terms.asset }))
    }

    fn decide_open(&self, opened: Box<Opened>) -> Result<ChannelEvent, Rejection> {
        if self.find_channel(opened.id).is_some() {
            return Err(Rejection::Unchanged);
        }
        let wallet = self.wallets.find(opened.wallet);
        match wallet {
            Some(wallet) if wallet.address == opened.terms.payer => {}
            Some(wallet) => return Err(Rejection::ForeignWallet { wallet: wallet.name.clone() }),
            None => return Err(Rejection::UnknownChannel(opened.id)),
        }
        if self.channels.kept.len() >= CHANNELS_MAX {
            return Err(full("channels", CHANNELS_MAX));
        }
        Ok(ChannelEvent::Opened(opened))
    }

    fn decide_deposit(
        &self,
        now: Timestamp,
        channel: ChannelId,
        deposit: Deposit,
        caps: ChannelCaps,
        policy_version: u32,
    ) -> Result<ChannelEvent, Rejection> {
        let found = self.open_channel(channel)?;
        if policy_version != self.policy.version {
            let (current, asked) = (self.policy.version, policy_version);
            return Err(Rejection::StalePolicy { current, asked });
        }
        let fund = Fund { deposit, least: deposit.amount, caps };
        let deposit = self.check_fund(now, found, &fund, Nano::MAX)?;
        let money = Money { amount: deposit.amount, asset: found.opened.terms.asset };
        Ok(ChannelEvent::DepositHeld { channel, deposit: Box::new(deposit), money })
    }

    pub(super) fn open_channel(&self, channel: ChannelId) -> Result<&Channel, Rejection> {
        let found = self.channel(channel)?;
        match found.state {
            ChannelState::Open => Ok(found),
            state => Err(Rejection::ChannelFrozen { channel, state: state.as_str() }),
        }
    }

    /// Every budget that applies must have room for the worst case, in the same way as for a hold.
    fn decide_draw(&self, now: Timestamp, asked: DrawAsk) -> Result<Decided, Refusal> {
        let DrawAsk { ask, channel, last, fund } = asked;
        let found = self.open_channel(channel)?;
        let charged = match last {
            Some(charge) => {
                let charged = charged_by(found, charge)?;
                // The chain shows more as claimed than the payee said that it took.
                if charged > more(found.base, charge.amount) {
                    let state = Frozen::Overclaimed.as_str();
                    return Err(Rejection::ChannelFrozen { channel, state }.into());
                }
                charged
            }
            None if found.last.is_some() && !planted!("two_calls_on_a_channel") => {
                return Err(Rejection::ChannelBusy { channel }.into());
            }
            None => found.charged,
        };
        self.check_terms(found, &ask)?;
        let amount = ask.commitment.amount_max;
        let ceiling = more(charged, amount);
        let incoming = fund.as_ref().map_or(Amount::ZERO, |fund| fund.least);
        let reach = more(found.reach(), incoming);
        if ceiling > reach && !planted!("voucher_above_the_deposit") {
            let room = less(found.reach(), charged);
            return Err(Rejection::ChannelEmpty { channel, room, asked: amount }.into());
        }
        let step = Step { charged, covered: ceiling, most: NO_BOUND };
        let (turns, left) = found.turn(step);
        if left.len() >= PORTIONS_MAX {
            let (bound, asked) = (PORTIONS_MAX, amount);
            return Err(Rejection::ChannelCrowded { channel, bound, asked }.into());
        }
        // A voucher that a lost ledger signed is nobody's portion: only one that covers it may follow.
        let top = left.iter().map(|portion| portion.to).max().unwrap_or(ceiling).max(ceiling);
        if found.ceiling > top {
            let state = Frozen::Restored.as_str();
            return Err(Rejection::ChannelFrozen { channel, state }.into());
        }
        let (held, checks) = self.check_hold(now, ask, Source::Channel(found, &turns))?;
        let taken = less(charged, found.charged);
        let drawn = Drawn { held, channel, charged, ceiling, taken, turns };
        let Some(fund) = fund else {
            return Ok(Decided { event: Event::Channel(ChannelEvent::Drawn(drawn)), checks });
        };
        if self.permits_are_used(found, &drawn.held) {
            return Err(Refusal { rejection: Rejection::ChannelBusy { channel }, checks });
        }
        // More than every budget has left could not be spent in their windows.
        let left = checks.iter().map(BudgetCheck::left).min().unwrap_or(Nano::MAX);
        let deposit = match self.check_fund(now, found, &fund, left) {
            Ok(deposit) => deposit,
            Err(rejection) => return Err(Refusal { rejection, checks }),
        };
        let money = Money { amount: deposit.amount, asset: found.opened.terms.asset };
        let funded = ChannelEvent::Funded(Box::new(Funded { deposit, money, drawn }));
        Ok(Decided { event: Event::Channel(funded), checks })
    }

    fn decide_resync(
        &self,
        channel: ChannelId,
        charged: Amount,
        ceiling: Amount,
    ) -> Result<ChannelEvent, Rejection> {
        let found = self.open_channel(channel)?;
        if ceiling <= found.ceiling {
            return Err(Rejection::Unchanged);
        }
        // What lies there beyond what this ledger knows of cannot be counted by it.
        if charged < found.charged || charged > ceiling || ceiling > found.balance() {
            let (balance, claimed) = (found.balance(), charged);
            return Err(Rejection::ChannelMismatch { channel, balance, claimed });
        }
        let step = Step { charged, covered: Amount::ZERO, most: NO_BOUND };
        let (turns, _) = found.turn(step);
        let asset = found.opened.terms.asset;
        let taken = Money { amount: less(charged, found.charged), asset };
        Ok(ChannelEvent::Resynced { channel, charged, ceiling, turns, taken })
    }

    /// The same for one more portion of the channel's last call. Its own hold is given up for one of
    /// both, so that it is looked at by the budgets and windows of now: what is paid today counts today.
    fn decide_extend(&self, now: Timestamp, asked: DrawAsk) -> Result<Decided, Refusal> {
        let DrawAsk { mut ask, channel, .. } = asked;
        let found = self.open_channel(channel)?;
        let payment = ask.payment;
        if found.last != Some(payment) {
            return Err(Rejection::UnknownPayment(payment).into());
        }
        self.check_terms(found, &ask)?;
        let amount = ask.commitment.amount_max;
        if amount.is_zero() || amount > Amount::MAX {
            return Err(Rejection::AmountOutOfRange { amount }.into());
        }
        let ceiling = more(found.last_ceiling, amount);
        if ceiling > found.reach() && !planted!("portion_above_the_deposit") {
            let room = less(found.reach(), found.last_ceiling);
            return Err(Rejection::ChannelEmpty { channel, room, asked: amount }.into());
        }
        let own = found.find(payment);
        let (open, before) =
            own.map_or((Amount::ZERO, Nano::ZERO), |own| (less(own.to, own.from), own.nano));
        let nano = ask.nano;
        ask.nano = before.checked_add(nano).ok_or(Rejection::NanoOutOfRange { nano })?;
        ask.commitment.amount_max = more(open, amount);
        let step = Step { charged: found.charged, covered: ceiling, most: NO_BOUND };
        let (turns, _) = found.turn_others(payment, step);
        let source = Source::Extension { channel: found, turns: &turns, payment };
        let (held, checks) = self.check_hold(now, ask, source)?;
        let extended = Extended { held, channel, ceiling, before, turns };
        Ok(Decided { event: Event::Channel(ChannelEvent::Extended(extended)), checks })
    }

    /// One channel serves one wallet, one role and one provider.
    fn check_terms(&self, found: &Channel, ask: &HoldAsk) -> Result<(), Rejection> {
        let Opened { id, terms, wallet, role, provider } = &found.opened;
        let commitment = &ask.commitment;
        let agent = self.agents.find(ask.agent).ok_or(Rejection::UnknownAgent(ask.agent))?;
        let fits = matches!(commitment.scheme, Scheme::BatchSettlement(_))
            && commitment.nonce == id.0
            && commitment.asset == terms.asset
            && commitment.payer == terms.payer
            && commitment.pay_to == terms.receiver
            && self.wallets.id_at(agent.wallet) == *wallet
            && agent.agent.role == *role
            && ask.provider == *provider;
        if fits { Ok(()) } else { Err(Rejection::OtherChannel { channel: *id }) }
    }

    fn decide_charge(&self, channel: ChannelId, charge: Charge) -> Result<ChannelEvent, Rejection> {
        let found = self.channel(channel)?;
        let charged = charged_by(found, charge)?;
        let step = Step { charged, covered: Amount::ZERO, most: NO_BOUND };
        let (turns, _) = found.turn(step);
        let amount = less(charged, found.charged);
        let taken = Money { amount, asset: found.opened.terms.asset };
        Ok(ChannelEvent::Charged { channel, charged, turns, taken })
    }

    fn decide_void_draw(
        &self,
        channel: ChannelId,
        payment: PaymentId,
        boot: u64,
    ) -> Result<ChannelEvent, Rejection> {
        let found = self.channel(channel)?;
        let portion = found.find(payment).ok_or(Rejection::UnknownPayment(payment))?;
        // Only the process that placed it can know that its signer never saw it; the treasury adds that
        // it did not release it. Nor may a claim have come near it.
        let touched = found.charged != found.base || found.extended;
        let other_boot = portion.held.boot != boot && !planted!("draw_voided_after_a_restart");
        if found.last != Some(payment) || other_boot || touched {
            let (state, asked) = ("signable", "voided");
            return Err(Rejection::WrongState { payment, state, asked });
        }
        // What former vouchers say can be drawn still, and is held by nobody else.
        let turn = portion.cut(found.ceiling_before);
        Ok(ChannelEvent::DrawVoided { channel, payment, turn })
    }

    fn decide_see(
        &self,
        channel: ChannelId,
        balance: Amount,
        claimed: Amount,
        block: FinalBlock,
    ) -> Result<ChannelEvent, Rejection> {
        let found = self.channel(channel)?;
        if balance == found.balance() && claimed == found.claimed && !found.is_over() {
            return Err(Rejection::Unchanged);
        }
        // A deposit has to be confirmed before it can be seen, and no claim is ever taken back.
        if balance > found.balance() || claimed < found.claimed || claimed > balance {
            return Err(Rejection::ChannelMismatch { channel, balance, claimed });
        }
        let returned = less(found.balance(), balance);
        let most = found.most(returned);
        let charged = found.charged.max(claimed);
        let (turns, _) = found.turn(Step { charged, covered: Amount::ZERO, most });
        let asset = found.opened.terms.asset;
        let taken = Money { amount: less(charged, found.charged), asset };
        let returned = Money { amount: returned, asset };
        // The last call may have been charged up to its voucher's sum before its answer came.
        let expected = found.last.map_or(found.charged, |_| found.last_ceiling);
        let went_back = !returned.amount.is_zero() || !found.returned.is_zero();
        let state = match found.state {
            ChannelState::Open if claimed > expected => ChannelState::Frozen(Frozen::Overclaimed),
            ChannelState::Open if went_back => ChannelState::Frozen(Frozen::Closing),
            state => state,
        };
        // Whoever draws on it no more frees what was signed above the rest: it is frozen first, and closed
        // when it is seen once more.
        let is_over = state != ChannelState::Open
            && (found.state != ChannelState::Open || went_back)
            && balance == claimed
            && found.pending.is_none();
        let state = if is_over { ChannelState::Closed } else { state };
        // What came back although it was charged: the payee never claimed it.
        let reach = less(found.reach(), returned.amount);
        let unclaimed = Money { amount: less(charged, reach), asset };
        let seen =
            Seen { channel, balance, claimed, block, turns, taken, returned, unclaimed, state };
        Ok(ChannelEvent::Seen(Box::new(seen)))
    }
}

/// What is charged in all, once the channel's last call cost so much.
fn charged_by(found: &Channel, charge: Charge) -> Result<Amount, Rejection> {
    let Charge { payment, amount } = charge;
    if found.last != Some(payment) {
        return Err(Rejection::UnknownPayment(payment));
    }
    let charged = more(found.base, amount);
    if charged > found.last_ceiling && !planted!("charge_above_the_voucher") {
        let authorized = less(found.last_ceiling, found.base);
        return Err(Rejection::ExceedsHold { payment, authorized, asked: amount });
    }
    // A claim that was seen meanwhile counts, and nothing is paid of what never arrived or went back.
    Ok(charged.min(found.reach()).max(found.charged))
}
