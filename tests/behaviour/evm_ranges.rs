//! A search through a long chain, at a node that answers for so many blocks at a time and no more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256, keccak256};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use bursar::domain::asset::{Asset, Network};
use bursar::domain::commitment::{Commitment, Scheme, TransferMethod};
use bursar::domain::money::Amount;
use bursar::edge::evm::{Evm, EvmConfig, Finality};
use bursar::ports::rail::{Evidence, NonceState};
use serde_json::{Value, json};

/// The newest block.
const HEAD: u64 = 1_000_000;

/// Where the payer has canceled what is looked for.
const CANCELED: u64 = HEAD - 200_000;

/// Blocks that the node answers for at a time.
const WIDEST: u64 = 1_000;

const TRANSACTION: B256 = B256::repeat_byte(7);

/// How often the node was asked for logs.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    answered: u64,
    refused: u64,
}

type Counts = Arc<Mutex<Asked>>;

fn commitment() -> Commitment {
    Commitment {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: Asset { network: Network::SANDBOX, contract: Address::repeat_byte(9) },
        payer: Address::repeat_byte(1),
        pay_to: Address::repeat_byte(2),
        amount_max: Amount::new(1),
        valid_after_s: 0,
        valid_before_s: u64::MAX,
        nonce: B256::repeat_byte(3),
    }
}

/// The one log there is.
fn log() -> Value {
    let Commitment { asset, payer, nonce, .. } = commitment();
    let kind = keccak256("AuthorizationCanceled(address,bytes32)");
    json!({ "address": asset.contract, "topics": [kind, payer.into_word(), nonce], "data": "0x",
        "blockNumber": format!("{CANCELED:#x}"), "blockHash": B256::repeat_byte(5),
        "transactionHash": TRANSACTION, "transactionIndex": "0x0", "logIndex": "0x0",
        "removed": false })
}

fn receipt() -> Value {
    json!({ "transactionHash": TRANSACTION, "transactionIndex": "0x0", "status": "0x1",
        "type": "0x2", "blockHash": B256::repeat_byte(5), "blockNumber": format!("{CANCELED:#x}"),
        "gasUsed": "0x1", "cumulativeGasUsed": "0x1", "effectiveGasPrice": "0x1", "logs": [log()],
        "logsBloom": format!("0x{}", "00".repeat(256)), "from": commitment().payer,
        "to": commitment().asset.contract, "contractAddress": null })
}

async fn answer(State(counts): State<Counts>, body: Bytes) -> String {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let params = &asked["params"];
    let number = |text: &Value| {
        u64::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let result = match asked["method"].as_str().unwrap() {
        "eth_chainId" => json!(format!("{:#x}", Network::SANDBOX.chain_id())),
        "eth_getBlockByNumber" => {
            let block = if params[0] == "0x0" { 0 } else { HEAD };
            json!({ "hash": keccak256(block.to_be_bytes()), "number": format!("{block:#x}"),
                "timestamp": "0x1" })
        }
        // The contract says that the nonce is spent.
        "eth_call" => json!(B256::from(U256::from(1))),
        "eth_getTransactionReceipt" => receipt(),
        "eth_getLogs" => {
            let (first, last) = (number(&params[0]["fromBlock"]), number(&params[0]["toBlock"]));
            let mut counts = counts.lock().unwrap();
            if last - first >= WIDEST {
                counts.refused += 1;
                let error = json!({ "code": -32005, "message": "exceed maximum block range" });
                let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error });
                return answer.to_string();
            }
            counts.answered += 1;
            if (first..=last).contains(&CANCELED) { json!([log()]) } else { json!([]) }
        }
        other => panic!("nobody asks {other} here"),
    };
    json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }).to_string()
}

/// After each range that was answered, ten times as many blocks were asked for, and were refused: most of a
/// search's queries went there, and what was older than fifty thousand blocks was never found.
#[tokio::test]
async fn a_range_that_was_refused_is_not_asked_for_again_and_again() {
    let counts = Counts::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&counts));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = EvmConfig {
        network: Network::SANDBOX,
        url,
        genesis: None,
        finality: Finality::Depth(0),
        assets: Vec::new(),
        answer_within: Duration::from_secs(20),
    };
    let evm = Evm::connect(&config).await.unwrap();
    let seen = evm.find_nonce(&commitment()).await.unwrap();
    assert_eq!(seen.nonce, NonceState::Canceled { transaction: TRANSACTION });
    let Asked { answered, refused } = *counts.lock().unwrap();
    // Ten, five, two and a half and one and a quarter thousand.
    assert_eq!(refused, 4, "{answered} were answered");
}
