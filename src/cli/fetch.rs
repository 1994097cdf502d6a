//! `bursar fetch`: has the node make an HTTP request, and pay for it within an agent's budgets.
//!
//! The wallet, the books and the signature are the node's: this shows a token, and prints an answer.

use std::fs;
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bursar::domain::id::{Name, RequestId};
use bursar::edge::config::parse_money;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::args::{Args, Format};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};
use super::running;
use super::up::system;

/// Which request, and who pays.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// What is called: `http://127.0.0.1:8403/v1/chat/completions`.
    pub url: String,
    /// The method; GET, or POST where there is a body.
    #[arg(short = 'X', long)]
    pub method: Option<String>,
    /// A header: `-H 'accept: text/plain'`; may be said again for more.
    #[arg(short = 'H', long = "header", value_name = "LINE")]
    pub headers: Vec<String>,
    /// The body, or `@FILE` with it.
    #[arg(short = 'd', long, value_name = "BODY")]
    pub data: Option<String>,
    /// Only up to this price: `0.01`, or `'0.01 USD'`.
    #[arg(long, value_name = "PRICE")]
    pub max_price: Option<String>,
    /// The span of work that it belongs to.
    #[arg(long)]
    pub session: Option<Name>,
    /// The request's name, `req_…`: the same again is the same payment.
    #[arg(long, value_name = "ID")]
    pub request: Option<RequestId>,
    /// Only say what it would cost, and what would be decided.
    #[arg(long)]
    pub dry_run: bool,
    /// A file with the agent's token, instead of the variable BURSAR_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The node, instead of the configuration's: `http://127.0.0.1:8402`. It is on this machine: the token
    /// goes in the clear.
    #[arg(long, value_name = "URL")]
    pub node: Option<String>,
}

/// Where an agent's token is looked for where no file is named.
const TOKEN_VARIABLE: &str = "BURSAR_TOKEN";

/// How long the node may take: the server settles before it answers.
const ANSWER_MAX: Duration = Duration::from_secs(240);

/// How long connecting to the node may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The one name that is called in the clear.
const LOCALHOST: &str = "localhost";

/// Makes the request.
pub fn run(args: &Args, asked: &FetchArgs, output: &Output) -> Result<Exit, Failure> {
    let request = request(args, asked)?;
    let token = token(asked)?;
    let nodes = match &asked.node {
        Some(node) => vec![node.clone()],
        None => running::endpoints(&config::load(args)?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|problem| system("starting the runtime", &problem))?;
    let (status, answer) = runtime.block_on(ask(&nodes, &token, &request))?;
    if status != StatusCode::OK {
        return Err(refused(status, &answer));
    }
    if asked.dry_run { Ok(show_decision(&answer, output)) } else { show(&answer, args, output) }
}

/// What the node is asked.
fn request(args: &Args, asked: &FetchArgs) -> Result<Value, Failure> {
    let mut request = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            request.insert(name.to_owned(), value);
        }
    };
    put("url", Some(asked.url.clone().into()));
    put("method", asked.method.clone().map(Value::from));
    let headers = asked.headers.iter().map(|line| {
        let (name, value) = line.split_once(':')?;
        Some(json!([name.trim(), value.trim()]))
    });
    let headers: Option<Vec<Value>> = headers.collect();
    let headers = headers.ok_or_else(|| wrong("expected -H 'name: value'".to_owned()))?;
    put("headers", Some(headers.into()));
    put("body_base64", body(asked)?.map(|body| STANDARD.encode(body).into()));
    put("session", asked.session.as_ref().map(|name| name.as_str().into()));
    put("request", asked.request.map(|id| id.to_string().into()));
    put("dry_run", Some(asked.dry_run.into()));
    if let Some(text) = &asked.max_price {
        put("price_max", Some(price(args, text)?.into()));
    }
    Ok(request.into())
}

fn body(asked: &FetchArgs) -> Result<Option<Vec<u8>>, Failure> {
    match asked.data.as_deref() {
        None => Ok(None),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => {
                let read = fs::read(file).map_err(|problem| system("reading the body", &problem));
                read.map(Some)
            }
            None => Ok(Some(text.as_bytes().to_vec())),
        },
    }
}

/// `0.01`, or `0.01 USD` in the file's own unit of account.
fn price(args: &Args, text: &str) -> Result<String, Failure> {
    if !text.contains(' ') {
        return Ok(text.to_owned());
    }
    let currency = config::load(args)?.policy.currency;
    let nano =
        parse_money(text, &currency).map_err(|problem| wrong(format!("`{text}`: {problem}")))?;
    Ok(nano.to_string())
}

fn token(asked: &FetchArgs) -> Result<Zeroizing<String>, Failure> {
    let missing = |what: String| {
        let help = format!("--token-file FILE, or {TOKEN_VARIABLE}; `bursar agent add` shows one");
        Failure::new(Exit::NotAllowed, "cli.no_token", what).help(help)
    };
    let read = match &asked.token_file {
        Some(file) => fs::read_to_string(file)
            .map_err(|problem| missing(format!("{}: {problem}", file.display())))?,
        None => std::env::var(TOKEN_VARIABLE)
            .map_err(|_| missing("no agent's token is given: who pays?".to_owned()))?,
    };
    let read = Zeroizing::new(read);
    Ok(Zeroizing::new(read.trim().to_owned()))
}

/// Asks the first node that answers.
async fn ask(
    nodes: &[String],
    token: &str,
    request: &Value,
) -> Result<(StatusCode, Value), Failure> {
    // Wherever the system's names may lead: this one stays here.
    let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let client = Client::builder()
        .redirect(Policy::none())
        .resolve_to_addrs(LOCALHOST, &own.map(|ip| (ip, 0).into()))
        .no_proxy()
        .connect_timeout(CONNECT_MAX)
        .timeout(ANSWER_MAX)
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "cli.system", error))?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Failure::new(Exit::NotAllowed, "cli.no_token", "that is no token"))?;
    bearer.set_sensitive(true);
    let headers = HeaderMap::from_iter([(reqwest::header::AUTHORIZATION, bearer)]);
    let mut silent = Vec::new();
    for node in nodes {
        let url = format!("{}/v1/fetch", node.trim_end_matches('/')).parse::<Url>();
        let Ok(url) = url else {
            silent.push(format!("{node}: that is no URL"));
            continue;
        };
        check_near(&url)?;
        let sent = client
            .request(Method::POST, url)
            .headers(headers.clone())
            .body(request.to_string())
            .send()
            .await;
        match sent {
            Ok(response) => {
                let status = response.status();
                let read = response.bytes().await.map_err(|error| in_doubt(&error))?;
                return Ok((status, serde_json::from_slice(&read).unwrap_or(Value::Null)));
            }
            Err(error) if error.is_connect() || error.is_builder() => {
                silent.push(format!("{node}: nobody answers there in the clear"));
            }
            Err(error) => return Err(in_doubt(&error)),
        }
    }
    let message = format!("no node answers: {}", silent.join("; "));
    Err(Failure::new(Exit::NoNode, "cli.no_node", message)
        .help("start one with `bursar up`, or name one with --node http://127.0.0.1:8402"))
}

/// No token crosses a network in the clear: whoever hears it is the agent.
fn check_near(url: &Url) -> Result<(), Failure> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let near = bare == LOCALHOST || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if near || url.scheme() != "http" {
        return Ok(());
    }
    let message =
        format!("{host} is not this machine, and no token crosses a network in the clear");
    Err(Failure::new(Exit::Refused, "cli.node_exposed", message)
        .help("ask the node on this machine: --node http://127.0.0.1:8402"))
}

/// The node was asked, and did not answer.
fn in_doubt(error: &reqwest::Error) -> Failure {
    let what = if error.is_timeout() { "in time" } else { "to the end" };
    let message = format!("the node did not answer {what}");
    Failure::new(Exit::InDoubt, "cli.in_doubt", message).help(
        "`bursar payments` shows what became of it; --request makes asking again the same payment",
    )
}

fn wrong(message: String) -> Failure {
    Failure::new(Exit::Refused, "cli.bad_request", message)
}

/// What a refusal is to a command: the node's own words.
fn refused(status: StatusCode, answer: &Value) -> Failure {
    let error = answer.get("error").unwrap_or(&Value::Null);
    let told = |at: &str| error.pointer(at).and_then(Value::as_str);
    let exit = match (status.as_u16(), told("/code")) {
        (502, Some("settlement_unknown" | "upstream_payment_rejected")) => Exit::InDoubt,
        (401, _) => Exit::NotAllowed,
        (429 | 503, _) => Exit::Later,
        (400..=499, _) => Exit::Refused,
        _ => Exit::Failed,
    };
    let message = told("/message").unwrap_or("the node refused it without a word");
    let reason = told("/bursar/reason").or_else(|| told("/code")).unwrap_or("-");
    let failure = Failure::new(exit, "node.refused", format!("{message} [{reason}]"));
    match told("/bursar/payment") {
        Some(payment) => failure.help(format!("bursar why {payment}")),
        None => failure,
    }
}

/// The body as it came, and what it cost; all of it to whom asks for JSON.
fn show(answer: &Value, args: &Args, output: &Output) -> Result<Exit, Failure> {
    if args.format == Some(Format::Json) {
        output.show(answer, String::new);
    } else {
        let body = match answer["body_base64"].as_str() {
            Some(text) => STANDARD.decode(text).map_err(|_| {
                Failure::new(Exit::Failed, "cli.node_answer", "the node's answer does not read")
            })?,
            None => answer["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
        };
        let mut out = std::io::stdout().lock();
        // A reader that has gone away is no failure of the command.
        let _ = out.write_all(&body).and_then(|()| out.flush());
        if std::io::stdout().is_terminal() && !body.ends_with(b"\n") {
            let _ = writeln!(out);
        }
        if let Some(payment) = answer["payment"].as_str() {
            let amount = answer["amount"].as_str().unwrap_or("an amount that was not told");
            let transaction = answer["transaction"].as_str().unwrap_or_default();
            output.note(&format!("{payment}: {amount} {transaction}"));
        }
    }
    let succeeded = answer["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
    Ok(if succeeded { Exit::Done } else { Exit::Failed })
}

fn show_decision(answer: &Value, output: &Output) -> Exit {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    output.show(answer, || {
        if answer["free"] == true {
            return "nothing is asked for it".to_owned();
        }
        let rows = ["allowed", "amount", "counts", "scheme", "network", "asset", "pay_to"];
        let rows = rows.map(|row| [row.to_owned(), answer.get(row).map(text).unwrap_or_default()]);
        let denied = answer["denied"].as_str().map(|why| ["because".to_owned(), why.to_owned()]);
        let budgets = answer["budgets"].as_array().cloned().unwrap_or_default();
        let budgets = budgets
            .iter()
            .map(|it| {
                let told = |key: &str| it.get(key).map(text).unwrap_or_default();
                [format!("left of {}", told("budget")), told("left")]
            })
            .collect::<Vec<_>>();
        table(["what", "value"], rows.into_iter().chain(denied).chain(budgets))
    });
    if answer["free"] == true || answer["allowed"] == true { Exit::Done } else { Exit::Refused }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[tokio::test]
    async fn no_token_goes_to_another_machine_in_the_clear() {
        for node in [
            "http://192.0.2.1:8402",
            "http://10.0.0.1:8402",
            "http://node.example:8402",
            "http://127.0.0.1@192.0.2.1:8402",
            "http://127.0.0.1.example:8402",
            "http://[2001:db8::1]:8402",
            "HTTP://0.0.0.0:8402",
            // With its path it is one of `http://v1/`.
            "http://",
        ] {
            let failed = ask(&[node.to_owned()], "bat_scout-1_x", &Value::Null).await.unwrap_err();
            assert_eq!((failed.exit, failed.code), (Exit::Refused, "cli.node_exposed"), "{node}");
        }
        for node in ["http://127.0.0.1:8402/", "http://localhost:8402", "http://[::1]:8402"] {
            assert!(check_near(&node.parse().unwrap()).is_ok(), "{node}");
        }
    }
}
