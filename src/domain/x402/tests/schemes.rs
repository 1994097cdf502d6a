//! Permit2, `upto` and `batch-settlement`: what the official clients sent and signed, read and hashed
//! by our types.

use std::str::FromStr;

use alloy::primitives::{Address, B256, Signature, U256};
use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Network;
use crate::domain::x402::batch::deposit::DepositAuthorization;
use crate::domain::x402::batch::funding::{self, deposit_nonce};
use crate::domain::x402::batch::payload::{BatchPayload, Channel, DepositPayload, VoucherClaim};
use crate::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ChannelConfig, ClaimBatch, ClaimEntry, ERC3009_COLLECTOR, PERMIT2_COLLECTOR,
    Refund, Voucher, WITHDRAW_DELAY_S, batch_domain, channel_id,
};
use crate::domain::x402::permit2::{
    self, EXACT_PROXY, Eip2612Sponsoring, PERMIT2, Permit, Permit2Payload, permit2_domain,
};
use crate::domain::x402::signature::{from_text, recover};
use crate::domain::x402::upto::{self, UPTO_PROXY, UptoPayload};

const WRITTEN: &str = include_str!("../../../../tests/vectors/x402-schemes.json");
const NETWORK: Network = Network::SANDBOX;

fn vectors() -> Value {
    serde_json::from_str(WRITTEN).unwrap()
}

/// Reads an object, and finds nothing lost or added when it is written again.
fn read<T: Serialize + DeserializeOwned>(json: &Value) -> T {
    let object: T = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), *json);
    object
}

fn parse<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// The digest that the client signed for this type.
fn signed(case: &Value, kind: &str) -> B256 {
    let signed = case["signed"].as_array().unwrap();
    let found = signed.iter().find(|one| one["type"] == kind).unwrap();
    parse(found["digest"].as_str().unwrap())
}

fn signer(digest: B256, signature: &str) -> Address {
    let signature: Signature = from_text(signature).unwrap();
    recover(digest, &signature).unwrap()
}

fn who(key: &str) -> Address {
    parse(vectors()[key].as_str().unwrap())
}

fn config(channel: &Channel) -> ChannelConfig {
    ChannelConfig {
        payer: parse(&channel.payer),
        payerAuthorizer: parse(&channel.payer_authorizer),
        receiver: parse(&channel.receiver),
        receiverAuthorizer: parse(&channel.receiver_authorizer),
        token: parse(&channel.token),
        withdrawDelay: channel.withdraw_delay.try_into().unwrap(),
        salt: parse(&channel.salt),
    }
}

fn token_domain(token: Address) -> Eip712Domain {
    eip712_domain! {
        name: "USDC", version: "2", chain_id: NETWORK.chain_id(), verifying_contract: token,
    }
}

#[test]
fn exact_by_permit2_is_hashed_as_its_clients_hash_it() {
    let case = &vectors()["exact"];
    let Permit2Payload { signature, permit2_authorization: told } = read(&case["payload"]);
    let content = permit2::PermitWitnessTransferFrom {
        permitted: permit2::TokenPermissions {
            token: parse(&told.permitted.token),
            amount: parse(&told.permitted.amount),
        },
        spender: parse(&told.spender),
        nonce: parse(&told.nonce),
        deadline: parse(&told.deadline),
        witness: permit2::Witness {
            to: parse(&told.witness.to),
            validAfter: parse(&told.witness.valid_after),
        },
    };
    assert_eq!(content.spender, EXACT_PROXY);
    let digest = content.eip712_signing_hash(&permit2_domain(NETWORK));
    assert_eq!(digest, signed(case, "PermitWitnessTransferFrom"));
    assert_eq!(signer(digest, &signature), who("payer"));
}

#[test]
fn upto_is_hashed_as_its_clients_hash_it() {
    let case = &vectors()["upto"];
    let UptoPayload { signature, permit2_authorization: told } = read(&case["payload"]);
    let content = upto::PermitWitnessTransferFrom {
        permitted: upto::TokenPermissions {
            token: parse(&told.permitted.token),
            amount: parse(&told.permitted.amount),
        },
        spender: parse(&told.spender),
        nonce: parse(&told.nonce),
        deadline: parse(&told.deadline),
        witness: upto::Witness {
            to: parse(&told.witness.to),
            facilitator: parse(&told.witness.facilitator),
            validAfter: parse(&told.witness.valid_after),
        },
    };
    assert_eq!(content.spender, UPTO_PROXY);
    let digest = content.eip712_signing_hash(&permit2_domain(NETWORK));
    assert_eq!(digest, signed(case, "PermitWitnessTransferFrom"));
    assert_eq!(signer(digest, &signature), who("payer"));
}

#[test]
fn a_sponsored_permit_is_hashed_as_its_clients_hash_it() {
    for scheme in ["exact", "upto", "depositPermit2"] {
        let case = &vectors()[scheme];
        let info: Eip2612Sponsoring = read(&case["extensions"]["eip2612GasSponsoring"]["info"]);
        let content = Permit {
            owner: parse(&info.from),
            spender: parse(&info.spender),
            value: parse(&info.amount),
            nonce: parse(&info.nonce),
            deadline: parse(&info.deadline),
        };
        assert_eq!(content.spender, PERMIT2);
        let digest = content.eip712_signing_hash(&token_domain(parse(&info.asset)));
        assert_eq!(digest, signed(case, "Permit"));
        assert_eq!(signer(digest, &info.signature), who("payer"));
    }
}

fn deposit(case: &Value) -> (DepositPayload, B256) {
    let BatchPayload::Deposit(payload) = read(&case["payload"]) else { panic!("{case}") };
    let id = channel_id(&config(&payload.channel_config), NETWORK);
    assert_eq!(id, parse::<B256>(&payload.voucher.channel_id));
    let content =
        Voucher { channelId: id, maxClaimableAmount: parse(&payload.voucher.max_claimable_amount) };
    let digest = content.eip712_signing_hash(&batch_domain(NETWORK));
    assert_eq!(digest, signed(case, "Voucher"));
    assert_eq!(signer(digest, &payload.voucher.signature), who("voucherKey"));
    (payload, id)
}

#[test]
fn a_deposit_by_eip_3009_is_hashed_as_its_clients_hash_it() {
    let case = &vectors()["deposit"];
    let (payload, id) = deposit(case);
    let DepositAuthorization::Erc3009Authorization(told) = payload.deposit.authorization else {
        panic!("{case}")
    };
    let nonce = deposit_nonce(id, parse(&told.salt));
    assert_eq!(nonce, parse::<B256>(case["nonce"].as_str().unwrap()));
    let content = funding::ReceiveWithAuthorization {
        from: parse(&payload.channel_config.payer),
        to: ERC3009_COLLECTOR,
        value: parse(&payload.deposit.amount),
        validAfter: parse(&told.valid_after),
        validBefore: parse(&told.valid_before),
        nonce,
    };
    let token = parse(&payload.channel_config.token);
    let digest = content.eip712_signing_hash(&token_domain(token));
    assert_eq!(digest, signed(case, "ReceiveWithAuthorization"));
    assert_eq!(signer(digest, &told.signature), who("payer"));
}

#[test]
fn a_deposit_by_permit2_is_hashed_as_its_clients_hash_it() {
    let case = &vectors()["depositPermit2"];
    let (payload, id) = deposit(case);
    let DepositAuthorization::Permit2Authorization(told) = payload.deposit.authorization else {
        panic!("{case}")
    };
    assert_eq!(parse::<B256>(&told.witness.channel_id), id);
    let content = funding::PermitWitnessTransferFrom {
        permitted: funding::TokenPermissions {
            token: parse(&told.permitted.token),
            amount: parse(&told.permitted.amount),
        },
        spender: parse(&told.spender),
        nonce: parse(&told.nonce),
        deadline: parse(&told.deadline),
        witness: funding::DepositWitness { channelId: id },
    };
    assert_eq!(content.spender, PERMIT2_COLLECTOR);
    let digest = content.eip712_signing_hash(&permit2_domain(NETWORK));
    assert_eq!(digest, signed(case, "PermitWitnessTransferFrom"));
    assert_eq!(signer(digest, &told.signature), who("payer"));
}

fn entry(claim: &VoucherClaim) -> ClaimEntry {
    ClaimEntry {
        channelId: channel_id(&config(&claim.voucher.channel), NETWORK),
        maxClaimableAmount: parse(&claim.voucher.max_claimable_amount),
        totalClaimed: parse(&claim.total_claimed),
    }
}

#[test]
fn claims_and_refunds_are_hashed_as_their_servers_hash_them() {
    let case = &vectors()["claim"];
    let BatchPayload::Claim(payload) = read(&case["payload"]) else { panic!("{case}") };
    let content = ClaimBatch { claims: payload.claims.iter().map(entry).collect() };
    let digest = content.eip712_signing_hash(&batch_domain(NETWORK));
    assert_eq!(digest, signed(case, "ClaimBatch"));
    let signature = payload.claim_authorizer_signature.unwrap();
    assert_eq!(signer(digest, &signature), who("receiverAuthorizer"));

    let case = &vectors()["refund"];
    let text = |key: &str| case[key].as_str().unwrap().to_owned();
    let content = Refund {
        channelId: parse(&text("channelId")),
        nonce: parse(&text("nonce")),
        amount: parse(&text("amount")),
    };
    let digest = content.eip712_signing_hash(&batch_domain(NETWORK));
    assert_eq!(digest, signed(case, "Refund"));
    assert_eq!(signer(digest, &text("signature")), who("receiverAuthorizer"));
}

#[test]
fn a08_another_chain_is_another_channel_and_another_digest() {
    let (payload, id) = deposit(&vectors()["deposit"]);
    let elsewhere = Network::Eip155(8453);
    assert_ne!(channel_id(&config(&payload.channel_config), elsewhere), id);
    assert_ne!(permit2_domain(elsewhere).separator(), permit2_domain(NETWORK).separator());
    assert_eq!(batch_domain(NETWORK).verifying_contract, Some(BATCH_SETTLEMENT));
    assert_eq!(deposit_nonce(id, U256::ZERO), deposit_nonce(id, U256::ZERO));
    assert_ne!(deposit_nonce(id, U256::ZERO), deposit_nonce(id, U256::from(1)));
    assert!(WITHDRAW_DELAY_S.contains(&900) && WITHDRAW_DELAY_S.contains(&2_592_000));
    assert!(!WITHDRAW_DELAY_S.contains(&899) && !WITHDRAW_DELAY_S.contains(&2_592_001));
}

#[test]
fn what_nobody_here_reads_is_refused() {
    let mut case = vectors()["upto"]["payload"].clone();
    case["permit2Authorization"]["witness"]["extra"] = Value::from("0x");
    assert!(serde_json::from_value::<UptoPayload>(case).is_err());
    let mut case = vectors()["deposit"]["payload"].clone();
    case["deposit"]["authorization"]["permit2Authorization"] = Value::Null;
    assert!(serde_json::from_value::<BatchPayload>(case.clone()).is_err());
    case["type"] = Value::from("withdraw");
    assert!(serde_json::from_value::<BatchPayload>(case).is_err());
}
