//! Bursar: a payment runtime for AI agents.
//!
//! Agents hold budgeted wallets, discover paid inference services over gRPC, negotiate x402 quotes
//! and pay per inference. The money is held before anything is signed, so a cap cannot be passed.
//!
//! An agent buys an inference from its node, which finds providers, compares their quotes, holds the
//! money in every budget that applies, and pays:
//!
//! ```no_run
//! use bursar::domain::id::RequestId;
//! use bursar::domain::ledger::agent::Token;
//! use bursar::domain::order::{Maxima, Order, Units};
//! use bursar::edge::clock::{SystemClock, SystemEntropy};
//! use bursar::edge::grpc::{AgentClient, Purchase};
//! use bursar::ports::clock::Clock;
//! use bursar::ports::entropy::Entropy;
//!
//! # async fn buy() -> Result<(), Box<dyn std::error::Error>> {
//! let token = Token::shown(&std::env::var("BURSAR_TOKEN")?);
//! let agent = AgentClient::connect("http://127.0.0.1:8402", &token).await?;
//! let mut random = [0; 10];
//! SystemEntropy.fill(&mut random);
//! let bought = agent
//!     .buy(Purchase {
//!         // Asked again by the same name it gives the same answer, and is never paid twice.
//!         request: RequestId::new(SystemClock.now().as_millis(), random),
//!         order: Order {
//!             capability: "text.generate".parse()?,
//!             model: None,
//!             input_max: Units(64),
//!             output_max: Units(16),
//!             maxima: Maxima::default(),
//!         },
//!         content_type: "application/json".to_owned(),
//!         body: r#"{"prompt": "agents pay", "seed": 7}"#.into(),
//!         price_max: None,
//!         provider: None,
//!         session: None,
//!         streamed: false,
//!     })
//!     .await?;
//! println!("{} by {}, {}", String::from_utf8_lossy(&bought.body), bought.provider, bought.payment);
//! # Ok(())
//! # }
//! ```
//!
//! Four floors, and imports go down only: [`edge`] touches the world, [`runtime`] acts, [`ports`]
//! name what the runtime needs, [`domain`] decides.

#[macro_use]
mod planted;

pub mod domain;
pub mod edge;
pub mod node;
pub mod ports;
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
