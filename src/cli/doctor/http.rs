//! A provider over HTTP: does it ask for money before it looks at a body, in a form that payers read, and
//! does nothing run for free beside the method that is sold.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bursar::domain::x402::wire::{PaymentRequired, X402_VERSION};
use bursar::edge::clock::SystemClock;
use bursar::edge::config::Config;
use bursar::ports::clock::Clock;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};

use super::{Findings, SKEW_MAX_S, assets, look_at_offer};

/// How long each call may take.
const CALL_MAX: Duration = Duration::from_secs(15);

/// Longest header that common clients and proxies let pass, in bytes.
const HEADER_LEN_MAX: usize = 8 * 1024;

/// How much of a stranger's answer is read, in bytes: an offer fits many times, and one without end is not
/// waited for.
const BODY_LEN_MAX: usize = 64 * 1024;

const OFFER: &str = "payment-required";

pub async fn probe(config: &Config, url: &str, findings: &mut Findings) {
    if !url.starts_with("http://") {
        findings.wrong("reach", "expected http://: TLS is probed over gRPC only");
        return;
    }
    let client = Client::builder().redirect(Policy::none()).timeout(CALL_MAX).no_proxy().build();
    let Some(client) = findings.settle("client", client, |_| "ready".to_owned()) else { return };
    let mut offered = None;
    for (method, body) in
        [(Method::GET, ""), (Method::POST, ""), (Method::POST, "no request at all")]
    {
        let sent = client
            .request(method.clone(), url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        let Ok(response) = sent else {
            findings.wrong("reach", "nobody answers there");
            return;
        };
        look_at_answer(&method, body, &response, findings);
        if response.status() == StatusCode::PAYMENT_REQUIRED && offered.is_none() {
            look_at_clock(&response, findings);
            offered = read_offer(response, findings).await;
        }
    }
    match &offered {
        Some(offer) => {
            if offer.resource.url != url {
                let found = &offer.resource.url;
                findings.warn("resource", format!("the offer is for {found}, not for {url}"));
            }
            look_at_offer(assets(config), offer, &offer.resource.url, findings);
        }
        None => findings.wrong("offer", "no method was answered by an offer that reads"),
    }
    look_at_leaks(&client, url, findings).await;
}

/// Whether the paywall stands before everything that looks at the request.
fn look_at_answer(method: &Method, body: &str, response: &Response, findings: &mut Findings) {
    let status = response.status();
    let what = match body {
        "" => format!("{method} without a body: {status}"),
        _ => format!("{method} with a body that is no request: {status}"),
    };
    match status {
        StatusCode::PAYMENT_REQUIRED => findings.good("paywall", what),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND if *method == Method::GET => {
            findings.good("paywall", what);
        }
        status if status.is_success() => findings.wrong("paywall", format!("{what}: it is free")),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            let why =
                "the body is looked at before the price is told, so that crawlers list nothing";
            findings.wrong("paywall", format!("{what}: {why}"));
        }
        _ => findings.wrong("paywall", what),
    }
}

fn look_at_clock(response: &Response, findings: &mut Findings) {
    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
    let Some(date) = date else {
        findings.warn("clock", "no Date header");
        return;
    };
    let read = jiff::fmt::rfc2822::parse(date);
    let Some(zoned) = findings.settle("date", read, |_| date.to_owned()) else { return };
    let there = u64::try_from(zoned.timestamp().as_second()).unwrap_or(0);
    let skew = SystemClock.now().as_secs().abs_diff(there);
    if skew > SKEW_MAX_S {
        let what = format!("its clock is {skew} s off: what it signs may be over, or not begun");
        findings.wrong("clock", what);
    } else {
        findings.good("clock", format!("{skew} s apart"));
    }
}

/// The offer: in its header in version 2, in the body before it.
async fn read_offer(response: Response, findings: &mut Findings) -> Option<PaymentRequired> {
    let header = response.headers().get(OFFER).cloned();
    let body = beginning(response, BODY_LEN_MAX).await;
    let Some(header) = header else {
        let is_old = has_version(&body, 1);
        match is_old {
            true => findings.warn("offer", "version 1 alone: no PAYMENT-REQUIRED header"),
            false => findings.wrong("offer", "a 402 without a PAYMENT-REQUIRED header"),
        }
        return serde_json::from_slice(&body).ok();
    };
    if header.len() > HEADER_LEN_MAX {
        let what = format!("{} bytes: common proxies take {HEADER_LEN_MAX}", header.len());
        findings.wrong("header size", what);
    } else {
        findings.good("header size", format!("{} bytes", header.len()));
    }
    let decoded = STANDARD.decode(header.as_bytes());
    let json =
        findings.settle("base64", decoded, |json| format!("{} bytes of JSON", json.len()))?;
    let read = serde_json::from_slice::<PaymentRequired>(&json);
    let offer = findings.settle("offer", read, |offer| {
        format!("version {}, {} ways to pay", offer.x402_version, offer.accepts.len())
    })?;
    if offer.x402_version != X402_VERSION {
        findings.wrong("version", format!("the header is of version {X402_VERSION} only"));
    }
    Some(offer)
}

/// What comes of a body, up to so many bytes; the rest is left where it is.
async fn beginning(mut response: Response, most: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < most
        && let Ok(Some(piece)) = response.chunk().await
    {
        read.extend_from_slice(&piece);
    }
    read.truncate(most);
    read
}

fn has_version(body: &[u8], version: u64) -> bool {
    let read: Result<serde_json::Value, _> = serde_json::from_slice(body);
    read.is_ok_and(|json| {
        json.get("x402Version").and_then(serde_json::Value::as_u64) == Some(version)
    })
}

/// Methods that nobody sells must not run what is sold.
async fn look_at_leaks(client: &Client, url: &str, findings: &mut Findings) {
    for method in [Method::HEAD, Method::OPTIONS] {
        let Ok(response) = client.request(method.clone(), url).send().await else {
            findings.warn("leaks", format!("{method}: no answer"));
            continue;
        };
        let status = response.status();
        let body = beginning(response, 1).await;
        let runs = match method {
            Method::HEAD => status.is_success(),
            // An answer to a preflight has no body.
            _ => status.is_success() && !body.is_empty(),
        };
        if runs {
            findings.wrong("leaks", format!("{method} is answered with {status} for nothing"));
        } else {
            findings.good("leaks", format!("{method}: {status}"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn answering(pieces: impl Iterator<Item = Bytes> + Send + Sync + 'static) -> Response {
        let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        let body = reqwest::Body::wrap(StreamBody::new(stream::iter(frames)));
        http::Response::new(body).into()
    }

    #[tokio::test]
    async fn of_an_answer_without_end_only_the_beginning_is_read() {
        let endless = || answering(std::iter::repeat(Bytes::from_static(b"seven b")));
        assert_eq!(beginning(endless(), BODY_LEN_MAX).await.len(), BODY_LEN_MAX);
        assert_eq!(beginning(endless(), 1).await, b"s");
        let short = answering([Bytes::from_static(b"{}")].into_iter());
        assert_eq!(beginning(short, BODY_LEN_MAX).await, b"{}");
        assert!(beginning(answering(std::iter::empty()), BODY_LEN_MAX).await.is_empty());
    }
}
