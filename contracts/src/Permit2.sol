// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {signingHash} from "./shared/Eip712.sol";
import {ContractWallet} from "./shared/Signers.sol";
import {SignatureTransfer} from "./shared/SignatureTransfer.sol";
import {Erc20, agreed} from "./shared/Tokens.sol";

/// @title Permit2: any ERC-20, moved once by its owner's signature.
/// @notice The owner approves this contract for a token, once; then each signature lets the spender
///         that it names move up to an amount, until a deadline, one time. Selectors, events,
///         errors and signed types are those of Uniswap's Permit2, and so is the order of checks.
/// @dev    Only the transfers of one token by signature; README.md says what is left out.
contract Permit2 is SignatureTransfer {
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
    bytes32 private constant TOKEN_PERMISSIONS =
        keccak256("TokenPermissions(address token,uint256 amount)");
    bytes32 private constant PERMIT_TRANSFER_FROM = keccak256(
        "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)"
    );
    string private constant WITNESS_STUB =
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";

    event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);

    error SignatureExpired(uint256 signatureDeadline);
    error InvalidAmount(uint256 maxAmount);
    error InvalidNonce();
    error InvalidSignatureLength();
    error InvalidSignature();
    error InvalidSigner();
    error InvalidContractSignature();

    /// An owner's used nonces, 256 to a word: nonce `n` is bit `n % 256` of word `n / 256`, so that
    /// they can be used in any order.
    mapping(address => mapping(uint256 => uint256)) public nonceBitmap;

    /// @inheritdoc SignatureTransfer
    function permitTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes calldata signature
    ) external {
        bytes32 content = keccak256(
            abi.encode(
                PERMIT_TRANSFER_FROM,
                _hash(permit.permitted),
                msg.sender,
                permit.nonce,
                permit.deadline
            )
        );
        _transfer(permit, transferDetails, owner, content, signature);
    }

    /// @inheritdoc SignatureTransfer
    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external {
        bytes32 content = keccak256(
            abi.encode(
                keccak256(abi.encodePacked(WITNESS_STUB, witnessTypeString)),
                _hash(permit.permitted),
                msg.sender,
                permit.nonce,
                permit.deadline,
                witness
            )
        );
        _transfer(permit, transferDetails, owner, content, signature);
    }

    /// Uses up, unused, the caller's nonces that `mask` names in a word.
    function invalidateUnorderedNonces(uint256 wordPos, uint256 mask) external {
        nonceBitmap[msg.sender][wordPos] |= mask;
        emit UnorderedNonceInvalidation(msg.sender, wordPos, mask);
    }

    /// Computed at each call, so that it is right wherever this code is put.
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN, keccak256("Permit2"), block.chainid, address(this)));
    }

    function _transfer(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata wanted,
        address owner,
        bytes32 content,
        bytes calldata signature
    ) private {
        if (block.timestamp > permit.deadline) revert SignatureExpired(permit.deadline);
        uint256 most = permit.permitted.amount;
        if (wanted.requestedAmount > most) revert InvalidAmount(most);
        _use(owner, permit.nonce);
        _check(owner, signingHash(DOMAIN_SEPARATOR(), content), signature);
        (bool success, bytes memory answer) = permit.permitted.token.call(
            abi.encodeCall(Erc20.transferFrom, (owner, wanted.to, wanted.requestedAmount))
        );
        require(success && agreed(answer), "TRANSFER_FROM_FAILED");
    }

    function _use(address owner, uint256 nonce) private {
        uint256 bit = 1 << (nonce & 0xff);
        uint256 word = nonceBitmap[owner][nonce >> 8];
        if (word & bit != 0) revert InvalidNonce();
        nonceBitmap[owner][nonce >> 8] = word | bit;
    }

    /// A key signs in 65 bytes, or in 64 with the parity in the highest bit of `s` (EIP-2098).
    function _check(address owner, bytes32 digest, bytes calldata signature) private view {
        if (owner.code.length > 0) {
            // A wallet that reverts is heard as it is.
            bytes4 answer = ContractWallet(owner).isValidSignature(digest, signature);
            if (answer != ContractWallet.isValidSignature.selector) {
                revert InvalidContractSignature();
            }
            return;
        }
        bytes32 s;
        uint8 v;
        if (signature.length == 65) {
            s = bytes32(signature[32:64]);
            v = uint8(signature[64]);
        } else if (signature.length == 64) {
            uint256 packed = uint256(bytes32(signature[32:64]));
            s = bytes32(packed & (type(uint256).max >> 1));
            v = uint8(packed >> 255) + 27;
        } else {
            revert InvalidSignatureLength();
        }
        address signer = ecrecover(digest, v, bytes32(signature[:32]), s);
        if (signer == address(0)) revert InvalidSignature();
        if (signer != owner) revert InvalidSigner();
    }

    function _hash(TokenPermissions calldata permitted) private pure returns (bytes32) {
        return keccak256(abi.encode(TOKEN_PERMISSIONS, permitted.token, permitted.amount));
    }
}
