//! JSON-RPC 2.0: requests in, answers out, one or a batch; and our errors in Ethereum's words,
//! which clients compare.

use alloy::hex;
use alloy::primitives::{Bytes, U256};
use alloy::sol_types::decode_revert_reason;
use revm::context::result::InvalidTransaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{SandboxError, TxRefusal};
use super::methods;
use super::worker::Sandbox;

/// How many requests one batch may hold.
const BATCH_MAX: usize = 100;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const INTERNAL_ERROR: i64 = -32603;
/// EIP-1474: invalid input, which nodes use for every refusal.
const REFUSED: i64 = -32000;
/// EIP-1474: limit exceeded.
const LIMIT_EXCEEDED: i64 = -32005;
/// What geth answers for a call that reverted.
const REVERTED: i64 = 3;

/// One request.
#[derive(Deserialize)]
struct Request {
    jsonrpc: String,
    id: Value,
    method: String,
    #[serde(default)]
    params: Value,
}

/// Why a request has no result.
#[derive(Debug, Serialize)]
pub(super) struct RpcError {
    code: i64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl RpcError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn unknown_method(method: &str) -> Self {
        Self::new(METHOD_NOT_FOUND, format!("the method {method} does not exist/is not available"))
    }

    pub(super) fn invalid_params(problem: impl std::fmt::Display) -> Self {
        Self::new(INVALID_PARAMS, format!("invalid params: {problem}"))
    }
}

/// Answers the body of one HTTP request.
pub(super) async fn answer(sandbox: &Sandbox, body: &[u8]) -> String {
    let answer = match serde_json::from_slice::<Value>(body) {
        Err(_) => failed(Value::Null, &RpcError::new(PARSE_ERROR, "parse error")),
        Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > BATCH_MAX => {
            let problem = format!("a batch holds 1 to {BATCH_MAX} requests");
            failed(Value::Null, &RpcError::new(INVALID_REQUEST, problem))
        }
        Ok(Value::Array(batch)) => {
            let mut answers = Vec::with_capacity(batch.len());
            for request in batch {
                answers.push(answer_one(sandbox, request).await);
            }
            Value::Array(answers)
        }
        Ok(request) => answer_one(sandbox, request).await,
    };
    answer.to_string()
}

async fn answer_one(sandbox: &Sandbox, request: Value) -> Value {
    let id = request.get("id").cloned().unwrap_or_default();
    let request = match serde_json::from_value::<Request>(request) {
        Ok(request) if request.jsonrpc == "2.0" => request,
        Ok(_) | Err(_) => return failed(id, &RpcError::new(INVALID_REQUEST, "invalid request")),
    };
    let params = match request.params {
        Value::Array(params) => params,
        Value::Null => Vec::new(),
        _ => return failed(id, &RpcError::invalid_params("an array is needed")),
    };
    match methods::dispatch(sandbox, &request.method, params).await {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": request.id, "result": result }),
        Err(error) => failed(request.id, &error),
    }
}

fn failed(id: Value, error: &RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

impl From<SandboxError> for RpcError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Refused(refusal) => Self::new(REFUSED, words(&refusal)),
            SandboxError::Reverted { output } => reverted(&output),
            SandboxError::Halted { reason } => {
                Self::new(REFUSED, format!("execution halted: {reason}"))
            }
            SandboxError::NoBlock { .. } => Self::new(REFUSED, "header not found"),
            SandboxError::RangeTooWide { blocks_max, .. } => {
                Self::new(LIMIT_EXCEEDED, format!("exceed maximum block range: {blocks_max}"))
            }
            SandboxError::TooManyLogs { logs_max } => {
                Self::new(LIMIT_EXCEEDED, format!("query returned more than {logs_max} results"))
            }
            SandboxError::FaucetRefused { .. } | SandboxError::FinalBlock { .. } => {
                Self::invalid_params(error)
            }
            SandboxError::Busy { .. } => Self::new(LIMIT_EXCEEDED, error.to_string()),
            SandboxError::OtherChain { .. }
            | SandboxError::OtherGenesis { .. }
            | SandboxError::OtherFormat { .. }
            | SandboxError::InUse
            | SandboxError::Store(_)
            | SandboxError::Stopped => Self::new(INTERNAL_ERROR, error.to_string()),
        }
    }
}

fn reverted(output: &Bytes) -> RpcError {
    let message = match decode_revert_reason(output) {
        // The decoder says what kind of revert it was; nodes answer the reason alone.
        Some(reason) => {
            format!("execution reverted: {}", reason.strip_prefix("revert: ").unwrap_or(&reason))
        }
        None => "execution reverted".to_owned(),
    };
    RpcError { data: Some(hex::encode_prefixed(output)), ..RpcError::new(REVERTED, message) }
}

/// The refusal as geth words it.
fn words(refusal: &TxRefusal) -> String {
    match refusal {
        TxRefusal::Malformed => "rlp: the transaction cannot be decoded".to_owned(),
        TxRefusal::Unsupported { .. } => "transaction type not supported".to_owned(),
        TxRefusal::Unprotected => {
            "only replay-protected (EIP-155) transactions allowed over RPC".to_owned()
        }
        TxRefusal::OtherChain { given, ours } => {
            format!("invalid sender: invalid chain id for signer: have {given} want {ours}")
        }
        TxRefusal::BadSignature => "invalid sender".to_owned(),
        TxRefusal::Known => "already known".to_owned(),
        TxRefusal::Invalid(reason) => invalid(reason),
    }
}

fn invalid(reason: &InvalidTransaction) -> String {
    match reason {
        InvalidTransaction::NonceTooLow { tx, state } => {
            format!("nonce too low: next nonce {state}, tx nonce {tx}")
        }
        InvalidTransaction::NonceTooHigh { tx, state } => {
            format!("nonce too high: next nonce {state}, tx nonce {tx}")
        }
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            let short: U256 = fee.saturating_sub(**balance);
            format!(
                "insufficient funds for gas * price + value: balance {balance}, tx cost {fee}, \
                 overshot {short}"
            )
        }
        InvalidTransaction::GasPriceLessThanBasefee => {
            "max fee per gas less than block base fee".to_owned()
        }
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            "max priority fee per gas higher than max fee per gas".to_owned()
        }
        InvalidTransaction::CallerGasLimitMoreThanBlock => "exceeds block gas limit".to_owned(),
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: gas {gas_limit}, minimum needed {initial_gas}")
        }
        other => other.to_string(),
    }
}
