//! `bursar doctor provider URL`: probes a provider as a stranger would, pays nothing, and says what is
//! wrong with it.

mod grpc;
mod http;

use bursar::domain::asset::AssetRegistry;
use bursar::domain::x402::TokenDomains;
use bursar::domain::x402::offer::{Asked, check_offer};
use bursar::domain::x402::wire::PaymentRequired;
use bursar::edge::config::Config;
use bursar::edge::grpc::{Reach, Secured};
use bursar::edge::tls::{self, Speaks};
use serde::Serialize;

use super::args::{Args, DoctorCommand};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};
use super::up::system;

/// The longest life of an authorization that a payer should be asked for, in seconds.
const TIMEOUT_MAX_S: u64 = 600;

/// How far a provider's clock may be off, in seconds.
const SKEW_MAX_S: u64 = 30;

/// How one thing that was looked at stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, and could be better.
    Warning,
    /// A payer would go elsewhere, or be wronged.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    check: &'static str,
    verdict: Verdict,
    what: String,
}

/// Everything that was looked at, in order.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, check: &'static str, verdict: Verdict, what: impl ToString) {
        self.0.push(Finding { check, verdict, what: what.to_string() });
    }

    fn good(&mut self, check: &'static str, what: impl ToString) {
        self.note(check, Verdict::Good, what);
    }

    fn warn(&mut self, check: &'static str, what: impl ToString) {
        self.note(check, Verdict::Warning, what);
    }

    fn wrong(&mut self, check: &'static str, what: impl ToString) {
        self.note(check, Verdict::Wrong, what);
    }

    /// Good, or what is wrong.
    fn settle<T, E: ToString>(
        &mut self,
        check: &'static str,
        found: Result<T, E>,
        good: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(found) => {
                let what = good(&found);
                self.good(check, what);
                Some(found)
            }
            Err(problem) => {
                self.wrong(check, problem);
                None
            }
        }
    }
}

/// Probes what is named; exit 4 where something is wrong.
pub fn run(args: &Args, command: &DoctorCommand, output: &Output) -> Result<Exit, Failure> {
    let DoctorCommand::Provider { url, capability, ca } = command;
    let config = config::load(args)?;
    let roots = tls::client(ca.as_deref(), Speaks::Http2).map_err(|error| Failure::of(&error))?;
    // Whoever probes its own provider may well find it on a private address.
    let reach = Reach::Secured(Secured { roots, private: true });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| system("starting the runtime", &problem))?;
    let findings = runtime.block_on(async {
        let mut findings = Findings::default();
        if is_grpc(url) {
            grpc::probe(&config, url, &reach, capability, &mut findings).await;
        } else {
            http::probe(&config, url, &mut findings).await;
        }
        findings
    });
    let worst = findings.0.iter().any(|finding| finding.verdict == Verdict::Wrong);
    output.show(&findings.0, || {
        table(
            ["check", "verdict", "what"],
            findings.0.iter().map(|finding| {
                let verdict = match finding.verdict {
                    Verdict::Good => "good",
                    Verdict::Warning => "warning",
                    Verdict::Wrong => "WRONG",
                };
                [finding.check.to_owned(), verdict.to_owned(), finding.what.clone()]
            }),
        )
    });
    Ok(if worst { Exit::Refused } else { Exit::Done })
}

/// An endpoint without a path is one of gRPC.
fn is_grpc(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    url.starts_with("unix:") || rest.split_once('/').is_none_or(|(_, path)| path.is_empty())
}

/// Whether an offer could be paid by somebody who believes only what is pinned here.
fn look_at_offer(
    assets: &AssetRegistry,
    offer: &PaymentRequired,
    resource: &str,
    findings: &mut Findings,
) {
    let tokens = TokenDomains::new(assets);
    let asked = Asked { resource, timeout_max_s: TIMEOUT_MAX_S, amount: None };
    match check_offer(offer, &asked, &tokens) {
        Ok(payable) if payable.len() == offer.accepts.len() => {
            let ways = offer.accepts.iter().map(|way| format!("{} on {}", way.scheme, way.network));
            findings.good("accepts", ways.collect::<Vec<_>>().join(", "));
        }
        Ok(payable) => findings.warn(
            "accepts",
            format!("{} of {} ways are payable here", payable.len(), offer.accepts.len()),
        ),
        Err(problem) => {
            findings.wrong("accepts", format!("no way is payable here: {problem}"));
        }
    }
    let long = offer.accepts.iter().find(|way| way.max_timeout_seconds > TIMEOUT_MAX_S);
    if let Some(way) = long {
        let life = way.max_timeout_seconds;
        findings.warn("timeout", format!("an authorization would live {life} s: payers cut it"));
    }
}

/// The pinned assets of the configuration.
fn assets(config: &Config) -> &AssetRegistry {
    &config.policy.assets
}
