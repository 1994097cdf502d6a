//! Permit2: an owner's signature moves its money once, to whom its spender says, at most so much.

use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolStruct, SolValue};
use bursar::domain::asset::Network;
use bursar::domain::x402::permit2::{PERMIT2, permit2_domain};
use bursar::edge::evm::contracts::{
    Permit2, PermitTransferFrom, SignatureTransferDetails, TokenPermissions,
};

use super::scene::{AGREEABLE, Erc20, REFUSING, SILENT, Scene, events, init, sign};
use crate::chain::{Chain, FUNDS, gas, key, payee, payer, stranger};
use crate::evm::on_both_chains;

on_both_chains!(
    nonces_are_used_in_any_order_and_once,
    the_amount_the_time_and_the_spender_are_the_owners,
    a_signature_has_two_forms_and_no_other,
    a_witness_is_signed_with_the_rest,
    a_nonce_can_be_used_up_unused,
    what_permit2_may_not_move_it_does_not_move,
    a_contract_signs_by_its_own_word,
);

mod signed {
    alloy::sol! {
        struct TokenPermissions { address token; uint256 amount; }
        struct PermitTransferFrom {
            TokenPermissions permitted; address spender; uint256 nonce; uint256 deadline;
        }
        struct Note { string text; }
        struct PermitWitnessTransferFrom {
            TokenPermissions permitted; address spender; uint256 nonce; uint256 deadline; Note note;
        }
    }
}

/// What the payer permits the gas account.
#[derive(Copy, Clone)]
struct Terms {
    token: Address,
    amount: u64,
    nonce: U256,
    deadline: u64,
}

impl Terms {
    fn call(self, requested: u64) -> Permit2::permitTransferFromCall {
        Permit2::permitTransferFromCall {
            permit: self.permit(),
            transferDetails: SignatureTransferDetails {
                to: payee(),
                requestedAmount: U256::from(requested),
            },
            owner: payer().address(),
            signature: self.sign(&payer(), gas().address()),
        }
    }

    fn permit(self) -> PermitTransferFrom {
        PermitTransferFrom {
            permitted: TokenPermissions { token: self.token, amount: U256::from(self.amount) },
            nonce: self.nonce,
            deadline: U256::from(self.deadline),
        }
    }

    fn content(self, spender: Address) -> signed::PermitTransferFrom {
        signed::PermitTransferFrom {
            permitted: signed::TokenPermissions {
                token: self.token,
                amount: U256::from(self.amount),
            },
            spender,
            nonce: self.nonce,
            deadline: U256::from(self.deadline),
        }
    }

    fn sign(self, signer: &PrivateKeySigner, spender: Address) -> Bytes {
        sign(signer, &self.content(spender), &permit2_domain(Network::SANDBOX))
    }
}

async fn terms(scene: &Scene<'_>, nonce: u64) -> Terms {
    let deadline = scene.now().await + 600;
    Terms { token: scene.token(), amount: 1_000, nonce: U256::from(nonce), deadline }
}

async fn nonces_are_used_in_any_order_and_once(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let spender = gas().address();
    let first = terms(&scene, 0).await;
    let any = [U256::from(513), U256::from(2), U256::MAX, U256::from(258), U256::ZERO];
    for nonce in any {
        let terms = Terms { nonce, ..first };
        scene.send(&gas(), PERMIT2, terms.call(10)).await;
        // Less than was permitted is not more to come.
        scene.refused(spender, PERMIT2, terms.call(10), Permit2::InvalidNonce {}).await;
    }
    assert_eq!(scene.balance(scene.token(), payee()).await, 50);
    let owner = payer().address();
    for (word, bits) in [(0_u64, 0b101_u64), (1, 0b100), (2, 0b10), (3, 0)] {
        let call = Permit2::nonceBitmapCall { owner, word: U256::from(word) };
        assert_eq!(scene.read(PERMIT2, call).await, U256::from(bits));
    }
}

async fn the_amount_the_time_and_the_spender_are_the_owners(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let terms = terms(&scene, 7).await;
    let spender = gas().address();

    assert!(scene.ask(spender, PERMIT2, &terms.call(1_000)).await.is_ok());
    let most = Permit2::InvalidAmount { maxAmount: U256::from(1_000) };
    scene.refused(spender, PERMIT2, terms.call(1_001), most).await;

    let late = Terms { deadline: scene.now().await - 1, ..terms };
    let expired = Permit2::SignatureExpired { signatureDeadline: U256::from(late.deadline) };
    scene.refused(spender, PERMIT2, late.call(1), expired).await;

    let thief = stranger().address();
    scene.refused(thief, PERMIT2, terms.call(1), Permit2::InvalidSigner {}).await;
    let changes: [fn(&mut Permit2::permitTransferFromCall); 5] = [
        |call| call.owner = stranger().address(),
        |call| call.permit.permitted.amount += U256::from(1),
        |call| call.permit.permitted.token = PERMIT2,
        |call| call.permit.nonce += U256::from(1),
        |call| call.permit.deadline += U256::from(1),
    ];
    for change in changes {
        let mut call = terms.call(1);
        change(&mut call);
        scene.refused(spender, PERMIT2, call, Permit2::InvalidSigner {}).await;
    }
}

async fn a_signature_has_two_forms_and_no_other(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let spender = gas().address();
    // Of many signatures, some have an odd parity and some an even one.
    for nonce in 0..4 {
        let terms = terms(&scene, nonce).await;
        let digest = terms.content(spender).eip712_signing_hash(&permit2_domain(Network::SANDBOX));
        let signature = payer().sign_hash_sync(&digest).unwrap();
        let mut call = terms.call(1);
        call.signature = signature.as_erc2098().into();
        scene.send(&gas(), PERMIT2, call.clone()).await;

        call.permit.nonce += U256::from(100);
        call.signature = vec![0; 66].into();
        let length = Permit2::InvalidSignatureLength {};
        scene.refused(spender, PERMIT2, call.clone(), length).await;
        let mut none = signature.as_bytes();
        none[64] = 2;
        call.signature = none.into();
        scene.refused(spender, PERMIT2, call, Permit2::InvalidSignature {}).await;
    }
}

async fn a_witness_is_signed_with_the_rest(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let terms = terms(&scene, 1).await;
    let plain = terms.content(gas().address());
    let content = signed::PermitWitnessTransferFrom {
        permitted: plain.permitted,
        spender: plain.spender,
        nonce: plain.nonce,
        deadline: plain.deadline,
        note: signed::Note { text: "for the search".to_owned() },
    };
    let without = terms.call(5);
    let call = Permit2::permitWitnessTransferFromCall {
        permit: without.permit,
        transferDetails: without.transferDetails,
        owner: without.owner,
        witness: content.note.eip712_hash_struct(),
        witnessTypeString: "Note note)Note(string text)\
            TokenPermissions(address token,uint256 amount)"
            .to_owned(),
        signature: sign(&payer(), &content, &permit2_domain(Network::SANDBOX)),
    };
    let (spender, wrong) = (gas().address(), || Permit2::InvalidSigner {});
    let mut other = call.clone();
    other.witness = keccak256("another");
    scene.refused(spender, PERMIT2, other, wrong()).await;
    let mut other = call.clone();
    other.witnessTypeString = other.witnessTypeString.replace("text", "test");
    scene.refused(spender, PERMIT2, other, wrong()).await;
    let mut other = terms.call(5);
    other.signature = call.signature.clone();
    scene.refused(spender, PERMIT2, other, wrong()).await;

    scene.send(&gas(), PERMIT2, call.clone()).await;
    assert_eq!(scene.balance(scene.token(), payee()).await, 5);
    scene.refused(spender, PERMIT2, call, Permit2::InvalidNonce {}).await;
}

async fn a_nonce_can_be_used_up_unused(chain: &Chain) {
    let scene = Scene::on(chain);
    let token = scene.deploy_token("PlainToken", U256::from(1_000)).await;
    let owner = stranger();
    let approve = Erc20::approveCall { spender: PERMIT2, value: U256::from(1_000) };
    scene.send(&owner, token, approve).await;
    let with = |nonce: u64, deadline| {
        let terms = Terms { token, amount: 10, nonce: U256::from(nonce), deadline };
        let mut call = terms.call(10);
        call.owner = owner.address();
        call.signature = terms.sign(&owner, gas().address());
        call
    };
    let deadline = scene.now().await + 600;
    let call =
        Permit2::invalidateUnorderedNoncesCall { wordPos: U256::from(1), mask: U256::from(0b110) };
    let told = scene.send(&owner, PERMIT2, call).await;
    let told: Vec<Permit2::UnorderedNonceInvalidation> = events(&told, PERMIT2);
    assert_eq!((told[0].owner, told[0].word), (owner.address(), U256::from(1)));
    assert_eq!(told[0].mask, U256::from(0b110));
    for nonce in [257, 258] {
        let call = with(nonce, deadline);
        scene.refused(gas().address(), PERMIT2, call, Permit2::InvalidNonce {}).await;
    }
    // Somebody else's nonces are somebody else's.
    scene.send(&gas(), PERMIT2, with(256, deadline)).await;
    assert_eq!(scene.balance(token, payee()).await, 10);
}

async fn what_permit2_may_not_move_it_does_not_move(chain: &Chain) {
    let scene = Scene::on(chain);
    let spender = gas().address();
    let call = terms(&scene, 1).await.call(1);
    scene.refused_saying(spender, PERMIT2, call, "TRANSFER_FROM_FAILED").await;
    scene.payer_allows_permit2().await;
    let much = Terms { amount: u64::try_from(FUNDS).unwrap() + 1, ..terms(&scene, 1).await };
    let (call, last) = (much.call(much.amount), much.call(much.amount - 1));
    scene.refused_saying(spender, PERMIT2, call, "TRANSFER_FROM_FAILED").await;
    scene.send(&gas(), PERMIT2, last).await;
    assert_eq!(scene.balance(scene.token(), payer().address()).await, 0);
}

async fn a_contract_signs_by_its_own_word(chain: &Chain) {
    let scene = Scene::on(chain);
    let spender = gas().address();
    let deadline = scene.now().await + 600;
    let terms = Terms { token: scene.token(), amount: 1, nonce: U256::ZERO, deadline };
    let mut call = terms.call(1);
    call.owner = scene.deploy(init(&REFUSING)).await;
    let refused = Permit2::InvalidContractSignature {};
    scene.refused(spender, PERMIT2, call.clone(), refused).await;
    call.owner = scene.deploy(init(&SILENT)).await;
    assert_eq!(scene.ask(spender, PERMIT2, &call).await, Err(Bytes::new()));
    // It says yes to everything, and its money is where it ends: it has approved nobody.
    call.owner = scene.deploy(init(&AGREEABLE)).await;
    call.signature = (key(9).address(), U256::ZERO).abi_encode().into();
    scene.refused_saying(spender, PERMIT2, call, "TRANSFER_FROM_FAILED").await;
}
