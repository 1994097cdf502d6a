// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Alone: nothing that is called from inside comes back in.
/// @dev   The mark is in transient storage (EIP-1153): it costs little and is gone with the
///        transaction, whatever happens.
abstract contract Alone {
    bool private transient inside;

    error ReentrancyGuardReentrantCall();

    modifier alone() {
        if (inside) revert ReentrancyGuardReentrantCall();
        inside = true;
        _;
        inside = false;
    }
}
