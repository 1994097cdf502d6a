//! The part that sells: an engine that does nothing, for nothing and by each way to pay, in one process.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::commitment::TransferMethod;
use bursar::domain::id::Name;
use bursar::domain::money::Amount;
use bursar::domain::negotiation::{PayeeTerms, VolumeDiscount};
use bursar::domain::order::{Order, Units, Usage};
use bursar::domain::policy::Rates;
use bursar::domain::quote::{PayBy, PriceTerms, Stride};
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmSettler};
use bursar::edge::grpc::{GrpcDirectory, Reach, connect_one};
use bursar::edge::journal::Options;
use bursar::node::{PayTo, Provider, ProviderPlan, RailPlan, connect_rail, sandbox_assets};
use bursar::ports::clock::Clock;
use bursar::ports::directory::Directory;
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use bursar::runtime::payee::{Flowing, OfferedWare, TabCredit};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::super::holds::{name, usdc};
use super::super::settled::{Way, key_of, key_text, listener, serve_free};
use super::part::{Ask, Boss, Ledgers, Setup, Told, count};
use crate::cli::failure::Failure;

/// What is sold.
pub const CAPABILITY: &str = "bench.nothing";

/// Who is paid by voucher.
pub const BY_VOUCHER: &str = "vouchers";

/// Who is paid by voucher, and gives credit.
pub const BY_CREDIT: &str = "credit";

/// Who is paid by a transaction a call.
pub const BY_EXACT: &str = "exact";

/// Who is paid by voucher, token by token.
pub const BY_STREAM: &str = "streams";

/// Tokens of a stream: each costs one atomic unit.
const TOKENS: u64 = 512;

/// Calls at once at most.
const CALLS_MAX: u32 = 1024;

/// How long everything may take to come to its end.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// How often open claims are looked at.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);

/// Fifteen calls on credit to each voucher.
const CREDIT: TabCredit = TabCredit {
    per_channel: Amount::new(15 * 100),
    per_payer: Amount::new(1_000_000_000),
    total: Amount::new(1_000_000_000),
};

/// The order of every call.
pub fn order() -> Order {
    Order {
        capability: name(CAPABILITY),
        model: Some(name("bench")),
        input_max: Units(16),
        output_max: Units(16),
        maxima: Default::default(),
    }
}

/// The order of every stream.
pub fn tokens() -> Order {
    Order { output_max: Units(TOKENS), ..order() }
}

/// Answers at once, and always the same; an order for many tokens gets them one by one.
struct Nothing;

#[async_trait]
impl Engine for Nothing {
    fn count_input(&self, _: &Work) -> Result<Units, EngineError> {
        Ok(Units(1))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let begin =
            Step::Begin { content_type: "text/plain".to_owned(), model: "bench".to_owned() };
        let used = |output| Usage { input: Units(1), output: Units(output), ..Usage::default() };
        if work.order.output_max == Units(TOKENS) {
            let token =
                move |nth| [Step::Used(used(nth)), Step::Chunk(Bytes::from_static(b"a token"))];
            let steps = (1..=TOKENS).flat_map(token);
            let steps = iter::once(begin).chain(steps).chain([Step::Done(used(TOKENS))]);
            return Ok(stream::iter(steps.map(Ok)).boxed());
        }
        let usage = used(1);
        let chunk = Step::Chunk(Bytes::from_static(b"an answer that took nobody any time at all"));
        Ok(stream::iter([Ok(begin), Ok(chunk), Ok(Step::Done(usage))]).boxed())
    }
}

/// Sells until it is told to end.
pub async fn run(mut boss: Boss, setup: Setup) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let gas = key_of(&setup.key);
    let rail_plan = RailPlan::sandbox(setup.chain.clone());
    let rail = connect_rail(&rail_plan, Some(&gas), Arc::clone(&clock));
    let (evm, settler) = rail.await.map_err(|error| Failure::of(&error))?;
    let settler = settler.expect("a rail with a gas account settles");
    let channel = connect_one(&setup.directory, Reach::Loopback).await;
    let directory: Arc<dyn Directory> =
        Arc::new(GrpcDirectory::new(channel.map_err(|error| Failure::of(&error))?));
    let mut providers = Vec::new();
    let sold = [
        (BY_VOUCHER, Way::Channel),
        (BY_CREDIT, Way::Channel),
        (BY_EXACT, Way::Exact),
        (BY_STREAM, Way::Channel),
    ];
    for (called, way) in sold {
        let plan = plan(name(called), way, &setup, (&evm, &settler), &directory).await?;
        providers.push(Provider::start(plan).await.map_err(|error| Failure::of(&error))?);
    }
    let free = serve_free(Arc::new(Nothing)).await.map_err(|error| Failure::of(&error))?;
    let ledgers: Ledgers = providers
        .iter()
        .map(|provider| (provider.store.clone(), provider.treasury.clone()))
        .collect();
    let mut told = Told::Ready { endpoint: free, token: String::new() };
    while let Some(ask) = boss.answer(&told)? {
        told = match ask {
            Ask::Count => Told::Counted(count(&ledgers).await?),
            Ask::Run { .. } | Ask::End => break,
        };
    }
    for provider in providers {
        provider.drain(DRAIN_MAX).await;
    }
    boss.answer(&Told::Ended).map(|_| ())
}

async fn plan(
    called: Name,
    way: Way,
    setup: &Setup,
    (evm, settler): (&Arc<Evm>, &Arc<EvmSettler>),
    directory: &Arc<dyn Directory>,
) -> Result<ProviderPlan, Failure> {
    let by_token = called == name(BY_STREAM);
    let credit = (called == name(BY_CREDIT)).then_some(CREDIT);
    let price = match by_token {
        true => PriceTerms { per_1k_output: Amount::new(1000), ..PriceTerms::default() },
        false => PriceTerms { flat: Amount::new(100), ..PriceTerms::default() },
    };
    let stride = Stride { output: Units(1), ..Flowing::default().stride };
    let flowing = by_token.then_some(Flowing { stride, ..Flowing::default() });
    let (none, volume_discount) = (Rates::default(), VolumeDiscount::default());
    let pay_to = key_of(&setup.pay_to);
    let way = PayBy {
        scheme: way.scheme(settler.account()),
        method: TransferMethod::Eip3009,
        asset: usdc(),
        pay_to: pay_to.address(),
        timeout_s: 60,
    };
    let order = order();
    Ok(ProviderPlan {
        ledger: setup.folder.join(format!("{called}.db")),
        name: called,
        journal: Options::default(),
        wares: vec![OfferedWare {
            capability: order.capability,
            model: name("bench"),
            terms: PayeeTerms { list: price, floor: price, volume_discount, rounds_max: 1 },
            tiers: Default::default(),
        }],
        engine: Arc::new(Nothing),
        pay_by: vec![way],
        pay_to: PayTo::Key(pay_to),
        service_key: key_of(&key_text()),
        assets: sandbox_assets(),
        settler: settler.clone(),
        genesis: evm.genesis(),
        evidence: evm.clone(),
        input_max: order.input_max,
        output_max: Units(TOKENS),
        flowing,
        claims: Default::default(),
        concurrency_max: CALLS_MAX,
        payer_rates: none,
        peer_rates: none,
        free: None,
        serve_first: None,
        credit,
        quote_life: Duration::from_secs(600),
        lease: Duration::from_secs(600),
        directory: Arc::clone(directory),
        listener: listener().await.map_err(|error| Failure::of(&error))?,
        refund_after: None,
        reconcile_every: RECONCILE_EVERY,
        clock: Arc::new(SystemClock),
    })
}
