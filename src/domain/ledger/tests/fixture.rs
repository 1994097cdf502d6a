//! A desk to ask a ledger from: agents, wallets, funds and policies in few words.
//!
//! One atomic unit counts one nano here, so that one number says both. Every refusal is checked to
//! leave the ledger as it was.

use std::time::Duration;

use alloy::primitives::{Address, B256, Signature, U256};

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::{Commitment, Scheme, TransferMethod};
use crate::domain::id::{AgentId, Fingerprint, Name, PaymentId, RequestId};
use crate::domain::ledger::agent::{Agent, Principal, TokenHash};
use crate::domain::ledger::budget::{BudgetCheck, BudgetDef, Per, Selector};
use crate::domain::ledger::claim::{Accepted, Delivery};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::hold::{CaptureProof, FinalBlock, VoidProof};
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::ledger::{Bounds, Command, Event, Ledger, Rejection};
use crate::domain::money::{Amount, Nano};
use crate::domain::order::Usage;
use crate::domain::time::Timestamp;

/// Tuesday, 2026-09-01 12:00 UTC.
pub const START_S: u64 = 1_788_264_000;

/// The process that asks, unless a test says otherwise.
pub const BOOT: u64 = 1;

/// How long an authorization lives here.
pub const LIFE_S: u64 = 120;

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn agent_id(text: &str) -> AgentId {
    AgentId::named(&name(text))
}

pub fn asset() -> Asset {
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(7) }
}

pub fn number(n: u64) -> B256 {
    B256::from(U256::from(n))
}

pub fn span(secs: u64) -> WindowSpec {
    WindowSpec::Rolling { span: Duration::from_secs(secs) }
}

pub fn session(secs: u64) -> WindowSpec {
    WindowSpec::Session { span: Duration::from_secs(secs) }
}

pub fn calendar(unit: CalendarUnit, zone: &str) -> WindowSpec {
    WindowSpec::Calendar { unit, zone: zone.to_owned() }
}

pub fn budget(
    label: &str,
    selector: Selector,
    per: Per,
    limit: u64,
    window: WindowSpec,
) -> BudgetDef {
    BudgetDef { name: name(label), selector, per, limit: Nano::new(limit), window }
}

/// One pool for everybody, for ever.
pub fn pool(limit: u64) -> BudgetDef {
    budget("pool", Selector::Fleet, Per::All, limit, WindowSpec::Lifetime)
}

pub fn block(time_s: u64) -> FinalBlock {
    FinalBlock { hash: number(time_s), time_s }
}

/// A ledger, its clock, and everything that happened in it.
#[derive(Clone, Debug)]
pub struct Desk {
    pub ledger: Ledger,
    pub now: Timestamp,
    pub log: Vec<(Timestamp, Event)>,
    pub asked: u64,
}

impl Desk {
    /// A ledger with `budgets` in force, wallet `main` with 2^40 units, and agent `ann` of role
    /// `scout` and group `red`.
    pub fn new(budgets: Vec<BudgetDef>) -> Self {
        Self::bounded(Bounds::default(), budgets)
    }

    pub fn bounded(bounds: Bounds, budgets: Vec<BudgetDef>) -> Self {
        let (ledger, now) = (Ledger::new(bounds), Timestamp::from_secs(START_S));
        let mut desk = Self { ledger, now, log: Vec::new(), asked: 0 };
        desk.policy(budgets).unwrap();
        desk.wallet("main", 1 << 40);
        desk.agent("ann", "scout", "red", "main");
        desk
    }

    /// Asks; a refusal must leave the ledger as it was.
    pub fn execute(&mut self, command: Command) -> Result<Event, Rejection> {
        self.now = self.now.next();
        let before = self.ledger.clone();
        match self.ledger.decide(self.now, command) {
            Ok(decided) => {
                self.ledger.evolve(self.now, &decided.event);
                self.log.push((self.now, decided.event.clone()));
                Ok(decided.event)
            }
            Err(refusal) => {
                assert!(self.ledger == before, "a refusal changed the ledger");
                Err(refusal.rejection)
            }
        }
    }

    pub fn at(&mut self, secs: u64) {
        let at = Timestamp::from_secs(secs);
        assert!(at >= self.now, "time does not go back");
        self.now = at;
    }

    pub fn wait(&mut self, secs: u64) {
        self.now = self.now.after(Duration::from_secs(secs));
    }

    pub fn policy(&mut self, budgets: Vec<BudgetDef>) -> Result<Event, Rejection> {
        let document = format!("{budgets:?}");
        let (reason, by) = ("test".to_owned(), Principal::Operator);
        self.execute(Command::ApplyPolicy { budgets, document, reason, by })
    }

    pub fn wallet(&mut self, label: &str, units: u64) {
        let address = wallet_address(label);
        self.execute(Command::OpenWallet { wallet: name(label), address }).unwrap();
        if units > 0 {
            self.fund(label, units, 0, 1).unwrap();
        }
    }

    /// Counts funds from where the ledger is.
    pub fn fund(
        &mut self,
        label: &str,
        entered: u64,
        left: u64,
        up_to: u64,
    ) -> Result<Event, Rejection> {
        let wallet = self.ledger.find_wallet_at(wallet_address(label));
        let after = wallet.and_then(|found| found.find(asset())).map(|position| position.up_to);
        self.fund_after(after, label, entered, left, up_to)
    }

    pub fn fund_after(
        &mut self,
        after: Option<u64>,
        label: &str,
        entered: u64,
        left: u64,
        up_to: u64,
    ) -> Result<Event, Rejection> {
        let (entered, left) = (Amount::new(entered.into()), Amount::new(left.into()));
        let wallet = name(label);
        self.execute(Command::SeeFunds { wallet, asset: asset(), entered, left, after, up_to })
    }

    /// Wallet `main` owns as much as a number can say.
    pub fn fund_most(&mut self) {
        let (entered, left) = (Amount::MAX, Amount::ZERO);
        let (wallet, asset, after) = (name("main"), asset(), Some(1));
        let all = Command::SeeFunds { wallet, asset, entered, left, after, up_to: 2 };
        self.execute(all).unwrap();
    }

    pub fn agent(&mut self, label: &str, role: &str, group: &str, wallet: &str) {
        let agent = Agent {
            name: name(label),
            role: name(role),
            group: name(group),
            wallet: name(wallet),
            token: token(label),
            delegation: None,
        };
        self.execute(Command::AddAgent { agent, by: Principal::Operator }).unwrap();
    }

    pub fn delegate(
        &mut self,
        parent: &str,
        child: &str,
        limit: u64,
        until_s: u64,
    ) -> Result<Event, Rejection> {
        self.execute(Command::Delegate {
            parent: agent_id(parent),
            child: name(child),
            token: token(child),
            limit: Nano::new(limit),
            until: Timestamp::from_secs(until_s),
        })
    }

    /// An ask that fits: a fresh request of `agent`, for `units`, alive for [`LIFE_S`].
    pub fn ask(&mut self, agent: &str, units: u64) -> HoldAsk {
        self.asked += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.asked.to_be_bytes());
        let request = RequestId::new(self.now.as_millis(), random);
        self.ask_for(agent, units, request, 0)
    }

    pub fn ask_for(&self, agent: &str, units: u64, request: RequestId, attempt: u32) -> HoldAsk {
        let id = agent_id(agent);
        let payment = PaymentId::derive(id, request, attempt);
        let wallet = self.ledger.find_agent(id).map_or_else(|| name("main"), |a| a.wallet.clone());
        HoldAsk {
            agent: id,
            payment,
            request,
            attempt,
            fingerprint: Fingerprint::from_bytes([1; 16]),
            commitment: Commitment {
                scheme: Scheme::Exact,
                method: TransferMethod::Eip3009,
                asset: asset(),
                payer: wallet_address(wallet.as_str()),
                pay_to: Address::repeat_byte(9),
                amount_max: Amount::new(units.into()),
                valid_after_s: 0,
                valid_before_s: self.now.as_secs() + LIFE_S,
                nonce: B256::left_padding_from(payment.as_bytes()),
            },
            nano: Nano::new(units),
            session: None,
            provider: name("scribe-1"),
            capability: name("text.generate"),
            model: name("tiny"),
            quote: B256::ZERO,
            policy_version: self.ledger.policy().version,
            boot: BOOT,
        }
    }

    pub fn place(&mut self, ask: HoldAsk) -> Result<PaymentId, Rejection> {
        let payment = ask.payment;
        self.execute(Command::Hold(Box::new(ask))).map(|_| payment)
    }

    pub fn hold(&mut self, agent: &str, units: u64) -> Result<PaymentId, Rejection> {
        let ask = self.ask(agent, units);
        self.place(ask)
    }

    /// A hold of which less may be taken.
    pub fn hold_maximum(&mut self, agent: &str, units: u64) -> Result<PaymentId, Rejection> {
        let mut ask = self.ask(agent, units);
        ask.commitment.scheme = UPTO;
        ask.commitment.method = TransferMethod::Permit2;
        self.place(ask)
    }

    pub fn hold_in(
        &mut self,
        agent: &str,
        units: u64,
        session: &str,
    ) -> Result<PaymentId, Rejection> {
        let ask = HoldAsk { session: Some(name(session)), ..self.ask(agent, units) };
        self.place(ask)
    }

    /// Captures all of a hold, by the payee's receipt.
    pub fn capture(&mut self, payment: PaymentId) -> Result<Event, Rejection> {
        self.capture_by(payment, CaptureProof::Receipt)
    }

    pub fn capture_by(
        &mut self,
        payment: PaymentId,
        proof: CaptureProof,
    ) -> Result<Event, Rejection> {
        let hold = self.ledger.find_hold(payment);
        let amount = hold.map_or(Amount::ZERO, |hold| hold.money().amount);
        self.execute(Command::Capture { payment, amount, transaction: number(5), proof })
    }

    pub fn doubt(&mut self, payment: PaymentId) -> Result<Event, Rejection> {
        self.execute(Command::Doubt { payment })
    }

    pub fn void(&mut self, payment: PaymentId) -> Result<Event, Rejection> {
        self.execute(Command::Void { payment, proof: VoidProof::NeverSigned, boot: BOOT })
    }

    pub fn cancel(&mut self, payment: PaymentId) -> Result<Event, Rejection> {
        let proof = VoidProof::Canceled { transaction: number(6), block: block(START_S) };
        self.execute(Command::Void { payment, proof, boot: BOOT })
    }

    pub fn expire(&mut self, payment: PaymentId, time_s: u64) -> Result<Event, Rejection> {
        self.execute(Command::Expire { payment, block: block(time_s) })
    }

    /// The one account of a budget that has one.
    pub fn account(&self, label: &str) -> BudgetCheck {
        let mut found = self.accounts(label);
        assert_eq!(found.len(), 1, "{label} has one account");
        found.pop().unwrap()
    }

    pub fn accounts(&self, label: &str) -> Vec<BudgetCheck> {
        let all = self.ledger.accounts(self.now);
        all.into_iter().filter(|check| check.budget == name(label)).collect()
    }

    /// Spent and held of the one account of a budget.
    pub fn numbers(&self, label: &str) -> (u64, u64) {
        let check = self.account(label);
        (check.spent.get(), check.held.get())
    }

    /// An authorization of a payer outside, for `units`, and the request that it pays.
    pub fn accepted(&self, nonce: u64, units: u64) -> Accepted {
        Accepted {
            commitment: Commitment {
                scheme: Scheme::Exact,
                method: TransferMethod::Eip3009,
                asset: asset(),
                payer: Address::repeat_byte(3),
                pay_to: wallet_address("main"),
                amount_max: Amount::new(units.into()),
                valid_after_s: 0,
                valid_before_s: self.now.as_secs() + LIFE_S,
                nonce: number(nonce),
            },
            signature: Signature::new(U256::from(1), U256::from(1), false),
            fingerprint: Fingerprint::from_bytes([2; 16]),
            payment: None,
            provider: name("scribe-1"),
            capability: name("text.generate"),
            model: name("tiny"),
            amount: Amount::new(units.into()),
        }
    }
}

/// A scheme with a maximum.
pub const UPTO: Scheme = Scheme::Upto { facilitator: Address::repeat_byte(7) };

pub fn delivery() -> Delivery {
    Delivery { usage: Usage::default(), answer: number(8) }
}

pub fn wallet_address(label: &str) -> Address {
    Address::left_padding_from(agent_id(label).as_bytes())
}

pub fn token(label: &str) -> TokenHash {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(agent_id(label).as_bytes());
    TokenHash(bytes)
}

/// The refusal's code: what a test says of it where the numbers are not the point.
pub fn code<T: std::fmt::Debug>(asked: Result<T, Rejection>) -> &'static str {
    use crate::domain::fault::Fault;
    asked.map_or_else(|rejection| rejection.code(), |done| panic!("not refused: {done:?}"))
}
