//! The street: everybody else. Somebody who holds the payer's key cancels authorizations, somebody who
//! saw one sends it to the chain, and money comes to the wallet and leaves it by no payment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use alloy::primitives::Address;
use tokio::sync::mpsc;

use crate::domain::commitment::{Authorization, AuthorizationKey};
use crate::domain::money::Amount;
use crate::ports::clock::Clock as _;
use crate::sim::clock::SimClock;
use crate::sim::fate::{Fate, Fault};
use crate::sim::rail::SimRail;
use crate::sim::roles::{LIFE_S, USDC};

/// What the street thinks about doing something again, in milliseconds at most.
const ROUND_MS_MAX: u64 = 20_000;

/// What comes and goes at once, in atomic units.
const HANDFUL_MAX: u64 = 40;

/// Where the street's money is.
const STRANGER: Address = Address::repeat_byte(0x51);

/// Who hears of what was signed. Clones tell the same street.
#[derive(Clone)]
pub struct Gossip {
    told: Arc<Mutex<BTreeSet<AuthorizationKey>>>,
    sender: mpsc::UnboundedSender<Authorization>,
}

impl Gossip {
    /// Says that this was signed; twice is once.
    pub fn tell(&self, authorization: Authorization) {
        let key = authorization.commitment.key();
        if self.told.lock().expect("no holder of the gossip panics").insert(key) {
            // The street lives as long as the world.
            let _ = self.sender.send(authorization);
        }
    }
}

/// The street itself.
pub struct Street {
    heard: mpsc::UnboundedReceiver<Authorization>,
    clock: SimClock,
    fate: Fate,
    rail: SimRail,
    wallet: Address,
}

impl Street {
    /// The street around this wallet, and how to tell it something.
    pub fn new(clock: SimClock, fate: Fate, rail: SimRail, wallet: Address) -> (Self, Gossip) {
        let (sender, heard) = mpsc::unbounded_channel();
        let gossip = Gossip { told: Arc::default(), sender };
        (Self { heard, clock, fate, rail, wallet }, gossip)
    }

    /// Goes on for as long as this is awaited.
    pub async fn run(self) {
        let Self { mut heard, clock, fate, rail, wallet } = self;
        if fate.knows(Fault::Funded) || fate.knows(Fault::Drained) {
            tokio::spawn(move_money(clock.clone(), fate.clone(), rail.clone(), wallet));
        }
        while let Some(authorization) = heard.recv().await {
            for deed in [Fault::Canceled, Fault::Broadcast] {
                if fate.knows(deed) && fate.below(4) == 0 {
                    let later = clock.now().after(fate.millis(LIFE_S.saturating_mul(1100)));
                    let (clock, fate, rail) = (clock.clone(), fate.clone(), rail.clone());
                    tokio::spawn(async move {
                        clock.sleep_until(later).await;
                        if !fate.strikes(deed) {
                            return;
                        }
                        let came = match deed {
                            Fault::Canceled => rail.cancel(&authorization),
                            _ => rail.broadcast(&authorization),
                        };
                        fate.note(format_args!("{deed:?} in time: {came}"));
                    });
                }
            }
        }
    }
}

async fn move_money(clock: SimClock, fate: Fate, rail: SimRail, wallet: Address) {
    loop {
        clock.sleep_until(clock.now().after(fate.millis(ROUND_MS_MAX))).await;
        if fate.is_healed() {
            return;
        }
        let amount = Amount::new(u128::from(fate.below(HANDFUL_MAX).saturating_add(1)));
        if fate.strikes(Fault::Funded) {
            rail.rail.fund(USDC, wallet, amount);
        }
        if fate.strikes(Fault::Drained) {
            rail.rail.spend(USDC, wallet, STRANGER, amount);
        }
    }
}
