//! The traced process: a treasury over a real journal, asked by many at once, opened and closed again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy::primitives::{Address, B256};
use bursar::domain::asset::{Asset, Network};
use bursar::domain::commitment::{Commitment, Scheme, TransferMethod};
use bursar::domain::id::{AgentId, Fingerprint, Name, PaymentId, RequestId};
use bursar::domain::ledger::agent::{Agent, Principal, TokenHash};
use bursar::domain::ledger::budget::{BudgetDef, Per, Selector};
use bursar::domain::ledger::command::HoldAsk;
use bursar::domain::ledger::hold::{CaptureProof, FinalBlock, VoidProof};
use bursar::domain::ledger::window::{CalendarUnit, WindowSpec};
use bursar::domain::ledger::{Bounds, Command};
use bursar::domain::money::{Amount, Nano};
use bursar::edge::clock::SystemClock;
use bursar::edge::journal::{Options, Store};
use bursar::ports::clock::Clock;
use bursar::runtime::treasury::{Settings, Treasury};

/// Times that the journal is opened and closed.
const LIVES: u64 = 3;
/// Who asks at once, and how often each does in a life.
const CALLERS: u64 = 12;
const CALLS: u64 = 20;
/// Small, so that there are many snapshots.
const SNAPSHOT_EVERY: u64 = 64;
const START_S: u64 = 1_800_000_000;

/// Where the journal is.
pub fn journal_in(folder: &Path) -> PathBuf {
    folder.join("journal.db")
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

pub fn settings(boot: u64) -> Settings {
    Settings { bounds: Bounds::default(), boot, snapshot_every: SNAPSHOT_EVERY }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn asset() -> Asset {
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(7) }
}

/// Works, and writes down each entry that it was answered for. Returns the newest.
pub fn write(folder: impl AsRef<Path>) -> u64 {
    let folder = folder.as_ref();
    let answers = std::fs::File::create(folder.join("answers")).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap();
    let answers = Arc::new(answers);
    (1..=LIVES).map(|life| runtime.block_on(live(folder, life, &answers))).max().unwrap()
}

/// Opens the journal, and closes it again.
pub fn recover(folder: impl AsRef<Path>) {
    let store = Store::open(&journal_in(folder.as_ref()), Options::default()).unwrap();
    drop(store);
}

async fn live(folder: &Path, life: u64, answers: &Arc<std::fs::File>) -> u64 {
    let store = Store::open(&journal_in(folder), Options::default()).unwrap();
    let (treasury, task) = Treasury::open(Arc::new(store), clock(), settings(life)).await.unwrap();
    let running = tokio::spawn(task.run());
    let asker = Asker { treasury, answers: Arc::clone(answers) };
    if life == 1 {
        for command in founding() {
            asker.ask(command).await;
        }
    }
    let callers = (0..CALLERS).map(|caller| {
        let asker = asker.clone();
        tokio::spawn(async move {
            let mut newest = 0;
            for call in 0..CALLS {
                newest = asker.pay(life, caller, call).await;
            }
            newest
        })
    });
    let mut newest = 0;
    for caller in callers.collect::<Vec<_>>() {
        newest = newest.max(caller.await.unwrap());
    }
    drop(asker);
    running.await.unwrap();
    newest
}

#[derive(Clone)]
struct Asker {
    treasury: Treasury,
    answers: Arc<std::fs::File>,
}

impl Asker {
    /// Asks, and once it is answered says so where the trace sees it, in one write.
    async fn ask(&self, command: Command) -> u64 {
        let done = self.treasury.execute(command).await.unwrap();
        (&*self.answers).write_all(format!("{}\n", done.seq).as_bytes()).unwrap();
        done.seq
    }

    /// A hold, and what may become of one.
    async fn pay(&self, life: u64, caller: u64, call: u64) -> u64 {
        let ask = hold(life, caller, call);
        let payment = ask.payment;
        self.ask(Command::Hold(Box::new(ask))).await;
        let block = FinalBlock { hash: B256::ZERO, time_s: START_S };
        self.ask(match call % 3 {
            0 => Command::Void { payment, proof: VoidProof::NeverSigned, boot: life },
            _ => Command::Capture {
                payment,
                amount: Amount::new(100),
                transaction: B256::ZERO,
                proof: CaptureProof::Chain(block),
            },
        })
        .await
    }
}

fn founding() -> Vec<Command> {
    let window = WindowSpec::Calendar { unit: CalendarUnit::Day, zone: "UTC".to_owned() };
    let budget = |label: &str, selector, per| {
        let (name, window) = (name(label), window.clone());
        BudgetDef { name, selector, per, limit: Nano::MAX, window }
    };
    let budgets = vec![
        budget("fleet", Selector::Fleet, Per::All),
        budget("agent", Selector::Fleet, Per::Agent),
    ];
    let (document, reason, by) = ("{}".to_owned(), "crash".to_owned(), Principal::Operator);
    let mut commands = vec![Command::ApplyPolicy { budgets, document, reason, by }];
    for caller in 0..CALLERS {
        let label = name(&format!("a{caller}"));
        commands.push(Command::OpenWallet { wallet: label.clone(), address: address(caller) });
        commands.push(Command::SeeFunds {
            wallet: label.clone(),
            asset: asset(),
            entered: Amount::new(1_000_000_000),
            left: Amount::ZERO,
            after: None,
            up_to: 1,
        });
        let agent = Agent {
            name: label.clone(),
            role: name("scout"),
            group: name("research"),
            wallet: label,
            token: TokenHash([u8::try_from(caller).unwrap(); 32]),
            delegation: None,
        };
        commands.push(Command::AddAgent { agent, by: Principal::Operator });
    }
    commands
}

fn address(caller: u64) -> Address {
    Address::repeat_byte(u8::try_from(caller + 100).unwrap())
}

fn hold(life: u64, caller: u64, call: u64) -> HoldAsk {
    let agent = AgentId::named(&name(&format!("a{caller}")));
    let made_at_ms = clock().now().as_secs() * 1_000;
    let mut random = [0; 10];
    random[0] = u8::try_from(life).unwrap();
    random[1] = u8::try_from(caller).unwrap();
    random[2..].copy_from_slice(&call.to_be_bytes());
    let request = RequestId::new(made_at_ms, random);
    let payment = PaymentId::derive(agent, request, 0);
    let mut nonce = [0; 32];
    nonce[..16].copy_from_slice(payment.as_bytes());
    HoldAsk {
        agent,
        payment,
        request,
        attempt: 0,
        fingerprint: Fingerprint::from_bytes([1; 16]),
        commitment: Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: asset(),
            payer: address(caller),
            pay_to: Address::repeat_byte(9),
            amount_max: Amount::new(100),
            valid_after_s: 0,
            valid_before_s: made_at_ms / 1_000 + 120,
            nonce: B256::from(nonce),
        },
        nano: Nano::new(100_000),
        session: None,
        provider: name("scribe-1"),
        capability: name("text.generate"),
        model: name("bursar-scribe-1"),
        quote: B256::ZERO,
        policy_version: 1,
        boot: life,
    }
}
