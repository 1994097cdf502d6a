// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

bytes32 constant DOMAIN_TYPEHASH =
    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

/// What is signed: EIP-712's last step.
function signingHash(bytes32 separator, bytes32 content) pure returns (bytes32) {
    return keccak256(abi.encodePacked("\x19\x01", separator, content));
}
