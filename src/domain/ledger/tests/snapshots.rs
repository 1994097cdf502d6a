//! Ledgers as values: which are the same, and what one that is read from a snapshot still finds.

use super::fixture::*;
use crate::domain::id::WalletId;
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::{Bounds, Command, Ledger};

/// Something that happens at a desk.
type Step = fn(&mut Desk);

#[test]
fn ledgers_to_which_other_things_happened_are_not_the_same() {
    fn agent(desk: &mut Desk, label: &str, role: &str) {
        desk.agent(label, role, "red", "main");
    }
    fn hold(desk: &mut Desk, capability: &str) {
        let ask = HoldAsk { capability: name(capability), ..desk.ask("ann", 1) };
        desk.place(ask).unwrap();
    }
    let pairs: [(&str, [Step; 2]); 4] = [
        ("agents", [|desk| agent(desk, "bob", "scout"), |desk| agent(desk, "cid", "scout")]),
        ("roles", [|desk| agent(desk, "bob", "scout"), |desk| agent(desk, "bob", "clerk")]),
        ("wallets", [|desk| desk.wallet("side", 0), |desk| desk.wallet("till", 0)]),
        ("holds", [|desk| hold(desk, "text.generate"), |desk| hold(desk, "image.generate")]),
    ];
    for (what, steps) in pairs {
        let [one, other] = steps.map(|step| {
            let mut desk = Desk::new(vec![pool(100)]);
            step(&mut desk);
            desk.ledger
        });
        assert!(one == one.clone(), "{what}");
        assert!(one != other, "{what}");
    }
}

#[test]
fn a_ledger_that_is_read_from_a_snapshot_finds_what_it_found() {
    let mut desk = Desk::new(vec![pool(100)]);
    desk.wallet("side", 50);
    desk.agent("bob", "scout", "red", "side");
    let [first, second] = ["ann", "bob"].map(|agent| desk.hold(agent, 10).unwrap());
    let bytes = postcard::to_stdvec(&desk.ledger).unwrap();
    let read: Ledger = postcard::from_bytes(&bytes).unwrap();
    let mut desk = Desk { ledger: read.restored(Bounds::default()), ..desk };
    let ledger = &desk.ledger;
    for label in ["main", "side"] {
        let found = [
            ledger.find_wallet_at(wallet_address(label)),
            ledger.find_wallet(WalletId::named(&name(label))),
        ];
        assert_eq!(found.map(|wallet| wallet.unwrap().name.clone()), [name(label), name(label)]);
    }
    for label in ["ann", "bob"] {
        let found = [ledger.find_agent(agent_id(label)), ledger.find_token(&token(label))];
        assert_eq!(found.map(|agent| agent.unwrap().name.clone()), [name(label), name(label)]);
    }
    for payment in [first, second] {
        assert_eq!(ledger.find_hold(payment).unwrap().held.payment, payment);
    }
    // One key is one wallet, and a wallet has what it had.
    let open = Command::OpenWallet { wallet: name("till"), address: wallet_address("side") };
    assert_eq!(code(desk.execute(open)), "ledger.address_taken");
    assert_eq!(code(desk.hold("bob", 41)), "ledger.insufficient_funds");
    desk.hold("bob", 40).unwrap();
}
