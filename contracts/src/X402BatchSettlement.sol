// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Alone} from "./shared/Alone.sol";
import {Collector} from "./shared/DepositCollector.sol";
import {DOMAIN_TYPEHASH, signingHash} from "./shared/Eip712.sol";
import {isSignedBy, signerOf} from "./shared/Signers.sol";
import {Erc20, rethrow, send} from "./shared/Tokens.sol";

/// @title X402BatchSettlement: channels of x402's scheme `batch-settlement`.
/// @notice A payer deposits once, then signs vouchers off chain, each for a greater sum than the
///         last. The receiver claims the newest voucher of many channels in one transaction, and
///         takes what was claimed from all of them in one transfer. What was not claimed goes back
///         at once where the receiver agrees, and after a delay where it does not.
/// @dev    What holds at all times, for each channel: claimed <= balance, and claimed never falls.
///         For each token: what this contract owns is at least the sum, over the channels, of
///         balance, less what was settled. Selectors, events, errors and signed types are those of
///         the deployed contract.
contract X402BatchSettlement is Alone {
    /// Who may do what in one channel. Its hash is the channel's name: to change any of it is to
    /// speak of another channel.
    struct ChannelConfig {
        address payer;
        /// The key that signs vouchers; where it is zero, the payer itself does.
        address payerAuthorizer;
        address receiver;
        address receiverAuthorizer;
        address token;
        /// In seconds.
        uint40 withdrawDelay;
        bytes32 salt;
    }

    /// `balance` is what came in less what went back; what was claimed is still in it.
    struct ChannelState {
        uint128 balance;
        uint128 totalClaimed;
    }

    struct WithdrawalState {
        uint128 amount;
        uint40 initiatedAt;
    }

    struct ReceiverState {
        uint128 totalClaimed;
        uint128 totalSettled;
    }

    struct Voucher {
        ChannelConfig channel;
        uint128 maxClaimableAmount;
    }

    /// `totalClaimed` is the sum after the claim, not what it adds: a claim that comes twice does
    /// nothing the second time.
    struct VoucherClaim {
        Voucher voucher;
        bytes signature;
        uint128 totalClaimed;
    }

    uint40 public constant MIN_WITHDRAW_DELAY = 15 minutes;
    uint40 public constant MAX_WITHDRAW_DELAY = 30 days;

    bytes32 public constant CHANNEL_CONFIG_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 public constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");
    bytes32 public constant REFUND_TYPEHASH =
        keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)");
    bytes32 public constant CLAIM_ENTRY_TYPEHASH = keccak256(
        "ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
    );
    bytes32 public constant CLAIM_BATCH_TYPEHASH = keccak256(
        "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
    );

    string private constant NAME = "x402 Batch Settlement";
    string private constant VERSION = "1";

    event ChannelCreated(bytes32 indexed channelId, ChannelConfig config);
    event ChannelClosed(bytes32 indexed channelId, ChannelConfig config);
    event Deposited(
        bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance
    );
    event Claimed(
        bytes32 indexed channelId,
        address indexed sender,
        uint128 claimAmount,
        uint128 newTotalClaimed
    );
    event Settled(
        address indexed receiver, address indexed token, address indexed sender, uint128 amount
    );
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

    mapping(bytes32 channelId => ChannelState) public channels;
    mapping(bytes32 channelId => WithdrawalState) public pendingWithdrawals;
    mapping(bytes32 channelId => uint256) public refundNonce;
    mapping(address receiver => mapping(address token => ReceiverState)) public receivers;

    // ---- Money in ----

    /// Adds `amount` to a channel; the first deposit opens it. Anybody may bring the payer's word:
    /// it is the collector that has to get the money.
    function deposit(
        ChannelConfig calldata config,
        uint128 amount,
        address collector,
        bytes calldata collectorData
    ) external alone {
        if (amount == 0) revert ZeroDeposit();
        if (collector == address(0)) revert InvalidCollector();
        _checkConfig(config);
        bytes32 id = _channelId(config, _separator());
        ChannelState memory before = channels[id];
        if (amount > type(uint128).max - before.balance) revert DepositOverflow();
        uint128 balance = before.balance + amount;
        channels[id].balance = balance;

        // Nobody but the token knows what came: neither the collector nor the amount is believed.
        uint256 owned = Erc20(config.token).balanceOf(address(this));
        Collector(collector).collect(config.payer, config.token, amount, id, collectorData);
        if (Erc20(config.token).balanceOf(address(this)) < owned + amount) {
            revert DepositCollectionFailed();
        }
        if (before.balance == 0 && before.totalClaimed == 0) emit ChannelCreated(id, config);
        emit Deposited(id, msg.sender, amount, balance);
    }

    // ---- The receiver's side ----

    /// Claims many vouchers; the caller is the receiver or its authorizer, in every row.
    function claim(VoucherClaim[] calldata voucherClaims) external alone {
        if (voucherClaims.length == 0) revert EmptyBatch();
        bytes32 separator = _separator();
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            VoucherClaim calldata row = voucherClaims[i];
            if (!_isReceiverSide(row.voucher.channel)) revert NotAuthorizedToClaim();
            _claim(row, _channelId(row.voucher.channel, separator), separator);
        }
    }

    /// Claims many vouchers by the word of the one authorizer whom all rows name.
    function claimWithSignature(
        VoucherClaim[] calldata voucherClaims,
        bytes calldata authorizerSignature
    ) external alone {
        if (voucherClaims.length == 0) revert EmptyBatch();
        address authorizer = voucherClaims[0].voucher.channel.receiverAuthorizer;
        for (uint256 i = 1; i < voucherClaims.length; ++i) {
            if (voucherClaims[i].voucher.channel.receiverAuthorizer != authorizer) {
                revert NotReceiverAuthorizer();
            }
        }
        bytes32 separator = _separator();
        bytes32[] memory ids = _channelIds(voucherClaims, separator);
        bytes32 digest = signingHash(separator, _batchHash(voucherClaims, ids));
        if (!isSignedBy(authorizer, digest, authorizerSignature)) revert InvalidSignature();
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            _claim(voucherClaims[i], ids[i], separator);
        }
    }

    /// Pays a receiver what was claimed for it and not yet paid, from all its channels at once.
    /// Anybody may call; where there is nothing, nothing happens.
    function settle(address receiver, address token) external alone {
        ReceiverState memory state = receivers[receiver][token];
        uint128 amount = state.totalClaimed - state.totalSettled;
        if (amount == 0) return;
        receivers[receiver][token].totalSettled = state.totalClaimed;
        emit Settled(receiver, token, msg.sender, amount);
        send(token, receiver, amount);
    }

    /// Gives `amount` of what was not claimed back to the payer, or all of it where that is less.
    function refund(ChannelConfig calldata config, uint128 amount) external alone {
        if (!_isReceiverSide(config)) revert NotAuthorizedToRefund();
        _refund(config, _channelId(config, _separator()), amount);
    }

    /// The same by the authorizer's word. `nonce` is the channel's next.
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external alone {
        bytes32 separator = _separator();
        bytes32 id = _channelId(config, separator);
        if (nonce != refundNonce[id]) revert InvalidRefundNonce();
        bytes32 digest = signingHash(separator, _refundHash(id, nonce, amount));
        if (!isSignedBy(config.receiverAuthorizer, digest, receiverAuthorizerSignature)) {
            revert InvalidSignature();
        }
        _refund(config, id, amount);
    }

    // ---- The payer's way out ----

    /// Announces that `amount` will be taken back. Until the delay is over, the receiver can claim
    /// what it holds vouchers for.
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external alone {
        if (!_isPayerSide(config)) revert InvalidChannel();
        if (amount == 0) revert NothingToWithdraw();
        bytes32 id = _channelId(config, _separator());
        WithdrawalState storage pending = pendingWithdrawals[id];
        if (pending.initiatedAt != 0) revert WithdrawalAlreadyPending();
        ChannelState memory state = channels[id];
        if (amount > state.balance - state.totalClaimed) revert WithdrawAmountExceedsAvailable();
        uint40 now_ = uint40(block.timestamp);
        pending.amount = amount;
        pending.initiatedAt = now_;
        emit WithdrawInitiated(id, amount, now_ + config.withdrawDelay);
    }

    /// Takes back what was announced, as far as it was not claimed meanwhile. The money goes to the
    /// payer, whoever calls.
    function finalizeWithdraw(ChannelConfig calldata config) external alone {
        if (!_isPayerSide(config)) revert NotAuthorizedToFinalizeWithdraw();
        bytes32 id = _channelId(config, _separator());
        WithdrawalState memory pending = pendingWithdrawals[id];
        if (pending.initiatedAt == 0) revert WithdrawalNotPending();
        if (block.timestamp < uint256(pending.initiatedAt) + config.withdrawDelay) {
            revert WithdrawDelayNotElapsed();
        }
        delete pendingWithdrawals[id];
        ChannelState memory state = channels[id];
        uint128 amount = _lesser(pending.amount, state.balance - state.totalClaimed);
        state.balance -= amount;
        channels[id].balance = state.balance;
        emit WithdrawFinalized(id, msg.sender, amount);
        _tellIfClosed(state, id, config);
        if (amount > 0) send(config.token, config.payer, amount);
    }

    /// Several calls in one transaction, all or none. Each is the caller's own.
    function multicall(bytes[] calldata data) external returns (bytes[] memory results) {
        results = new bytes[](data.length);
        for (uint256 i = 0; i < data.length; ++i) {
            (bool success, bytes memory answer) = address(this).delegatecall(data[i]);
            if (!success) rethrow(answer);
            results[i] = answer;
        }
    }

    // ---- Names and digests ----

    function getChannelId(ChannelConfig calldata config) external view returns (bytes32) {
        return _channelId(config, _separator());
    }

    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount)
        external
        view
        returns (bytes32)
    {
        return signingHash(_separator(), _voucherHash(channelId, maxClaimableAmount));
    }

    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount)
        external
        view
        returns (bytes32)
    {
        return signingHash(_separator(), _refundHash(channelId, nonce, amount));
    }

    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims)
        external
        view
        returns (bytes32)
    {
        bytes32 separator = _separator();
        bytes32[] memory ids = _channelIds(voucherClaims, separator);
        return signingHash(separator, _batchHash(voucherClaims, ids));
    }

    /// Source: EIP-5267.
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (0x0f, NAME, VERSION, block.chainid, address(this), 0, new uint256[](0));
    }

    // ---- Inside ----

    function _claim(VoucherClaim calldata row, bytes32 id, bytes32 separator) private {
        ChannelState memory state = channels[id];
        uint128 total = row.totalClaimed;
        // An old voucher in a batch must not spoil the others.
        if (total <= state.totalClaimed) return;
        uint128 most = row.voucher.maxClaimableAmount;
        if (total > most) revert ClaimExceedsCeiling();
        if (total > state.balance) revert ClaimExceedsBalance();

        ChannelConfig calldata config = row.voucher.channel;
        bytes32 digest = signingHash(separator, _voucherHash(id, most));
        bool signed = config.payerAuthorizer == address(0)
            ? isSignedBy(config.payer, digest, row.signature)
            : signerOf(digest, row.signature) == config.payerAuthorizer;
        if (!signed) revert InvalidSignature();

        uint128 amount = total - state.totalClaimed;
        channels[id].totalClaimed = total;
        receivers[config.receiver][config.token].totalClaimed += amount;
        emit Claimed(id, msg.sender, amount, total);
    }

    function _refund(ChannelConfig calldata config, bytes32 id, uint128 amount) private {
        if (amount == 0) revert ZeroRefund();
        // First, and whatever follows: a word that was used to give nothing back must not come
        // again after the next deposit.
        ++refundNonce[id];
        ChannelState memory state = channels[id];
        amount = _lesser(amount, state.balance - state.totalClaimed);
        if (amount == 0) return;
        state.balance -= amount;
        channels[id].balance = state.balance;
        _shortenWithdrawal(id, amount);
        emit Refunded(id, msg.sender, amount);
        _tellIfClosed(state, id, config);
        send(config.token, config.payer, amount);
    }

    /// What came back already is not taken back again; the delay goes on.
    function _shortenWithdrawal(bytes32 id, uint128 refunded) private {
        WithdrawalState memory pending = pendingWithdrawals[id];
        if (pending.initiatedAt == 0) return;
        if (refunded >= pending.amount) delete pendingWithdrawals[id];
        else pendingWithdrawals[id].amount = pending.amount - refunded;
    }

    function _tellIfClosed(ChannelState memory state, bytes32 id, ChannelConfig calldata config)
        private
    {
        if (state.balance == 0 && state.totalClaimed == 0) emit ChannelClosed(id, config);
    }

    function _checkConfig(ChannelConfig calldata config) private pure {
        bool complete = config.payer != address(0) && config.receiver != address(0)
            && config.receiverAuthorizer != address(0) && config.token != address(0);
        if (!complete) revert InvalidChannel();
        uint40 delay = config.withdrawDelay;
        if (delay < MIN_WITHDRAW_DELAY || delay > MAX_WITHDRAW_DELAY) {
            revert WithdrawDelayOutOfRange();
        }
    }

    function _isReceiverSide(ChannelConfig calldata config) private view returns (bool) {
        return msg.sender == config.receiver || msg.sender == config.receiverAuthorizer;
    }

    function _isPayerSide(ChannelConfig calldata config) private view returns (bool) {
        return msg.sender == config.payer || msg.sender == config.payerAuthorizer;
    }

    /// Computed at each call, so that it is right wherever this code is put.
    function _separator() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256(bytes(NAME)),
                keccak256(bytes(VERSION)),
                block.chainid,
                address(this)
            )
        );
    }

    function _channelId(ChannelConfig calldata config, bytes32 separator)
        private
        pure
        returns (bytes32)
    {
        return signingHash(separator, keccak256(abi.encode(CHANNEL_CONFIG_TYPEHASH, config)));
    }

    function _channelIds(VoucherClaim[] calldata rows, bytes32 separator)
        private
        pure
        returns (bytes32[] memory ids)
    {
        ids = new bytes32[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            ids[i] = _channelId(rows[i].voucher.channel, separator);
        }
    }

    function _voucherHash(bytes32 id, uint128 most) private pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER_TYPEHASH, id, most));
    }

    function _refundHash(bytes32 id, uint256 nonce, uint128 amount) private pure returns (bytes32) {
        return keccak256(abi.encode(REFUND_TYPEHASH, id, nonce, amount));
    }

    function _batchHash(VoucherClaim[] calldata rows, bytes32[] memory ids)
        private
        pure
        returns (bytes32)
    {
        bytes32[] memory entries = new bytes32[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            entries[i] = keccak256(
                abi.encode(
                    CLAIM_ENTRY_TYPEHASH,
                    ids[i],
                    rows[i].voucher.maxClaimableAmount,
                    rows[i].totalClaimed
                )
            );
        }
        return keccak256(abi.encode(CLAIM_BATCH_TYPEHASH, keccak256(abi.encodePacked(entries))));
    }

    function _lesser(uint128 one, uint128 other) private pure returns (uint128) {
        return one < other ? one : other;
    }
}
