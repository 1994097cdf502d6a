// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {KeyWallet} from "./KeyWallet.sol";

/// @title KeyWalletFactory: makes wallets where one can know beforehand, and does other things instead.
/// @dev   For tests only.
contract KeyWalletFactory {
    /// @notice Makes the wallet of `owner` with this salt.
    function make(address owner, bytes32 salt) external returns (address) {
        return address(new KeyWallet{salt: salt}(owner));
    }

    /// @notice Says that it made a wallet, and made none.
    function pretend(address wallet) external pure returns (address) {
        return wallet;
    }

    /// @notice Makes nothing, at any price.
    function burn() external pure {
        while (true) {}
    }

    /// @notice Has the factory call something, as one that is too obliging does.
    function act(address to, bytes calldata data) external {
        (bool success,) = to.call(data);
        require(success);
    }

    /// @notice Where the wallet of `owner` with this salt is, made or not.
    function whereIs(address owner, bytes32 salt) external view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(KeyWallet).creationCode, abi.encode(owner)));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), salt, code)))));
    }
}
