//! The outside of the contracts is that of the deployed ones: names, selectors, topics and types, as
//! contracts/README.md lists them from the public interfaces.

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, U256, hex, keccak256};
use alloy::providers::Provider;
use alloy::sol_types::SolStruct;
use bursar::domain::asset::Network;
use bursar::domain::x402::batch::funding::DepositWitness;
use bursar::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ChannelConfig, ClaimBatch, ClaimEntry, PERMIT2_COLLECTOR, Refund, Voucher,
    WITHDRAW_DELAY_S, batch_domain,
};
use bursar::domain::x402::permit2::{self, EXACT_PROXY, PERMIT2, permit2_domain};
use bursar::domain::x402::upto::{self, UPTO_PROXY};
use bursar::edge::evm::contracts::{BatchSettlement, ExactProxy, Permit2, UptoProxy};
use serde_json::Value;

use super::scene::{Scene, name, row};
use crate::chain::{Chain, PLACED, artifact, artifact_code, stranger};
use crate::evm::on_both_chains;

on_both_chains!(
    the_contracts_are_where_they_are_on_every_chain,
    what_is_signed_is_what_the_contracts_read,
);

const PAGE: &str = include_str!("../../../contracts/README.md");

alloy::sol! {
    function DEPOSIT_WITNESS_TYPEHASH() external view returns (bytes32);
    function DEPOSIT_WITNESS_TYPE_STRING() external view returns (string);
}

/// What the page lists for a contract: kind, signature with `indexed`, selector or topic.
fn listed(contract: &str) -> BTreeSet<(String, String, String)> {
    let (_, after) = PAGE.split_once(&format!("### {contract}\n")).expect(contract);
    let section = after.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let rows = section.lines().filter_map(|line| {
        let mut parts = line.strip_prefix("| ")?.split('`');
        let kind = parts.next()?.trim().to_owned();
        let signature = parts.next()?.to_owned();
        let hash = parts.nth(1)?.to_owned();
        Some((kind, signature, hash))
    });
    rows.collect()
}

fn type_of(input: &Value) -> String {
    let kind = input["type"].as_str().unwrap();
    match kind.strip_prefix("tuple") {
        None => kind.to_owned(),
        Some(array) => {
            let parts = input["components"].as_array().unwrap().iter().map(type_of);
            format!("({}){array}", parts.collect::<Vec<_>>().join(","))
        }
    }
}

/// What the compiled contract offers, in the same form.
fn offered(contract: &str) -> BTreeSet<(String, String, String)> {
    let artifact = artifact(contract);
    let entries = artifact["abi"].as_array().unwrap().iter();
    let entries = entries.filter(|entry| entry["type"] != "constructor");
    let told = entries.map(|entry| {
        let (kind, name) = (entry["type"].as_str().unwrap(), entry["name"].as_str().unwrap());
        let inputs = entry["inputs"].as_array().unwrap();
        let plain: Vec<String> = inputs.iter().map(type_of).collect();
        let marked = inputs.iter().map(|input| {
            let mark = if input["indexed"] == true { " indexed" } else { "" };
            format!("{}{mark}", type_of(input))
        });
        let marked: Vec<String> = marked.collect();
        let hash = keccak256(format!("{name}({})", plain.join(",")));
        let length = if kind == "event" { 32 } else { 4 };
        let hash = hex::encode_prefixed(&hash[..length]);
        (kind.to_owned(), format!("{name}({})", marked.join(",")), hash)
    });
    told.collect()
}

#[test]
fn every_selector_topic_and_error_is_that_of_the_public_interface() {
    for (_, contract) in PLACED {
        let (listed, offered) = (listed(contract), offered(contract));
        assert!(listed.len() >= 4, "{contract}: {listed:?}");
        let missing: Vec<_> = listed.difference(&offered).collect();
        let extra: Vec<_> = offered.difference(&listed).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{contract}: {missing:?} {extra:?}");
    }
}

#[test]
fn the_page_names_the_addresses_and_the_types() {
    for (address, contract) in PLACED {
        let row = format!("| `{contract}` | `{address}` |");
        assert!(PAGE.contains(&row), "{row}");
    }
    let types = [
        permit2::PermitWitnessTransferFrom::eip712_encode_type(),
        upto::PermitWitnessTransferFrom::eip712_encode_type(),
        bursar::domain::x402::batch::funding::PermitWitnessTransferFrom::eip712_encode_type(),
        bursar::domain::x402::batch::funding::ReceiveWithAuthorization::eip712_encode_type(),
        permit2::Permit::eip712_encode_type(),
        ChannelConfig::eip712_encode_type(),
        Voucher::eip712_encode_type(),
        Refund::eip712_encode_type(),
        ClaimBatch::eip712_encode_type(),
    ];
    for text in types {
        let row = format!("| `{text}` | `{}` |", keccak256(text.as_bytes()));
        assert!(PAGE.contains(&row), "{row}");
    }
}

async fn the_contracts_are_where_they_are_on_every_chain(chain: &Chain) {
    let client = chain.client(stranger());
    for (address, contract) in PLACED {
        let code = client.get_code_at(address).await.unwrap();
        assert_eq!(code, artifact_code(contract, "deployedBytecode"), "{contract}");
    }
}

async fn what_is_signed_is_what_the_contracts_read(chain: &Chain) {
    let scene = Scene::on(chain);
    let separator = scene.read(PERMIT2, Permit2::DOMAIN_SEPARATORCall {}).await;
    assert_eq!(separator, permit2_domain(Network::SANDBOX).separator());
    let domain = scene.read(BATCH_SETTLEMENT, BatchSettlement::eip712DomainCall {}).await;
    assert_eq!((domain.name.as_str(), domain.version.as_str()), ("x402 Batch Settlement", "1"));
    assert_eq!(domain.chainId, U256::from(Network::SANDBOX.chain_id()));
    assert_eq!((domain.verifyingContract, domain.salt), (BATCH_SETTLEMENT, B256::ZERO));
    assert_eq!((domain.fields.0, domain.extensions.len()), ([0x0f], 0));

    let hash = |text: String| keccak256(text.as_bytes());
    let exact = permit2::Witness { to: Address::ZERO, validAfter: U256::ZERO };
    let upto =
        upto::Witness { to: Address::ZERO, facilitator: Address::ZERO, validAfter: U256::ZERO };
    let told = scene.read(EXACT_PROXY, ExactProxy::WITNESS_TYPEHASHCall {}).await;
    assert_eq!(told, exact.eip712_type_hash());
    let told = scene.read(UPTO_PROXY, UptoProxy::WITNESS_TYPEHASHCall {}).await;
    assert_eq!(told, upto.eip712_type_hash());
    let told = scene.read(PERMIT2_COLLECTOR, DEPOSIT_WITNESS_TYPEHASHCall {}).await;
    assert_eq!(told, DepositWitness { channelId: B256::ZERO }.eip712_type_hash());
    // Permit2 puts its own beginning before them: together they are the signed type.
    let stub = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,\
        uint256 nonce,uint256 deadline,";
    let told = scene.read(EXACT_PROXY, ExactProxy::WITNESS_TYPE_STRINGCall {}).await;
    assert_eq!(format!("{stub}{told}"), permit2::PermitWitnessTransferFrom::eip712_encode_type());
    let told = scene.read(UPTO_PROXY, UptoProxy::WITNESS_TYPE_STRINGCall {}).await;
    assert_eq!(format!("{stub}{told}"), upto::PermitWitnessTransferFrom::eip712_encode_type());
    let told = scene.read(PERMIT2_COLLECTOR, DEPOSIT_WITNESS_TYPE_STRINGCall {}).await;
    let funding =
        bursar::domain::x402::batch::funding::PermitWitnessTransferFrom::eip712_encode_type();
    assert_eq!(format!("{stub}{told}"), funding);
    for proxy in [EXACT_PROXY, UPTO_PROXY, PERMIT2_COLLECTOR] {
        assert_eq!(scene.read(proxy, ExactProxy::PERMIT2Call {}).await, PERMIT2);
    }

    let told = scene.read(BATCH_SETTLEMENT, BatchSettlement::CHANNEL_CONFIG_TYPEHASHCall {}).await;
    assert_eq!(told, hash(ChannelConfig::eip712_encode_type().into_owned()));
    let told = scene.read(BATCH_SETTLEMENT, BatchSettlement::VOUCHER_TYPEHASHCall {}).await;
    assert_eq!(told, hash(Voucher::eip712_encode_type().into_owned()));
    let told = scene.read(BATCH_SETTLEMENT, BatchSettlement::REFUND_TYPEHASHCall {}).await;
    assert_eq!(told, hash(Refund::eip712_encode_type().into_owned()));
    let told = scene.read(BATCH_SETTLEMENT, BatchSettlement::CLAIM_ENTRY_TYPEHASHCall {}).await;
    assert_eq!(told, hash(ClaimEntry::eip712_encode_type().into_owned()));
    let told = scene.read(BATCH_SETTLEMENT, BatchSettlement::CLAIM_BATCH_TYPEHASHCall {}).await;
    assert_eq!(told, hash(ClaimBatch::eip712_encode_type().into_owned()));
    the_digests_are_the_same(&scene).await;
}

async fn the_digests_are_the_same(scene: &Scene<'_>) {
    let config = scene.channel(3);
    let id = scene
        .read(BATCH_SETTLEMENT, BatchSettlement::getChannelIdCall { config: (&config).into() })
        .await;
    assert_eq!(id, name(&config));
    let domain = batch_domain(Network::SANDBOX);
    let voucher = Voucher { channelId: id, maxClaimableAmount: 77 };
    let call = BatchSettlement::getVoucherDigestCall { channelId: id, maxClaimableAmount: 77 };
    let told = scene.read(BATCH_SETTLEMENT, call).await;
    assert_eq!(told, voucher.eip712_signing_hash(&domain));
    let nonce = U256::from(5);
    let refund = Refund { channelId: id, nonce, amount: 9 };
    let call = BatchSettlement::getRefundDigestCall { channelId: id, nonce, amount: 9 };
    let told = scene.read(BATCH_SETTLEMENT, call).await;
    assert_eq!(told, refund.eip712_signing_hash(&domain));
    for rows in 0..3_u64 {
        let rows: Vec<_> =
            (0..rows).map(|salt| (scene.channel(salt), u128::from(salt) + 1)).collect();
        let entry = |(config, total): &(ChannelConfig, u128)| ClaimEntry {
            channelId: name(config),
            maxClaimableAmount: 50,
            totalClaimed: *total,
        };
        let batch = ClaimBatch { claims: rows.iter().map(entry).collect() };
        let rows = rows.iter().map(|(config, total)| row(config, &stranger(), 50, *total));
        let call = BatchSettlement::getClaimBatchDigestCall { voucherClaims: rows.collect() };
        let told = scene.read(BATCH_SETTLEMENT, call).await;
        assert_eq!(told, batch.eip712_signing_hash(&domain));
    }
    let least = scene.read(BATCH_SETTLEMENT, BatchSettlement::MIN_WITHDRAW_DELAYCall {}).await;
    let most = scene.read(BATCH_SETTLEMENT, BatchSettlement::MAX_WITHDRAW_DELAYCall {}).await;
    assert_eq!(least.to::<u64>()..=most.to(), WITHDRAW_DELAY_S);
}
