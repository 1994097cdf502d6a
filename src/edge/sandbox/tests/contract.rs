//! The token's conditions, each at the step where valid turns invalid, in the contract's order.

use alloy::sol_types::{SolError, SolEvent};

use super::*;

/// Why the token refuses `input` from `from`, or nothing where it takes it.
async fn reason(sandbox: &Sandbox, from: Address, input: Bytes) -> Option<String> {
    let request = TransactionRequest::default().with_from(from).with_to(TOKEN).with_input(input);
    match sandbox.call(request, Default::default()).await {
        Ok(_) => None,
        Err(SandboxError::Reverted { output }) => {
            Some(alloy::sol_types::Revert::abi_decode(&output).unwrap().reason)
        }
        Err(other) => panic!("{other}"),
    }
}

/// `signature` with `s` in the upper half: the same signer, by the curve alone.
fn flip(signature: &Bytes) -> Bytes {
    let flipped = alloy::primitives::Signature::try_from(signature.as_ref()).unwrap();
    let order = U256::from_be_bytes(alloy::primitives::hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    alloy::primitives::Signature::new(flipped.r(), order - flipped.s(), !flipped.v())
        .as_bytes()
        .into()
}

#[tokio::test]
async fn terms_are_refused_in_usdcs_order() {
    let (sandbox, _) = sandbox();
    let good = authorization(1_000, 1);
    let signed = |terms: &TransferWithAuthorization| settle_call(terms, sign(&payer(), terms));
    let with = |change: fn(&mut TransferWithAuthorization)| {
        let mut terms = authorization(1_000, 1);
        change(&mut terms);
        signed(&terms)
    };
    let cases: Vec<(&str, Bytes, Option<&str>)> = vec![
        ("good", signed(&good), None),
        ("the whole balance", with(|t| t.value = U256::from(5_000_000)), None),
        ("nothing", with(|t| t.value = U256::ZERO), None),
        (
            "one more than the balance",
            with(|t| t.value = U256::from(5_000_001)),
            Some("ERC20: transfer amount exceeds balance"),
        ),
        ("valid since a second", with(|t| t.validAfter = U256::from(START_S - 1)), None),
        (
            "valid after now",
            with(|t| t.validAfter = U256::from(START_S)),
            Some("FiatTokenV2: authorization is not yet valid"),
        ),
        ("valid for a second", with(|t| t.validBefore = U256::from(START_S + 1)), None),
        (
            "valid before now",
            with(|t| t.validBefore = U256::from(START_S)),
            Some("FiatTokenV2: authorization is expired"),
        ),
        (
            "neither yet nor any more",
            with(|t| (t.validAfter, t.validBefore) = (U256::MAX, U256::ZERO)),
            Some("FiatTokenV2: authorization is not yet valid"),
        ),
        ("to nobody", with(|t| t.to = Address::ZERO), Some("ERC20: transfer to the zero address")),
    ];
    for (name, call, expected) in cases {
        let found = reason(&sandbox, sender().address(), call).await;
        assert_eq!(found.as_deref(), expected, "{name}");
    }
}

#[tokio::test]
async fn only_the_payers_one_form_of_signature_is_taken() {
    let (sandbox, _) = sandbox();
    let good = authorization(1_000, 1);
    let cases: Vec<(&str, Bytes, Option<&str>)> = vec![
        (
            "signed by another",
            settle_call(&good, sign(&sender(), &good)),
            Some("FiatTokenV2: invalid signature"),
        ),
        (
            "signed for another value",
            settle_call(&good, sign(&payer(), &authorization(1_001, 1))),
            Some("FiatTokenV2: invalid signature"),
        ),
        (
            "the other form of the signature",
            settle_call(&good, flip(&sign(&payer(), &good))),
            Some("ECRecover: invalid signature 's' value"),
        ),
        (
            "64 bytes",
            settle_call(&good, sign(&payer(), &good).slice(..64)),
            Some("ECRecover: invalid signature length"),
        ),
        (
            "no such v",
            settle_call(&good, [&sign(&payer(), &good)[..64], &[29]].concat().into()),
            Some("ECRecover: invalid signature 'v' value"),
        ),
        (
            "a signature that recovers to nobody",
            settle_call(&good, [&[0; 64][..], &[27]].concat().into()),
            Some("ECRecover: invalid signature"),
        ),
    ];
    for (name, call, expected) in cases {
        let found = reason(&sandbox, sender().address(), call).await;
        assert_eq!(found.as_deref(), expected, "{name}");
    }
}

#[tokio::test]
async fn the_split_signature_is_the_same_authorization() {
    let (sandbox, _) = sandbox();
    let terms = authorization(1_000, 1);
    let signature = sign(&payer(), &terms);
    let TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce } = terms;
    let call = TokenSplit::transferWithAuthorizationCall {
        from,
        to,
        value,
        validAfter,
        validBefore,
        nonce,
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    };
    sandbox.send_raw(&raw(0, call.abi_encode().into())).await.unwrap();
    assert_eq!(view(&sandbox, Token::balanceOfCall { holder: payee() }).await, value);
    let again = reason(&sandbox, from, settle_call(&authorization(1_000, 1), signature)).await;
    assert_eq!(again.as_deref(), Some("FiatTokenV2: authorization is used or canceled"));
}

#[tokio::test]
async fn a_cancel_spends_the_nonce_without_a_transfer() {
    let (sandbox, _) = sandbox();
    let terms = authorization(1_000, 1);
    let (authorizer, nonce) = (payer().address(), terms.nonce);
    let cancel = |signature| -> Bytes {
        Token::cancelAuthorizationCall { authorizer, nonce, signature }.abi_encode().into()
    };
    let forged = cancel(sign(&sender(), &CancelAuthorization { authorizer, nonce }));
    let refused = reason(&sandbox, sender().address(), forged).await;
    assert_eq!(refused.as_deref(), Some("FiatTokenV2: invalid signature"));

    let state = Token::authorizationStateCall { authorizer, nonce };
    assert!(!view(&sandbox, state.clone()).await);
    let good = cancel(sign(&payer(), &CancelAuthorization { authorizer, nonce }));
    let hash = sandbox.send_raw(&raw(0, good)).await.unwrap();
    assert!(view(&sandbox, state).await);
    let (block, place) =
        sandbox.look(move |chain, _| chain.find_transaction(hash)).await.unwrap().unwrap();
    let logs = &block.mined[place].outcome.logs;
    assert_eq!(logs.len(), 1);
    let canceled = Token::AuthorizationCanceled::decode_log(&logs[0]).unwrap();
    assert_eq!((canceled.authorizer, canceled.nonce), (authorizer, nonce));

    let late = reason(&sandbox, payee(), settle_call(&terms, sign(&payer(), &terms))).await;
    assert_eq!(late.as_deref(), Some("FiatTokenV2: authorization is used or canceled"));
}

#[tokio::test]
async fn only_the_payee_may_receive() {
    let (sandbox, _) = sandbox();
    let TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce } =
        authorization(1_000, 1);
    let terms = ReceiveWithAuthorization { from, to, value, validAfter, validBefore, nonce };
    let signature = sign(&payer(), &terms);
    let call: Bytes = Token::receiveWithAuthorizationCall {
        from,
        to,
        value,
        validAfter,
        validBefore,
        nonce,
        signature: signature.clone(),
    }
    .abi_encode()
    .into();
    assert_eq!(reason(&sandbox, to, call.clone()).await, None);
    let other = reason(&sandbox, sender().address(), call).await;
    assert_eq!(other.as_deref(), Some("FiatTokenV2: caller must be the payee"));
    // What was signed for one function is no signature for the other.
    let crossed = reason(&sandbox, to, settle_call(&authorization(1_000, 1), signature)).await;
    assert_eq!(crossed.as_deref(), Some("FiatTokenV2: invalid signature"));
}

#[tokio::test]
async fn a_permit_allows_until_its_deadline_and_once() {
    let (sandbox, _) = sandbox();
    let (owner, spender) = (payer().address(), sender().address());
    let permit = |deadline: u64| -> Bytes {
        let value = U256::from(500);
        let deadline = U256::from(deadline);
        let terms = Permit { owner, spender, value, nonce: U256::ZERO, deadline };
        let signature = sign(&payer(), &terms);
        Token::permitCall { owner, spender, value, deadline, signature }.abi_encode().into()
    };
    let late = reason(&sandbox, spender, permit(START_S - 1)).await;
    assert_eq!(late.as_deref(), Some("FiatTokenV2: permit is expired"));
    assert_eq!(reason(&sandbox, spender, permit(START_S)).await, None);
    sandbox.send_raw(&raw(0, permit(START_S + 100))).await.unwrap();
    assert_eq!(view(&sandbox, Token::allowanceCall { owner, spender }).await, U256::from(500));
    let again = reason(&sandbox, spender, permit(START_S + 100)).await;
    assert_eq!(again.as_deref(), Some("EIP2612: invalid signature"));
}

#[tokio::test]
async fn only_the_faucet_mints() {
    let (sandbox, _) = sandbox();
    let call: Bytes = Token::mintCall { to: payee(), value: U256::from(1) }.abi_encode().into();
    assert!(reason(&sandbox, payee(), call.clone()).await.is_some());
    assert_eq!(reason(&sandbox, faucet().address(), call).await, None);
    assert_eq!(view(&sandbox, Token::totalSupplyCall {}).await, U256::from(5_000_000));
}
