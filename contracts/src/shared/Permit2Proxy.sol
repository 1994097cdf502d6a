// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Alone} from "./Alone.sol";
import {SignatureTransfer} from "./SignatureTransfer.sol";
import {SponsoredPermit} from "./SponsoredPermit.sol";

/// @title Permit2Proxy: what the spenders of `exact` and of `upto` have in common.
/// @notice Permit2 lets a spender choose where the money goes. These spenders let nobody choose: it
///         goes where the owner's signed witness says.
abstract contract Permit2Proxy is Alone, SponsoredPermit {
    event Settled();
    event SettledWithPermit();

    error InvalidAmount();
    error InvalidOwner();
    error InvalidDestination();
    error PaymentTooEarly();

    /// `amount` of the permitted token from `owner` to `to`.
    function _pay(
        SignatureTransfer.PermitTransferFrom calldata permit,
        uint256 amount,
        address owner,
        address to,
        uint256 validAfter,
        bytes32 witness,
        string memory witnessType,
        bytes calldata signature
    ) internal {
        if (amount == 0) revert InvalidAmount();
        if (owner == address(0)) revert InvalidOwner();
        if (to == address(0)) revert InvalidDestination();
        if (block.timestamp < validAfter) revert PaymentTooEarly();
        SignatureTransfer(PERMIT2).permitWitnessTransferFrom(
            permit,
            SignatureTransfer.SignatureTransferDetails({to: to, requestedAmount: amount}),
            owner,
            witness,
            witnessType,
            signature
        );
    }
}
