// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

error SafeERC20FailedOperation(address token);

interface Erc20 {
    function balanceOf(address holder) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

interface Erc2612 {
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
}

/// Sends what this contract owns. A token that answers nothing, as USDT does, is believed when it
/// did not revert; one that answers false is not.
function send(address token, address to, uint256 value) {
    (bool success, bytes memory answer) = token.call(abi.encodeCall(Erc20.transfer, (to, value)));
    if (!success) rethrow(answer);
    if (token.code.length == 0 || !agreed(answer)) revert SafeERC20FailedOperation(token);
}

/// Whether a token's answer is yes, or nothing at all.
function agreed(bytes memory answer) pure returns (bool) {
    return answer.length == 0 || (answer.length >= 32 && abi.decode(answer, (uint256)) == 1);
}

/// Reverts for the reason that another call reverted for.
function rethrow(bytes memory reason) pure {
    assembly ("memory-safe") {
        revert(add(reason, 0x20), mload(reason))
    }
}
