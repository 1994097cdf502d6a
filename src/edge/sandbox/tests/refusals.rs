//! What the sandbox does not take, and in which code it says so.

use alloy::rpc::types::Filter;
use alloy::transports::http::reqwest;
use revm::context::result::InvalidTransaction;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn transactions_that_cannot_be_mined_are_refused_for_what_is_wrong() {
    let (sandbox, _) = sandbox();
    let refusal = |bytes: Vec<u8>| {
        let sandbox = sandbox.clone();
        async move {
            match sandbox.send_raw(&bytes).await {
                Err(SandboxError::Refused(refusal)) => refusal,
                other => panic!("{other:?}"),
            }
        }
    };
    let good = raw(0, Bytes::new());
    assert_eq!(refusal(Vec::new()).await, TxRefusal::Malformed);
    assert_eq!(refusal([good.as_slice(), &[0]].concat()).await, TxRefusal::Malformed);
    for cut in 0..good.len() {
        assert_eq!(refusal(good[..cut].to_vec()).await, TxRefusal::Malformed);
    }
    assert_eq!(refusal(vec![0x7f, 0xc0]).await, TxRefusal::Malformed);
    assert_eq!(refusal(delegation()).await, TxRefusal::Unsupported { kind: 4 });
    assert_eq!(
        refusal(raw_for(1, 0, TOKEN, Bytes::new())).await,
        TxRefusal::OtherChain { given: 1, ours: CHAIN_ID }
    );
    assert_eq!(
        refusal(raw(1, Bytes::new())).await,
        TxRefusal::Invalid(InvalidTransaction::NonceTooHigh { tx: 1, state: 0 })
    );
    sandbox.send_raw(&good).await.unwrap();
    assert_eq!(refusal(good).await, TxRefusal::Known);
    assert_eq!(
        refusal(raw(0, Bytes::from_static(&[1]))).await,
        TxRefusal::Invalid(InvalidTransaction::NonceTooLow { tx: 0, state: 1 })
    );
}

/// A transaction of a kind that came after the sandbox's rules (EIP-7702).
fn delegation() -> Vec<u8> {
    use alloy::consensus::{SignableTransaction, TxEip7702, TxEnvelope};
    use alloy::eips::Encodable2718;
    use alloy::network::TxSignerSync;
    let mut unsigned = TxEip7702 { chain_id: CHAIN_ID, to: payee(), ..Default::default() };
    let signature = sender().sign_transaction_sync(&mut unsigned).unwrap();
    TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718()
}

#[tokio::test]
async fn a_sender_without_money_for_gas_is_refused() {
    use alloy::eips::Encodable2718;
    use alloy::network::NetworkTransactionBuilder;
    let (sandbox, _) = sandbox();
    let server = serve(&sandbox).await;
    let poor = EthereumWallet::from(key(77));
    let request = TransactionRequest::default()
        .with_chain_id(CHAIN_ID)
        .with_to(payee())
        .with_nonce(0)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(1_000_000_000)
        .with_max_priority_fee_per_gas(0);
    let signed = request.build(&poor).await.unwrap();
    let refused = provider(&server).send_raw_transaction(&signed.encoded_2718()).await;
    assert_eq!(refused.unwrap_err().as_error_resp().unwrap().code, -32000);
    server.stop().await;
}

async fn ask(server: &Server, body: impl ToString) -> (u16, Value) {
    let answer =
        reqwest::Client::new().post(server.url()).body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

#[tokio::test]
async fn requests_are_bounded_and_errors_have_their_codes() {
    let (sandbox, _) = sandbox();
    let server = serve(&sandbox).await;
    let one = request("eth_chainId", json!([]));

    let (_, batch) = ask(&server, json!([one, one, request("no_such", json!([]))])).await;
    assert_eq!(batch.as_array().unwrap().len(), 3);
    assert_eq!(batch[0]["result"], "0x7a69");
    assert_eq!(batch[2]["error"]["code"], -32601);
    let (_, largest) = ask(&server, json!(vec![&one; 100])).await;
    assert_eq!(largest.as_array().unwrap().len(), 100);

    let cases = [
        (json!(vec![&one; 101]), -32600),
        (json!([]), -32600),
        (json!({ "id": 1, "method": "eth_chainId" }), -32600),
        (json!(7), -32600),
        (request("eth_call", json!({ "to": TOKEN })), -32602),
        (request("eth_getBalance", json!([])), -32602),
        (request("eth_getBalance", json!(["0x12"])), -32602),
        (request("eth_call", json!([{ "to": TOKEN }, "latest", { "0x0": {} }])), -32602),
        (request("eth_call", json!([{ "to": TOKEN }, "0x999"])), -32000),
        (request("eth_call", json!([{ "to": TOKEN, "data": "0xdeadbeef" }, "latest"])), 3),
        (request("sandbox_fund", json!([Address::ZERO, "0x1"])), -32602),
    ];
    for (body, code) in cases {
        assert_eq!(ask(&server, &body).await.1["error"]["code"], code, "{body}");
    }
    assert_eq!(ask(&server, "{").await.1["error"]["code"], -32700);
    let (_, missing) = ask(&server, request("eth_getBlockByNumber", json!(["0x999", false]))).await;
    assert_eq!(missing["result"], Value::Null);
    let (_, missing) =
        ask(&server, request("eth_getTransactionReceipt", json!([B256::ZERO]))).await;
    assert_eq!(missing["result"], Value::Null);

    assert_eq!(ask(&server, " ".repeat(1 << 20)).await.0, 200);
    assert_eq!(ask(&server, " ".repeat((1 << 20) + 1)).await.0, 413);
    server.stop().await;
}

#[tokio::test]
async fn a_log_query_covers_so_many_blocks_and_no_more() {
    let (sandbox, _) = sandbox();
    let blocks_max = super::super::logs::LOG_BLOCKS_MAX;
    sandbox
        .look(move |chain, now_s| {
            for second in 0..blocks_max {
                chain.mine_empty(now_s + second)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let server = serve(&sandbox).await;
    let client = provider(&server);
    let filter = Filter::new().address(TOKEN).from_block(1);
    assert!(client.get_logs(&filter).await.unwrap().is_empty());
    let wide = client.get_logs(&filter.from_block(0)).await.unwrap_err();
    assert_eq!(wide.as_error_resp().unwrap().code, -32005);
    // Past the head there is nothing, and that is no error.
    let filter = Filter::new().from_block(blocks_max + 1).to_block(blocks_max + 9);
    assert!(client.get_logs(&filter).await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_listener_off_loopback_is_refused() {
    let (sandbox, _) = sandbox();
    let everywhere = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(sandbox.serve(everywhere).is_err());
}
