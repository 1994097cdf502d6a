// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

// What a factory may use, in gas: twice what wallets in use were seen to.
uint256 constant MAKING_GAS_MAX = 800000;

/// Has `factory` make `wallet` where it is not there, and says whether it is there now. What the factory
/// says of it plays no part, and none of its answer is copied. Source: EIP-6492.
function isThere(address wallet, address factory, bytes memory making) returns (bool) {
    if (wallet.code.length > 0) return true;
    assembly ("memory-safe") {
        pop(call(MAKING_GAS_MAX, factory, 0, add(making, 0x20), mload(making), 0, 0))
    }
    return wallet.code.length > 0;
}
