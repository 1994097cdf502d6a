// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PERMIT2_ADDRESS} from "./SignatureTransfer.sol";
import {Erc2612} from "./Tokens.sol";

/// @title SponsoredPermit: an owner's EIP-2612 permit for Permit2, handed in by somebody else.
/// @dev   A permit that fails stops nothing: it may have been handed in before, by anyone who saw
///        it, and then the allowance is there. Where it is not, the transfer fails.
abstract contract SponsoredPermit {
    address public constant PERMIT2 = PERMIT2_ADDRESS;

    event EIP2612PermitFailedWithReason(
        address indexed token, address indexed owner, string reason
    );
    event EIP2612PermitFailedWithPanic(
        address indexed token, address indexed owner, uint256 errorCode
    );
    event EIP2612PermitFailedWithData(address indexed token, address indexed owner, bytes data);

    /// The permit is for another amount than what is to be moved.
    error Permit2612AmountMismatch();

    struct EIP2612Permit {
        uint256 value;
        uint256 deadline;
        bytes32 r;
        bytes32 s;
        uint8 v;
    }

    function _allowPermit2(address token, address owner, EIP2612Permit memory given, uint256 amount)
        internal
    {
        if (given.value != amount) revert Permit2612AmountMismatch();
        try Erc2612(token).permit(
            owner, PERMIT2, given.value, given.deadline, given.v, given.r, given.s
        ) {} catch Error(string memory reason) {
            emit EIP2612PermitFailedWithReason(token, owner, reason);
        } catch Panic(uint256 code) {
            emit EIP2612PermitFailedWithPanic(token, owner, code);
        } catch (bytes memory data) {
            emit EIP2612PermitFailedWithData(token, owner, data);
        }
    }
}
