// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Permit2Proxy} from "./shared/Permit2Proxy.sol";
import {SignatureTransfer} from "./shared/SignatureTransfer.sol";

/// @title X402UptoPermit2Proxy: the spender of x402's scheme `upto`.
/// @notice Moves what was used, at most what was signed, to the one whom the owner's witness names.
///         Only the facilitator that the witness names may say how much.
/// @dev    The scheme allows a charge of zero: nothing is handed in then, and the signature lapses.
contract X402UptoPermit2Proxy is Permit2Proxy {
    /// What the owner signs beside the permit: to whom, who settles, and from which second on.
    struct Witness {
        address to;
        address facilitator;
        uint256 validAfter;
    }

    string public constant WITNESS_TYPE_STRING =
        "Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,address facilitator,uint256 validAfter)";
    bytes32 public constant WITNESS_TYPEHASH =
        keccak256("Witness(address to,address facilitator,uint256 validAfter)");

    error UnauthorizedFacilitator();
    error AmountExceedsPermitted();

    function settle(
        SignatureTransfer.PermitTransferFrom calldata permit,
        uint256 amount,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external alone {
        _settle(permit, amount, owner, witness, signature);
        emit Settled();
    }

    /// The same, with the owner's EIP-2612 permit for Permit2 handed in first. It is for the most
    /// that may be charged, not for the charge.
    function settleWithPermit(
        EIP2612Permit calldata permit2612,
        SignatureTransfer.PermitTransferFrom calldata permit,
        uint256 amount,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external alone {
        _allowPermit2(permit.permitted.token, owner, permit2612, permit.permitted.amount);
        _settle(permit, amount, owner, witness, signature);
        emit SettledWithPermit();
    }

    function _settle(
        SignatureTransfer.PermitTransferFrom calldata permit,
        uint256 amount,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) private {
        if (msg.sender != witness.facilitator) revert UnauthorizedFacilitator();
        if (amount > permit.permitted.amount) revert AmountExceedsPermitted();
        bytes32 hash = keccak256(
            abi.encode(WITNESS_TYPEHASH, witness.to, witness.facilitator, witness.validAfter)
        );
        _pay(
            permit,
            amount,
            owner,
            witness.to,
            witness.validAfter,
            hash,
            WITNESS_TYPE_STRING,
            signature
        );
    }
}
