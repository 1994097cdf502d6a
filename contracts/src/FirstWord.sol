// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {isThere} from "./shared/Making.sol";
import {ContractWallet} from "./shared/Signers.sol";

/// @title FirstWord: what a wallet says of a signature that may have to be made first.
/// @notice Never sent, only tried out: what it would leave as its code is the answer, 0 where there is no
///         wallet, 1 where it did not sign, 2 where it did.
contract FirstWord {
    constructor(
        address wallet,
        address factory,
        bytes memory making,
        bytes32 digest,
        bytes memory signature
    ) {
        uint256 said = 0;
        if (isThere(wallet, factory, making)) {
            said = vouches(wallet, digest, signature) ? 2 : 1;
        }
        assembly ("memory-safe") {
            mstore(0, said)
            return(0, 0x20)
        }
    }

    /// Only as much of the answer is copied as is read.
    function vouches(address wallet, bytes32 digest, bytes memory signature) private view returns (bool good) {
        bytes memory question = abi.encodeCall(ContractWallet.isValidSignature, (digest, signature));
        bytes32 answer;
        assembly ("memory-safe") {
            good := staticcall(gas(), wallet, add(question, 0x20), mload(question), 0, 0x20)
            good := and(good, gt(returndatasize(), 0x1f))
            answer := mload(0)
        }
        return good && answer == bytes32(ContractWallet.isValidSignature.selector);
    }
}
