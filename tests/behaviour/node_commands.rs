//! A node of one's own and the commands that talk to it, as a newcomer's script sees them: real
//! processes, words in, JSON and exit codes out.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use bursar::domain::id::RequestId;
use bursar::domain::ledger::agent::Token;
use bursar::domain::order::{Order, Units};
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::grpc::{AgentClient, AgentError, Bought, Purchase};
use bursar::ports::clock::Clock;
use bursar::ports::entropy::Entropy;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::market::name;

/// What is sold in these tests, added to the file that `bursar up --sandbox` writes.
pub const SHOP: &str = r#"
[wallet.till]
key = "keystore:till"

[provider.scribe]
engine = "scribe"
capability = "text.generate"
model = "bursar-scribe-1"
network = "sandbox"
price = { call = "0.001 USD" }
pay_to = "wallet/till"
metrics = "127.0.0.1:0"
"#;

/// What one call costs, in nano-USD.
const PRICE_NANO: u64 = 1_000_000;

/// Tries until a provider that is announcing itself is found.
const TRIES_MAX: u32 = 200;

/// A command that goes on until it is told to end, and the JSON it said first.
pub struct Running {
    child: Child,
    /// Kept open: a process that writes to nobody may end for that.
    _stdout: ChildStdout,
    said: Value,
}

impl Running {
    pub fn start(folder: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
        command.current_dir(folder).args(words).stdin(Stdio::null());
        let log = fs::File::create(folder.join(format!("{}.log", words[0]))).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let said = serde_json::Deserializer::from_reader(&mut stdout).into_iter().next();
        let Some(Ok(said)) = said else {
            let _ = child.kill();
            let log = fs::read_to_string(folder.join(format!("{}.log", words[0]))).unwrap();
            panic!("{words:?} said {said:?}: {log}");
        };
        Self { child, _stdout: stdout, said }
    }

    /// What it said first.
    pub fn said(&self) -> &Value {
        &self.said
    }

    /// Waits until it ends by itself, and gives the exit code.
    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    /// Asks for an orderly end, and gives the exit code.
    pub fn stop(mut self) -> i32 {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(told.unwrap().success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct House {
    folder: TempDir,
}

impl House {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn up(&self) -> Running {
        let anywhere = "127.0.0.1:0";
        Running::start(
            self.path(),
            &["up", "--sandbox", "--listen", anywhere, "--metrics", anywhere],
        )
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
        command.current_dir(self.path()).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// The answer of a command that goes well.
    pub fn answer(&self, words: &[&str]) -> Value {
        let output = self.run(words);
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {problem}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Exit code and error code of a command that does not.
    pub fn refusal(&self, words: &[&str]) -> (i32, String, Value) {
        let output = self.run(words);
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        let error = error["error"].clone();
        (output.status.code().unwrap(), error["code"].as_str().unwrap().to_owned(), error)
    }

    pub fn open_shop(&self, shop: &str) -> Running {
        let file = self.path().join("bursar.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + shop).unwrap();
        Running::start(self.path(), &["provider"])
    }

    /// Changes the configuration's text.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.path().join("bursar.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
    }

    /// Exit code and answer of a command that answers whatever it finds.
    pub fn report(&self, words: &[&str]) -> (i32, Value) {
        let output = self.run(words);
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    }

    pub fn spent(&self) -> u64 {
        let rows = self.answer(&["budget", "fleet-day"]);
        let text = |key: &str| rows[0][key].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(text("limit_nano") - text("spent_nano") - text("held_nano"), text("left_nano"));
        text("spent_nano") + text("held_nano")
    }
}

pub fn endpoint(node: &Running) -> &str {
    node.said["endpoints"][0].as_str().unwrap()
}

fn purchase() -> Purchase {
    let mut random = [0; 10];
    SystemEntropy.fill(&mut random);
    let body = json!({ "prompt": "The budget", "seed": 7 });
    Purchase {
        request: RequestId::new(SystemClock.now().as_millis(), random),
        order: Order {
            capability: name("text.generate"),
            model: None,
            input_max: Units(100),
            output_max: Units(8),
            maxima: Default::default(),
        },
        content_type: "application/json".to_owned(),
        body: serde_json::to_vec(&body).unwrap().into(),
        price_max: None,
        provider: None,
        session: None,
        streamed: false,
    }
}

/// Buys of a provider that may still be announcing itself.
async fn buy(client: &AgentClient) -> Result<Bought, AgentError> {
    for _ in 0..TRIES_MAX {
        match client.buy(purchase()).await {
            Err(error) if error.reason == "PAYER_NO_PROVIDER" => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
    panic!("nobody was announced");
}

fn metrics(said: &Value) -> String {
    let url = said["metrics"].as_str().unwrap();
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_node_is_started_paid_through_paused_and_started_again() {
    let house = House::new();
    let node = house.up();
    for file in ["keys/passphrase", "keys/operator.token", "keys/service.key", "keys/nonce.secret"]
    {
        let mode = fs::metadata(house.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(node.said["funded"], json!(["main"]));
    let added = house.answer(&["agent", "add", "writer", "--role", "worker"]);
    let token = Token::shown(added["token"].as_str().unwrap());
    let twice = house.refusal(&["agent", "add", "writer", "--role", "worker"]);
    assert_eq!((twice.0, twice.1.as_str()), (4, "node.refused"));

    let shop = house.open_shop(SHOP);
    assert_eq!(shop.said[0]["provider"], "scribe");
    let client = AgentClient::connect(endpoint(&node), &token).await.unwrap();
    let bought = buy(&client).await.unwrap();
    assert_eq!((bought.provider.as_str(), bought.body.is_empty()), ("scribe", false));

    assert_eq!(house.spent(), PRICE_NANO);
    let payments = house.answer(&["payments", "--agent", "writer", "--provider", "scribe"]);
    assert_eq!(payments[0]["payment"], bought.payment);
    assert_eq!(payments[0]["amount"], "1000");
    assert_eq!(house.answer(&["payments", "--provider", "nobody"]), json!([]));
    let why = house.answer(&["why", &bought.payment]);
    assert_eq!((&why["allowed"], &why["budgets"][0]["fits"]), (&json!(true), &json!(true)));
    assert!(why["rules"].as_array().unwrap().iter().all(|rule| rule["passed"] == true));
    let numbers = metrics(&node.said);
    assert!(numbers.contains(r#"bursar_budget_limit_nano{budget="fleet-day"} 5000000000"#));
    let numbers = metrics(&shop.said[0]);
    assert!(numbers.contains(r#"bursar_phase_seconds_count{phase="serve"} 1"#), "{numbers}");

    // Paused, nothing is signed, and the refusal can be asked about like a payment.
    house.answer(&["pause", "role/worker", "--reason", "loop in planner"]);
    let refused = client.buy(purchase()).await.unwrap_err();
    assert_eq!(refused.reason, "LEDGER_PAUSED");
    let why = house.answer(&["why", &refused.payment.unwrap().to_string()]);
    assert_eq!((&why["allowed"], &why["code"]), (&json!(false), &json!("ledger.paused")));
    assert!(why["reason"].as_str().unwrap().contains("loop in planner"));
    assert_eq!(house.answer(&["agent", "list"])[0]["paused_by"], "role/worker");
    assert_eq!(house.answer(&["resume", "role/worker"])["changed"], true);
    buy(&client).await.unwrap();
    assert_eq!(house.spent(), 2 * PRICE_NANO);

    // Without a node the journal answers, as it last was; nothing else does.
    assert_eq!(shop.stop(), 0);
    assert_eq!(node.stop(), 0);
    assert_eq!(house.spent(), 2 * PRICE_NANO);
    assert_eq!(house.answer(&["payments"]).as_array().unwrap().len(), 2);
    assert_eq!(house.answer(&["why", &bought.payment])["allowed"], true);
    let silent = house.refusal(&["agent", "list"]);
    assert_eq!((silent.0, silent.1.as_str()), (10, "cli.no_node"));
    assert!(house.run(&["ledger", "verify"]).status.success());

    // Started again, everything is where it was.
    let node = house.up();
    assert_eq!((&node.said["funded"], &node.said["made"]), (&json!([]), &json!([])));
    assert_eq!(house.spent(), 2 * PRICE_NANO);
    let client = AgentClient::connect(endpoint(&node), &token).await.unwrap();
    assert!(client.budgets().await.is_ok(), "the agent's token proves it still");
    assert_eq!(node.stop(), 0);
}

/// Whoever watches the process has to see that it is of no use any more.
#[tokio::test(flavor = "multi_thread")]
async fn s03_a_node_whose_journal_fails_ends_and_goes_on_from_what_was_written() {
    let house = House::new();
    assert_eq!(house.up().stop(), 0);
    let node =
        Running::start(house.path(), &["up", "--listen", "127.0.0.1:0", "--fail-sync-after", "3"]);
    let mut added = 0;
    while house
        .run(&["agent", "add", &format!("writer-{added}"), "--role", "worker"])
        .status
        .success()
    {
        added += 1;
    }
    assert_eq!(node.wait(), 1);
    let log = fs::read_to_string(house.path().join("up.log")).unwrap();
    assert!(log.contains("cli.ledger_stopped"), "{log}");
    // What was told is there.
    let node = house.up();
    let listed = house.answer(&["agent", "list"]).as_array().unwrap().len();
    assert!(listed >= added, "{listed} of {added}");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_policy_is_applied_whole_or_not_at_all() {
    let house = House::new();
    let node = house.up();
    let file = house.path().join("bursar.toml");
    let text = fs::read_to_string(&file).unwrap();
    let same = house.answer(&["apply", "--dry-run"]);
    assert_eq!(same["changes"], json!([]));

    fs::write(&file, text.replace("5 USD", "7 EUR")).unwrap();
    let bad = house.refusal(&["apply"]);
    assert_eq!((bad.0, bad.1.as_str()), (3, "config.problems"));
    assert_eq!(
        bad.2["problems"][0]["line"],
        json!(1 + text[..text.find("5 USD").unwrap()].matches('\n').count())
    );

    fs::write(&file, text.replace("5 USD", "7 USD")).unwrap();
    let would = house.answer(&["apply", "--dry-run"]);
    assert!(!would["changes"].as_array().unwrap().is_empty());
    assert_eq!(
        (&would["version"], &house.answer(&["apply", "--dry-run"])),
        (&same["version"], &would)
    );
    let applied = house.answer(&["apply", "--reason", "more"]);
    assert_eq!(applied["version"], json!(same["version"].as_u64().unwrap() + 1));
    assert_eq!(house.answer(&["apply", "--dry-run"])["changes"], json!([]));
    assert_eq!(node.stop(), 0);
}

#[test]
fn sandbox_money_is_given_to_any_address() {
    let house = House::new();
    let node = house.up();
    let address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let funded = house.answer(&["sandbox", "fund", address, "2.5"]);
    assert_eq!(funded["amount_atomic"], "2500000");
    let bad = house.refusal(&["sandbox", "fund", address, "0.0000001"]);
    assert_eq!((bad.0, bad.1.as_str()), (4, "cli.bad_amount"));
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_taken_port_names_itself_and_the_flag() {
    let house = House::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    let refused = house.refusal(&["up", "--sandbox", "--listen", &at, "--metrics", free]);
    assert_eq!((refused.0, refused.1.as_str()), (4, "listen.taken"));
    let said = refused.2["message"].as_str().unwrap();
    assert!(said.contains(&at) && said.contains("--listen"), "{said}");
    let refused = house.refusal(&["up", "--sandbox", "--listen", free, "--metrics", &at]);
    assert_eq!(refused.1, "cli.metrics");
    assert!(refused.2["help"].as_str().unwrap().contains("--metrics"));
    assert!(!house.path().join("bursar.db").exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_paid_at_an_address_whose_key_is_elsewhere() {
    let house = House::new();
    let node = house.up();
    let key = ["--keys", "vault", "--passphrase-file", "keys/passphrase"];
    let vault = house.answer(&[&["wallet", "new", "vault"], key.as_slice()].concat());
    let word = house.answer(&[&["wallet", "delegate", "vault"], key.as_slice()].concat());
    assert_eq!(word["pay_to"], vault["address"]);
    let elsewhere = |delegation: &str| {
        let pay_to = word["pay_to"].as_str().unwrap();
        let both = format!("pay_to = \"{pay_to}\"\ndelegation = \"{delegation}\"");
        SHOP.replace("pay_to = \"wallet/till\"", &both)
    };
    let shop = house.open_shop(&elsewhere(word["delegation"].as_str().unwrap()));
    let added = house.answer(&["agent", "add", "writer", "--role", "worker"]);
    let token = Token::shown(added["token"].as_str().unwrap());
    let client = AgentClient::connect(endpoint(&node), &token).await.unwrap();
    buy(&client).await.unwrap();
    assert_eq!(house.spent(), PRICE_NANO);
    assert_eq!(shop.stop(), 0);

    // Another's word does not do, and the refusal says whose is wanted.
    let stranger = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let other = [&["wallet", "delegate", "vault", "--service", stranger], key.as_slice()].concat();
    let other = house.answer(&other);
    let file = house.path().join("bursar.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (old, new) = (word["delegation"].as_str().unwrap(), other["delegation"].as_str().unwrap());
    fs::write(&file, text.replace(old, new)).unwrap();
    let refused = house.refusal(&["provider"]);
    assert!(refused.2["message"].as_str().unwrap().contains("word for the service key"));
    assert_eq!(node.stop(), 0);
}
