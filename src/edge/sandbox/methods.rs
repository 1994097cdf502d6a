//! The methods of Ethereum's JSON-RPC that the sandbox has, and its own: `sandbox_fund`
//! and `sandbox_reorg`.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy::rpc::types::{Filter, TransactionRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::block::BASE_FEE;
use super::rpc::RpcError;
use super::worker::Sandbox;
use super::{answers, logs};

/// Runs one method.
pub(super) async fn dispatch(
    sandbox: &Sandbox,
    method: &str,
    params: Vec<Value>,
) -> Result<Value, RpcError> {
    let params = Params(params);
    match method {
        "eth_chainId" => json(U64::from(sandbox.chain_id())),
        "net_version" => json(sandbox.chain_id().to_string()),
        "web3_clientVersion" => json(concat!("bursar-sandbox/", env!("CARGO_PKG_VERSION"))),
        "web3_sha3" => json(keccak256(params.at::<Bytes>(0)?)),
        "eth_syncing" => json(false),
        "eth_accounts" => json(Vec::<Address>::new()),
        "eth_gasPrice" => json(U256::from(BASE_FEE)),
        "eth_maxPriorityFeePerGas" => json(U256::ZERO),
        "eth_blockNumber" => {
            json(sandbox.look(|chain, _| Ok(U64::from(chain.head().number))).await?)
        }
        "eth_sendRawTransaction" => json(sandbox.send_raw(&params.at::<Bytes>(0)?).await?),
        "sandbox_reorg" => {
            let (blocks, again): (U64, bool) = (params.at(0)?, params.at(1)?);
            json(sandbox.reorganise(blocks.to(), again).await?)
        }
        "sandbox_fund" => json(sandbox.fund(params.at(0)?, params.at(1)?).await?),
        "eth_getBlockByNumber" => {
            let tag: BlockNumberOrTag = params.at(0)?;
            find_block(sandbox, BlockId::Number(tag), params.or_default(1)?).await
        }
        "eth_getBlockByHash" => {
            let hash: B256 = params.at(0)?;
            find_block(sandbox, BlockId::from(hash), params.or_default(1)?).await
        }
        "eth_getTransactionByHash" | "eth_getTransactionReceipt" => {
            find_transaction(sandbox, params.at(0)?, method == "eth_getTransactionReceipt").await
        }
        "eth_getBlockReceipts" => block_receipts(sandbox, params.at(0)?).await,
        "eth_getLogs" => {
            let filter: Filter = params.at(0)?;
            json(sandbox.look(move |chain, _| logs::find(chain, &filter)).await?)
        }
        "eth_feeHistory" => fee_history(sandbox, &params).await,
        _ => state(sandbox, method, params).await,
    }
}

/// The methods that look at the state after a block.
async fn state(sandbox: &Sandbox, method: &str, params: Params) -> Result<Value, RpcError> {
    match method {
        "eth_getBalance" => {
            let (address, at) = (params.at(0)?, params.or_default(1)?);
            let look = sandbox.look(move |chain, _| chain.account(address, chain.number(at)?));
            json(look.await?.balance)
        }
        "eth_getTransactionCount" => {
            let (address, at) = (params.at(0)?, params.or_default(1)?);
            let look = sandbox.look(move |chain, _| chain.account(address, chain.number(at)?));
            json(U64::from(look.await?.nonce))
        }
        "eth_getCode" => {
            let (address, at) = (params.at(0)?, params.or_default(1)?);
            json(sandbox.look(move |chain, _| chain.code(address, chain.number(at)?)).await?)
        }
        "eth_getStorageAt" => {
            let (address, slot, at) = (params.at(0)?, params.at(1)?, params.or_default(2)?);
            let look = sandbox.look(move |chain, _| chain.slot(address, slot, chain.number(at)?));
            json(B256::from(look.await?))
        }
        "eth_call" => {
            params.refuse(2, "state overrides are not supported")?;
            let request: TransactionRequest = params.at(0)?;
            json(sandbox.call(request, params.or_default(1)?).await?)
        }
        "eth_estimateGas" => {
            params.refuse(2, "state overrides are not supported")?;
            let (request, at): (TransactionRequest, BlockId) =
                (params.at(0)?, params.or_default(1)?);
            let look = sandbox.look(move |chain, _| chain.estimate(request, chain.number(at)?));
            json(U64::from(look.await?))
        }
        _ => Err(RpcError::unknown_method(method)),
    }
}

async fn find_block(sandbox: &Sandbox, at: BlockId, full: bool) -> Result<Value, RpcError> {
    let look = sandbox.look(move |chain, _| {
        // A block that is not there is no error here, but nothing.
        let Ok(number) = chain.number(at) else { return Ok(None) };
        Ok(Some(answers::block(&chain.block(number)?, full)))
    });
    json(look.await?)
}

async fn find_transaction(sandbox: &Sandbox, hash: B256, receipt: bool) -> Result<Value, RpcError> {
    let found = sandbox.look(move |chain, _| chain.find_transaction(hash)).await?;
    let Some((block, place)) = found else { return Ok(Value::Null) };
    if receipt {
        return json(answers::receipt(&block, place));
    }
    let index = u64::try_from(place).unwrap_or_default();
    json(block.mined.get(place).map(|mined| answers::transaction(&block, index, mined)))
}

async fn block_receipts(sandbox: &Sandbox, at: BlockId) -> Result<Value, RpcError> {
    let block = sandbox.look(move |chain, _| chain.block(chain.number(at)?)).await?;
    let receipts: Vec<_> =
        (0..block.mined.len()).filter_map(|place| answers::receipt(&block, place)).collect();
    json(receipts)
}

async fn fee_history(sandbox: &Sandbox, params: &Params) -> Result<Value, RpcError> {
    let blocks: U64 = params.at(0)?;
    let newest: BlockNumberOrTag = params.at(1)?;
    let percentiles: Option<Vec<f64>> = params.or_default(2)?;
    let percentiles = percentiles.map(|all| all.len());
    let look = sandbox.look(move |chain, _| {
        let newest = chain.number(BlockId::Number(newest))?;
        answers::fee_history(chain, blocks.to::<u64>(), newest, percentiles)
    });
    json(look.await?)
}

/// A request's positional parameters.
struct Params(Vec<Value>);

impl Params {
    fn at<T: DeserializeOwned>(&self, place: usize) -> Result<T, RpcError> {
        let value = self.0.get(place).cloned();
        let value = value.ok_or_else(|| {
            RpcError::invalid_params(format_args!("missing value for argument {place}"))
        })?;
        serde_json::from_value(value)
            .map_err(|error| RpcError::invalid_params(format_args!("argument {place}: {error}")))
    }

    fn or_default<T: DeserializeOwned + Default>(&self, place: usize) -> Result<T, RpcError> {
        match self.0.get(place) {
            None | Some(Value::Null) => Ok(T::default()),
            Some(_) => self.at(place),
        }
    }

    fn refuse(&self, place: usize, problem: &str) -> Result<(), RpcError> {
        match self.0.get(place) {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(RpcError::invalid_params(problem)),
        }
    }
}

fn json(value: impl Serialize) -> Result<Value, RpcError> {
    Ok(serde_json::to_value(value).expect("what we answer is JSON"))
}
