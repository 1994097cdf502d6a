//! The token as the rail speaks to it.
//! Source: EIP-3009, EIP-20, EIP-712, EIP-1271.

use alloy::primitives::{B256, Bytes, Signature, U256};
use alloy::sol_types::{SolCall, SolStruct};

use crate::domain::commitment::Commitment;

alloy::sol! {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    function balanceOf(address holder) external view returns (uint256);
    function allowance(address owner, address spender) external view returns (uint256);
    function nonces(address owner) external view returns (uint256);
    function decimals() external view returns (uint8);
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
    function DOMAIN_SEPARATOR() external view returns (bytes32);
    function transferWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore,
        bytes32 nonce, uint8 v, bytes32 r, bytes32 s
    ) external;

    interface ByBytes {
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore,
            bytes32 nonce, bytes signature
        ) external;
    }

    function isValidSignature(bytes32 digest, bytes signature) external view returns (bytes4);

    struct TransferWithAuthorization {
        address from; address to; uint256 value;
        uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
}

/// The call that settles `commitment` by this signature. The split signature is the form that every EIP-3009
/// token has.
pub(super) fn settle_call(commitment: &Commitment, signature: &Signature) -> Bytes {
    let Commitment { payer, pay_to, amount_max, valid_after_s, valid_before_s, nonce, .. } =
        *commitment;
    transferWithAuthorizationCall {
        from: payer,
        to: pay_to,
        value: U256::from(amount_max.get()),
        validAfter: U256::from(valid_after_s),
        validBefore: U256::from(valid_before_s),
        nonce,
        v: if signature.v() { 28 } else { 27 },
        r: signature.r().into(),
        s: signature.s().into(),
    }
    .abi_encode()
    .into()
}

/// The same by the word of a contract, which only tokens since version 2.2 of USDC ask.
pub(super) fn settle_contract_call(commitment: &Commitment, signature: &Bytes) -> Bytes {
    let Commitment { payer, pay_to, amount_max, valid_after_s, valid_before_s, nonce, .. } =
        *commitment;
    ByBytes::transferWithAuthorizationCall {
        from: payer,
        to: pay_to,
        value: U256::from(amount_max.get()),
        validAfter: U256::from(valid_after_s),
        validBefore: U256::from(valid_before_s),
        nonce,
        signature: signature.clone(),
    }
    .abi_encode()
    .into()
}

/// What a payer signs over `commitment`, without the token's domain.
pub(super) fn content(commitment: &Commitment) -> B256 {
    TransferWithAuthorization {
        from: commitment.payer,
        to: commitment.pay_to,
        value: U256::from(commitment.amount_max.get()),
        validAfter: U256::from(commitment.valid_after_s),
        validBefore: U256::from(commitment.valid_before_s),
        nonce: commitment.nonce,
    }
    .eip712_hash_struct()
}
