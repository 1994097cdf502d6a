//! Calls of which one in a hundred goes wrong: nobody waits for its answer, or its connection is cut. Who asked
//! asks again, with the same request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bursar::domain::ledger::agent::Token;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{AgentError, Bought, Purchase};
use bursar::ports::clock::Clock;
use serde::Serialize;
use tokio::time::timeout;

use super::callers::{Caller, Callers, Tally};
use super::{SHAKY, STEADY};
use crate::cli::closing::{Told, Tried};
use crate::cli::house::chance::Chance;
use crate::cli::house::proxy::{Link, Mood};

/// Of a thousand calls so many are walked away from, and as many are cut.
const EACH_OF_A_THOUSAND: u64 = 5;

/// Of so many calls one goes to the provider that is killed now and then, and one is that of the agent whose
/// budget is full.
const ONE_OF: u64 = 50;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long, at most and in milliseconds, one waits that means to walk away, or whose connection is cut.
const IMPATIENCE_MS: u64 = 5;

/// How long a connection stays cut: long enough for both ends to see it.
const CUT: Duration = Duration::from_millis(20);

/// How long a caller rests before it asks again.
const REST: Duration = Duration::from_millis(300);

/// How often it asks again at most.
const AGAIN_MAX: u32 = 20;

/// What went wrong.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Wrong {
    /// Calls whose answer nobody waited for.
    pub walked_away: u64,
    /// Calls whose connection was cut beneath them.
    pub cut: u64,
    /// Providers killed and started again.
    pub kills: u64,
    /// Times that a request was asked for again.
    pub asked_again: u64,
    /// Requests that were never answered, however often they were asked for.
    pub never_answered: u64,
}

/// How a call goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Way {
    Steady,
    Shaky,
    Pressed,
    WalkedAway,
    Cut,
}

/// Those who call, and what they were told.
pub struct Fleet {
    callers: Callers,
    pressed: Caller,
    /// Whose calls are cut, and the link that is.
    cut: (Link, String, Token),
    chance: Mutex<Chance>,
    /// Counts calls that were answered the first time.
    pub tally: Tally,
    tried: Mutex<Tried>,
    wrong: Mutex<Wrong>,
}

impl Fleet {
    /// Those who call; `pressed` has a budget that is full after a moment, `cut` is the one over `link`.
    pub fn new(
        callers: Callers,
        pressed: Caller,
        cut: (Link, String, Token),
        chance: Chance,
    ) -> Self {
        let (tally, tried, wrong) = (Tally::default(), Mutex::default(), Mutex::default());
        Self { callers, pressed, cut, chance: Mutex::new(chance), tally, tried, wrong }
    }

    /// What everybody was told, and what went wrong.
    pub fn told(&self) -> (Tried, Wrong) {
        let tried = self.tried.lock().expect("no holder of what was told panics").clone();
        (tried, *self.wrong.lock().expect("no holder of the counts panics"))
    }

    /// One more went wrong.
    pub fn count(&self, which: impl FnOnce(&mut Wrong) -> &mut u64) {
        let mut wrong = self.wrong.lock().expect("no holder of the counts panics");
        let count = which(&mut wrong);
        *count = count.saturating_add(1);
    }

    /// The call of this number.
    pub async fn call(self: Arc<Self>, number: u64) {
        let (way, after) = self.choose(number);
        let provider = if way == Way::Shaky { SHAKY } else { STEADY };
        let purchase = self.callers.purchase(provider);
        match way {
            Way::Steady | Way::Shaky => {
                self.buy(&self.callers.next().clone(), purchase).await;
            }
            Way::Pressed => self.buy(&self.pressed, purchase).await,
            Way::WalkedAway => {
                let caller = self.callers.next().clone();
                let asking = timeout(after, caller.client.buy(purchase.clone()));
                match asking.await {
                    Ok(bought) => self.note(&caller, &purchase, &bought),
                    Err(_) => {
                        self.count(|wrong| &mut wrong.walked_away);
                        self.ask_again(&caller, purchase).await;
                    }
                }
            }
            Way::Cut => self.be_cut(after, purchase).await,
        }
    }

    fn choose(&self, number: u64) -> (Way, Duration) {
        let mut chance = self.chance.lock().expect("no holder of the chance panics");
        let (of_a_thousand, after) = (chance.within(0, 1000), chance.within(0, IMPATIENCE_MS));
        let way = match number % ONE_OF {
            _ if of_a_thousand < EACH_OF_A_THOUSAND => Way::WalkedAway,
            _ if of_a_thousand < EACH_OF_A_THOUSAND.saturating_mul(2) => Way::Cut,
            1 => Way::Shaky,
            2 => Way::Pressed,
            _ => Way::Steady,
        };
        (way, Duration::from_millis(after))
    }

    async fn buy(&self, caller: &Caller, purchase: Purchase) {
        let began = SystemClock.now();
        let Ok(bought) = timeout(PATIENCE, caller.client.buy(purchase.clone())).await else {
            self.count(|wrong| &mut wrong.walked_away);
            return self.ask_again(caller, purchase).await;
        };
        self.tally.note(SystemClock.now().since(began), &bought);
        self.note(caller, &purchase, &bought);
        if bought.is_err_and(|error| error.in_doubt) {
            self.ask_again(caller, purchase).await;
        }
    }

    /// Asks over a connection of its own, which is cut after a moment; and then over one that is whole.
    async fn be_cut(&self, after: Duration, purchase: Purchase) {
        let (link, name, token) = &self.cut;
        let Ok(caller) = Caller::connect(&link.url(), name, token).await else {
            // Another one's cut broke it before it was there.
            return self.count(|wrong| &mut wrong.cut);
        };
        let cutting = async {
            tokio::time::sleep(after).await;
            link.be(Mood::Cut);
            tokio::time::sleep(CUT).await;
            link.be(Mood::Whole);
        };
        let asking = timeout(PATIENCE, caller.client.buy(purchase.clone()));
        let (bought, ()) = tokio::join!(asking, cutting);
        if let Ok(Ok(_)) = &bought {
            return self.note(&caller, &purchase, &bought.expect("it was answered"));
        }
        self.count(|wrong| &mut wrong.cut);
        drop(caller);
        let Ok(caller) = Caller::connect(self.callers.endpoint(), name, token).await else {
            return self.count(|wrong| &mut wrong.never_answered);
        };
        self.ask_again(&caller, purchase).await;
    }

    /// The same request once more, until somebody answers it: it is the same payment.
    async fn ask_again(&self, caller: &Caller, purchase: Purchase) {
        for _ in 0..AGAIN_MAX {
            tokio::time::sleep(REST).await;
            self.count(|wrong| &mut wrong.asked_again);
            let asking = timeout(PATIENCE, caller.client.buy(purchase.clone())).await;
            if let Ok(bought) = asking {
                self.note(caller, &purchase, &bought);
                if !bought.is_err_and(|error| error.in_doubt) {
                    return;
                }
            }
        }
        self.count(|wrong| &mut wrong.never_answered);
    }

    fn note(&self, caller: &Caller, purchase: &Purchase, bought: &Result<Bought, AgentError>) {
        let mut tried = self.tried.lock().expect("no holder of what was told panics");
        match bought {
            Ok(bought) => tried.told.push(Told::of(&caller.name, purchase.request, bought)),
            Err(error) => tried.refuse(error),
        }
    }
}
