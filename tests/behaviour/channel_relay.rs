//! Claims and refunds that a receiver's authorizer signed and somebody else sends: the same sentences on
//! the sandbox and on anvil.

use std::sync::Arc;

use alloy::primitives::{B256, U256};
use alloy::signers::local::{PrivateKeySigner, Secp256k1Signer};
use bursar::domain::asset::Network;
use bursar::domain::channel::ChannelTerms;
use bursar::domain::money::Amount;
use bursar::edge::evm::{Evm, EvmSettler};
use bursar::ports::channel_rail::{ChannelSettler, ClaimRow, ClaimSettlement};
use bursar::ports::rail::{RefusedBy, Settlement};
use bursar::ports::receiver_signer::ReceiverSigner;
use bursar::runtime::payee::AuthorizedSettler;

use crate::chain::{Chain, FUNDS, key, payee, payer, stranger};
use crate::channel_rail::{deposit, owned, row, row_by, sent, settled, sight, state};
use crate::evm::on_both_chains;

on_both_chains!(
    a_claim_that_its_authorizer_signed_is_sent_by_anybody_and_covers_just_its_rows,
    e17_a_signed_claim_with_poison_is_signed_anew_without_it,
    e19_a_signed_refund_is_given_once_and_a_stale_nonce_is_read_anew,
);

const ALL: Amount = Amount::new(u128::MAX);

/// The authorizer: a key that never has gas.
fn authorizer() -> Secp256k1Signer {
    Secp256k1Signer::from_bytes(&key(8).to_bytes()).unwrap()
}

fn terms(chain: &Chain, salt: u64) -> ChannelTerms {
    ChannelTerms {
        asset: chain.asset(),
        payer: payer().address(),
        payer_authorizer: stranger().address(),
        receiver: payee(),
        receiver_authorizer: ReceiverSigner::address(&authorizer()),
        withdraw_delay_s: 900,
        salt: B256::from(U256::from(salt)),
    }
}

async fn open(chain: &Chain, relay: &EvmSettler, salt: u64) -> ChannelTerms {
    let terms = terms(chain, salt);
    settled(relay.deposit(&deposit(terms, 100, 1)).await.unwrap(), 100);
    terms
}

async fn set_out(chain: &Chain) -> (Evm, Arc<EvmSettler>, AuthorizedSettler) {
    let evm = chain.evm().await;
    let relay = Arc::new(chain.settler(&evm).await);
    let settler = AuthorizedSettler {
        signer: Arc::new(authorizer()),
        relay: relay.clone(),
        evidence: Arc::new(evm.clone()),
    };
    (evm, relay, settler)
}

async fn a_claim_that_its_authorizer_signed_is_sent_by_anybody_and_covers_just_its_rows(
    chain: &Chain,
) {
    let (evm, relay, settler) = set_out(chain).await;
    let mut rows = Vec::new();
    for salt in 0..3 {
        rows.push(row(open(chain, &relay, salt).await, 60, 50));
    }
    // Whoever sends is not the authorizer, and its own word is worth nothing.
    assert_eq!(relay.claim(&rows).await.unwrap().poisoned, [0, 1, 2]);
    let signature = authorizer().sign_claim(&rows, Network::SANDBOX).unwrap();
    let more: Vec<ClaimRow> =
        rows.iter().map(|row| ClaimRow { total: row.ceiling, ..row.clone() }).collect();
    let spoilt = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![0, 1, 2] };
    assert_eq!(relay.claim_signed(&more, &signature).await.unwrap(), spoilt);
    let before = sent(chain).await;
    let done = settler.claim(&rows).await.unwrap();
    assert_eq!((done.claimed.as_slice(), done.poisoned.len()), ([0, 1, 2].as_slice(), 0));
    // Asked again, nothing is left to send.
    assert_eq!(relay.claim_signed(&rows, &signature).await.unwrap().transaction, None);
    assert_eq!(sent(chain).await - before, 1);
    for row in &rows {
        assert_eq!(sight(&evm, &row.terms).await, state(100, 50));
    }
    settled(settler.sweep(payee(), chain.asset()).await.unwrap().unwrap(), 150);
}

async fn e17_a_signed_claim_with_poison_is_signed_anew_without_it(chain: &Chain) {
    let (evm, relay, settler) = set_out(chain).await;
    let mut rows = Vec::new();
    for salt in 0..5 {
        rows.push(row(open(chain, &relay, salt).await, 60, 50));
    }
    rows[1] = row_by(rows[1].terms, 60, 50, &payer());
    rows[4] = row(rows[4].terms, 200, 101);
    let before = sent(chain).await;
    let done = settler.claim(&rows).await.unwrap();
    assert_eq!(done.claimed, [0, 2, 3]);
    assert_eq!(done.poisoned, [1, 4]);
    assert_eq!(sent(chain).await - before, 1);
    for (place, row) in rows.iter().enumerate() {
        let claimed = if done.claimed.contains(&place) { 50 } else { 0 };
        assert_eq!(sight(&evm, &row.terms).await, state(100, claimed));
    }
}

async fn e19_a_signed_refund_is_given_once_and_a_stale_nonce_is_read_anew(chain: &Chain) {
    let (evm, relay, settler) = set_out(chain).await;
    let terms = open(chain, &relay, 1).await;
    let stale = authorizer().sign_refund(&terms, 0, Amount::new(10)).unwrap();
    // By somebody else's word nothing goes back.
    let forger = Secp256k1Signer::from_bytes(&PrivateKeySigner::random().to_bytes()).unwrap();
    let own = ReceiverSigner::address(&forger);
    let forged = forger.sign_refund(&ChannelTerms { receiver_authorizer: own, ..terms }, 0, ALL);
    let mut forged = forged.unwrap();
    forged.terms = terms;
    let reverted = Settlement::Refused(RefusedBy::Reverted);
    assert_eq!(relay.give_back_signed(&forged, None).await.unwrap(), reverted);
    // The last voucher is claimed in the same transaction, and the rest goes back.
    let last = row(terms, 60, 40);
    let given = settler.give_back(&terms, Some(&last), Amount::new(25)).await.unwrap();
    settled(given, 25);
    assert_eq!(owned(chain, &evm, payer().address()).await, FUNDS - 75);
    // The nonce that was signed for before is used up, however often it is sent.
    let used = Settlement::Refused(RefusedBy::NonceUsed);
    for _ in 0..3 {
        assert_eq!(relay.give_back_signed(&stale, None).await.unwrap(), used);
    }
    settled(settler.give_back(&terms, None, ALL).await.unwrap(), 35);
    let nothing = Settlement::Refused(RefusedBy::InsufficientFunds);
    assert_eq!(settler.give_back(&terms, None, ALL).await.unwrap(), nothing);
    assert_eq!(owned(chain, &evm, payer().address()).await, FUNDS - 40);
}
