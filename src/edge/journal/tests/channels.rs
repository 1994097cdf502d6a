//! Channels in the journal: their events as bytes, and their readable tables.

use std::sync::Arc;

use alloy::primitives::{Address, B256, Signature, U256};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::{open, place, samples};
use crate::domain::channel::{ChannelId, ChannelTerms, Deposit};
use crate::domain::commitment::{ChannelOffer, Commitment, Scheme};
use crate::domain::id::{Fingerprint, PaymentId, WalletId};
use crate::domain::ledger::channel::{
    ChannelCaps, ChannelCommand, ChannelEvent, ChannelState, Charge, DrawAsk, Drawn, Extended,
    Frozen, Funded, Opened, Seen, Turn,
};
use crate::domain::ledger::claim::Delivery;
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::tab::{
    Charged, Standing, Stepped, TabCounted, TabEvent, TabLooked, TabSeen, Voucher,
};
use crate::domain::ledger::{Bounds, Command, Event, Ledger};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::order::{Units, Usage};
use crate::domain::time::Timestamp;
use crate::ports::journal::{Entry, Journal};

const CHANNEL: ChannelId = ChannelId(B256::repeat_byte(0xc1));

fn money(units: u128) -> Money {
    Money { amount: Amount::new(units), asset: samples::USDC }
}

fn opened() -> Box<Opened> {
    let terms = ChannelTerms {
        asset: samples::USDC,
        payer: Address::repeat_byte(0x22),
        payer_authorizer: Address::repeat_byte(0x23),
        receiver: Address::repeat_byte(0x33),
        receiver_authorizer: Address::repeat_byte(0x34),
        withdraw_delay_s: 900,
        salt: B256::repeat_byte(0x5a),
    };
    let (role, provider) = (samples::name("scout"), samples::name("scribe"));
    Box::new(Opened {
        id: CHANNEL,
        terms,
        wallet: WalletId::named(&samples::name("till")),
        role,
        provider,
    })
}

fn deposit(units: u64) -> Deposit {
    Deposit {
        amount: Amount::new(units.into()),
        nano: Nano::new(units * 1_000),
        nonce: B256::repeat_byte(0xd1),
        salt: B256::repeat_byte(0xd2),
        valid_before_s: 1_700_000_600,
    }
}

fn commitment() -> Commitment {
    let offer = ChannelOffer {
        receiver_authorizer: Address::repeat_byte(0x34),
        withdraw_delay_s: 900,
        deposit_min: Amount::new(10_000),
    };
    let nonce = CHANNEL.0;
    Commitment { scheme: Scheme::BatchSettlement(offer), nonce, ..samples::commitment(1) }
}

/// One of every kind, in the order of their variants.
pub(super) fn every_kind() -> Vec<Event> {
    let (channel, block, turn) = (CHANNEL, samples::BLOCK, turn());
    let drawn = drawn();
    let extended = Extended {
        held: Arc::clone(&drawn.held),
        channel,
        ceiling: Amount::new(2_600),
        before: Nano::new(1_000_000),
        turns: Vec::new(),
    };
    let events = vec![
        ChannelEvent::Opened(opened()),
        ChannelEvent::DepositHeld {
            channel,
            deposit: Box::new(deposit(9_000)),
            money: money(9_000),
        },
        ChannelEvent::Deposited {
            channel,
            money: money(9_000),
            transaction: samples::TRANSFER,
            block,
        },
        ChannelEvent::DepositExpired {
            channel,
            money: money(9_000),
            unclaimed: Box::new(money(0)),
            block,
        },
        ChannelEvent::Drawn(drawn),
        ChannelEvent::Charged {
            channel,
            charged: Amount::new(600),
            turns: vec![turn],
            taken: money(600),
        },
        ChannelEvent::DrawVoided { channel, payment: samples::payment(1), turn },
        ChannelEvent::Seen(Box::new(Seen {
            channel,
            balance: Amount::new(600),
            claimed: Amount::new(600),
            block,
            turns: vec![turn],
            taken: money(600),
            returned: money(8_400),
            unclaimed: money(0),
            state: ChannelState::Closed,
        })),
        ChannelEvent::Frozen { channel, why: Frozen::Lied },
        ChannelEvent::Extended(extended),
    ];
    events.into_iter().map(Event::Channel).chain(tab_kinds().into_iter().map(Event::Tab)).collect()
}

fn turn() -> Turn {
    Turn {
        payment: samples::payment(1),
        taken: Amount::new(600),
        taken_nano: Nano::new(600_000),
        freed: Amount::new(400),
        freed_nano: Nano::new(400_000),
        ended: true,
    }
}

fn drawn() -> Drawn {
    let Event::Held(held) = samples::held(1) else { unreachable!("the sample is a hold") };
    Drawn {
        held,
        channel: CHANNEL,
        charged: Amount::new(600),
        ceiling: Amount::new(1_600),
        taken: Amount::new(600),
        turns: vec![turn()],
    }
}

/// What came later.
pub(super) fn later_kinds() -> Vec<Event> {
    let channel = CHANNEL;
    let events = [
        ChannelEvent::Funded(Box::new(Funded {
            deposit: deposit(9_000),
            money: money(9_000),
            drawn: drawn(),
        })),
        ChannelEvent::Resynced {
            channel,
            charged: Amount::new(1_200),
            ceiling: Amount::new(1_600),
            turns: vec![turn()],
            taken: money(600),
        },
    ];
    let mut events: Vec<Event> = events.into_iter().map(Event::Channel).collect();
    let voucher = Voucher { ceiling: Amount::new(900), signature: charged().signature };
    events.extend([
        Event::Tab(TabEvent::ChargedOnCredit(Box::new(charged()))),
        Event::Tab(TabEvent::Covered { channel, voucher: Box::new(voucher) }),
        Event::Tab(TabEvent::GivingBack { channel, refunds: 3 }),
        Event::Tab(TabEvent::GivenBack { channel }),
    ]);
    events
}

fn charged() -> Charged {
    let usage = Usage { input: Units(3), output: Units(4), bytes: 50, compute_ms: 6 };
    Charged {
        channel: CHANNEL,
        asset: samples::USDC,
        base: Amount::new(400),
        amount: Amount::new(100),
        ceiling: Amount::new(900),
        signature: Signature::new(U256::from(5), U256::from(6), true),
        fingerprint: Fingerprint::from_bytes([9; 16]),
        payment: Some(samples::payment(1)),
        provider: samples::name("scribe"),
        capability: samples::name("text.generate"),
        model: samples::name("bursar-scribe"),
        delivery: Delivery { usage, answer: B256::repeat_byte(8) },
    }
}

fn tab_kinds() -> Vec<TabEvent> {
    let (channel, terms) = (CHANNEL, opened().terms);
    let charged = charged();
    vec![
        TabEvent::Opened { channel, terms },
        TabEvent::Charged(Box::new(charged.clone())),
        TabEvent::Seen(Box::new(TabSeen {
            channel,
            balance: Amount::new(9_000),
            claimed: Amount::new(500),
            withdrawable_at_s: Some(1_700_000_900),
            transaction: Some(samples::TRANSFER),
            gained: money(500),
            stray: money(0),
            lost: money(0),
        })),
        TabEvent::Stepped(Box::new(Stepped {
            call: charged,
            taken: Amount::new(40),
            first: false,
            ended: true,
        })),
        TabEvent::Looked(Box::new(TabLooked {
            channel,
            newest: Standing { balance: Amount::new(9_000), claimed: Amount::new(600) },
            withdrawable_at_s: None,
        })),
        TabEvent::Counted(Box::new(TabCounted {
            channel,
            counted: Standing { balance: Amount::new(9_000), claimed: Amount::new(600) },
            gained: money(40),
            stray: money(60),
            lost: money(7),
        })),
    ]
}

/// A ledger that is asked, and what is written of it.
struct Story {
    ledger: Ledger,
    entries: Vec<Entry>,
}

impl Story {
    fn tell(&mut self, event: Event) {
        let seq = u64::try_from(self.entries.len()).unwrap() + 1;
        let at = samples::at(seq);
        self.ledger.evolve(at, &event);
        self.entries.push(Entry { seq, at, event });
    }

    fn ask(&mut self, command: ChannelCommand) {
        let seq = u64::try_from(self.entries.len()).unwrap() + 1;
        let decided = self.ledger.decide(samples::at(seq), Command::Channel(command)).unwrap();
        self.tell(decided.event);
    }

    fn draw(&mut self, n: u64, units: u64, last: Option<(PaymentId, u64)>) -> PaymentId {
        let (agent, request) = (samples::agent(), samples::request(n));
        let payment = samples::payment(n);
        let ask = HoldAsk {
            agent: agent.id(),
            payment,
            request,
            attempt: 0,
            fingerprint: Fingerprint::from_bytes([9; 16]),
            commitment: Commitment { amount_max: Amount::new(units.into()), ..commitment() },
            nano: Nano::new(units * 1_000),
            session: None,
            provider: samples::name("scribe"),
            capability: samples::name("text.generate"),
            model: samples::name("bursar-scribe"),
            quote: B256::repeat_byte(0x44),
            policy_version: 1,
            boot: 3,
        };
        let last =
            last.map(|(payment, units)| Charge { payment, amount: Amount::new(units.into()) });
        self.ask(ChannelCommand::Draw(Box::new(DrawAsk {
            ask,
            channel: CHANNEL,
            last,
            fund: None,
        })));
        payment
    }
}

/// A channel that is filled, drawn on, voided, claimed from and given back.
fn story() -> Story {
    let mut story = Story { ledger: Ledger::new(Bounds::default()), entries: Vec::new() };
    let Event::PolicyApplied { version, mut budgets, document, reason, by } = samples::policy()
    else {
        unreachable!("the sample is a policy");
    };
    for (_, def) in &mut budgets {
        def.limit = Nano::new(1_000_000_000);
    }
    story.tell(Event::PolicyApplied { version, budgets, document, reason, by });
    for event in [samples::wallet_opened(), samples::agent_added(), samples::funds_seen(5_000_000)]
    {
        story.tell(event);
    }
    let channel = CHANNEL;
    story.ask(ChannelCommand::Open(opened()));
    let caps = ChannelCaps { provider: Nano::new(u64::MAX / 2), total: Nano::new(u64::MAX / 2) };
    story.ask(ChannelCommand::Deposit {
        channel,
        deposit: deposit(9_000),
        caps,
        policy_version: 1,
    });
    let first = story.draw(1, 1_000, None);
    let (transaction, block) = (samples::TRANSFER, samples::BLOCK);
    story.ask(ChannelCommand::ConfirmDeposit { channel, transaction, block });
    let second = story.draw(2, 300, Some((first, 400)));
    let third = story.draw(3, 2_000, Some((second, 300)));
    let voided = story.draw(4, 5_000, Some((third, 2_000)));
    story.ask(ChannelCommand::Void { channel, payment: voided, boot: 3 });
    let (balance, claimed) = (Amount::new(9_000), Amount::new(2_500));
    story.ask(ChannelCommand::See { channel, balance, claimed, block });
    story.draw(5, 700, None);
    story
}

fn rows(conn: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = conn.prepare(sql).unwrap();
    let columns = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    statement.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
}

fn int(amount: Amount) -> Value {
    Value::Integer(i64::try_from(amount.get()).unwrap())
}

#[tokio::test]
async fn the_tables_show_a_channel_as_the_ledger_does() {
    let Story { ledger, entries } = story();
    let (_folder, path) = place();
    let store = open(&path);
    store.append(Arc::from(entries)).await.unwrap();
    store.catch_up().await.unwrap();
    let conn = Connection::open(crate::edge::journal::file::tables_of(&path)).unwrap();

    let channel = ledger.find_channel(CHANNEL).unwrap();
    let sql = "SELECT deposited, returned, claimed, charged, ceiling, calls, state FROM channels";
    let amounts =
        [channel.deposited, channel.returned, channel.claimed, channel.charged, channel.ceiling];
    let calls = Value::Integer(i64::try_from(channel.calls).unwrap());
    let mut expected: Vec<Value> = amounts.into_iter().map(int).collect();
    expected.extend([calls, Value::Text("open".to_owned())]);
    assert_eq!(rows(&conn, sql), [expected]);

    let position = ledger.wallets()[0].positions[0];
    let found = rows(&conn, "SELECT paid, held, locked FROM positions");
    assert_eq!(found, [[position.paid, position.held, position.locked].map(int)]);

    let checks = ledger.accounts(Timestamp::from_millis(1_700_000_000_500));
    let nano = |nano: Nano| Value::Integer(i64::try_from(nano.get()).unwrap());
    let expected: Vec<_> =
        checks.iter().map(|check| vec![nano(check.spent), nano(check.held)]).collect();
    assert_eq!(rows(&conn, "SELECT spent_nano, held_nano FROM budgets ORDER BY budget"), expected);

    let text = |text: &str| Value::Text(text.to_owned());
    let found = rows(&conn, "SELECT state, amount FROM payments ORDER BY seq");
    let charged = |units| vec![text("charged"), Value::Integer(units)];
    assert_eq!(found[..3], [charged(400), charged(300), charged(2_000)]);
    assert_eq!(found[3], [text("void"), Value::Integer(0)]);
    assert_eq!(found[4], [text("signable"), Value::Null]);
}
