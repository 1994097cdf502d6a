// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

// Where Permit2 is, on every chain.
address constant PERMIT2_ADDRESS = 0x000000000022D473030F116dDEE9F6B43aC78BA3;

/// @title SignatureTransfer: the part of Permit2 that moves tokens by a signature.
interface SignatureTransfer {
    /// Which token, and the most of it, in atomic units.
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    /// What an owner signs, beside the spender. `nonce` is any number not used before; `deadline`
    /// is the last second in which it holds.
    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    /// What the spender asks for.
    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    function permitTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes calldata signature
    ) external;

    /// `witness` is the hash of a struct that the owner signed too; `witnessTypeString` is the rest
    /// of the type's text, from the witness's field on.
    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external;
}
