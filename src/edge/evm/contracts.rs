//! The contracts of x402 as a client calls them: Permit2, its two spenders, and the channels with
//! their collectors. Functions, events and errors are those of the deployed ones, which are at the
//! same addresses on every chain; contracts/README.md lists their selectors.
//!
//! What is signed for them is the domain's. Nothing here calls anything.
//! Source: Uniswap Permit2 `ISignatureTransfer`; x402 schemes `exact`, `upto` and `batch-settlement` on
//! EVM.

use alloy::primitives::{Bytes, U256};
use alloy::sol_types::SolValue;

use crate::domain::x402::batch::typed;
use crate::ports::channel_rail::ClaimRow;

alloy::sol! {
    /// Which token, and the most of it, in atomic units.
    #[derive(Debug, PartialEq, Eq)]
    struct TokenPermissions { address token; uint256 amount; }

    /// What an owner signed, beside the spender.
    #[derive(Debug, PartialEq, Eq)]
    struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }

    /// What a spender asks for.
    #[derive(Debug, PartialEq, Eq)]
    struct SignatureTransferDetails { address to; uint256 requestedAmount; }

    /// A token's own permit, for Permit2, by its owner.
    #[derive(Debug, PartialEq, Eq)]
    struct EIP2612Permit { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }

    /// The witness of `exact`.
    #[derive(Debug, PartialEq, Eq)]
    struct ExactWitness { address to; uint256 validAfter; }

    /// The witness of `upto`.
    #[derive(Debug, PartialEq, Eq)]
    struct UptoWitness { address to; address facilitator; uint256 validAfter; }

    /// Who may do what in one channel.
    #[derive(Debug, PartialEq, Eq)]
    struct ChannelConfig {
        address payer; address payerAuthorizer; address receiver; address receiverAuthorizer;
        address token; uint40 withdrawDelay; bytes32 salt;
    }

    /// A voucher with its channel written out.
    #[derive(Debug, PartialEq, Eq)]
    struct Voucher { ChannelConfig channel; uint128 maxClaimableAmount; }

    /// One row of a claim; `totalClaimed` is the sum after it.
    #[derive(Debug, PartialEq, Eq)]
    struct VoucherClaim { Voucher voucher; bytes signature; uint128 totalClaimed; }

    /// Permit2.
    #[derive(Debug, PartialEq, Eq)]
    interface Permit2 {
        event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);

        error SignatureExpired(uint256 signatureDeadline);
        error InvalidAmount(uint256 maxAmount);
        error InvalidNonce();
        error InvalidSignatureLength();
        error InvalidSignature();
        error InvalidSigner();
        error InvalidContractSignature();

        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function nonceBitmap(address owner, uint256 word) external view returns (uint256);
        function permitTransferFrom(PermitTransferFrom permit,
            SignatureTransferDetails transferDetails, address owner, bytes signature) external;
        function permitWitnessTransferFrom(PermitTransferFrom permit,
            SignatureTransferDetails transferDetails, address owner, bytes32 witness,
            string witnessTypeString, bytes signature) external;
        function invalidateUnorderedNonces(uint256 wordPos, uint256 mask) external;
    }

    /// The spender of `exact`.
    #[derive(Debug, PartialEq, Eq)]
    interface ExactProxy {
        event Settled();
        event SettledWithPermit();
        event EIP2612PermitFailedWithReason(address indexed token, address indexed owner, string reason);
        event EIP2612PermitFailedWithPanic(address indexed token, address indexed owner, uint256 errorCode);
        event EIP2612PermitFailedWithData(address indexed token, address indexed owner, bytes data);

        error InvalidAmount();
        error InvalidOwner();
        error InvalidDestination();
        error PaymentTooEarly();
        error Permit2612AmountMismatch();
        error ReentrancyGuardReentrantCall();

        function PERMIT2() external view returns (address);
        function WITNESS_TYPEHASH() external view returns (bytes32);
        function WITNESS_TYPE_STRING() external view returns (string);
        function settle(PermitTransferFrom permit, address owner, ExactWitness witness,
            bytes signature) external;
        function settleWithPermit(EIP2612Permit permit2612, PermitTransferFrom permit,
            address owner, ExactWitness witness, bytes signature) external;
    }

    /// The spender of `upto`.
    #[derive(Debug, PartialEq, Eq)]
    interface UptoProxy {
        event Settled();
        event SettledWithPermit();
        event EIP2612PermitFailedWithReason(address indexed token, address indexed owner, string reason);
        event EIP2612PermitFailedWithPanic(address indexed token, address indexed owner, uint256 errorCode);
        event EIP2612PermitFailedWithData(address indexed token, address indexed owner, bytes data);

        error UnauthorizedFacilitator();
        error AmountExceedsPermitted();
        error InvalidAmount();
        error InvalidOwner();
        error InvalidDestination();
        error PaymentTooEarly();
        error Permit2612AmountMismatch();
        error ReentrancyGuardReentrantCall();

        function PERMIT2() external view returns (address);
        function WITNESS_TYPEHASH() external view returns (bytes32);
        function WITNESS_TYPE_STRING() external view returns (string);
        function settle(PermitTransferFrom permit, uint256 amount, address owner,
            UptoWitness witness, bytes signature) external;
        function settleWithPermit(EIP2612Permit permit2612, PermitTransferFrom permit,
            uint256 amount, address owner, UptoWitness witness, bytes signature) external;
    }

    /// The contract that holds the channels.
    #[derive(Debug, PartialEq, Eq)]
    interface BatchSettlement {
        event ChannelCreated(bytes32 indexed channelId, ChannelConfig config);
        event ChannelClosed(bytes32 indexed channelId, ChannelConfig config);
        event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance);
        event Claimed(bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed);
        event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
        event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);
        event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);
        event WithdrawFinalized(bytes32 indexed channelId, address indexed sender, uint128 amount);

        error InvalidChannel();
        error ZeroDeposit();
        error DepositOverflow();
        error InvalidSignature();
        error NotReceiverAuthorizer();
        error NotAuthorizedToClaim();
        error NotAuthorizedToRefund();
        error ClaimExceedsCeiling();
        error ClaimExceedsBalance();
        error WithdrawalAlreadyPending();
        error WithdrawalNotPending();
        error NotAuthorizedToFinalizeWithdraw();
        error WithdrawDelayNotElapsed();
        error NothingToWithdraw();
        error WithdrawAmountExceedsAvailable();
        error WithdrawDelayOutOfRange();
        error EmptyBatch();
        error DepositCollectionFailed();
        error InvalidCollector();
        error InvalidRefundNonce();
        error ZeroRefund();
        error ReentrancyGuardReentrantCall();
        error ECDSAInvalidSignature();
        error ECDSAInvalidSignatureLength(uint256 length);
        error ECDSAInvalidSignatureS(bytes32 s);
        error SafeERC20FailedOperation(address token);

        function deposit(ChannelConfig config, uint128 amount, address collector,
            bytes collectorData) external;
        function claim(VoucherClaim[] voucherClaims) external;
        function claimWithSignature(VoucherClaim[] voucherClaims, bytes authorizerSignature) external;
        function settle(address receiver, address token) external;
        function initiateWithdraw(ChannelConfig config, uint128 amount) external;
        function finalizeWithdraw(ChannelConfig config) external;
        function refund(ChannelConfig config, uint128 amount) external;
        function refundWithSignature(ChannelConfig config, uint128 amount, uint256 nonce,
            bytes receiverAuthorizerSignature) external;
        function multicall(bytes[] data) external returns (bytes[] results);
        function getChannelId(ChannelConfig config) external view returns (bytes32);
        function channels(bytes32 channelId) external view
            returns (uint128 balance, uint128 totalClaimed);
        function pendingWithdrawals(bytes32 channelId) external view
            returns (uint128 amount, uint40 initiatedAt);
        function receivers(address receiver, address token) external view
            returns (uint128 totalClaimed, uint128 totalSettled);
        function refundNonce(bytes32 channelId) external view returns (uint256);
        function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) external view
            returns (bytes32);
        function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) external view
            returns (bytes32);
        function getClaimBatchDigest(VoucherClaim[] voucherClaims) external view returns (bytes32);
        function CHANNEL_CONFIG_TYPEHASH() external view returns (bytes32);
        function VOUCHER_TYPEHASH() external view returns (bytes32);
        function REFUND_TYPEHASH() external view returns (bytes32);
        function CLAIM_ENTRY_TYPEHASH() external view returns (bytes32);
        function CLAIM_BATCH_TYPEHASH() external view returns (bytes32);
        function MIN_WITHDRAW_DELAY() external view returns (uint40);
        function MAX_WITHDRAW_DELAY() external view returns (uint40);
        function eip712Domain() external view returns (bytes1 fields, string name, string version,
            uint256 chainId, address verifyingContract, bytes32 salt, uint256[] extensions);
    }

    /// What brings a deposit; both collectors have it.
    #[derive(Debug, PartialEq, Eq)]
    interface Collector {
        error OnlyX402BatchSettlement();
        error Permit2612AmountMismatch();
        error SafeERC20FailedOperation(address token);

        function collect(address payer, address token, uint256 amount, bytes32 channelId,
            bytes collectorData) external;
        function x402BatchSettlement() external view returns (address);
    }
}

impl From<&typed::ChannelConfig> for ChannelConfig {
    fn from(config: &typed::ChannelConfig) -> Self {
        Self {
            payer: config.payer,
            payerAuthorizer: config.payerAuthorizer,
            receiver: config.receiver,
            receiverAuthorizer: config.receiverAuthorizer,
            token: config.token,
            withdrawDelay: config.withdrawDelay,
            salt: config.salt,
        }
    }
}

impl From<&ChannelConfig> for typed::ChannelConfig {
    fn from(config: &ChannelConfig) -> Self {
        Self {
            payer: config.payer,
            payerAuthorizer: config.payerAuthorizer,
            receiver: config.receiver,
            receiverAuthorizer: config.receiverAuthorizer,
            token: config.token,
            withdrawDelay: config.withdrawDelay,
            salt: config.salt,
        }
    }
}

impl From<&ClaimRow> for VoucherClaim {
    fn from(row: &ClaimRow) -> Self {
        let channel = (&typed::config_of(&row.terms)).into();
        Self {
            voucher: Voucher { channel, maxClaimableAmount: row.ceiling.get() },
            signature: row.signature.to_bytes(),
            totalClaimed: row.total.get(),
        }
    }
}

/// What the EIP-3009 collector reads: the payer's authorization, without what the deposit says already.
pub fn erc3009_collector_data(
    valid_after: U256,
    valid_before: U256,
    salt: U256,
    signature: &Bytes,
) -> Bytes {
    (valid_after, valid_before, salt, signature.clone()).abi_encode_params().into()
}

/// What the Permit2 collector reads. `sponsored` is the payer's EIP-2612 permit for Permit2, handed in
/// first; its value has to be the deposit's amount.
pub fn permit2_collector_data(
    nonce: U256,
    deadline: U256,
    signature: &Bytes,
    sponsored: Option<&EIP2612Permit>,
) -> Bytes {
    let permit = sponsored.map_or_else(Bytes::new, |permit| {
        let EIP2612Permit { value, deadline, r, s, v } = permit;
        (*value, *deadline, U256::from(*v), *r, *s).abi_encode_params().into()
    });
    (nonce, deadline, signature.clone(), permit).abi_encode_params().into()
}
