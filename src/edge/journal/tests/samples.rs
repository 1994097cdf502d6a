//! Events to write: one of each kind, and holds by number.

use std::sync::Arc;

use alloy::primitives::{Address, B256, Signature, U256};

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::{AuthorizationKey, Commitment, Scheme, TransferMethod};
use crate::domain::id::{
    AgentId, DelegationId, Fingerprint, Name, PaymentId, PeerId, RequestId, WalletId,
};
use crate::domain::ledger::Event;
use crate::domain::ledger::agent::{Agent, Delegation, Principal, Scope, TokenHash};
use crate::domain::ledger::budget::{AccountKey, BudgetDef, BudgetNo, Per, Seat, Selector};
use crate::domain::ledger::claim::{Accepted, Delivery};
use crate::domain::ledger::grants::Grant;
use crate::domain::ledger::hold::{CaptureProof, Closed, FinalBlock, Held, VoidProof};
use crate::domain::ledger::metered::{Metered, Whose};
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::order::{Units, Usage};
use crate::domain::time::Timestamp;

pub(super) const USDC: Asset =
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(0x11) };
pub(super) const BLOCK: FinalBlock =
    FinalBlock { hash: B256::repeat_byte(0xb1), time_s: 1_700_000_100 };
pub(super) const TRANSFER: B256 = B256::repeat_byte(0x7a);
pub(super) const HELD: Money = Money { amount: Amount::new(1_000), asset: USDC };
const DAY: u64 = 86_400;

/// The time of entry `seq`.
pub(super) fn at(seq: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seq)
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn agent() -> Agent {
    Agent {
        name: name("scout"),
        role: name("scout"),
        group: name("field"),
        wallet: name("till"),
        token: TokenHash([5; 32]),
        delegation: None,
    }
}

pub(super) fn payment(n: u64) -> PaymentId {
    PaymentId::derive(agent().id(), request(n), 0)
}

pub(super) fn request(n: u64) -> RequestId {
    RequestId::new(1_700_000_000_000 + n, [7; 10])
}

/// The fleet's daily budget, number 0, and each agent's lifetime one, number 1.
pub(super) fn policy() -> Event {
    let def = |label: &str, per, window| BudgetDef {
        name: name(label),
        selector: Selector::Fleet,
        per,
        limit: Nano::ONE,
        window,
    };
    let day = WindowSpec::Calendar { unit: CalendarUnit::Day, zone: "UTC".to_owned() };
    Event::PolicyApplied {
        version: 1,
        budgets: vec![
            (BudgetNo(0), def("daily", Per::All, day)),
            (BudgetNo(1), def("ever", Per::Agent, WindowSpec::Lifetime)),
        ],
        document: "{\"roles\":{}}".to_owned(),
        reason: "first".to_owned(),
        by: Principal::Operator,
    }
}

pub(super) fn agent_added() -> Event {
    Event::AgentAdded { agent: agent(), by: Principal::Operator }
}

pub(super) fn wallet_opened() -> Event {
    Event::WalletOpened { wallet: name("till"), address: Address::repeat_byte(0x22) }
}

pub(super) fn funds_seen(entered: u128) -> Event {
    Event::FundsSeen {
        wallet: name("till"),
        asset: USDC,
        entered: Amount::new(entered),
        left: Amount::ZERO,
        up_to: 12,
    }
}

pub(super) fn commitment(n: u64) -> Commitment {
    Commitment {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: USDC,
        payer: Address::repeat_byte(0x22),
        pay_to: Address::repeat_byte(0x33),
        amount_max: Amount::new(1_000),
        valid_after_s: 0,
        valid_before_s: 1_700_000_060,
        nonce: B256::from(U256::from(n)),
    }
}

/// Hold number `n`: a tenth of a cent, in the fleet's day and the agent's life.
pub(super) fn held(n: u64) -> Event {
    let agent = agent();
    let midnight = Timestamp::from_secs(1_700_000_000 / DAY * DAY);
    let daily = AccountKey { budget: BudgetNo(0), subject: [0; 16] };
    let ever = AccountKey { budget: BudgetNo(1), subject: *agent.id().as_bytes() };
    Event::Held(Arc::new(Held {
        payment: payment(n),
        agent: agent.id(),
        request: request(n),
        attempt: 0,
        fingerprint: Fingerprint::from_bytes([9; 16]),
        wallet: WalletId::named(&name("till")),
        commitment: commitment(n),
        nano: Nano::new(1_000_000),
        seats: vec![
            Seat {
                account: daily,
                from: midnight,
                until: midnight.after(std::time::Duration::from_secs(DAY)),
            },
            Seat { account: ever, from: Timestamp::ZERO, until: Timestamp::MAX },
        ],
        session: Some(name("errand")),
        provider: name("scribe"),
        capability: name("text.generate"),
        model: name("bursar-scribe"),
        quote: B256::repeat_byte(0x44),
        policy_version: 1,
        boot: 3,
    }))
}

pub(super) fn captured(n: u64) -> Event {
    Event::Captured {
        payment: payment(n),
        amount: Amount::new(1_000),
        nano: Nano::new(1_000_000),
        transaction: TRANSFER,
        proof: CaptureProof::Receipt,
        held: HELD,
    }
}

pub(super) fn claim(n: u64) -> AuthorizationKey {
    commitment(n).key()
}

pub(super) fn accepted(n: u64) -> Event {
    Event::Accepted(Box::new(Accepted {
        commitment: commitment(n),
        signature: Signature::new(U256::from(5), U256::from(6), true),
        fingerprint: Fingerprint::from_bytes([9; 16]),
        payment: Some(payment(n)),
        provider: name("scribe"),
        capability: name("text.generate"),
        model: name("bursar-scribe"),
        amount: Amount::new(1_000),
    }))
}

fn usage() -> Usage {
    Usage { input: Units(3), output: Units(4), bytes: 50, compute_ms: 6 }
}

pub(super) fn metered(n: u64) -> Event {
    Event::UsageMetered(Box::new(Metered {
        whose: Whose::Bought {
            agent: agent().id(),
            payment: payment(n),
            request: request(n),
            free: None,
        },
        provider: name("scribe"),
        capability: name("text.generate"),
        model: name("bursar-scribe"),
        usage: usage(),
        stored: 7,
        asset: USDC,
        amount: Amount::new(1_000),
        transaction: Some(TRANSFER),
    }))
}

pub(super) fn served(n: u64) -> Event {
    let delivery = Delivery { usage: usage(), answer: B256::repeat_byte(8) };
    Event::Served { claim: claim(n), delivery, amount: Amount::new(1_000) }
}

/// One of every kind, in the order of their variants.
pub(super) fn every_kind() -> Vec<Event> {
    let by = Principal::Agent(AgentId::named(&name("scout")));
    let delegation = DelegationId::from_bytes([4; 16]);
    let canceled = VoidProof::Canceled { transaction: TRANSFER, block: BLOCK };
    let mut events = vec![
        Event::RailPinned { network: Network::SANDBOX, genesis: B256::repeat_byte(1) },
        policy(),
        agent_added(),
        Event::TokenReplaced { agent: name("scout"), token: TokenHash([6; 32]), by: by.clone() },
        wallet_opened(),
        funds_seen(5_000_000),
        Event::Delegated {
            delegation,
            terms: Delegation {
                parent: agent().id(),
                child: AgentId::named(&name("cub")),
                limit: Nano::new(500),
                until: at(1_000),
            },
            name: name("cub"),
            token: TokenHash([8; 32]),
        },
        Event::Paused { scope: Scope::Agent(name("cub")), reason: "odd".to_owned(), by },
        Event::Resumed { scope: Scope::Agent(name("cub")), by: Principal::Node },
        held(1),
        Event::Doubted { payment: payment(1) },
        captured(1),
        Event::PaymentVerified { payment: payment(1), transaction: TRANSFER, block: BLOCK },
        Event::Voided { payment: payment(2), proof: canceled, held: HELD },
        Event::Expired { payment: payment(3), block: BLOCK, held: HELD },
        Event::CaptureReversed {
            payment: payment(4),
            block: BLOCK,
            captured: HELD,
            nano: Nano::new(1_000_000),
        },
        accepted(1),
        Event::ClaimDoubted { claim: claim(1), transaction: Some(TRANSFER) },
        Event::ClaimSettled { claim: claim(1), amount: Amount::new(1_000), transaction: TRANSFER },
        served(1),
        Event::ClaimReleased { claim: claim(2) },
        Event::ClaimDied { claim: claim(3), loss: Amount::new(7) },
        Event::Refunded { claim: claim(4), transaction: TRANSFER, amount: Amount::new(1_000) },
        Event::GasSpent {
            network: Network::SANDBOX,
            amount: Amount::new(21_000),
            transaction: TRANSFER,
        },
        Event::RefundBegun { claim: claim(4) },
    ];
    events.extend(given_and_lent());
    events.extend(super::channels::every_kind());
    events.extend(with_a_maximum());
    events.extend(super::channels::later_kinds());
    events
}

/// What becomes of a payment and a claim with a maximum.
fn with_a_maximum() -> Vec<Event> {
    vec![
        Event::PaymentClosed(Box::new(Closed {
            payment: payment(5),
            transaction: Some(TRANSFER),
            block: BLOCK,
            captured: Money { amount: Amount::new(300), ..HELD },
            captured_nano: Nano::new(300_000),
            moved: Amount::new(300),
            moved_nano: Nano::new(300_000),
            rest: Amount::new(700),
            rest_nano: Nano::new(700_000),
        })),
        Event::ClaimCharged { claim: claim(6), amount: Amount::new(300) },
    ]
}

/// What is metered, given away and lent.
fn given_and_lent() -> Vec<Event> {
    vec![
        metered(1),
        Event::Granted(Box::new(Grant {
            payer: Address::repeat_byte(0x22),
            payment: payment(9),
            fingerprint: Fingerprint::from_bytes([9; 16]),
            order: B256::repeat_byte(0x66),
            issued_at_s: 1_700_000_000,
            peer: Some(PeerId::from_bytes([3; 16])),
            provider: name("scribe"),
            capability: name("text.generate"),
            model: name("bursar-scribe"),
        })),
        Event::ServedOnCredit {
            claim: claim(5),
            delivery: Delivery { usage: usage(), answer: B256::repeat_byte(8) },
            amount: Amount::new(1_000),
        },
        Event::CreditPaid {
            claim: claim(5),
            amount: Amount::new(1_000),
            transaction: TRANSFER,
            lost: Amount::new(1_000),
        },
    ]
}
