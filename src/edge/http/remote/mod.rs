//! Facilitators elsewhere as a rail: they verify and settle for a payee, and bear no witness.
//!
//! - What one says of a settlement is never believed, neither that it paid nor that it did not: it has the
//!   authorization now, and may hand it in at any time until that ends. The chain decides, asked by the
//!   payee's own node; while it shows nothing, the outcome is unknown.
//! - Another one is tried only where nothing can have reached the one before. Once something has, the
//!   same one is asked again, and no other.
//!
//! Source: threats.md A22, A23, D06, D07.

mod words;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::Address;
use alloy::transports::http::reqwest;
use async_trait::async_trait;
use serde_json::Value;

use crate::domain::asset::{AssetRegistry, Network};
use crate::domain::commitment::{AuthorizationKey, Scheme};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::domain::x402::TokenDomains;
use crate::domain::x402::read::parse_asked;
use crate::ports::clock::Clock;
use crate::ports::rail::{
    Authorization, Evidence, NonceState, RailError, RefusedBy, Settlement, Settler,
};

use words::{Said, account_of, asked, read_verified};

/// Facilitators in one list at most.
pub const FACILITATORS_MAX: usize = 8;

/// The longest answer that is read, in bytes.
const ANSWER_LEN_MAX: usize = 64 * 1024;

/// How many outcomes may be open; no more is handed in while so many are.
const OPEN_MAX: usize = 10_000;

/// The shortest and the longest pause between two looks at the chain.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// How long it counts that one has answered.
const READY_FRESH: Duration = Duration::from_secs(5);

/// What a list of facilitators is made of.
pub struct RemotePlan {
    /// Where they answer, in the order in which they are tried: at most [`FACILITATORS_MAX`].
    pub urls: Vec<String>,
    /// What may be paid with.
    pub assets: AssetRegistry,
    /// What the chain shows: without it nobody could tell what a facilitator did.
    pub evidence: Arc<dyn Evidence>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long one may take for an answer.
    pub answer_within: Duration,
    /// How long the chain is looked at for what one was asked to settle.
    pub look_for: Duration,
}

/// Settles by facilitators elsewhere.
pub struct RemoteFacilitators {
    doors: Vec<Door>,
    http: reqwest::Client,
    tokens: TokenDomains,
    evidence: Arc<dyn Evidence>,
    clock: Arc<dyn Clock>,
    look_for: Duration,
    /// Who was handed what, and until when it holds, in seconds since the epoch.
    open: Mutex<BTreeMap<AuthorizationKey, Handed>>,
    ready: Mutex<Option<Timestamp>>,
}

/// One of them.
struct Door {
    url: String,
    /// Who sends its settlements, where it says so.
    account: Option<Address>,
}

#[derive(Copy, Clone)]
struct Handed {
    door: usize,
    valid_before_s: u64,
    /// Calls that brought it there, or may yet.
    calls: u64,
}

/// What was heard of a question.
enum Heard {
    /// It did not get there.
    NotSent(String),
    /// It may have got there, and nothing that can be read came back.
    Nothing(String),
    /// This.
    Answer(Value),
}

impl RemoteFacilitators {
    /// Asks each what it does. One at least has to settle `exact` on the evidence's network; the others may
    /// be away for now.
    ///
    /// # Errors
    /// [`RailError::Unreachable`] where none answers, [`RailError::Malformed`] where none of those that do
    /// settles there.
    pub async fn connect(plan: RemotePlan) -> Result<Self, RailError> {
        let network = plan.evidence.network();
        let malformed = |problem: String| RailError::Malformed { network, problem };
        // No proxy, and no redirect: a payment goes where the configuration says and nowhere else.
        let http = reqwest::Client::builder()
            .timeout(plan.answer_within)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|problem| malformed(problem.to_string()))?;
        let doors = plan.urls.into_iter().take(FACILITATORS_MAX);
        let doors =
            doors.map(|url| Door { url: url.trim_end_matches('/').to_owned(), account: None });
        let mut this = Self {
            doors: doors.collect(),
            http,
            tokens: TokenDomains::new(&plan.assets),
            evidence: plan.evidence,
            clock: plan.clock,
            look_for: plan.look_for,
            open: Mutex::default(),
            ready: Mutex::default(),
        };
        let (mut settles, mut answered) = (false, false);
        for place in 0..this.doors.len() {
            let Heard::Answer(said) = this.ask(place, "/supported", None).await else { continue };
            answered = true;
            if let Some(account) = account_of(&said, network) {
                settles = true;
                if let Some(door) = this.doors.get_mut(place) {
                    door.account = account;
                }
            }
        }
        match (settles, answered) {
            (true, _) => Ok(this),
            (false, true) => Err(malformed(format!("no facilitator settles `exact` on {network}"))),
            (false, false) => Err(this.silent("no facilitator answers".to_owned())),
        }
    }

    fn silent(&self, problem: String) -> RailError {
        RailError::Unreachable { network: self.network(), problem }
    }

    /// Asks one of them; with a body, posts it.
    async fn ask(&self, place: usize, path: &str, body: Option<&Value>) -> Heard {
        let Some(door) = self.doors.get(place) else {
            return Heard::NotSent("there is no such facilitator".to_owned());
        };
        let url = format!("{}{path}", door.url);
        let request = match body {
            None => self.http.get(url),
            Some(body) => self
                .http
                .post(url)
                .header("content-type", "application/json")
                .body(body.to_string()),
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(problem) if problem.is_connect() || problem.is_builder() => {
                return Heard::NotSent(problem.to_string());
            }
            Err(problem) => return Heard::Nothing(problem.to_string()),
        };
        let mut read = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(more)) if read.len().saturating_add(more.len()) <= ANSWER_LEN_MAX => {
                    read.extend_from_slice(&more);
                }
                Ok(Some(_)) => return Heard::Nothing("a longer answer than is read".to_owned()),
                Ok(None) => break,
                Err(problem) => return Heard::Nothing(problem.to_string()),
            }
        }
        match parse_asked::<Value>(&read) {
            Ok((value, _)) => Heard::Answer(value),
            Err(problem) => Heard::Nothing(problem.to_string()),
        }
    }

    /// Those that may settle `authorization`, in order; first of all, and alone, the one that has it.
    fn order(&self, authorization: &Authorization) -> Vec<usize> {
        let commitment = &authorization.commitment;
        let open = self.open.lock().expect("no holder of the open outcomes panics");
        if let Some(handed) = open.get(&commitment.key()) {
            return vec![handed.door];
        }
        let may = |door: &Door| match commitment.scheme {
            Scheme::Upto { facilitator } => door.account == Some(facilitator),
            Scheme::Exact => true,
            Scheme::BatchSettlement(_) => false,
        };
        let doors = self.doors.iter().enumerate();
        doors.filter(|(_, door)| may(door)).map(|(place, _)| place).collect()
    }

    /// Writes down that `door` may have it from here on; not where another one may.
    fn hand(&self, authorization: &Authorization, door: usize) -> Result<bool, RailError> {
        let commitment = &authorization.commitment;
        let now_s = self.clock.now().as_secs();
        let mut open = self.open.lock().expect("no holder of the open outcomes panics");
        if let Some(handed) = open.get_mut(&commitment.key()) {
            let same = handed.door == door;
            handed.calls = handed.calls.saturating_add(u64::from(same));
            return Ok(same);
        }
        if open.len() >= OPEN_MAX {
            open.retain(|_, handed| handed.valid_before_s > now_s);
        }
        if open.len() >= OPEN_MAX {
            return Err(self.silent(format!("{OPEN_MAX} outcomes are open")));
        }
        let valid_before_s = commitment.valid_before_s;
        open.insert(commitment.key(), Handed { door, valid_before_s, calls: 1 });
        Ok(true)
    }

    /// Notes that one call did not get there. What another call may have brought stays where it is: nobody
    /// else hears of it.
    fn take_back(&self, authorization: &Authorization) {
        let mut open = self.open.lock().expect("no holder of the open outcomes panics");
        if let Entry::Occupied(mut handed) = open.entry(authorization.commitment.key()) {
            match handed.get().calls.saturating_sub(1) {
                0 => drop(handed.remove()),
                left => handed.get_mut().calls = left,
            }
        }
    }

    /// The chain has spoken: its outcome is open no more.
    fn close(&self, authorization: &Authorization) {
        let mut open = self.open.lock().expect("no holder of the open outcomes panics");
        open.remove(&authorization.commitment.key());
    }

    /// What the chain shows of `authorization` for `charge`; nothing while it shows nothing.
    async fn look(&self, authorization: &Authorization, charge: Amount) -> Option<Settlement> {
        let commitment = &authorization.commitment;
        let seen = self.evidence.find_nonce_now(commitment).await.ok()?;
        match seen.nonce {
            NonceState::Used { transaction, amount, moved_at_s, .. } if amount == charge => {
                Some(Settlement::Settled { transaction, amount, moved_at_s })
            }
            NonceState::Used { .. } => Some(Settlement::Refused(RefusedBy::NonceUsed)),
            NonceState::Canceled { .. } => Some(Settlement::Refused(RefusedBy::Canceled)),
            NonceState::UsedWithoutTrace => None,
            NonceState::Unused => {
                // Only a final block takes nothing back.
                let last = self.evidence.find_nonce(commitment).await.ok()?;
                let is_over = last.nonce == NonceState::Unused
                    && last.block_time_s >= commitment.valid_before_s;
                is_over.then_some(Settlement::Refused(RefusedBy::Expired))
            }
        }
    }

    /// The same, again and again for a while.
    async fn look_long(&self, authorization: &Authorization, charge: Amount) -> Option<Settlement> {
        let until = self.clock.now().after(self.look_for);
        let mut pause = LOOK_EVERY.0;
        loop {
            if let Some(seen) = self.look(authorization, charge).await {
                return Some(seen);
            }
            let now = self.clock.now();
            if now >= until {
                return None;
            }
            self.clock.sleep_until(now.after(pause).min(until)).await;
            pause = pause.saturating_mul(2).min(LOOK_EVERY.1);
        }
    }

    /// Hands it to the first that can be reached.
    async fn hand_in(
        &self,
        authorization: &Authorization,
        charge: Amount,
    ) -> Result<Said, RailError> {
        let body = asked(authorization, charge, &self.tokens, self.clock.now().as_secs())
            .ok_or(RailError::WrongAsset { asset: authorization.commitment.asset })?;
        let mut problems = Vec::new();
        for place in self.order(authorization) {
            // Before it leaves: were it after, a caller that hangs up could make a second one hear of it.
            if !self.hand(authorization, place)? {
                problems.push("another one may have it".to_owned());
                continue;
            }
            match self.ask(place, "/settle", Some(&body)).await {
                Heard::NotSent(problem) => {
                    self.take_back(authorization);
                    problems.push(problem);
                }
                Heard::Nothing(problem) => {
                    tracing::warn!(problem, "facilitator's answer did not read");
                    return Ok(Said::Nothing);
                }
                Heard::Answer(value) => return Ok(words::read_settled(&value)),
            }
        }
        Err(self.silent(format!("no facilitator was reached: {}", problems.join("; "))))
    }
}

#[async_trait]
impl Settler for RemoteFacilitators {
    async fn verify(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        let charge = authorization.commitment.amount_max;
        let body = asked(authorization, charge, &self.tokens, self.clock.now().as_secs())
            .ok_or(RailError::WrongAsset { asset: authorization.commitment.asset })?;
        let mut problems = Vec::new();
        for place in self.order(authorization) {
            match self.ask(place, "/verify", Some(&body)).await {
                Heard::Answer(value) => match read_verified(&value) {
                    Some(verdict) => return Ok(verdict),
                    None => problems.push("an answer that says nothing".to_owned()),
                },
                Heard::NotSent(problem) | Heard::Nothing(problem) => problems.push(problem),
            }
        }
        Err(self.silent(format!("no facilitator verified: {}", problems.join("; "))))
    }

    async fn settle_for(
        &self,
        authorization: &Authorization,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        if amount > authorization.commitment.amount_max {
            return Ok(Settlement::Refused(RefusedBy::ExceedsAuthorized));
        }
        // Somebody may have settled it before: then nobody has to be asked.
        if let Some(seen) = self.look(authorization, amount).await {
            self.close(authorization);
            return Ok(seen);
        }
        let said = self.hand_in(authorization, amount).await?;
        let seen = match said {
            // It says that nothing will come; one look, and the rest is the chain's to show.
            Said::Refused => self.look(authorization, amount).await,
            Said::Settled | Said::Pending | Said::Nothing => {
                self.look_long(authorization, amount).await
            }
        };
        match seen {
            Some(seen) => {
                self.close(authorization);
                Ok(seen)
            }
            None => Ok(Settlement::Unknown { transaction: None }),
        }
    }

    fn facilitator(&self) -> Option<Address> {
        self.doors.iter().find_map(|door| door.account)
    }

    async fn check_ready(&self) -> Result<(), RailError> {
        let now = self.clock.now();
        let seen = *self.ready.lock().expect("no holder of the sign panics");
        if seen.is_some_and(|seen| now.since(seen) < READY_FRESH) {
            return Ok(());
        }
        for place in 0..self.doors.len() {
            if let Heard::Answer(said) = self.ask(place, "/supported", None).await
                && account_of(&said, self.network()).is_some()
            {
                *self.ready.lock().expect("no holder of the sign panics") = Some(now);
                return Ok(());
            }
        }
        Err(self.silent("no facilitator answers".to_owned()))
    }

    fn network(&self) -> Network {
        self.evidence.network()
    }
}
