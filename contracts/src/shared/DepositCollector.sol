// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

// Where the batch settlement is, on every chain.
address constant BATCH_SETTLEMENT_ADDRESS = 0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003;

/// @title Collector: brings a deposit from a payer to the contract that calls it.
interface Collector {
    function collect(
        address payer,
        address token,
        uint256 amount,
        bytes32 channelId,
        bytes calldata collectorData
    ) external;
}

/// @title DepositCollector: a collector that works for the batch settlement alone.
abstract contract DepositCollector is Collector {
    address public constant x402BatchSettlement = BATCH_SETTLEMENT_ADDRESS;

    error OnlyX402BatchSettlement();

    /// Without this, anyone who sees a payer's signature could take the deposit into a call of
    /// their own: the signature names this collector, not the settlement.
    modifier onlySettlement() {
        if (msg.sender != x402BatchSettlement) revert OnlyX402BatchSettlement();
        _;
    }
}
