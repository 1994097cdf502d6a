//! OpenAI's official clients at a node's door: they buy by `base_url` and key alone, and do not try
//! again where a budget says no.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Added to the file that `bursar up --sandbox` writes: two shops, and a role that can afford nothing.
const STREET: &str = r#"
[wallet.till]
key = "keystore:till"
[wallet.shelf]
key = "keystore:shelf"

[provider.scribe]
engine = "scribe"
capability = "text.generate"
model = "bursar-scribe-1"
network = "sandbox"
price = { call = "0.0002 USD" }
pay_to = "wallet/till"

[provider.librarian]
engine = "librarian"
capability = "search.query"
model = "bursar-embed-1"
network = "sandbox"
price = { call = "0.0001 USD" }
pay_to = "wallet/shelf"

[budget.poor-day]
applies_to = "role/poor"
per = "role"
limit = "0.0001 USD"
window = { calendar = "day" }

[role.poor]
per_call_max = "0.05 USD"
allow_any = true
allow = { capabilities = ["*"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["exact"] }
"#;

/// Times that the providers are looked for before they count as missing.
const LOOKS_MAX: u32 = 200;

/// A `bursar` that goes on until it is told to end.
struct Running {
    child: Child,
    _stdout: ChildStdout,
    said: Value,
}

impl Running {
    fn start(folder: &Path, words: &[&str]) -> Self {
        let mut command = bursar(folder, words);
        let log = fs::File::create(folder.join(format!("{}.log", words[0]))).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let said = serde_json::Deserializer::from_reader(&mut stdout).into_iter().next();
        let Some(Ok(said)) = said else {
            let _ = child.kill();
            let log = fs::read_to_string(folder.join(format!("{}.log", words[0]))).unwrap();
            panic!("{words:?} said nothing: {log}");
        };
        Self { child, _stdout: stdout, said }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bursar(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command.current_dir(folder).args(words).stdin(Stdio::null());
    command
}

fn answer(folder: &Path, words: &[&str]) -> Value {
    let output = bursar(folder, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Street {
    folder: TempDir,
    node: Running,
    _providers: Running,
}

impl Street {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let up = ["up", "--sandbox", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
        let node = Running::start(path, &up);
        let file = path.join("bursar.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + STREET).unwrap();
        answer(path, &["apply", "--reason", "interop"]);
        let providers = Running::start(path, &["provider"]);
        Self { folder, node, _providers: providers }
    }

    fn token(&self, agent: &str, role: &str) -> String {
        let added = answer(self.folder.path(), &["agent", "add", agent, "--role", role]);
        added["token"].as_str().unwrap().to_owned()
    }

    fn base_url(&self) -> String {
        format!("{}/v1", self.node.said["endpoints"][0].as_str().unwrap())
    }

    /// Waits until both models are listed: a provider announces itself when it is ready.
    fn wait(&self, token: &str) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::new();
            for _ in 0..LOOKS_MAX {
                let asked = client.get(format!("{}/models", self.base_url())).bearer_auth(token);
                let body = asked.send().await.unwrap().text().await.unwrap();
                if body.contains("bursar-scribe-1") && body.contains("bursar-embed-1") {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            }
            panic!("the providers were never listed");
        });
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/openai")
}

/// Whether what npm or pip installs is there; without it the test passes by, unless it is required.
fn is_there(what: &Path) -> bool {
    let required = std::env::var("BURSAR_TEST_OPENAI").is_ok_and(|it| it == "required");
    assert!(what.exists() || !required, "{} is not installed", what.display());
    if !what.exists() {
        eprintln!("passed by: {} is not installed", what.display());
    }
    what.exists()
}

fn run(mut client: Command) {
    let street = Street::open();
    let (rich, poor) = (street.token("rich-1", "worker"), street.token("poor-1", "poor"));
    street.wait(&rich);
    let client = client
        .env("OPENAI_BASE_URL", street.base_url())
        .env("OPENAI_API_KEY", &rich)
        .env("POOR_API_KEY", &poor);
    let output = client.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let got: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(got["models"], json!(["bursar-embed-1", "bursar-scribe-1"]));
    assert!(got["whole"].as_str().is_some_and(|text| text.len() > 10), "{got}");
    assert_eq!((&got["charged"], &got["streamed_charged"]), (&json!("0.0002"), &json!("0.0002")));
    // One model, one seed: the same words however they are asked for.
    for same in ["streamed", "answer", "spoken", "completed"] {
        assert_eq!(got[same], got["whole"], "{same}");
    }
    assert!(got["written"].as_u64().is_some_and(|len| len > 0));
    let dimensions = got["dimensions"].as_array().unwrap();
    assert!(dimensions.len() == 2 && dimensions[0] == dimensions[1] && dimensions[0] != 0);
    assert_eq!(got["bought"], 7, "one request for each answer");
    assert_eq!(got["refused"], json!({ "kind": true, "status": 403, "code": "budget_exhausted" }));
    assert_eq!(got["stranger"], 401);
    assert_eq!(got["refusals"], 2, "no refusal was tried again");
    let spent = answer(street.folder.path(), &["budget", "fleet-day"]);
    let nano = |key: &str| spent[0][key].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(nano("spent_nano") + nano("held_nano"), 5 * 200_000 + 100_000);
}

#[test]
fn openais_client_for_node_buys_by_base_url_alone() {
    if is_there(&scripts().join("node_modules/openai")) {
        let mut node = Command::new("node");
        node.current_dir(scripts()).arg("client.mjs");
        run(node);
    }
}

#[test]
fn openais_client_for_python_buys_by_base_url_alone() {
    let python = scripts().join(".venv/bin/python");
    if is_there(&python) {
        let mut python = Command::new(python);
        python.arg(scripts().join("client.py"));
        run(python);
    }
}
