//! What the payee sells: says the body back after a moment, or drips, where calls are paid while they
//! flow.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::domain::order::{Units, Usage};
use crate::ports::clock::Clock as _;
use crate::ports::engine::{Engine, EngineError, Step, Work};
use crate::sim::fate::Fault;
use crate::sim::roles::{Ground, OUTPUT_MAX};

/// Pieces of an answer that drips at most.
const PIECES_MAX: u64 = 8;

/// A piece comes after so long at most, in milliseconds; one in so many comes much later.
const PIECE_MS_MAX: u64 = 4_000;
const LONG_ONE_IN: u64 = 24;
const LONG: Duration = Duration::from_secs(40);

/// The engine.
pub struct Echo {
    ground: Ground,
}

impl Echo {
    /// The engine of this ground's payee.
    pub const fn new(ground: Ground) -> Self {
        Self { ground }
    }

    fn say(&self, body: Bytes) -> Vec<Result<Step, EngineError>> {
        let used = match self.ground.by_channel {
            true => self.ground.fate.below(OUTPUT_MAX.saturating_add(1)),
            false => 3,
        };
        vec![
            Ok(begin()),
            Ok(Step::Chunk(Bytes::from_static(b"you said: "))),
            Ok(Step::Chunk(body)),
            Ok(Step::Done(usage(used))),
        ]
    }

    /// So many tokens in all, some at a time, a byte each.
    fn drip(&self) -> Vec<Result<Step, EngineError>> {
        let fate = &self.ground.fate;
        let (mut steps, mut used) = (vec![Ok(begin())], 0_u64);
        for _ in 0..fate.below(PIECES_MAX).saturating_add(1) {
            let left = OUTPUT_MAX.saturating_sub(used);
            let more = fate.below(left.min(OUTPUT_MAX.div_ceil(2)).saturating_add(1));
            used = used.saturating_add(more);
            let len = usize::try_from(more).unwrap_or(0);
            steps.push(Ok(Step::Used(usage(used))));
            steps.push(Ok(Step::Chunk(Bytes::from(vec![b'.'; len]))));
        }
        steps.push(Ok(Step::Done(usage(used))));
        steps
    }
}

#[async_trait]
impl Engine for Echo {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        Ok(Units(u64::try_from(work.body.len()).unwrap_or(u64::MAX)))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let (clock, fate) = (self.ground.clock.clone(), self.ground.fate.clone());
        clock.sleep_until(clock.now().after(fate.millis(200))).await;
        let drips = self.ground.flows;
        let mut steps = if drips { self.drip() } else { self.say(work.body) };
        if fate.strikes(Fault::EngineFailed) {
            let len = u64::try_from(steps.len()).unwrap_or(u64::MAX);
            steps.truncate(usize::try_from(fate.below(len)).unwrap_or(0));
            steps.push(Err(EngineError::Failed("by fate".to_owned())));
        }
        if !drips {
            return Ok(stream::iter(steps).boxed());
        }
        let dripping = stream::iter(steps).then(move |step| {
            let (clock, fate) = (clock.clone(), fate.clone());
            async move {
                if matches!(step, Ok(Step::Used(_))) {
                    let long = fate.below(LONG_ONE_IN) == 0;
                    let span = if long { LONG } else { fate.millis(PIECE_MS_MAX) };
                    clock.sleep_until(clock.now().after(span)).await;
                }
                step
            }
        });
        Ok(dripping.boxed())
    }
}

fn begin() -> Step {
    Step::Begin { content_type: "text/plain".to_owned(), model: "echo-1".to_owned() }
}

fn usage(output: u64) -> Usage {
    Usage { input: Units(2), output: Units(output), ..Usage::default() }
}
