//! Who calls: known by the credential and by nothing else, before any method runs.
//!
//! A bearer token is an agent's or the operator's; a connection over the node's Unix socket without a
//! token is the operator's. What a request says of itself in metadata or body is never looked at.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http::Extensions;
use http::header::{AUTHORIZATION, HeaderMap};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::domain::fault::{Class, Fault};
use crate::domain::id::AgentId;
use crate::domain::ledger::agent::{Principal, Token, TokenHash};
use crate::edge::grpc::listen::{Origin, Peer};
use crate::edge::grpc::permissions::{May, find_permission};
use crate::runtime::treasury::{Refused, Treasury};

/// Longest `authorization` that is read, in bytes.
const AUTHORIZATION_LEN_MAX: usize = 256;

/// Who calls, proven.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The operator.
    Operator,
    /// An agent.
    Agent(AgentId),
}

impl Caller {
    /// As the ledger names who asked for a change.
    pub const fn principal(self) -> Principal {
        match self {
            Self::Operator => Principal::Operator,
            Self::Agent(agent) => Principal::Agent(agent),
        }
    }
}

/// Why a call goes no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// No credential, one that proves nothing, or more than one.
    #[error("who calls? expected one `authorization: Bearer` token that is in force")]
    Unauthenticated,
    /// The credential is good and the method is not for its bearer.
    #[error("{method} is not for {caller}")]
    Forbidden {
        /// The method's path.
        method: String,
        /// What the caller is.
        caller: &'static str,
    },
    /// The ledger could not be asked whose token it is.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Fault for GuardError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "guard.unauthenticated",
            Self::Forbidden { .. } => "guard.forbidden",
            Self::Refused(refused) => refused.code(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Unauthenticated | Self::Forbidden { .. } => Class::Final,
            Self::Refused(refused) => refused.class(),
        }
    }
}

/// Knows whose a token is, by its hash.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Whose token has this hash.
    ///
    /// # Errors
    /// [`Refused`] where nobody can tell; then nobody is let in.
    async fn find_bearer(&self, token: TokenHash) -> Result<Option<Caller>, Refused>;
}

/// The operator's one token, and the agents' tokens as the ledger has them.
pub struct LedgerTokens {
    /// The operator's.
    pub operator: TokenHash,
    /// Where the agents' are.
    pub treasury: Treasury,
}

#[async_trait]
impl Tokens for LedgerTokens {
    async fn find_bearer(&self, token: TokenHash) -> Result<Option<Caller>, Refused> {
        if token == self.operator || planted!("any_token_is_the_operators") {
            return Ok(Some(Caller::Operator));
        }
        let find = move |ledger: &crate::domain::ledger::Ledger| {
            ledger.find_token(&token).map(|agent| Caller::Agent(agent.id()))
        };
        self.treasury.peek(find).await
    }
}

/// A service that is reached only by those who may: its methods find [`Caller`] in their request.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    tokens: Arc<dyn Tokens>,
}

impl<S> Guarded<S> {
    /// `inner` behind the guard.
    pub fn new(inner: S, tokens: Arc<dyn Tokens>) -> Self {
        Self { inner, tokens }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The clone that was polled ready is the one that is called.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let tokens = Arc::clone(&self.tokens);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let Some(may) = find_permission(&path) else {
                return Ok(Status::unimplemented("no such method").into_http());
            };
            match admit(tokens.as_ref(), &path, may, request.headers(), request.extensions()).await
            {
                Ok(caller) => {
                    if let Some(caller) = caller {
                        request.extensions_mut().insert(caller);
                    }
                    inner.call(request).await
                }
                Err(error) => Ok(Status::from(&error).into_http()),
            }
        })
    }
}

async fn admit(
    tokens: &dyn Tokens,
    path: &str,
    may: May,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Option<Caller>, GuardError> {
    if may == May::Anybody {
        return Ok(None);
    }
    let caller = identify(tokens, headers, extensions).await?;
    let allowed = match caller {
        Caller::Operator => matches!(may, May::Operator | May::AgentOrOperator),
        Caller::Agent(_) => matches!(may, May::Agent | May::AgentOrOperator),
    };
    if allowed {
        return Ok(Some(caller));
    }
    let caller = match caller {
        Caller::Operator => "the operator",
        Caller::Agent(_) => "agents",
    };
    Err(GuardError::Forbidden { method: path.to_owned(), caller })
}

async fn identify(
    tokens: &dyn Tokens,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Caller, GuardError> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let first = shown.next();
    if shown.next().is_some() {
        return Err(GuardError::Unauthenticated);
    }
    let Some(first) = first else {
        let local = extensions.get::<Peer>().is_some_and(|peer| peer.origin() == Origin::Unix);
        return if local { Ok(Caller::Operator) } else { Err(GuardError::Unauthenticated) };
    };
    let text = first.to_str().ok().filter(|text| text.len() <= AUTHORIZATION_LEN_MAX);
    let token = text.and_then(|text| text.strip_prefix("Bearer "));
    let token = token.ok_or(GuardError::Unauthenticated)?;
    let bearer = tokens.find_bearer(Token::shown(token).hash()).await?;
    bearer.ok_or(GuardError::Unauthenticated)
}
