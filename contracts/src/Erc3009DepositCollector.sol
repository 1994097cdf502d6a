// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DepositCollector} from "./shared/DepositCollector.sol";
import {send} from "./shared/Tokens.sol";

interface Erc3009 {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}

/// @title Erc3009DepositCollector: deposits by the token's own signed authorization.
contract Erc3009DepositCollector is DepositCollector {
    /// `collectorData` is `(uint256 validAfter, uint256 validBefore, uint256 salt, bytes signature)`.
    /// The nonce that the payer signed binds the money to one channel.
    function collect(
        address payer,
        address token,
        uint256 amount,
        bytes32 channelId,
        bytes calldata collectorData
    ) external onlySettlement {
        (uint256 validAfter, uint256 validBefore, uint256 salt, bytes memory signature) =
            abi.decode(collectorData, (uint256, uint256, uint256, bytes));
        bytes32 nonce = keccak256(abi.encode(channelId, salt));
        Erc3009(token).receiveWithAuthorization(
            payer, address(this), amount, validAfter, validBefore, nonce, signature
        );
        send(token, x402BatchSettlement, amount);
    }
}
