// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Permit2Proxy} from "./shared/Permit2Proxy.sol";
import {SignatureTransfer} from "./shared/SignatureTransfer.sol";

/// @title X402ExactPermit2Proxy: the spender of x402's scheme `exact` by Permit2.
/// @notice Moves just the amount that was signed, to the one whom the owner's witness names.
///         Anybody may hand it in.
contract X402ExactPermit2Proxy is Permit2Proxy {
    /// What the owner signs beside the permit: to whom, and from which second on.
    struct Witness {
        address to;
        uint256 validAfter;
    }

    string public constant WITNESS_TYPE_STRING =
        "Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,uint256 validAfter)";
    bytes32 public constant WITNESS_TYPEHASH = keccak256("Witness(address to,uint256 validAfter)");

    function settle(
        SignatureTransfer.PermitTransferFrom calldata permit,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external alone {
        _settle(permit, owner, witness, signature);
        emit Settled();
    }

    /// The same, with the owner's EIP-2612 permit for Permit2 handed in first.
    function settleWithPermit(
        EIP2612Permit calldata permit2612,
        SignatureTransfer.PermitTransferFrom calldata permit,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external alone {
        _allowPermit2(permit.permitted.token, owner, permit2612, permit.permitted.amount);
        _settle(permit, owner, witness, signature);
        emit SettledWithPermit();
    }

    function _settle(
        SignatureTransfer.PermitTransferFrom calldata permit,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) private {
        bytes32 hash =
            keccak256(abi.encode(WITNESS_TYPEHASH, witness.to, witness.validAfter));
        _pay(
            permit,
            permit.permitted.amount,
            owner,
            witness.to,
            witness.validAfter,
            hash,
            WITNESS_TYPE_STRING,
            signature
        );
    }
}
