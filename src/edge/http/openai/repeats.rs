//! Which payment a request is: OpenAI's clients try again by themselves and name no request, so that the
//! name is made of what they say.
//!
//! With an `Idempotency-Key` the key names the request, for a day. Without one it is the body: the same
//! body of the same agent is the same payment while that payment is under way or in doubt, and when the
//! client says that it tries again; else it is a new one. A restart forgets the memory here and not the
//! ledger's: names are made in such a way that they are found there again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;

use crate::domain::fault::{Class, Fault};
use crate::domain::id::{AgentId, PaymentId, RequestId};
use crate::domain::ledger::Ledger;
use crate::domain::ledger::hold::HoldState;
use crate::domain::time::Timestamp;
use crate::runtime::payer::{Outcome, PayError};
use crate::runtime::treasury::{Refused, Treasury};

/// A name's own time is the beginning of such a span, so that it can be made again.
const SPAN: Duration = Duration::from_secs(600);

/// Spans that an `Idempotency-Key` is remembered for: a day.
const KEY_SPANS: u64 = 144;

/// Spans that a body is looked for in the ledger after a restart, the running one included.
const BODY_SPANS: u64 = 2;

/// Requests that are remembered here at most.
const KEPT_MAX: usize = 16_384;

type Key = [u8; 32];

/// What is known of a request.
pub(super) struct Asking<'a> {
    pub agent: AgentId,
    pub path: &'static str,
    pub key: Option<&'a str>,
    pub body: &'a [u8],
    /// Whether the client says that it tries again.
    pub again: bool,
}

/// What became of the newest payment of a key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    /// Under way, or in doubt.
    Open,
    /// Answered.
    Done,
    /// Refused before anything was held.
    Refused,
}

#[derive(Clone)]
struct Kept {
    request: RequestId,
    state: State,
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
    repeats: Arc<Repeats>,
    key: Key,
    turn: Option<OwnedMutexGuard<()>>,
}

/// A payment under way: it tells what became of it.
pub(super) struct Paying(Option<(Arc<Repeats>, Key)>);

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
        let known = self.memory().kept.get(&key).cloned();
        let is_same = |kept: &Kept| by_key || asked.again || kept.state != State::Done;
        let request = match known.filter(is_same) {
            Some(kept) => kept.request,
            None => {
                let remembered = self.memory().kept.contains_key(&key);
                let again = asked.again;
                let look = move |ledger: &Ledger| {
                    let found = look_up(ledger, agent, key, now, by_key);
                    match found.last {
                        // What is remembered here has ended: this is another request.
                        _ if remembered => found.fresh,
                        Some((last, open)) if by_key || again || open => last,
                        _ => found.fresh,
                    }
                };
                treasury.read(look).await?
            }
        };
        self.keep(key, Kept { request, state: State::Open });
        let owned = Some(Owned { repeats: Arc::clone(self), key, turn });
        Ok(Named { request, owned })
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

    fn ended(&self, key: Key, state: State) {
        if let Some(kept) = self.memory().kept.get_mut(&key) {
            kept.state = state;
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        drop(self.turn.take());
        let mut memory = self.repeats.memory();
        // Nobody else waits for this turn: the map's own is the last.
        if memory.turns.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            memory.turns.remove(&self.key);
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

    /// Notes that there was no answer.
    pub(super) fn refused(self, error: &PayError) {
        let state = if error.class() == Class::InDoubt { State::Open } else { State::Refused };
        if let Some(owned) = &self.owned {
            owned.repeats.ended(owned.key, state);
        }
    }

    /// Notes that it is being paid; the next of the same may look.
    pub(super) fn paying(self) -> Paying {
        Paying(self.owned.as_ref().map(|owned| (Arc::clone(&owned.repeats), owned.key)))
    }
}

impl Paying {
    /// Notes how it ended.
    pub(super) fn ended(&self, outcome: Outcome) {
        if let (Some((repeats, key)), Outcome::Captured) = (&self.0, outcome) {
            repeats.ended(*key, State::Done);
        }
    }

    /// Notes that a stream was cut: what came of it is paid, and the same again is another request.
    pub(super) fn cut(&self, error: &PayError) {
        if let (Some((repeats, key)), PayError::Cut { .. } | PayError::Refused { .. }) =
            (&self.0, error)
        {
            repeats.ended(*key, State::Done);
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
    let spans = if by_key { KEY_SPANS } else { BODY_SPANS };
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
    let kind: &[u8] = if asked.key.is_some() { b"key" } else { b"body" };
    let said = asked.key.map_or(asked.body, str::as_bytes);
    for part in [kind, asked.agent.as_bytes(), asked.path.as_bytes(), said] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
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
    use super::first_free;

    #[test]
    fn the_first_free_number_is_found_wherever_it_is() {
        for free in 0..200 {
            assert_eq!(first_free(|number| number < free), free);
        }
    }
}
