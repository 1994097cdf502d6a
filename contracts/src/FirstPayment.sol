// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {isThere} from "./shared/Making.sol";
import {rethrow} from "./shared/Tokens.sol";

/// @title FirstPayment: makes a wallet and pays from it, both or neither.
/// @notice All of it is in the constructor, and nothing of it stays: whoever sends it lends the factory
///         no name of its own, and what is tried out is to the byte what is sent.
contract FirstPayment {
    /// The factory did not make the wallet that the payer signed for.
    error WalletNotMade();

    constructor(
        address wallet,
        address factory,
        bytes memory making,
        address token,
        bytes memory payment
    ) {
        if (!isThere(wallet, factory, making)) revert WalletNotMade();
        (bool success, bytes memory answer) = token.call(payment);
        if (!success) rethrow(answer);
        assembly ("memory-safe") {
            return(0, 0)
        }
    }
}
