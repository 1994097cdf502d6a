//! Paid routes of any axum service: [`X402Layer`] stands above a whole router.
//!
//! A paid request goes to a payee, whose engine is the router beneath: the payment is checked, bound to
//! this very method, target, body and passed headers, and settled before the answer leaves. A handler that
//! answers with a status of 400 or more is paid nothing, and its answer is given all the same. The layer
//! decides nothing: what may be paid is the payee's offer.
//!
//! Which routes are paid is decided before anything is routed, by a path that is brought into one form, so
//! that no spelling of a paid path is free. `HEAD` costs what `GET` costs, and `OPTIONS` is answered here.

mod engine;
mod route;
mod server;

pub use engine::{PaidRoutes, Used};
pub use route::PaidRoute;
pub use server::{X402Layer, X402Service};
