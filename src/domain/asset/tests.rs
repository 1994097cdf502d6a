//! A network has one spelling. Row ids are those of the threat model.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;

/// Spellings of Base that are not its name, and texts that name no network at all.
const OTHERS: [&str; 33] = [
    "",
    "8453",
    "base",
    "eip155",
    "eip155:",
    ":8453",
    "eip155:08453",
    "eip155:00008453",
    "EIP155:8453",
    "Eip155:8453",
    "eip155:0x2105",
    "eip155:0X2105",
    "eip155:2105h",
    "eip155:+8453",
    "eip155:-8453",
    "eip155:8453.0",
    "eip155:8.453e3",
    "eip155:8_453",
    "eip155:8,453",
    " eip155:8453",
    "eip155:8453 ",
    "eip155: 8453",
    "eip155:8453\n",
    "eip155:8453\0",
    "eip155:\u{ff18}\u{ff14}\u{ff15}\u{ff13}",
    "eip155:\u{0668}\u{0664}\u{0665}\u{0663}",
    "eip155\u{ff1a}8453",
    "eip155:0",
    "eip155:18446744073709551616",
    "eip155::8453",
    "eip155:8453:",
    // CAIP-10 and CAIP-19: an account and an asset are no network.
    "eip155:8453:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
    "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
];

#[test]
fn p10_a_network_has_one_spelling_and_no_other_text_is_a_network() {
    assert_eq!("eip155:8453".parse(), Ok(Network::Eip155(8453)));
    assert_eq!("eip155:1".parse(), Ok(Network::Eip155(1)));
    assert_eq!(format!("eip155:{}", u64::MAX).parse(), Ok(Network::Eip155(u64::MAX)));
    for text in OTHERS {
        assert_eq!(text.parse::<Network>(), Err(NetworkError(text.to_owned())), "{text:?}");
        let json = serde_json::to_string(text).unwrap();
        assert!(serde_json::from_str::<Network>(&json).is_err(), "{text:?}");
    }
}

#[test]
fn p10_a_reference_of_a_kilobyte_is_refused_and_not_repeated_whole() {
    for text in [format!("eip155:{}", "8".repeat(1024)), format!("eip155:{}8453", "0".repeat(1024))]
    {
        let NetworkError(told) = text.parse::<Network>().unwrap_err();
        assert_eq!(told, text[..64]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn p10_what_is_read_is_written_as_it_was(text in "(eip155|EIP155)?:?[ +0]?[0-9]{0,19}[a-f_x]?.?") {
        if let Ok(network) = text.parse::<Network>() {
            prop_assert_eq!(network.to_string(), text);
        }
    }

    #[test]
    fn p10_every_chain_id_is_read_from_its_name_alone(id in 1..=u64::MAX, zeros in 1..4usize) {
        let name = Network::Eip155(id).to_string();
        prop_assert_eq!(name.parse(), Ok(Network::Eip155(id)));
        for other in [
            format!("eip155:{}{id}", "0".repeat(zeros)),
            format!("eip155:{id:#x}"),
            format!("eip155:+{id}"),
            name.to_uppercase(),
        ] {
            prop_assert!(other.parse::<Network>().is_err(), "{}", other);
        }
    }
}

/// Whatever else is pinned of it: only Permit2 moves a token that has no domain name.
#[test]
fn messages_are_signed_for_a_token_only_where_its_domain_has_a_name() {
    let asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(1) };
    let info = |eip712_name: &str, eip712_version: &str| AssetInfo {
        asset,
        symbol: "DAI".to_owned(),
        decimals: 18,
        eip712_name: eip712_name.to_owned(),
        eip712_version: eip712_version.to_owned(),
        rate: Rate { nano: 1, per: 1 },
    };
    assert!(info("Dai Stablecoin", "1").has_domain());
    assert!(info("Dai Stablecoin", "").has_domain());
    assert!(!info("", "1").has_domain());
    assert!(!info("", "").has_domain());
}
