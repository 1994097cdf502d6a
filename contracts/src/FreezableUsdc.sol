// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SandboxUsdc} from "./SandboxUsdc.sol";

/// @title FreezableUsdc: the sandbox's USDC as an issuer can stop it.
/// @notice Pauses everything and blacklists accounts as USDC does (FiatTokenV2_2): who may, what is
///         refused, in which order, and the reasons of a revert. Approvals and permits stop with a
///         pause alone, transfers for a blacklisted account at either end as well.
/// @dev    For tests only. One key is owner, pauser and blacklister, until it names others.
contract FreezableUsdc is SandboxUsdc {
    event Pause();
    event Unpause();
    event PauserChanged(address indexed newAddress);
    event Blacklisted(address indexed _account);
    event UnBlacklisted(address indexed _account);
    event BlacklisterChanged(address indexed newBlacklister);

    address public pauser;
    address public blacklister;
    bool public paused;
    mapping(address => bool) public isBlacklisted;

    modifier whenNotPaused() {
        require(!paused, "Pausable: paused");
        _;
    }

    modifier notBlacklisted(address account) {
        require(!isBlacklisted[account], "Blacklistable: account is blacklisted");
        _;
    }

    modifier onlyPauser() {
        require(msg.sender == pauser, "Pausable: caller is not the pauser");
        _;
    }

    modifier onlyBlacklister() {
        require(msg.sender == blacklister, "Blacklistable: caller is not the blacklister");
        _;
    }

    modifier onlyOwner() {
        require(msg.sender == owner, "Ownable: caller is not the owner");
        _;
    }

    constructor(address owner_) SandboxUsdc(owner_) {
        pauser = owner_;
        blacklister = owner_;
    }

    // ---- The issuer ----

    function pause() external onlyPauser {
        paused = true;
        emit Pause();
    }

    function unpause() external onlyPauser {
        paused = false;
        emit Unpause();
    }

    function blacklist(address account) external onlyBlacklister {
        isBlacklisted[account] = true;
        emit Blacklisted(account);
    }

    function unBlacklist(address account) external onlyBlacklister {
        isBlacklisted[account] = false;
        emit UnBlacklisted(account);
    }

    function updatePauser(address pauser_) external onlyOwner {
        require(pauser_ != address(0), "Pausable: new pauser is the zero address");
        pauser = pauser_;
        emit PauserChanged(pauser_);
    }

    function updateBlacklister(address blacklister_) external onlyOwner {
        require(blacklister_ != address(0), "Blacklistable: new blacklister is the zero address");
        blacklister = blacklister_;
        emit BlacklisterChanged(blacklister_);
    }

    // ---- What it stops ----

    function transfer(address to, uint256 value)
        external
        override
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(to)
        returns (bool)
    {
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value)
        external
        override
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(from)
        notBlacklisted(to)
        returns (bool)
    {
        uint256 allowed = allowance[from][msg.sender];
        require(value <= allowed, "ERC20: transfer amount exceeds allowance");
        _move(from, to, value);
        allowance[from][msg.sender] = allowed - value;
        return true;
    }

    function approve(address spender, uint256 value)
        external
        override
        whenNotPaused
        returns (bool)
    {
        _approve(msg.sender, spender, value);
        return true;
    }

    function _transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) internal override whenNotPaused notBlacklisted(from) notBlacklisted(to) {
        super._transferWithAuthorization(
            from, to, value, validAfter, validBefore, nonce, signature
        );
    }

    function _receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) internal override whenNotPaused notBlacklisted(from) notBlacklisted(to) {
        super._receiveWithAuthorization(
            from, to, value, validAfter, validBefore, nonce, signature
        );
    }

    function _cancelAuthorization(address authorizer, bytes32 nonce, bytes memory signature)
        internal
        override
        whenNotPaused
    {
        super._cancelAuthorization(authorizer, nonce, signature);
    }

    function _permit(
        address holder,
        address spender,
        uint256 value,
        uint256 deadline,
        bytes memory signature
    ) internal override whenNotPaused {
        super._permit(holder, spender, value, deadline, signature);
    }
}
