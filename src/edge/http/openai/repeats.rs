//! Which payment a request is: OpenAI's clients try again by themselves and name no request, so that the
//! name is made of what they say.
//!
//! With an `Idempotency-Key` the key names the request, for a day. Without one it is the body, with the session
//! and the bound on its price: the same of the same agent is the same payment while that payment is under way
//! or in doubt, and when the client says that it tries again; else it is a new one. A client that hung up tells
//! nothing here of how it ended, so that the ledger is asked. A restart forgets the memory here and not the
//! ledger's: names are made in such a way that they are found there again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;

use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::hold::HoldState;
use crate::domain::ledger::requests::RequestState;
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;
use crate::runtime::payer::{Outcome, PayError};
use crate::runtime::treasury::{Refused, Treasury};

/// A name's own time is the beginning of such a span, so that it can be made again.
const SPAN: Duration = Duration::from_secs(600);

/// Spans that an `Idempotency-Key` is remembered for: a day.
const KEY_SPANS: u64 = 144;

/// Spans that a body is looked for in the ledger after a restart, the running one included.
const BODY_SPANS: u32 = 2;

/// Requests that are remembered here at most.
const KEPT_MAX: usize = 16_384;

type Key = [u8; 32];

/// What is known of a request.
pub(super) struct Asking<'a> {
    pub agent: AgentId,
    pub path: &'static str,
    pub key: Option<&'a str>,
    pub body: &'a [u8],
    pub session: Option<&'a Name>,
    pub price_max: Option<Nano>,
    /// Whether the client says that it tries again.
    pub again: bool,
}

/// What became of the newest payment of a key, as far as it was heard of here.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    /// It may be under way, in doubt, or refused before anything was held: the ledger knows.
    Open,
    /// Answered, or its answer is gone.
    Done,
}

#[derive(Clone)]
struct Kept {
    request: RequestId,
    state: State,
    /// Whoever waits for its end here.
    carried: Weak<()>,
}

#[derive(Default)]
struct Memory {
    kept: BTreeMap<Key, Kept>,
    order: VecDeque<Key>,
    turns: BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>,
}

/// The newest payments by what their requests said.
#[derive(Default)]
pub(super) struct Repeats(Mutex<Memory>);

/// A request's name. While it is held, the same request waits for its turn.
pub(super) struct Named {
    request: RequestId,
    owned: Option<Owned>,
}

struct Owned {
    carried: Carried,
    turn: Option<OwnedMutexGuard<()>>,
}

/// A payment under way: it tells what became of it.
pub(super) struct Paying(Option<Carried>);

#[derive(Clone)]
struct Carried {
    repeats: Arc<Repeats>,
    key: Key,
    request: RequestId,
    #[expect(dead_code, reason = "that it is there is its use")]
    alive: Arc<()>,
}

impl Repeats {
    /// The name of what is asked.
    ///
    /// # Errors
    /// [`Refused`] where the ledger cannot be asked.
    pub(super) async fn name(
        self: &Arc<Self>,
        treasury: &Treasury,
        asked: Asking<'_>,
        now: Timestamp,
    ) -> Result<Named, Refused> {
        let key = key_of(&asked);
        let turn = Some(self.turn(key).lock_owned().await);
        let (agent, by_key) = (asked.agent, asked.key.is_some());
        let is_told = by_key || asked.again;
        let known = self.memory().kept.get(&key).cloned();
        let request = match known.clone() {
            Some(kept) if is_told || kept.is_carried() => kept.request,
            known => {
                let look = move |ledger: &Ledger| {
                    let found = look_up(ledger, agent, key, now, by_key);
                    match (known, found.last) {
                        (Some(kept), _) if kept.goes_on(ledger, agent, now) => kept.request,
                        // What is remembered here has ended: this is another request.
                        (Some(_), _) => found.fresh,
                        (None, Some((last, open))) if is_told || open => last,
                        (None, _) => found.fresh,
                    }
                };
                treasury.read(look).await?
            }
        };
        let same = known.filter(|kept| kept.request == request);
        let alive = same.and_then(|kept| kept.carried.upgrade()).unwrap_or_default();
        self.keep(key, Kept { request, state: State::Open, carried: Arc::downgrade(&alive) });
        let carried = Carried { repeats: Arc::clone(self), key, request, alive };
        Ok(Named { request, owned: Some(Owned { carried, turn }) })
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().expect("no holder of the repeats panics")
    }

    fn turn(&self, key: Key) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.memory().turns.entry(key).or_default())
    }

    fn keep(&self, key: Key, kept: Kept) {
        let mut memory = self.memory();
        if memory.kept.insert(key, kept).is_none() {
            memory.order.push_back(key);
        }
        while memory.kept.len() > KEPT_MAX {
            let Some(oldest) = memory.order.pop_front() else { return };
            memory.kept.remove(&oldest);
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        drop(self.turn.take());
        let Carried { repeats, key, .. } = &self.carried;
        let mut memory = repeats.memory();
        // Nobody else waits for this turn: the map's own is the last.
        if memory.turns.get(key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            memory.turns.remove(key);
        }
    }
}

impl Carried {
    /// The same again is another request.
    fn done(&self) {
        let mut memory = self.repeats.memory();
        let kept = memory.kept.get_mut(&self.key).filter(|kept| kept.request == self.request);
        if let Some(kept) = kept {
            kept.state = State::Done;
        }
    }
}

impl Named {
    /// A name that the caller gave.
    pub(super) const fn explicit(request: RequestId) -> Self {
        Self { request, owned: None }
    }

    pub(super) const fn request(&self) -> RequestId {
        self.request
    }

    /// Notes that there was no answer. One that is paid and gone does not come back: the same again is
    /// another request, or it would hear of it for ever.
    pub(super) fn refused(self, error: &PayError) {
        if let (Some(owned), PayError::AnswerGone { .. }) = (&self.owned, error) {
            owned.carried.done();
        }
    }

    /// Notes that it is being paid; the next of the same may look.
    pub(super) fn paying(self) -> Paying {
        Paying(self.owned.as_ref().map(|owned| owned.carried.clone()))
    }
}

impl Paying {
    /// Notes how it ended.
    pub(super) fn ended(&self, outcome: Outcome) {
        if let (Some(carried), Outcome::Captured) = (&self.0, outcome) {
            carried.done();
        }
    }

    /// Notes that nobody listens any more to what is paid only while it flows.
    pub(super) fn left(&self) {
        if let Some(carried) = &self.0 {
            carried.done();
        }
    }

    /// Notes that an answer broke off: what came of it is paid, and the same again is another request.
    pub(super) fn cut(&self, error: &PayError) {
        let is_paid = matches!(
            error,
            PayError::Cut { .. } | PayError::Refused { .. } | PayError::AnswerGone { .. }
        );
        if let Some(carried) = self.0.as_ref().filter(|_| is_paid) {
            carried.done();
        }
    }
}

impl Kept {
    /// Whether somebody here waits for its end.
    fn is_carried(&self) -> bool {
        self.state == State::Open && self.carried.strong_count() > 0
    }

    /// Whether the same again is this very request, by what the ledger knows of it.
    fn goes_on(&self, ledger: &Ledger, agent: AgentId, now: Timestamp) -> bool {
        if self.state == State::Done {
            return false;
        }
        let Some(taken) = ledger.requests().find(agent, self.request) else {
            // Nothing was held for it, or it is about to be: only an old name may be taken no more.
            let oldest = now.before(SPAN.saturating_mul(BODY_SPANS));
            return self.request.made_at_ms().is_some_and(|made| made >= oldest.as_millis());
        };
        match taken.state {
            RequestState::Taken => is_open(ledger, taken.payment),
            RequestState::Free { .. } => true,
        }
    }
}

struct Found {
    /// A name that was never taken.
    fresh: RequestId,
    /// The newest that was, and whether its payment is open.
    last: Option<(RequestId, bool)>,
}

fn look_up(ledger: &Ledger, agent: AgentId, key: Key, now: Timestamp, by_key: bool) -> Found {
    let span_ms = u64::try_from(SPAN.as_millis()).unwrap_or(u64::MAX);
    let running = now.as_millis().checked_div(span_ms).unwrap_or(0);
    let spans = if by_key { KEY_SPANS } else { BODY_SPANS.into() };
    let name = |span: u64, number: u64| name(key, span.saturating_mul(span_ms), number);
    let taken = |request: RequestId| ledger.requests().find(agent, request);
    let first_free = |span: u64| first_free(|number| taken(name(span, number)).is_some());
    let fresh = name(running, if by_key { 0 } else { first_free(running) });
    let last = (0..spans).find_map(|ago| {
        let span = running.checked_sub(ago)?;
        let free = first_free(span);
        let request = name(span, free.checked_sub(1)?);
        let payment = taken(request)?.payment;
        Some((request, is_open(ledger, payment)))
    });
    Found { fresh, last }
}

fn is_open(ledger: &Ledger, payment: PaymentId) -> bool {
    let held = ledger.find_hold(payment);
    let open = held.is_some_and(|hold| !matches!(hold.state, HoldState::Captured { .. }));
    let drawn = ledger.find_draw(payment);
    open || drawn.is_some_and(|(channel, _)| channel.last == Some(payment))
}

/// The first number that is not taken: they are taken in order, so that it is found by doubling and
/// halving.
fn first_free(taken: impl Fn(u64) -> bool) -> u64 {
    let mut over: u64 = 1;
    if !taken(0) {
        return 0;
    }
    while taken(over) {
        over = over.saturating_mul(2);
    }
    let mut under = over.div_euclid(2);
    // `under` is taken, `over` is not.
    while under.saturating_add(1) < over {
        let middle = under.midpoint(over);
        if taken(middle) {
            under = middle;
        } else {
            over = middle;
        }
    }
    over
}

fn key_of(asked: &Asking<'_>) -> Key {
    let mut hash = Sha256::new();
    let mut say = |part: &[u8]| {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    };
    let kind: &[u8] = if asked.key.is_some() { b"key" } else { b"body" };
    let said = asked.key.map_or(asked.body, str::as_bytes);
    for part in [kind, asked.agent.as_bytes(), asked.path.as_bytes(), said] {
        say(part);
    }
    // Under one `Idempotency-Key` other terms are a conflict, as another body is. Without one they are
    // another request: the ledger would refuse them as the same.
    if asked.key.is_none() {
        if let Some(session) = asked.session {
            say(b"session");
            say(session.as_str().as_bytes());
        }
        if let Some(price_max) = asked.price_max {
            say(b"price");
            say(&price_max.get().to_be_bytes());
        }
    }
    hash.finalize().into()
}

fn name(key: Key, made_at_ms: u64, number: u64) -> RequestId {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(number.to_be_bytes());
    let digest: Key = hash.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(digest.split_at(10).0);
    RequestId::new(made_at_ms, random)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn the_first_free_number_is_found_wherever_it_is() {
        for free in 0..200 {
            assert_eq!(first_free(|number| number < free), free);
        }
    }

    #[test]
    fn other_terms_are_another_request_but_under_a_key() {
        let sessions: [Name; 2] = ["planner", "writer"].map(|name| name.parse().unwrap());
        let asking = |key, session, price| Asking {
            agent: AgentId::from_bytes([1; 16]),
            path: "/v1/chat/completions",
            key,
            body: b"{}",
            session,
            price_max: price,
            again: false,
        };
        let [planner, writer] = &sessions;
        let terms = [
            (None, None),
            (Some(planner), None),
            (Some(writer), None),
            (None, Some(Nano::ONE)),
            (Some(planner), Some(Nano::ONE)),
            (Some(planner), Some(Nano::new(1))),
        ];
        let keys = |key| terms.map(|(session, price)| key_of(&asking(key, session, price)));
        let bodies = keys(None);
        for (at, key) in bodies.iter().enumerate() {
            assert_eq!(bodies.iter().position(|other| other == key), Some(at));
        }
        let [first, rest @ ..] = keys(Some("job-7"));
        assert!(rest.iter().all(|key| *key == first) && !bodies.contains(&first));
    }
}
