//! The spenders of `exact` and `upto`: the money goes where the payer's witness says, the whole of it
//! or what was used, and for `upto` only the facilitator whom it names says how much.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{Eip712Domain, SolError, eip712_domain};
use bursar::domain::asset::Network;
use bursar::domain::x402::permit2::{self, EXACT_PROXY, PERMIT2, permit2_domain};
use bursar::domain::x402::upto::{self, UPTO_PROXY};
use bursar::edge::evm::contracts::{
    EIP2612Permit, ExactProxy, ExactWitness, Permit2, PermitTransferFrom, TokenPermissions,
    UptoProxy, UptoWitness,
};

use super::scene::{Erc20, Scene, events, sign};
use crate::chain::{Chain, gas, payee, payer, stranger};
use crate::evm::on_both_chains;

on_both_chains!(
    exact_pays_the_whole_amount_to_the_payee_whoever_hands_it_in,
    exact_refuses_what_was_not_signed_and_what_makes_no_sense,
    upto_pays_what_was_used_and_never_more_than_was_signed,
    upto_is_settled_by_the_facilitator_that_was_signed_and_nobody_else,
    a_payer_without_an_allowance_pays_by_a_sponsored_permit,
    a_sponsored_permit_that_fails_stops_only_those_without_an_allowance,
    tokens_that_answer_nothing_are_moved_too,
);

/// What a payer agrees to.
struct Deal {
    payer: PrivateKeySigner,
    token: Address,
    amount: u64,
    to: Address,
    nonce: u64,
    deadline: u64,
    valid_after: u64,
}

impl Deal {
    async fn new(scene: &Scene<'_>, nonce: u64) -> Self {
        let deadline = scene.now().await + 600;
        let (payer, token) = (payer(), scene.token());
        Self { payer, token, amount: 1_000, to: payee(), nonce, deadline, valid_after: 0 }
    }

    fn permit(&self) -> PermitTransferFrom {
        let permitted = TokenPermissions { token: self.token, amount: U256::from(self.amount) };
        let (nonce, deadline) = (U256::from(self.nonce), U256::from(self.deadline));
        PermitTransferFrom { permitted, nonce, deadline }
    }

    fn exact(&self) -> ExactProxy::settleCall {
        let content = permit2::PermitWitnessTransferFrom {
            permitted: permit2::TokenPermissions {
                token: self.token,
                amount: U256::from(self.amount),
            },
            spender: EXACT_PROXY,
            nonce: U256::from(self.nonce),
            deadline: U256::from(self.deadline),
            witness: permit2::Witness { to: self.to, validAfter: U256::from(self.valid_after) },
        };
        ExactProxy::settleCall {
            permit: self.permit(),
            owner: self.payer.address(),
            witness: ExactWitness { to: self.to, validAfter: U256::from(self.valid_after) },
            signature: sign(&self.payer, &content, &permit2_domain(Network::SANDBOX)),
        }
    }

    /// By the gas account as the facilitator.
    fn upto(&self, amount: u64) -> UptoProxy::settleCall {
        let (to, facilitator) = (self.to, gas().address());
        let valid_after = U256::from(self.valid_after);
        let content = upto::PermitWitnessTransferFrom {
            permitted: upto::TokenPermissions {
                token: self.token,
                amount: U256::from(self.amount),
            },
            spender: UPTO_PROXY,
            nonce: U256::from(self.nonce),
            deadline: U256::from(self.deadline),
            witness: upto::Witness { to, facilitator, validAfter: valid_after },
        };
        UptoProxy::settleCall {
            permit: self.permit(),
            amount: U256::from(amount),
            owner: self.payer.address(),
            witness: UptoWitness { to, facilitator, validAfter: valid_after },
            signature: sign(&self.payer, &content, &permit2_domain(Network::SANDBOX)),
        }
    }
}

fn sponsored_exact(
    permit2612: EIP2612Permit,
    call: ExactProxy::settleCall,
) -> ExactProxy::settleWithPermitCall {
    let ExactProxy::settleCall { permit, owner, witness, signature } = call;
    ExactProxy::settleWithPermitCall { permit2612, permit, owner, witness, signature }
}

fn sponsored_upto(
    permit2612: EIP2612Permit,
    call: UptoProxy::settleCall,
) -> UptoProxy::settleWithPermitCall {
    let UptoProxy::settleCall { permit, amount, owner, witness, signature } = call;
    UptoProxy::settleWithPermitCall { permit2612, permit, amount, owner, witness, signature }
}

async fn exact_pays_the_whole_amount_to_the_payee_whoever_hands_it_in(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let call = Deal::new(&scene, 1).await.exact();
    let told = scene.send(&stranger(), EXACT_PROXY, call.clone()).await;
    assert_eq!(events::<ExactProxy::Settled>(&told, EXACT_PROXY).len(), 1);
    assert_eq!(scene.balance(scene.token(), payee()).await, 1_000);
    let used = Permit2::InvalidNonce {};
    scene.refused(stranger().address(), EXACT_PROXY, call, used).await;
    assert_eq!(scene.balance(scene.token(), EXACT_PROXY).await, 0);
}

async fn exact_refuses_what_was_not_signed_and_what_makes_no_sense(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let (deal, now) = (Deal::new(&scene, 1).await, scene.now().await);
    let anyone = stranger().address();
    let changes: [fn(&mut ExactProxy::settleCall); 5] = [
        |call| call.witness.to = stranger().address(),
        |call| call.witness.validAfter = U256::from(1),
        |call| call.permit.permitted.amount -= U256::from(1),
        |call| call.permit.deadline += U256::from(1),
        |call| call.owner = stranger().address(),
    ];
    for change in changes {
        let mut call = deal.exact();
        change(&mut call);
        scene.refused(anyone, EXACT_PROXY, call, Permit2::InvalidSigner {}).await;
    }
    let refused = async |deal: Deal, reason: Bytes| {
        let answer = scene.ask(anyone, EXACT_PROXY, &deal.exact()).await;
        assert_eq!(answer, Err(reason));
    };
    let deal = || Deal::new(&scene, 1);
    let early = Deal { valid_after: now + 300, ..deal().await };
    refused(early, ExactProxy::PaymentTooEarly {}.abi_encode().into()).await;
    let nowhere = Deal { to: Address::ZERO, ..deal().await };
    refused(nowhere, ExactProxy::InvalidDestination {}.abi_encode().into()).await;
    let nothing = Deal { amount: 0, ..deal().await };
    refused(nothing, ExactProxy::InvalidAmount {}.abi_encode().into()).await;
    let late = Deal { deadline: now - 1, ..deal().await };
    let expired = Permit2::SignatureExpired { signatureDeadline: U256::from(now - 1) };
    refused(late, expired.abi_encode().into()).await;
    let mut call = deal().await.exact();
    call.owner = Address::ZERO;
    scene.refused(anyone, EXACT_PROXY, call, ExactProxy::InvalidOwner {}).await;
    // From this second on, not after it.
    let now = Deal { valid_after: now, ..deal().await };
    assert!(scene.ask(anyone, EXACT_PROXY, &now.exact()).await.is_ok());
    // A signature for one spender is worth nothing to another.
    let exact = deal().await.exact();
    let mut upto = deal().await.upto(1);
    upto.signature = exact.signature;
    scene.refused(gas().address(), UPTO_PROXY, upto, Permit2::InvalidSigner {}).await;
}

async fn upto_pays_what_was_used_and_never_more_than_was_signed(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let facilitator = gas().address();
    let mut paid = 0;
    for (nonce, amount) in [(1, 1), (2, 333), (3, 1_000)] {
        let call = Deal::new(&scene, nonce).await.upto(amount);
        let told = scene.send(&gas(), UPTO_PROXY, call.clone()).await;
        assert_eq!(events::<UptoProxy::Settled>(&told, UPTO_PROXY).len(), 1);
        paid += u128::from(amount);
        assert_eq!(scene.balance(scene.token(), payee()).await, paid);
        // What was left of the maximum is not there a second time.
        scene.refused(facilitator, UPTO_PROXY, call, Permit2::InvalidNonce {}).await;
    }
    let deal = Deal::new(&scene, 4).await;
    let above = UptoProxy::AmountExceedsPermitted {};
    scene.refused(facilitator, UPTO_PROXY, deal.upto(1_001), above).await;
    // A charge of nothing is not handed in: the signature is left to its deadline.
    scene.refused(facilitator, UPTO_PROXY, deal.upto(0), UptoProxy::InvalidAmount {}).await;
    assert_eq!(scene.balance(scene.token(), UPTO_PROXY).await, 0);
}

async fn upto_is_settled_by_the_facilitator_that_was_signed_and_nobody_else(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let deal = Deal::new(&scene, 1).await;
    let (facilitator, thief) = (gas().address(), stranger().address());
    let not_you = || UptoProxy::UnauthorizedFacilitator {};
    scene.refused(thief, UPTO_PROXY, deal.upto(10), not_you()).await;
    scene.refused(payee(), UPTO_PROXY, deal.upto(10), not_you()).await;

    let mut taken = deal.upto(10);
    taken.witness.facilitator = thief;
    scene.refused(thief, UPTO_PROXY, taken, Permit2::InvalidSigner {}).await;
    let mut diverted = deal.upto(10);
    diverted.witness.to = facilitator;
    scene.refused(facilitator, UPTO_PROXY, diverted, Permit2::InvalidSigner {}).await;
    let mut raised = deal.upto(2_000);
    raised.permit.permitted.amount = U256::from(2_000);
    scene.refused(facilitator, UPTO_PROXY, raised, Permit2::InvalidSigner {}).await;

    let early = Deal { valid_after: scene.now().await + 300, ..Deal::new(&scene, 1).await };
    scene.refused(facilitator, UPTO_PROXY, early.upto(1), UptoProxy::PaymentTooEarly {}).await;
    let mut nobody = deal.upto(1);
    nobody.owner = Address::ZERO;
    scene.refused(facilitator, UPTO_PROXY, nobody, UptoProxy::InvalidOwner {}).await;
    let nowhere = Deal { to: Address::ZERO, ..Deal::new(&scene, 1).await };
    let refused = UptoProxy::InvalidDestination {};
    scene.refused(facilitator, UPTO_PROXY, nowhere.upto(1), refused).await;
    assert!(scene.ask(facilitator, UPTO_PROXY, &deal.upto(10)).await.is_ok());
}

fn permit_token(token: Address) -> Eip712Domain {
    eip712_domain! {
        name: "Permit Token", version: "1",
        chain_id: Network::SANDBOX.chain_id(), verifying_contract: token,
    }
}

async fn a_payer_without_an_allowance_pays_by_a_sponsored_permit(chain: &Chain) {
    let scene = Scene::on(chain);
    let other = scene.deploy_token("PermitToken", U256::from(5_000)).await;
    let cases = [(payer(), scene.token(), scene.usdc()), (stranger(), other, permit_token(other))];
    for (payer, token, domain) in cases {
        let deal = async |nonce| {
            let payer = payer.clone();
            Deal { payer, token, ..Deal::new(&scene, nonce).await }
        };
        let permit = async || {
            let deadline = scene.now().await + 600;
            scene.permit(token, &domain, &payer, U256::from(1_000), deadline).await
        };
        let without = deal(1).await.exact();
        let answer = scene.ask(gas().address(), EXACT_PROXY, &without).await;
        assert!(answer.is_err());

        let call = sponsored_exact(permit().await, deal(1).await.exact());
        let told = scene.send(&gas(), EXACT_PROXY, call).await;
        assert_eq!(events::<ExactProxy::SettledWithPermit>(&told, EXACT_PROXY).len(), 1);
        assert_eq!(scene.balance(token, payee()).await, 1_000);

        // The permit is for the most, the charge is less.
        let call = sponsored_upto(permit().await, deal(2).await.upto(400));
        let told = scene.send(&gas(), UPTO_PROXY, call).await;
        assert_eq!(events::<UptoProxy::SettledWithPermit>(&told, UPTO_PROXY).len(), 1);
        assert_eq!(scene.balance(token, payee()).await, 1_400);
        let (owner, spender) = (payer.address(), PERMIT2);
        let left = scene.read(token, Erc20::allowanceCall { owner, spender }).await;
        assert_eq!(left, U256::from(600));
    }
}

async fn a_sponsored_permit_that_fails_stops_only_those_without_an_allowance(chain: &Chain) {
    let scene = Scene::on(chain);
    let deal = Deal::new(&scene, 1).await;
    let past = scene.now().await - 10;
    let stale = scene.permit(scene.token(), &scene.usdc(), &payer(), U256::from(1_000), past).await;
    let mut other = stale.clone();
    other.value += U256::from(1);
    let mismatch = ExactProxy::Permit2612AmountMismatch {};
    let call = sponsored_exact(other.clone(), deal.exact());
    scene.refused(stranger().address(), EXACT_PROXY, call, mismatch).await;
    let mismatch = UptoProxy::Permit2612AmountMismatch {};
    let call = sponsored_upto(other, deal.upto(1_000));
    scene.refused(gas().address(), UPTO_PROXY, call, mismatch).await;

    let call = sponsored_exact(stale, deal.exact());
    let from = stranger().address();
    scene.refused_saying(from, EXACT_PROXY, call.clone(), "TRANSFER_FROM_FAILED").await;
    scene.payer_allows_permit2().await;
    let told = scene.send(&stranger(), EXACT_PROXY, call).await;
    let failed: Vec<ExactProxy::EIP2612PermitFailedWithReason> = events(&told, EXACT_PROXY);
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].token, failed[0].owner), (scene.token(), payer().address()));
    assert_eq!(failed[0].reason, "FiatTokenV2: permit is expired");
    assert_eq!(scene.balance(scene.token(), payee()).await, 1_000);
}

async fn tokens_that_answer_nothing_are_moved_too(chain: &Chain) {
    let scene = Scene::on(chain);
    let token = scene.deploy_token("PlainToken", U256::from(5_000)).await;
    let approve = Erc20::approveCall { spender: PERMIT2, value: U256::from(5_000) };
    scene.send(&stranger(), token, approve).await;
    let again = Erc20::approveCall { spender: PERMIT2, value: U256::from(1) };
    assert!(scene.ask(stranger().address(), token, &again).await.is_err());

    let deal = async |nonce| Deal { payer: stranger(), token, ..Deal::new(&scene, nonce).await };
    scene.send(&gas(), EXACT_PROXY, deal(1).await.exact()).await;
    scene.send(&gas(), UPTO_PROXY, deal(2).await.upto(7)).await;
    assert_eq!(scene.balance(token, payee()).await, 1_007);
    // It knows no permit: that is told, and the allowance is there.
    let nothing = B256::ZERO;
    let (value, deadline) = (U256::from(1_000), U256::ZERO);
    let none = EIP2612Permit { value, deadline, r: nothing, s: nothing, v: 27 };
    let call = sponsored_exact(none, deal(3).await.exact());
    let told = scene.send(&gas(), EXACT_PROXY, call).await;
    let failed: Vec<ExactProxy::EIP2612PermitFailedWithData> = events(&told, EXACT_PROXY);
    assert_eq!((failed.len(), failed[0].data.len()), (1, 0));
    let much = Deal { amount: 10_000, ..deal(4).await };
    let from = gas().address();
    scene.refused_saying(from, EXACT_PROXY, much.exact(), "TRANSFER_FROM_FAILED").await;
}
