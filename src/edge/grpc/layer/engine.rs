//! A method of the service beneath the layer, as the engine of a payee.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt;
use tower::util::BoxCloneService;

use crate::domain::id::Name;
use crate::domain::money::Amount;
use crate::domain::negotiation::{PayeeTerms, VolumeDiscount};
use crate::domain::order::{Maxima, Order, Units, Usage};
use crate::domain::policy::Rates;
use crate::domain::pricing::Tiers;
use crate::domain::quote::{PayBy, PriceTerms};
use crate::ports::engine::{Engine, EngineError, Step, Work};
use crate::runtime::payee::{OfferedWare, Offering};

/// What a paid method is sold as.
pub(super) const CAPABILITY: &str = "grpc.call";

/// The content type of gRPC.
pub(super) const GRPC: &str = "application/grpc";

/// What is beneath the layer.
pub(super) type Beneath = BoxCloneService<http::Request<Body>, http::Response<Body>, Infallible>;

/// What a payment is bound to: the message, and the metadata that is passed on with it.
#[derive(Serialize, Deserialize)]
pub(super) struct Carried {
    pub metadata: Vec<(String, Vec<u8>)>,
    pub message: Bytes,
}

/// A method that is paid for. It is the engine of its payee, and works once a layer is put above the
/// service that has it.
pub struct PaidMethod {
    path: String,
    model: Name,
    beneath: Mutex<Option<Beneath>>,
}

impl PaidMethod {
    /// The method of this path: `/package.Service/Method`.
    pub fn new(path: &str) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), model: name_of(path), beneath: Mutex::default() })
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What a payee offers who sells this method at a flat `price`, on `authority` (`host:port`).
    pub fn offering(
        &self,
        provider: Name,
        authority: &str,
        price: Amount,
        pay_by: Vec<PayBy>,
    ) -> Offering {
        let terms = PriceTerms { flat: price, ..PriceTerms::default() };
        let terms = PayeeTerms {
            list: terms,
            floor: terms,
            volume_discount: VolumeDiscount::default(),
            rounds_max: 0,
        };
        let Order { capability, .. } = self.order();
        let tiers = Tiers::default();
        Offering {
            provider,
            resource: format!("grpc://{authority}{}", self.path),
            wares: vec![OfferedWare { capability, model: self.model.clone(), terms, tiers }],
            pay_by,
            quote_ttl: QUOTE_LIFE,
            input_max: Units(0),
            output_max: Units(0),
            concurrency_max: CONCURRENCY_MAX,
            payer_rates: Rates::default(),
            peer_rates: Rates::default(),
            free: None,
            serve_first: None,
            credit: None,
        }
    }

    /// What a call of it orders.
    pub(super) fn order(&self) -> Order {
        Order {
            capability: CAPABILITY.parse().expect("a literal name"),
            model: Some(self.model.clone()),
            input_max: Units(0),
            output_max: Units(0),
            maxima: Maxima::default(),
        }
    }

    /// Puts the service beneath, where there is none yet.
    pub(super) fn put_beneath(&self, service: &Beneath) {
        let mut beneath = self.beneath.lock().expect("no holder of the service panics");
        beneath.get_or_insert_with(|| service.clone());
    }

    fn request(&self, carried: Carried) -> Result<http::Request<Body>, EngineError> {
        let broken = |error: &dyn std::fmt::Display| EngineError::Failed(error.to_string());
        let mut request = http::Request::post(&self.path)
            .version(http::Version::HTTP_2)
            .header(CONTENT_TYPE, GRPC)
            .header(TE, "trailers")
            .body(Body::new(Full::new(carried.message)))
            .map_err(|error| broken(&error))?;
        for (name, value) in carried.metadata {
            let name = HeaderName::try_from(name).map_err(|error| broken(&error))?;
            let value = HeaderValue::try_from(value).map_err(|error| broken(&error))?;
            request.headers_mut().append(name, value);
        }
        Ok(request)
    }
}

/// How long an offer at the flat price stands.
const QUOTE_LIFE: std::time::Duration = std::time::Duration::from_secs(300);

/// Calls of one method that run at once.
const CONCURRENCY_MAX: u32 = 256;

/// `/package.Service/Method` as a name: `package.Service:Method`. One too long for a name is named by
/// its digest, because a path cut short could be another's.
pub(super) fn name_of(path: &str) -> Name {
    let bare = path.trim_start_matches('/').replace('/', ":");
    bare.parse().unwrap_or_else(|_| {
        let digest = crate::domain::id::Fingerprint::of(&[path.as_bytes()]);
        digest.to_string().parse().expect("an id's text is a name")
    })
}

#[async_trait]
impl Engine for PaidMethod {
    /// A call is counted as a call: the price is flat.
    fn count_input(&self, _work: &Work) -> Result<Units, EngineError> {
        Ok(Units(0))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let beneath = self.beneath.lock().expect("no holder of the service panics").clone();
        let beneath = beneath
            .ok_or_else(|| EngineError::Failed("no layer stands above the service".to_owned()))?;
        let carried = postcard::from_bytes(&work.body)
            .map_err(|error| EngineError::Failed(error.to_string()))?;
        let request = self.request(carried)?;
        let response = match beneath.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        check_status(&parts.headers)?;
        let model = self.path.clone();
        let begin = Step::Begin { content_type: GRPC.to_owned(), model };
        let frames = stream::unfold(Some((body, 0)), next_step);
        Ok(stream::once(async { Ok(begin) }).chain(frames).boxed())
    }
}

type Reading = Option<(Body, u64)>;

/// The next frame of the answer as a step; trailers end it, by their status.
async fn next_step(reading: Reading) -> Option<(Result<Step, EngineError>, Reading)> {
    let (mut body, bytes) = reading?;
    let failed = |words: &str| Some((Err(EngineError::Failed(words.to_owned())), None));
    let frame = match body.frame().await {
        None => return failed("the method ended without a status"),
        Some(Err(status)) => return Some((Err(refusal(&status)), None)),
        Some(Ok(frame)) => frame,
    };
    match frame.into_data() {
        Ok(data) => {
            let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
            Some((Ok(Step::Chunk(data)), Some((body, bytes.saturating_add(len)))))
        }
        Err(frame) => {
            let trailers = frame.into_trailers().unwrap_or_default();
            let done = Step::Done(Usage { bytes, ..Usage::default() });
            Some((check_status(&trailers).map(|()| done), None))
        }
    }
}

/// A status that is there and is not OK ends the work: nothing is settled for it.
fn check_status(headers: &HeaderMap) -> Result<(), EngineError> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(refusal(&status)),
        _ => Ok(()),
    }
}

/// The method's refusal as an engine's: for good where the request is to blame.
fn refusal(status: &Status) -> EngineError {
    let problem = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => {
            EngineError::BadRequest { capability: CAPABILITY.to_owned(), problem }
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => EngineError::Failed(problem),
    }
}
