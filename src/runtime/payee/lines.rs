//! What each payer has under way that is not paid yet, in the order in which it came. Of things that are each
//! covered by itself no more is done at once than their payer owns enough for together.
//!
//! Who is alone in its line costs nothing more than its own verification. Memory only: what a restart finds
//! open, the rounds look after. It will never ask what a payer has under way elsewhere.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use alloy::primitives::Address;
use futures_util::future::select_all;

use crate::domain::asset::Asset;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::domain::x402::{PaymentCode, PaymentError};
use crate::ports::paid_service::ServiceError;
use crate::runtime::landing::{Landing, UnderWay};
use crate::runtime::payee::Desk;
use crate::runtime::payee::check::Job;
use crate::runtime::payee::slots::within;
use crate::runtime::payee::stands::unavailable;

/// How long something waits for what is being paid before it: the chain may show that payment before anybody
/// here has heard of it, and it would count twice.
const PAYING_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long the chain may take to show what a payer owns.
const OWNED_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a look at what a payer owns holds: less than most work takes, in which it could spend all of it.
const SEEN_FRESH: Duration = Duration::from_secs(2);

/// In what, and whose.
type Whose = (Asset, Address);

/// The lines of all payers, together as long as calls run at once at most.
#[derive(Default)]
pub(super) struct Lines(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How many have joined any of them so far.
    joined: u64,
    lines: BTreeMap<Whose, Line>,
}

#[derive(Default)]
struct Line {
    places: BTreeMap<u64, InLine>,
    /// What has left it so far: it may have been paid.
    left: Amount,
    seen: Option<Seen>,
}

struct InLine {
    amount: Amount,
    /// Its end is heard by this, where the rail was asked to pay it.
    paying: Option<Landing>,
}

/// What a payer owned by the newest block, and what had left its line before that was asked for.
#[derive(Copy, Clone)]
struct Seen {
    owned: Amount,
    left: Amount,
    at: Timestamp,
}

/// A line as one place in it sees it.
struct View {
    /// What is before it, and itself.
    needed: Amount,
    /// What is before it and being paid.
    paying: Vec<Landing>,
    left: Amount,
    seen: Option<Seen>,
}

/// A place in a payer's line; given up when dropped.
pub(super) struct Place<'d> {
    lines: &'d Lines,
    whose: Whose,
    number: u64,
    amount: Amount,
    /// Whether nothing was before it when it came.
    is_alone: bool,
    // Dropped after the place was given up: then everybody who waits hears of it.
    paying: Option<UnderWay>,
}

impl Lines {
    /// The last place in the line of a payer, for something that takes so much of its money at most.
    pub(super) fn join(&self, whose: Whose, amount: Amount) -> Place<'_> {
        let mut known = self.lock();
        known.joined = known.joined.saturating_add(1);
        let number = known.joined;
        let line = known.lines.entry(whose).or_default();
        let is_alone = line.places.is_empty();
        line.places.insert(number, InLine { amount, paying: None });
        Place { lines: self, whose, number, amount, is_alone, paying: None }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no holder of the lines panics")
    }
}

impl Place<'_> {
    /// The rail is about to be asked for its money.
    pub(super) fn begin_to_pay(&mut self) {
        let (under_way, landing) = UnderWay::begin();
        let mut known = self.lines.lock();
        let line = known.lines.get_mut(&self.whose);
        if let Some(own) = line.and_then(|line| line.places.get_mut(&self.number)) {
            own.paying = Some(landing);
        }
        drop(known);
        self.paying = Some(under_way);
    }

    fn view(&self) -> View {
        let known = self.lines.lock();
        let line =
            known.lines.get(&self.whose).expect("a place is in its line until it is dropped");
        let before = || line.places.range(..self.number).map(|(_, it)| it);
        let add = |sum: Amount, it: &InLine| sum.checked_add(it.amount).unwrap_or(Amount::MAX);
        View {
            needed: before().fold(self.amount, add),
            paying: before().filter_map(|it| it.paying.clone()).collect(),
            left: line.left,
            seen: line.seen,
        }
    }

    fn saw(&self, seen: Seen) {
        if let Some(line) = self.lines.lock().lines.get_mut(&self.whose) {
            line.seen = Some(seen);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut known = self.lines.lock();
        let Some(line) = known.lines.get_mut(&self.whose) else { return };
        line.places.remove(&self.number);
        line.left = line.left.checked_add(self.amount).unwrap_or(Amount::MAX);
        if line.places.is_empty() {
            known.lines.remove(&self.whose);
        }
    }
}

impl View {
    /// Whether what was seen a moment ago is enough, had all that has left since been paid from it.
    fn is_covered_as_seen(&self, now: Timestamp) -> bool {
        let covers = |seen: Seen| {
            let gone = self.left.checked_sub(seen.left)?;
            let owned = seen.owned.checked_sub(gone)?;
            Some(now.since(seen.at) < SEEN_FRESH && self.needed <= owned)
        };
        self.seen.and_then(covers).unwrap_or(false)
    }
}

impl Desk {
    /// A place for the job in its payer's line.
    pub(super) fn line_up(&self, job: &Job) -> Place<'_> {
        let commitment = &job.accepted.commitment;
        self.lines.join((commitment.asset, commitment.payer), job.accepted.amount)
    }

    /// Whether the payer owns enough for the job beside what is before it; that it does for the job alone was
    /// verified after it had joined the line.
    ///
    /// # Errors
    /// [`ServiceError::PaymentRequired`] where it does not; [`ServiceError::Unavailable`] while the chain is
    /// silent.
    pub(super) async fn check_room(
        &self,
        job: &Job,
        place: &Place<'_>,
    ) -> Result<(), ServiceError> {
        if place.is_alone || self.has_room(place).await? {
            return Ok(());
        }
        let error = PaymentError::Refused(PaymentCode::InsufficientFunds);
        Err(self.refuse(&error, &job.quote, &job.order))
    }

    /// Whether the payer owns enough for `place` and all that is before it. Without a witness it counts as
    /// rich enough.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] while the chain is silent.
    pub(super) async fn has_room(&self, place: &Place<'_>) -> Result<bool, ServiceError> {
        let looked = within(self.parts.clock.as_ref(), PAYING_WAIT_MAX, self.look_for_room(place));
        looked.await.unwrap_or(Ok(false))
    }

    async fn look_for_room(&self, place: &Place<'_>) -> Result<bool, ServiceError> {
        loop {
            // Counted before the chain is looked at: what is paid in between counts twice then, and never
            // not at all.
            let (view, now) = (place.view(), self.parts.clock.now());
            if view.is_covered_as_seen(now) {
                return Ok(true);
            }
            let Some(owned) = self.owned_now(place.whose).await? else { return Ok(true) };
            place.saw(Seen { owned, left: view.left, at: now });
            if view.needed <= owned {
                return Ok(true);
            }
            if place.amount > owned || view.paying.is_empty() {
                return Ok(false);
            }
            // Each time less is before it.
            select_all(view.paying.iter().map(|landing| Box::pin(landing.wait()))).await;
        }
    }

    /// What a payer owns by the newest block; nothing is known without a witness.
    async fn owned_now(&self, (asset, payer): Whose) -> Result<Option<Amount>, ServiceError> {
        let Some(evidence) = &self.parts.evidence else { return Ok(None) };
        let asked = evidence.balance_now(asset, payer);
        match within(self.parts.clock.as_ref(), OWNED_WAIT_MAX, asked).await {
            Some(Ok(holding)) => Ok(Some(holding.amount)),
            Some(Err(problem)) => Err(unavailable(&problem.to_string())),
            None => Err(unavailable("the rail does not show in time what the payer owns")),
        }
    }
}
