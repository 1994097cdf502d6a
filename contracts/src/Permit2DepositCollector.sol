// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DepositCollector} from "./shared/DepositCollector.sol";
import {SignatureTransfer} from "./shared/SignatureTransfer.sol";
import {SponsoredPermit} from "./shared/SponsoredPermit.sol";

/// @title Permit2DepositCollector: deposits of any ERC-20, by Permit2.
contract Permit2DepositCollector is DepositCollector, SponsoredPermit {
    string public constant DEPOSIT_WITNESS_TYPE_STRING =
        "DepositWitness witness)DepositWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)";
    bytes32 public constant DEPOSIT_WITNESS_TYPEHASH = keccak256("DepositWitness(bytes32 channelId)");

    /// `collectorData` is `(uint256 nonce, uint256 deadline, bytes signature, bytes permit2612)`, and
    /// `permit2612`, where it is not empty, `(uint256 value, uint256 deadline, uint8 v, bytes32 r,
    /// bytes32 s)`. The witness that the payer signed binds the money to one channel.
    function collect(
        address payer,
        address token,
        uint256 amount,
        bytes32 channelId,
        bytes calldata collectorData
    ) external onlySettlement {
        (uint256 nonce, uint256 deadline, bytes memory signature, bytes memory permit2612) =
            abi.decode(collectorData, (uint256, uint256, bytes, bytes));
        if (permit2612.length > 0) {
            EIP2612Permit memory given;
            (given.value, given.deadline, given.v, given.r, given.s) =
                abi.decode(permit2612, (uint256, uint256, uint8, bytes32, bytes32));
            _allowPermit2(token, payer, given, amount);
        }
        SignatureTransfer(PERMIT2).permitWitnessTransferFrom(
            SignatureTransfer.PermitTransferFrom({
                permitted: SignatureTransfer.TokenPermissions({token: token, amount: amount}),
                nonce: nonce,
                deadline: deadline
            }),
            SignatureTransfer.SignatureTransferDetails({
                to: x402BatchSettlement,
                requestedAmount: amount
            }),
            payer,
            keccak256(abi.encode(DEPOSIT_WITNESS_TYPEHASH, channelId)),
            DEPOSIT_WITNESS_TYPE_STRING,
            signature
        );
    }
}
