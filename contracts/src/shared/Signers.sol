// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

error ECDSAInvalidSignature();
error ECDSAInvalidSignatureLength(uint256 length);
error ECDSAInvalidSignatureS(bytes32 s);

// Half of the curve's order: of the two signatures that recover to one signer, only the one with
// `s` at or below this is taken.
uint256 constant S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

interface ContractWallet {
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4);
}

/// The key that made `signature`: 65 bytes, r, s and v. It reverts for what nobody can have made.
function signerOf(bytes32 digest, bytes calldata signature) pure returns (address signer) {
    if (signature.length != 65) revert ECDSAInvalidSignatureLength(signature.length);
    bytes32 s = bytes32(signature[32:64]);
    if (uint256(s) > S_MAX) revert ECDSAInvalidSignatureS(s);
    signer = ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), s);
    if (signer == address(0)) revert ECDSAInvalidSignature();
}

/// Whether `account` signed: by its key, or, where it is a contract, by its own word (EIP-1271).
/// It does not revert: what cannot be read was not signed.
function isSignedBy(address account, bytes32 digest, bytes calldata signature) view returns (bool) {
    if (account.code.length > 0) return vouchedBy(account, digest, signature);
    if (signature.length != 65) return false;
    bytes32 s = bytes32(signature[32:64]);
    if (uint256(s) > S_MAX) return false;
    address signer = ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), s);
    // The precompile answers zero for what it cannot recover.
    return signer != address(0) && signer == account;
}

/// Whether the contract `wallet` says that it signed.
function vouchedBy(address wallet, bytes32 digest, bytes calldata signature) view returns (bool) {
    (bool success, bytes memory answer) =
        wallet.staticcall(abi.encodeCall(ContractWallet.isValidSignature, (digest, signature)));
    return success && answer.length >= 32
        && abi.decode(answer, (bytes32)) == bytes32(ContractWallet.isValidSignature.selector);
}
