//! Our provider with its gateway, settling on the chain.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::negotiation::{PayeeTerms, VolumeDiscount};
use bursar::domain::order::{Units, Usage};
use bursar::domain::policy::Rates;
use bursar::domain::quote::{PayBy, PriceTerms};
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{Address, Listener};
use bursar::edge::journal::Options;
use bursar::node::{PayTo, Provider, ProviderPlan};
use bursar::ports::clock::Clock;
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use bursar::runtime::directory::Registry;
use bursar::runtime::payee::OfferedWare;
use futures_util::stream::{self, BoxStream, StreamExt};
use tempfile::TempDir;

use super::chain::{Chain, assets, gas, key, payee, usdc};

/// What a call costs beside what it uses.
pub const PRICE: u128 = 1_000;

/// What each byte of a metered answer costs.
pub const PER_BYTE: u128 = 10;

/// How a shop is paid.
#[derive(Copy, Clone, Debug)]
pub enum By {
    Exact,
    ExactPermit2,
    Upto,
    Channel,
    ChannelPermit2,
}

impl By {
    fn way(self) -> PayBy {
        let exact = PayBy {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: usdc(),
            pay_to: payee().address(),
            timeout_s: 60,
        };
        let method = TransferMethod::Permit2Sponsored;
        match self {
            Self::Exact => exact,
            Self::ExactPermit2 => PayBy { method, ..exact },
            Self::Upto => {
                PayBy { scheme: Scheme::Upto { facilitator: gas().address() }, method, ..exact }
            }
            Self::Channel | Self::ChannelPermit2 => PayBy {
                scheme: Scheme::BatchSettlement(ChannelOffer {
                    receiver_authorizer: gas().address(),
                    withdraw_delay_s: 900,
                    deposit_min: Amount::new(20 * PRICE),
                }),
                method: match self {
                    Self::ChannelPermit2 => method,
                    _ => exact.method,
                },
                ..exact
            },
        }
    }

    /// A flat price, or by the byte where only what was used is charged.
    fn price(self) -> PriceTerms {
        match self {
            Self::Upto => {
                PriceTerms { per_1k_output: Amount::new(PER_BYTE * 1_000), ..PriceTerms::default() }
            }
            Self::Exact | Self::ExactPermit2 | Self::Channel | Self::ChannelPermit2 => {
                PriceTerms { flat: Amount::new(PRICE), ..PriceTerms::default() }
            }
        }
    }
}

/// Gives back what it is given.
struct Echo;

#[async_trait]
impl Engine for Echo {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        Ok(Units(work.body.len() as u64))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        if work.body.as_ref() == b"fail" {
            return Err(EngineError::Failed("as asked".to_owned()));
        }
        let bytes = work.body.len() as u64;
        let usage = Usage { input: Units(bytes), output: Units(bytes), bytes, compute_ms: 0 };
        let (content_type, model) = ("text/plain".to_owned(), "echo-1".to_owned());
        let steps =
            [Step::Begin { content_type, model }, Step::Chunk(work.body), Step::Done(usage)];
        Ok(stream::iter(steps.map(Ok)).boxed())
    }
}

/// An open shop.
pub struct Shop {
    pub provider: Provider,
    _folder: TempDir,
}

impl Shop {
    pub async fn open(chain: &Chain, by: By) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let evm = chain.evm().await;
        let settler = Arc::new(chain.settler(&evm).await);
        let any = Address::Tcp(([127, 0, 0, 1], 0).into());
        let (price, volume_discount) = (by.price(), VolumeDiscount::default());
        let terms = PayeeTerms { list: price, floor: price, volume_discount, rounds_max: 0 };
        let ware = OfferedWare {
            capability: "echo".parse().unwrap(),
            model: "echo-1".parse().unwrap(),
            terms,
            tiers: Default::default(),
        };
        let plan = ProviderPlan {
            name: "echo".parse().unwrap(),
            ledger: folder.path().join("provider.db"),
            journal: Options::default(),
            wares: vec![ware],
            engine: Arc::new(Echo),
            pay_by: vec![by.way()],
            pay_to: PayTo::Key(payee()),
            service_key: key("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
            assets: assets(),
            settler,
            genesis: evm.genesis(),
            evidence: Arc::new(evm),
            input_max: Units(1_000),
            output_max: Units(1_000),
            concurrency_max: 64,
            payer_rates: Rates::default(),
            peer_rates: Rates::default(),
            free: None,
            serve_first: None,
            credit: None,
            quote_life: Duration::from_secs(60),
            lease: Duration::from_secs(60),
            directory: Arc::new(Registry::new(Arc::clone(&clock), assets())),
            listener: Listener::bind(&any, "--listen").await.unwrap(),
            refund_after: None,
            reconcile_every: Duration::from_secs(1),
            flowing: None,
            claims: Default::default(),
            clock,
        };
        Self { provider: Provider::start(plan).await.unwrap(), _folder: folder }
    }

    /// Where it sells its echo.
    pub fn url(&self) -> String {
        format!("{}/echo/echo-1", self.provider.endpoint)
    }
}
