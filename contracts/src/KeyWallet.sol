// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ContractWallet, signerOf} from "./shared/Signers.sol";

/// @title KeyWallet: a wallet that is a contract, and says that what its owner's key signed is signed by it.
/// @dev    For tests only.
contract KeyWallet is ContractWallet {
    address public immutable owner;
    /// Whether no signature counts any more: what was good when it was looked at may not be later.
    bool public closed;
    /// Whether a signature counts only where nobody pays for gas: where it is tried out.
    bool public wavering;
    /// How much gas its word costs beside what it needs.
    uint256 public greed;

    constructor(address owner_) {
        owner = owner_;
    }

    /// @notice From here on no signature counts.
    function close() external {
        require(msg.sender == owner);
        closed = true;
    }

    /// @notice From here on what is said when it is tried out is denied in a block, or no longer.
    function waver(bool wavering_) external {
        require(msg.sender == owner);
        wavering = wavering_;
    }

    /// @notice From here on its word costs so much gas more.
    function want(uint256 greed_) external {
        require(msg.sender == owner);
        greed = greed_;
    }

    /// @notice Has the wallet call something.
    function act(address to, bytes calldata data) external {
        require(msg.sender == owner);
        (bool success,) = to.call(data);
        require(success);
    }

    /// @dev Source: EIP-1271.
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        uint256 most = greed;
        uint256 begun = gasleft();
        while (begun - gasleft() < most) {}
        if (wavering && tx.gasprice > 0) return bytes4(0xffffffff);
        // By the key alone: the account of a key may be this very wallet (EIP-7702).
        if (closed || signature.length != 65 || signerOf(digest, signature) != owner) return bytes4(0xffffffff);
        return ContractWallet.isValidSignature.selector;
    }
}
