//! What every sentence about the contracts needs: calls, refusals, signatures and channels.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, Log, U256, hex};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{
    Eip712Domain, Revert, SolCall, SolError, SolEvent, SolStruct, SolValue, eip712_domain,
};
use bursar::domain::asset::Network;
use bursar::domain::x402::batch::funding::{ReceiveWithAuthorization, deposit_nonce};
use bursar::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ChannelConfig, ERC3009_COLLECTOR, Voucher, batch_domain, channel_id,
};
use bursar::domain::x402::permit2::{PERMIT2, Permit};
use bursar::edge::evm::contracts::{
    BatchSettlement, EIP2612Permit, Voucher as VoucherTerms, VoucherClaim, erc3009_collector_data,
};

use crate::chain::{Chain, artifact_code, gas, payee, payer, stranger};

alloy::sol! {
    interface Erc20 {
        function balanceOf(address holder) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function nonces(address owner) external view returns (uint256);
        function approve(address spender, uint256 value) external;
        function mint(address to, uint256 value) external;
        function permit(address owner, address spender, uint256 value, uint256 deadline,
            uint8 v, bytes32 r, bytes32 s) external;
    }
}

/// The shortest delay that a channel may have.
pub const DELAY_S: u64 = 900;

pub struct Scene<'a> {
    pub chain: &'a Chain,
}

impl<'a> Scene<'a> {
    pub fn on(chain: &'a Chain) -> Self {
        Self { chain }
    }

    pub fn token(&self) -> Address {
        self.chain.token
    }

    /// The time of the newest block, in seconds.
    pub async fn now(&self) -> u64 {
        let client = self.chain.client(gas());
        client.get_block_by_number(Default::default()).await.unwrap().unwrap().header.timestamp
    }

    pub async fn read<C: SolCall>(&self, to: Address, call: C) -> C::Return {
        let data = self.ask(gas().address(), to, &call).await.unwrap();
        C::abi_decode_returns(&data).unwrap()
    }

    /// What a call answers, or what it reverts with.
    pub async fn ask(
        &self,
        from: Address,
        to: Address,
        call: &impl SolCall,
    ) -> Result<Bytes, Bytes> {
        self.ask_raw(from, to, call.abi_encode().into()).await
    }

    /// The same, of a call in bytes.
    pub async fn ask_raw(&self, from: Address, to: Address, data: Bytes) -> Result<Bytes, Bytes> {
        let request = TransactionRequest::default().with_from(from).with_to(to).with_input(data);
        self.chain.client(gas()).call(request).await.map_err(|error| {
            let refused = error.as_error_resp().unwrap_or_else(|| panic!("{error}"));
            refused.as_revert_data().unwrap_or_default()
        })
    }

    /// Finds that a call reverts for just this reason.
    pub async fn refused(
        &self,
        from: Address,
        to: Address,
        call: impl SolCall,
        reason: impl SolError,
    ) {
        let data = self.ask(from, to, &call).await.expect_err("it was not refused");
        assert_eq!(data, Bytes::from(reason.abi_encode()));
    }

    /// Finds that a call reverts with these words.
    pub async fn refused_saying(
        &self,
        from: Address,
        to: Address,
        call: impl SolCall,
        words: &str,
    ) {
        self.refused(from, to, call, Revert::from(words)).await;
    }

    /// Sends a call and returns when it is mined.
    pub async fn send(
        &self,
        signer: &PrivateKeySigner,
        to: Address,
        call: impl SolCall,
    ) -> TransactionReceipt {
        self.send_raw(signer, to, call.abi_encode().into()).await
    }

    /// The same, of a call in bytes.
    pub async fn send_raw(
        &self,
        signer: &PrivateKeySigner,
        to: Address,
        data: Bytes,
    ) -> TransactionReceipt {
        let request = TransactionRequest::default().with_to(to).with_input(data);
        self.mined(signer, request).await
    }

    /// Puts a contract on the chain.
    pub async fn deploy(&self, code: impl Into<Bytes>) -> Address {
        let request = TransactionRequest::default().with_deploy_code(code.into());
        self.mined(&stranger(), request).await.contract_address.unwrap()
    }

    /// A token of the stranger's, who has this much of it.
    pub async fn deploy_token(&self, artifact: &str, funds: U256) -> Address {
        let owner = stranger().address();
        let code = artifact_code(artifact, "bytecode");
        let token = self.deploy([code.as_ref(), &owner.abi_encode()].concat()).await;
        self.send(&stranger(), token, Erc20::mintCall { to: owner, value: funds }).await;
        token
    }

    async fn mined(
        &self,
        signer: &PrivateKeySigner,
        request: TransactionRequest,
    ) -> TransactionReceipt {
        let sent = self.chain.client(signer.clone()).send_transaction(request).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status());
        receipt
    }

    pub async fn balance(&self, token: Address, holder: Address) -> u128 {
        self.read(token, Erc20::balanceOfCall { holder }).await.to()
    }

    /// A permit of `owner` for Permit2, signed in the token's domain.
    pub async fn permit(
        &self,
        token: Address,
        domain: &Eip712Domain,
        owner: &PrivateKeySigner,
        value: U256,
        deadline: u64,
    ) -> EIP2612Permit {
        let nonce = self.read(token, Erc20::noncesCall { owner: owner.address() }).await;
        let deadline = U256::from(deadline);
        let content = Permit { owner: owner.address(), spender: PERMIT2, value, nonce, deadline };
        let signature = owner.sign_hash_sync(&content.eip712_signing_hash(domain)).unwrap();
        EIP2612Permit {
            value,
            deadline,
            r: signature.r().into(),
            s: signature.s().into(),
            v: if signature.v() { 28 } else { 27 },
        }
    }

    /// Lets Permit2 move all of the payer's USDC: by a permit, because the payer has no gas.
    pub async fn payer_allows_permit2(&self) {
        let value = U256::MAX;
        let EIP2612Permit { deadline, r, s, v, .. } =
            self.permit(self.token(), &self.usdc(), &payer(), value, self.now().await + 600).await;
        let owner = payer().address();
        let call = Erc20::permitCall { owner, spender: PERMIT2, value, deadline, v, r, s };
        self.send(&gas(), self.token(), call).await;
    }

    /// USDC's own domain.
    pub fn usdc(&self) -> Eip712Domain {
        eip712_domain! {
            name: "USDC",
            version: "2",
            chain_id: Network::SANDBOX.chain_id(),
            verifying_contract: self.token(),
        }
    }

    // Channels.

    /// A channel of the payer's: the stranger signs its vouchers, the gas account its claims.
    pub fn channel(&self, salt: u64) -> ChannelConfig {
        ChannelConfig {
            payer: payer().address(),
            payerAuthorizer: stranger().address(),
            receiver: payee(),
            receiverAuthorizer: gas().address(),
            token: self.token(),
            withdrawDelay: DELAY_S.try_into().unwrap(),
            salt: B256::from(U256::from(salt)),
        }
    }

    /// A deposit by the payer's EIP-3009 authorization, valid for a year.
    pub fn deposit(
        &self,
        config: &ChannelConfig,
        amount: u128,
        salt: u64,
    ) -> BatchSettlement::depositCall {
        let salt = U256::from(salt);
        let before = U256::from(crate::chain::now_s() + 31_536_000);
        let content = ReceiveWithAuthorization {
            from: config.payer,
            to: ERC3009_COLLECTOR,
            value: U256::from(amount),
            validAfter: U256::ZERO,
            validBefore: before,
            nonce: deposit_nonce(name(config), salt),
        };
        let signature = sign(&payer(), &content, &self.usdc());
        BatchSettlement::depositCall {
            config: config.into(),
            amount,
            collector: ERC3009_COLLECTOR,
            collectorData: erc3009_collector_data(U256::ZERO, before, salt, &signature),
        }
    }

    /// Opens a channel with so much in it.
    pub async fn open(&self, salt: u64, amount: u128) -> ChannelConfig {
        let config = self.channel(salt);
        self.send(&gas(), BATCH_SETTLEMENT, self.deposit(&config, amount, 0)).await;
        config
    }

    /// What came in less what went back, and what was claimed.
    pub async fn state(&self, config: &ChannelConfig) -> (u128, u128) {
        let channel = name(config);
        let call = BatchSettlement::channelsCall { channelId: channel };
        let state = self.read(BATCH_SETTLEMENT, call).await;
        (state.balance, state.totalClaimed)
    }

    /// What will be taken back, and since when it is asked for.
    pub async fn pending(&self, config: &ChannelConfig) -> (u128, u64) {
        let call = BatchSettlement::pendingWithdrawalsCall { channelId: name(config) };
        let pending = self.read(BATCH_SETTLEMENT, call).await;
        (pending.amount, pending.initiatedAt.to())
    }
}

/// The channel's name on these chains.
pub fn name(config: &ChannelConfig) -> B256 {
    channel_id(config, Network::SANDBOX)
}

pub fn sign(signer: &PrivateKeySigner, content: &impl SolStruct, domain: &Eip712Domain) -> Bytes {
    let signature = signer.sign_hash_sync(&content.eip712_signing_hash(domain)).unwrap();
    signature.as_bytes().into()
}

/// Signs something that the channels' contract reads.
pub fn sign_batch(signer: &PrivateKeySigner, content: &impl SolStruct) -> Bytes {
    sign(signer, content, &batch_domain(Network::SANDBOX))
}

/// A row of a claim: a voucher for `most`, of which `total` is claimed.
pub fn row(
    config: &ChannelConfig,
    signer: &PrivateKeySigner,
    most: u128,
    total: u128,
) -> VoucherClaim {
    let content = Voucher { channelId: name(config), maxClaimableAmount: most };
    VoucherClaim {
        voucher: VoucherTerms { channel: config.into(), maxClaimableAmount: most },
        signature: sign_batch(signer, &content),
        totalClaimed: total,
    }
}

/// The events of one kind that a contract emitted, in order.
pub fn events<E: SolEvent>(receipt: &TransactionReceipt, from: Address) -> Vec<E> {
    let logs = receipt.logs().iter().filter(|log| log.address() == from);
    logs.filter_map(|log| E::decode_log(&log.inner).ok()).map(|Log { data, .. }| data).collect()
}

/// Finds that a contract emitted this event, and of its kind no other.
pub fn told_just<E: SolEvent + PartialEq + std::fmt::Debug>(
    receipt: &TransactionReceipt,
    from: Address,
    event: E,
) {
    assert_eq!(events::<E>(receipt, from), [event]);
}

/// Code of a contract that answers nothing to whatever it is asked: STOP.
pub const SILENT: [u8; 1] = hex!("00");

/// Code of one that answers with a word of zeros: PUSH1 20, PUSH0, RETURN.
pub const REFUSING: [u8; 4] = hex!("60205ff3");

/// Code of one that says of every signature that it is its own (EIP-1271): PUSH4 1626ba7e, PUSH1 e0,
/// SHL, PUSH0, MSTORE, and then the same.
pub const AGREEABLE: [u8; 14] = hex!("631626ba7e60e01b5f5260205ff3");

/// Init code of a contract with this code.
pub fn init(runtime: &[u8]) -> Bytes {
    let length = u8::try_from(runtime.len()).unwrap();
    // PUSH1 length, PUSH1 10, PUSH0, CODECOPY, PUSH1 length, PUSH0, RETURN
    let init = [0x60, length, 0x60, 10, 0x5f, 0x39, 0x60, length, 0x5f, 0xf3];
    [init.as_slice(), runtime].concat().into()
}
