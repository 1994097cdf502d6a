//! The rail by Permit2 on a real chain: `exact` and `upto`, by an allowance or by the payer's own permit.
//! The same sentences on the sandbox and on anvil. Row ids are those of the threat model.

use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use alloy::signers::SignerSync;
use bursar::domain::asset::{Asset, AssetInfo, Network};
use bursar::domain::commitment::{Commitment, Scheme, TokenPermit, TransferMethod};
use bursar::domain::money::{Amount, Rate};
use bursar::domain::x402::TokenDomain;
use bursar::domain::x402::permit2::PERMIT2;
use bursar::edge::evm::Evm;
use bursar::ports::rail::{Authorization, Evidence, NonceState, RefusedBy, Settlement, Settler};
use bursar::ports::signer::authorize;

use crate::chain::{Chain, gas, now_s, payee, payer, stranger, transferCall};
use crate::contracts::scene::Scene;
use crate::evm::on_both_chains;

alloy::sol! {
    function invalidateUnorderedNonces(uint256 wordPos, uint256 mask) external;
    function approve(address spender, uint256 value) external;
}

on_both_chains!(
    exact_by_permit2_moves_just_what_was_signed_and_once,
    c10_upto_moves_a_part_of_what_was_signed_and_the_chain_shows_how_much,
    c09_nothing_above_the_maximum_and_nothing_at_all_is_never_sent,
    d03_whoever_sends_exact_by_permit2_first_the_payee_is_paid,
    only_the_named_facilitator_settles_upto,
    a21_an_invalidated_nonce_is_told_from_a_used_one,
    without_an_allowance_it_is_refused_before_any_gas_is_spent,
    a_permit_that_comes_with_it_gives_the_allowance,
    a_token_that_answers_nothing_is_paid_by_its_holders_approval,
    transfers_by_permit2_are_told_with_the_authorization_that_moved_them,
);

fn upto() -> Scheme {
    Scheme::Upto { facilitator: gas().address() }
}

pub fn info(asset: Asset) -> AssetInfo {
    AssetInfo {
        asset,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000, per: 1 },
    }
}

/// `amount` at most from the payer to the payee.
fn commitment(chain: &Chain, scheme: Scheme, amount: u128, nonce: u64) -> Commitment {
    // The nonces of a payer are spread over words, as drawn ones are.
    let nonce = B256::from(U256::from(nonce) << 200);
    let method = TransferMethod::Permit2;
    Commitment { scheme, method, nonce, ..chain.commitment(amount, 0) }
}

fn sign(commitment: Commitment) -> Authorization {
    let token = TokenDomain::of(&info(commitment.asset));
    let sign = |digest| payer().sign_hash_sync(&digest).unwrap();
    let (commitment, signature) = authorize(commitment, &token, sign);
    Authorization { commitment, signature }
}

async fn sent_by_gas(chain: &Chain) -> u64 {
    chain.client(gas()).get_transaction_count(gas().address()).await.unwrap()
}

fn settled(settlement: Settlement) -> (B256, u128) {
    let Settlement::Settled { transaction, amount, .. } = settlement else {
        panic!("{settlement:?}")
    };
    (transaction, amount.get())
}

async fn seen(evm: &Evm, authorization: &Authorization) -> NonceState {
    evm.find_nonce(&authorization.commitment).await.unwrap().nonce
}

async fn exact_by_permit2_moves_just_what_was_signed_and_once(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let (evm, before) = (chain.evm().await, sent_by_gas(chain).await);
    let settler = chain.settler(&evm).await;
    let authorization = sign(commitment(chain, Scheme::Exact, 1_000, 1));
    assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
    assert_eq!(seen(&evm, &authorization).await, NonceState::Unused);
    let first = settler.settle(&authorization).await.unwrap();
    let (transaction, amount) = settled(first);
    assert_eq!(amount, 1_000);
    assert_eq!(settler.settle(&authorization).await.unwrap(), first);
    assert_eq!(sent_by_gas(chain).await, before + 1);
    match seen(&evm, &authorization).await {
        NonceState::Used { transaction: used, amount, .. } => {
            assert_eq!((used, amount.get()), (transaction, 1_000));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(evm.balance(chain.asset(), payee()).await.unwrap().amount.get(), 1_000);
}

async fn c10_upto_moves_a_part_of_what_was_signed_and_the_chain_shows_how_much(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let authorization = sign(commitment(chain, upto(), 20_000, 2));
    assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
    let first = settler.settle_for(&authorization, Amount::new(1_858)).await.unwrap();
    let (transaction, amount) = settled(first);
    assert_eq!(amount, 1_858);
    let again = settler.settle_for(&authorization, Amount::new(1_858)).await.unwrap();
    assert_eq!(again, first);
    // Its nonce is used: no second part is taken.
    let more = settler.settle_for(&authorization, Amount::new(100)).await.unwrap();
    assert_eq!(more, Settlement::Refused(RefusedBy::NonceUsed));
    match seen(&evm, &authorization).await {
        NonceState::Used { transaction: used, amount, .. } => {
            assert_eq!((used, amount.get()), (transaction, 1_858));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(evm.balance(chain.asset(), payee()).await.unwrap().amount.get(), 1_858);
}

async fn c09_nothing_above_the_maximum_and_nothing_at_all_is_never_sent(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let (evm, before) = (chain.evm().await, sent_by_gas(chain).await);
    let settler = chain.settler(&evm).await;
    let authorization = sign(commitment(chain, upto(), 1_000, 3));
    let above = settler.settle_for(&authorization, Amount::new(1_001)).await.unwrap();
    assert_eq!(above, Settlement::Refused(RefusedBy::ExceedsAuthorized));
    let code = RefusedBy::ExceedsAuthorized.wire().as_str();
    assert_eq!(code, "invalid_upto_evm_payload_settlement_exceeds_amount");
    let nothing = settler.settle_for(&authorization, Amount::ZERO).await.unwrap();
    assert!(matches!(nothing, Settlement::Refused(_)));
    assert_eq!(sent_by_gas(chain).await, before);
    assert_eq!(seen(&evm, &authorization).await, NonceState::Unused);
}

/// The call by which anybody may settle `exact`, as the rail makes it for itself.
async fn settle_as_stranger(chain: &Chain, authorization: &Authorization) -> B256 {
    use bursar::edge::evm::contracts::{
        ExactProxy, ExactWitness, PermitTransferFrom, TokenPermissions,
    };
    let signed = authorization.commitment;
    let call = ExactProxy::settleCall {
        permit: PermitTransferFrom {
            permitted: TokenPermissions {
                token: signed.asset.contract,
                amount: U256::from(signed.amount_max.get()),
            },
            nonce: signed.nonce.into(),
            deadline: U256::from(signed.valid_before_s - 1),
        },
        owner: signed.payer,
        witness: ExactWitness { to: signed.pay_to, validAfter: U256::from(signed.valid_after_s) },
        signature: authorization.signature.as_bytes().into(),
    };
    let spender = bursar::domain::x402::permit2::EXACT_PROXY;
    Scene::on(chain).send(&stranger(), spender, call).await.transaction_hash
}

async fn d03_whoever_sends_exact_by_permit2_first_the_payee_is_paid(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let (evm, before) = (chain.evm().await, sent_by_gas(chain).await);
    let settler = chain.settler(&evm).await;
    let authorization = sign(commitment(chain, Scheme::Exact, 500, 4));
    let theirs = settle_as_stranger(chain, &authorization).await;
    assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
    let ours = settler.settle(&authorization).await.unwrap();
    assert_eq!(settled(ours), (theirs, 500));
    assert_eq!(sent_by_gas(chain).await, before);
}

async fn only_the_named_facilitator_settles_upto(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    assert_eq!(settler.facilitator(), Some(gas().address()));
    let other = Scheme::Upto { facilitator: stranger().address() };
    let authorization = sign(commitment(chain, other, 500, 5));
    assert_eq!(settler.verify(&authorization).await.unwrap(), Err(RefusedBy::Reverted));
    let refused = settler.settle_for(&authorization, Amount::new(1)).await.unwrap();
    assert_eq!(refused, Settlement::Refused(RefusedBy::Reverted));
    assert_eq!(seen(&evm, &authorization).await, NonceState::Unused);
}

pub async fn give_payer_gas(chain: &Chain) {
    use alloy::network::TransactionBuilder;
    use alloy::rpc::types::TransactionRequest;
    let gift = TransactionRequest::default()
        .with_to(payer().address())
        .with_value(U256::from(10).pow(U256::from(17)));
    chain.client(stranger()).send_transaction(gift).await.unwrap().get_receipt().await.unwrap();
}

async fn a21_an_invalidated_nonce_is_told_from_a_used_one(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    give_payer_gas(chain).await;
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let (one, two) =
        (sign(commitment(chain, upto(), 500, 6)), sign(commitment(chain, upto(), 500, 7)));
    let invalidate = |authorization: &Authorization| {
        let nonce: U256 = authorization.commitment.nonce.into();
        let (word, mask) = (nonce >> 8, U256::from(1) << nonce.byte(0));
        invalidateUnorderedNoncesCall { wordPos: word, mask }
    };
    let canceled = scene.send(&payer(), PERMIT2, invalidate(&one)).await.transaction_hash;
    let refused = settler.settle_for(&one, Amount::new(100)).await.unwrap();
    assert_eq!(refused, Settlement::Refused(RefusedBy::Canceled));
    assert_eq!(settler.verify(&one).await.unwrap(), Err(RefusedBy::Canceled));
    assert_eq!(seen(&evm, &one).await, NonceState::Canceled { transaction: canceled });

    let (transaction, _) = settled(settler.settle_for(&two, Amount::new(100)).await.unwrap());
    // Too late: it was used before.
    scene.send(&payer(), PERMIT2, invalidate(&two)).await;
    match seen(&evm, &two).await {
        NonceState::Used { transaction: used, amount, .. } => {
            assert_eq!((used, amount.get()), (transaction, 100));
        }
        other => panic!("{other:?}"),
    }
}

async fn without_an_allowance_it_is_refused_before_any_gas_is_spent(chain: &Chain) {
    let (evm, before) = (chain.evm().await, sent_by_gas(chain).await);
    let settler = chain.settler(&evm).await;
    let allowance = evm.allowance(chain.asset(), payer().address()).await.unwrap().unwrap();
    assert_eq!((allowance.amount, allowance.permit_nonce), (Amount::ZERO, Some(0)));
    for scheme in [Scheme::Exact, upto()] {
        let authorization = sign(commitment(chain, scheme, 500, 8));
        let refused = settler.verify(&authorization).await.unwrap();
        assert_eq!(refused, Err(RefusedBy::AllowanceRequired));
        let refused = settler.settle(&authorization).await.unwrap();
        assert_eq!(refused, Settlement::Refused(RefusedBy::AllowanceRequired));
    }
    assert_eq!(RefusedBy::AllowanceRequired.wire().as_str(), "permit2_allowance_required");
    assert_eq!(sent_by_gas(chain).await, before);
}

async fn a_permit_that_comes_with_it_gives_the_allowance(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    for (turn, scheme, charged) in [(0_u64, Scheme::Exact, 500_u128), (1, upto(), 20)] {
        let permit = TokenPermit { nonce: turn, deadline_s: now_s() + 500, signature: None };
        let mut sponsored = commitment(chain, scheme, 500, 9 + turn);
        sponsored.method = TransferMethod::Permit2By(permit);
        let authorization = sign(sponsored);
        assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
        let done = settler.settle_for(&authorization, Amount::new(charged)).await.unwrap();
        assert_eq!(settled(done).1, charged);
        match seen(&evm, &authorization).await {
            NonceState::Used { amount, .. } => assert_eq!(amount.get(), charged),
            other => panic!("{other:?}"),
        }
        let allowance = evm.allowance(chain.asset(), payer().address()).await.unwrap().unwrap();
        // What was not charged stays allowed to Permit2, which moves nothing without a signature.
        assert_eq!(allowance.amount.get(), 500 - charged);
        assert_eq!(allowance.permit_nonce, Some(turn + 1));
    }
    // A permit that was used gives nothing any more.
    let permit = TokenPermit { nonce: 0, deadline_s: now_s() + 500, signature: None };
    let mut stale = commitment(chain, Scheme::Exact, 500, 20);
    stale.method = TransferMethod::Permit2By(permit);
    let refused = settler.verify(&sign(stale)).await.unwrap();
    assert_eq!(refused, Err(RefusedBy::AllowanceRequired));
}

async fn a_token_that_answers_nothing_is_paid_by_its_holders_approval(chain: &Chain) {
    let scene = Scene::on(chain);
    give_payer_gas(chain).await;
    let token = scene.deploy_token("PlainToken", U256::from(5_000)).await;
    let give = transferCall { to: payer().address(), value: U256::from(5_000) };
    scene.send(&stranger(), token, give).await;
    let asset = Asset { network: Network::SANDBOX, contract: token };
    let mut config = chain.config();
    let none = String::new();
    config.assets.push(AssetInfo {
        symbol: "USDT".to_owned(),
        eip712_name: none.clone(),
        eip712_version: none,
        ..info(asset)
    });
    let evm = Evm::connect(&config).await.unwrap();
    let settler = chain.settler(&evm).await;
    let allowance = evm.allowance(asset, payer().address()).await.unwrap().unwrap();
    assert_eq!((allowance.amount, allowance.permit_nonce), (Amount::ZERO, None));
    // F23: just what is needed is approved.
    let approve = approveCall { spender: PERMIT2, value: U256::from(700) };
    scene.send(&payer(), token, approve).await;
    let authorization = sign(Commitment { asset, ..commitment(chain, upto(), 700, 11) });
    assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
    let done = settler.settle_for(&authorization, Amount::new(699)).await.unwrap();
    assert_eq!(settled(done).1, 699);
    assert_eq!(evm.balance(asset, payee()).await.unwrap().amount.get(), 699);
    let next = sign(Commitment { asset, ..commitment(chain, upto(), 700, 12) });
    assert_eq!(settler.verify(&next).await.unwrap(), Err(RefusedBy::AllowanceRequired));
}

async fn transfers_by_permit2_are_told_with_the_authorization_that_moved_them(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let start = evm.balance(chain.asset(), payer().address()).await.unwrap().block;
    let by_permit2 = sign(commitment(chain, Scheme::Exact, 300, 13));
    let in_part = sign(commitment(chain, upto(), 300, 14));
    let by_token = chain.authorization(300, 15);
    settler.settle(&by_permit2).await.unwrap();
    settler.settle_for(&in_part, Amount::new(7)).await.unwrap();
    settler.settle(&by_token).await.unwrap();
    let told = evm.transfers(chain.asset(), payer().address(), start).await.unwrap().moved;
    let told: Vec<_> = told.iter().map(|moved| (moved.key, moved.amount.get())).collect();
    let expected = [(by_permit2, 300), (in_part, 7), (by_token, 300)];
    assert_eq!(told, expected.map(|(one, amount)| (Some(one.commitment.key()), amount)));
}
