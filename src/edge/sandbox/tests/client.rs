//! alloy's provider with its usual fillers, over HTTP.

use alloy::eips::BlockNumberOrTag;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;

use super::*;

#[test]
fn the_token_is_the_faucets_first_contract() {
    assert_eq!(faucet().address().create(0), TOKEN);
}

#[tokio::test]
async fn a_client_sees_the_genesis() {
    let (sandbox, _) = sandbox();
    let server = serve(&sandbox).await;
    let client = provider(&server);

    assert_eq!(client.get_chain_id().await.unwrap(), CHAIN_ID);
    assert_eq!(client.get_block_number().await.unwrap(), 0);
    let first = client.get_block_by_number(BlockNumberOrTag::Earliest).await.unwrap().unwrap();
    assert_eq!(first.header.hash, sandbox.genesis_hash());
    assert_eq!(first.header.hash, first.header.inner.hash_slow());
    assert_eq!(first.header.timestamp, START_S);
    for tag in [BlockNumberOrTag::Finalized, BlockNumberOrTag::Safe, BlockNumberOrTag::Pending] {
        let block = client.get_block_by_number(tag).await.unwrap().unwrap();
        assert_eq!(block.header.hash, first.header.hash);
    }
    let native = client.get_balance(sender().address()).await.unwrap();
    assert_eq!(native, U256::from(10).pow(U256::from(18)));
    assert!(!client.get_code_at(TOKEN).await.unwrap().is_empty());
    assert!(client.get_code_at(payee()).await.unwrap().is_empty());
    let tokens = view(&sandbox, Token::balanceOfCall { holder: payer().address() }).await;
    assert_eq!(tokens, U256::from(5_000_000));
    let separator = view(&sandbox, Token::DOMAIN_SEPARATORCall {}).await;
    assert_eq!(separator, domain().separator());
    server.stop().await;
}

#[tokio::test]
async fn a_signed_authorization_pays_once_and_leaves_both_logs() {
    let (sandbox, _) = sandbox();
    let server = serve(&sandbox).await;
    let client = provider(&server);
    let terms = authorization(1_000, 7);
    let call = settle_call(&terms, sign(&payer(), &terms));
    let request = TransactionRequest::default().with_to(TOKEN).with_input(call);

    let sent = client.send_transaction(request.clone()).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.from, sender().address());

    let block =
        client.get_block_by_hash(receipt.block_hash.unwrap()).full().await.unwrap().unwrap();
    assert_eq!(block.header.hash, block.header.inner.hash_slow());
    let all: Vec<_> = block.transactions.txns().map(|one| one.inner.clone().into_inner()).collect();
    let root = alloy::consensus::proofs::calculate_transaction_root(&all);
    assert_eq!(block.header.transactions_root, root);
    assert_eq!(block.transactions.hashes().collect::<Vec<_>>(), [receipt.transaction_hash]);
    let found = client.get_transaction_by_hash(receipt.transaction_hash).await.unwrap().unwrap();
    assert_eq!(found.block_hash, receipt.block_hash);

    let filter = Filter::new().address(TOKEN).from_block(0).topic1(payer().address().into_word());
    let logs = client.get_logs(&filter).await.unwrap();
    assert_eq!(logs.len(), 2);
    let used = Token::AuthorizationUsed::decode_log(&logs[0].inner).unwrap();
    assert_eq!((used.authorizer, used.nonce), (payer().address(), terms.nonce));
    let moved = Token::Transfer::decode_log(&logs[1].inner).unwrap();
    assert_eq!((moved.from, moved.to, moved.value), (terms.from, terms.to, terms.value));
    assert_eq!(logs.as_slice(), receipt.logs());
    let at_hash = client.get_logs(&Filter::new().at_block_hash(block.header.hash)).await.unwrap();
    assert_eq!(at_hash, logs);

    // A second time the estimate already fails, and where it is sent all the same it moves nothing.
    let again = client.send_transaction(request.clone()).await.unwrap_err();
    assert_eq!(again.as_error_resp().unwrap().code, 3);
    let again =
        client.send_transaction(request.with_gas_limit(100_000).with_nonce(1)).await.unwrap();
    assert!(!again.get_receipt().await.unwrap().status());
    assert_eq!(view(&sandbox, Token::balanceOfCall { holder: payee() }).await, terms.value);
    server.stop().await;
}

#[tokio::test]
async fn legacy_transactions_and_plain_transfers_are_mined_too() {
    let (sandbox, _) = sandbox();
    let server = serve(&sandbox).await;
    let client = provider(&server);
    let request = TransactionRequest::default()
        .with_to(payee())
        .with_value(U256::from(5))
        .with_gas_price(1_000_000_000);
    let receipt = client.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.gas_used, 21_000);
    assert_eq!(client.get_balance(payee()).await.unwrap(), U256::from(5));
    assert_eq!(client.get_transaction_count(sender().address()).await.unwrap(), 1);
    server.stop().await;
}

#[tokio::test]
async fn an_estimate_suffices_exactly_where_a_call_needs_more_than_it_uses() {
    let (sandbox, _) = sandbox();
    let server = serve(&sandbox).await;
    let client = provider(&server);
    let terms = authorization(5_000_000, 1);
    let call = settle_call(&terms, sign(&payer(), &terms));
    // The payer's slot becomes zero: the refund comes only after the gas was needed.
    let request = TransactionRequest::default().with_to(TOKEN).with_input(call);
    let estimate = client.estimate_gas(request.clone()).await.unwrap();
    let sent = client.send_transaction(request.with_gas_limit(estimate)).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    assert!(receipt.gas_used < estimate);
    server.stop().await;
}

#[tokio::test]
async fn the_faucet_gives_tokens_and_gas_with_logs_to_count_by() {
    let (sandbox, _) = sandbox();
    let server = serve(&sandbox).await;
    let client = provider(&server);
    let newcomer = key(99).address();
    let minted: B256 =
        client.raw_request("sandbox_fund".into(), (newcomer, U256::from(1_234))).await.unwrap();
    let receipt = client.get_transaction_receipt(minted).await.unwrap().unwrap();
    let log = Token::Transfer::decode_log(&receipt.logs()[0].inner).unwrap();
    assert_eq!((log.from, log.to, log.value), (Address::ZERO, newcomer, U256::from(1_234)));
    assert!(client.get_balance(newcomer).await.unwrap() > U256::ZERO);
    let more = sandbox.fund(newcomer, U256::MAX).await.unwrap_err();
    assert!(matches!(more, SandboxError::FaucetRefused { to } if to == newcomer));
    server.stop().await;
}

#[tokio::test]
async fn a_read_that_is_pinned_to_a_block_sees_that_block_for_ever() {
    let (sandbox, hand) = sandbox();
    let server = serve(&sandbox).await;
    let client = provider(&server);
    let mut balances = Vec::new();
    for nonce in 0..5 {
        let terms = authorization(10, nonce);
        sandbox.send_raw(&raw(nonce, settle_call(&terms, sign(&payer(), &terms)))).await.unwrap();
        hand.set(START_S + 2 * nonce);
        let block = client.get_block_by_number(BlockNumberOrTag::Finalized).await.unwrap().unwrap();
        balances.push((block.header.hash, U256::from(10 * (nonce + 1))));
    }
    let call = Token::balanceOfCall { holder: payee() }.abi_encode();
    let request = TransactionRequest::default().with_to(TOKEN).with_input(call);
    for (hash, balance) in balances {
        let seen = client.call(request.clone()).hash(hash).await.unwrap();
        assert_eq!(U256::from_be_slice(&seen), balance);
    }
    server.stop().await;
}
