//! Keystore files and the signer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use alloy::primitives::{Address, B256, address, b256};
use async_trait::async_trait;

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::channel::{ChannelId, ChannelTerms, Deposit};
use crate::domain::commitment::{Commitment, Scheme, TokenPermit, TransferMethod};
use crate::domain::fault::Fault;
use crate::domain::id::{AgentId, Name, PaymentId, RequestId, WalletId};
use crate::domain::ledger::agent::Token;
use crate::domain::ledger::channel::Opened;
use crate::domain::money::{Amount, Nano, Rate};
use crate::domain::x402::TokenDomains;
use crate::domain::x402::batch::check::deposit_digest;
use crate::domain::x402::batch::permitted::movement;
use crate::domain::x402::batch::typed::id_of;
use crate::domain::x402::digest::{Delegation, delegation_digest};
use crate::domain::x402::signature::is_signed_by;
use crate::edge::keys::*;
use crate::ports::entropy::SeededEntropy;
use crate::ports::holds::{Holds, NotSignable, Permit, Released, ReleasedDeposit, ReleasedVoucher};
use crate::ports::signer::{Signer, SignerError, fill};

/// The first development key of anvil and hardhat: known to everybody, and so no secret.
const KNOWN_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const KNOWN_ADDRESS: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn store(folder: &Path) -> Keystore {
    Keystore::new(&folder.join("keys"), Cost::LOW)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_that_was_made_opens_with_its_passphrase_only() {
    let folder = tempfile::tempdir().unwrap();
    let (store, entropy) = (store(folder.path()), SeededEntropy::new(1));
    let address = store.create(&name("main"), "good", &entropy).unwrap();
    assert_eq!(store.address(&name("main")).unwrap(), address);
    assert_eq!(store.open(&name("main"), "good").unwrap().address(), address);
    assert_eq!(store.open(&name("main"), "bad").unwrap_err().code(), "keys.wrong_passphrase");
    assert_eq!(store.open(&name("other"), "good").unwrap_err().code(), "keys.missing");
    assert_eq!(store.names().unwrap(), [name("main")]);

    let path = store.path(&name("main"));
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    // Nothing unfinished stays behind, and nothing is overwritten.
    let before = fs::read(&path).unwrap();
    assert_eq!(store.create(&name("main"), "x", &entropy).unwrap_err().code(), "keys.exists");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_known_key_has_its_known_address() {
    let folder = tempfile::tempdir().unwrap();
    let (store, entropy) = (store(folder.path()), SeededEntropy::new(1));
    for (at, text) in [KNOWN_KEY.to_owned(), format!("0x{KNOWN_KEY}\n")].iter().enumerate() {
        let name = name(&format!("known-{at}"));
        assert_eq!(store.import(&name, text, "", &entropy).unwrap(), KNOWN_ADDRESS);
        assert_eq!(store.open(&name, "").unwrap().address(), KNOWN_ADDRESS);
    }
}

/// The known key under "testpassword", sealed with Python's hashlib and OpenSSL.
const VECTOR: &str = r#"{
  "Crypto": {
    "cipher": "aes-128-ctr",
    "cipherparams": { "iv": "101112131415161718191a1b1c1d1e1f" },
    "ciphertext": "e7470df04354de60c5473d2cd9b555793660c1f3cc0a9e110410f88e980db81c",
    "kdf": "scrypt",
    "kdfparams": {
      "dklen": 32, "n": 16384, "p": 2, "r": 8,
      "salt": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    },
    "mac": "f0a0f12e476b322cd5252eec6cf5b8ef04d741a2477f355561ae776e97622f64"
  },
  "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
  "version": 3
}"#;

fn put(store: &Keystore, name: &Name, content: &str, mode: u32) {
    let path = store.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_another_program_wrote_opens() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    put(&store, &name("vector"), VECTOR, 0o600);
    assert_eq!(store.open(&name("vector"), "testpassword").unwrap().address(), KNOWN_ADDRESS);
    assert_eq!(store.address(&name("vector")).unwrap_err().code(), "keys.malformed");
}

#[test]
fn z13_a_bad_file_is_refused_and_its_content_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let (store, entropy) = (store(folder.path()), SeededEntropy::new(1));
    store.import(&name("good"), KNOWN_KEY, "p", &entropy).unwrap();
    let good = fs::read_to_string(store.path(&name("good"))).unwrap();
    let address = alloy::hex::encode(KNOWN_ADDRESS);
    for (at, content) in [
        KNOWN_KEY.to_owned(),
        format!("{{\"version\": \"{KNOWN_KEY}\"}}"),
        good.replace("\"version\": 3", "\"version\": 2"),
        good.replace("scrypt", "pbkdf2"),
        good.replace("\"n\": 4096", "\"n\": 4097"),
        good.replace("\"n\": 4096", "\"n\": 9223372036854775808"),
        good.replace("\"r\": 8", "\"r\": 4000000000"),
        good.replace("\"dklen\": 32", "\"dklen\": 3200000000"),
        good.replace(&address, &"1".repeat(40)),
        good.replace(&address, &format!("{KNOWN_KEY}{KNOWN_KEY}")),
        "x".repeat(100_000),
    ]
    .into_iter()
    .enumerate()
    {
        let name = name(&format!("bad-{at}"));
        put(&store, &name, &content, 0o600);
        let error = store.open(&name, "p").unwrap_err();
        assert_eq!(error.code(), "keys.malformed", "{content}");
        assert!(!format!("{error} {error:?}").contains("ac0974be"));
    }
    put(&store, &name("open"), &good, 0o640);
    let error = store.open(&name("open"), "p").unwrap_err();
    assert_eq!(error.code(), "keys.open_to_others");
}

#[test]
fn o01_a_malformed_key_is_named_by_its_source_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, entropy) = (store(folder.path()), SeededEntropy::new(1));
    for text in [
        "",
        "0x",
        &KNOWN_KEY[1..],
        &format!("{KNOWN_KEY}0"),
        &KNOWN_KEY.replace('a', "g"),
        &"0".repeat(64),
        &"f".repeat(64),
    ] {
        let error = store.import(&name("main"), text, "", &entropy).unwrap_err();
        assert_eq!(error.code(), "keys.not_a_key");
        let error = SigningKey::from_hex(text, "GAS_KEY").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("GAS_KEY") && !shown.contains("c0974be"));
    }
    let error = SigningKey::from_env("BURSAR_TEST_NO_SUCH_VARIABLE").unwrap_err();
    assert_eq!(error.code(), "keys.no_variable");
    let key = SigningKey::from_hex(KNOWN_KEY, "here").unwrap();
    assert_eq!(format!("{key:?}"), format!("SigningKey({KNOWN_ADDRESS})"));
}

#[test]
fn secrets_in_files_come_back_and_differ_from_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (path, entropy) = (folder.path().join("keys/nonce.secret"), SeededEntropy::new(7));
    assert_eq!(NonceSecret::open(&path).unwrap_err().code(), "keys.missing");
    let made = NonceSecret::create(&path, &entropy).unwrap();
    assert_eq!(mode(&path), 0o600);
    let opened = NonceSecret::open(&path).unwrap();
    let wallet = WalletId::named(&name("main"));
    let payments: Vec<_> = (0..3)
        .map(|attempt| {
            PaymentId::derive(AgentId::from_bytes([1; 16]), RequestId::from_bytes([2; 16]), attempt)
        })
        .collect();
    let mut seen = HashSet::from([made.fingerprint()]);
    for payment in payments {
        let nonce = made.nonce(wallet, payment);
        assert_eq!(opened.nonce(wallet, payment), nonce);
        assert!(seen.insert(nonce));
        assert!(seen.insert(made.nonce(WalletId::named(&name("other")), payment)));
    }
    assert_eq!(opened.fingerprint(), made.fingerprint());

    // A lost secret, made anew: both its fingerprint and every nonce tell.
    let other = NonceSecret::create(&folder.path().join("again"), &entropy).unwrap();
    assert_ne!(other.fingerprint(), made.fingerprint());

    let path = folder.path().join("service.key");
    let address = SigningKey::create_file(&path, &entropy).unwrap().address();
    assert_eq!(SigningKey::open_file(&path).unwrap().address(), address);
    assert_eq!(SigningKey::create_file(&path, &entropy).unwrap_err().code(), "keys.exists");
    fs::write(&path, "not a key").unwrap();
    assert_eq!(SigningKey::open_file(&path).unwrap_err().code(), "keys.malformed");
}

/// A vector made with another implementation of HMAC-SHA256, so that nonces stay what they are.
#[test]
fn the_nonce_of_a_payment_never_changes() {
    let secret = NonceSecret::from_bytes([0x42; 32]);
    let nonce = secret.nonce(WalletId::from_bytes([1; 16]), PaymentId::from_bytes([2; 16]));
    let expected = b256!("b621e521dd560654b8b681b80a4a5dba6d492837de685769d4d9bc4622599f48");
    assert_eq!(nonce, expected);
}

#[test]
fn tokens_have_a_form_that_scanners_find() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.token");
    let made = create_operator_token(&path, &SeededEntropy::new(1)).unwrap();
    let opened = open_operator_token(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(made.reveal().starts_with("bop_") && made.reveal().len() == 47);
    assert_eq!(opened.hash(), made.hash());
    fs::write(&path, "bop_short").unwrap();
    assert_eq!(open_operator_token(&path).unwrap_err().code(), "keys.malformed");

    let token = Token::for_agent(&name("scout-1"), [255; 32]);
    assert_eq!(token.reveal(), format!("bat_scout-1_{}8", "_".repeat(42)));
    assert_eq!(format!("{token:?}"), "Token(..)");
    assert_ne!(token.hash(), Token::for_agent(&name("scout-2"), [255; 32]).hash());
}

const TOKEN: Asset = Asset {
    network: Network::SANDBOX,
    contract: address!("0x38A8007C027aC0B8f49bE7CDa4A1c29F4594a168"),
};

fn assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: TOKEN,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000, per: 1 },
    }])
}

/// Holds that are durable from the start.
struct Durable {
    wallet: WalletId,
    commitment: Commitment,
}

#[async_trait]
impl Holds for Durable {
    async fn release(&self, payment: PaymentId) -> Result<Released, NotSignable> {
        if payment == PaymentId::from_bytes([9; 16]) {
            let (wallet, commitment) = (self.wallet, self.commitment);
            Ok(Released { wallet, commitment, permit: Permit::default() })
        } else {
            Err(NotSignable::NoHold(payment))
        }
    }

    async fn release_voucher(&self, payment: PaymentId) -> Result<ReleasedVoucher, NotSignable> {
        Err(NotSignable::NoHold(payment))
    }

    async fn release_charged(&self, channel: ChannelId) -> Result<ReleasedVoucher, NotSignable> {
        Err(NotSignable::NoChannel(channel))
    }

    async fn release_deposit(&self, channel: ChannelId) -> Result<ReleasedDeposit, NotSignable> {
        Err(NotSignable::NoDeposit(channel))
    }
}

fn signer(change: impl FnOnce(&mut Durable)) -> LocalSigner {
    let wallet = WalletId::named(&name("main"));
    let mut hold = Durable {
        wallet,
        commitment: Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: TOKEN,
            payer: KNOWN_ADDRESS,
            pay_to: Address::repeat_byte(7),
            amount_max: Amount::new(1_000),
            valid_after_s: 1,
            valid_before_s: 2,
            nonce: B256::repeat_byte(3),
        },
    };
    change(&mut hold);
    let key = SigningKey::from_hex(KNOWN_KEY, "here").unwrap();
    let secret = NonceSecret::from_bytes([4; 32]);
    LocalSigner::new(Arc::new(hold), [(wallet, key)], secret, &assets())
}

#[tokio::test]
async fn the_same_hold_gives_the_same_bytes_and_they_are_the_payers() {
    let payment = PaymentId::from_bytes([9; 16]);
    let (commitment, first) = signer(|_| {}).authorize(payment).await.unwrap();
    let (_, again) = signer(|_| {}).authorize(payment).await.unwrap();
    assert_eq!(first.as_bytes(), again.as_bytes());
    let domains = TokenDomains::new(&assets());
    let digest = domains.find(TOKEN).unwrap().transfer_digest(&commitment);
    assert!(is_signed_by(KNOWN_ADDRESS, digest, &first));
    // Both curve libraries take their nonce from RFC 6979, so they agree to the byte.
    let reference = alloy::signers::local::PrivateKeySigner::from_slice(
        &alloy::hex::decode(KNOWN_KEY).unwrap(),
    )
    .unwrap();
    let expected = alloy::signers::SignerSync::sign_hash_sync(&reference, &digest).unwrap();
    assert_eq!(first, expected);
}

#[tokio::test]
async fn z12_only_what_a_durable_hold_says_is_signed() {
    let held = PaymentId::from_bytes([9; 16]);
    let other = PaymentId::from_bytes([8; 16]);
    let error = signer(|_| {}).authorize(other).await.unwrap_err();
    assert_eq!(error, SignerError::NotSignable(NotSignable::NoHold(other)));

    let foreign = |hold: &mut Durable| hold.wallet = WalletId::named(&name("other"));
    let error = signer(foreign).authorize(held).await.unwrap_err();
    assert_eq!(error, SignerError::NoKey(WalletId::named(&name("other"))));

    let stranger = |hold: &mut Durable| hold.commitment.payer = Address::ZERO;
    assert_eq!(signer(stranger).authorize(held).await.unwrap_err().code(), "signer.no_key");

    let unknown = |hold: &mut Durable| hold.commitment.asset.contract = Address::ZERO;
    let signer = signer(unknown);
    assert_eq!(signer.authorize(held).await.unwrap_err(), SignerError::UnknownAsset(held));
    assert_eq!(signer.address(WalletId::named(&name("main"))), Some(KNOWN_ADDRESS));
    assert_eq!(signer.address(WalletId::named(&name("other"))), None);
}

#[test]
fn a_pay_to_key_delegates_to_a_service_key() {
    let key = SigningKey::from_hex(KNOWN_KEY, "here").unwrap();
    let service_key = Address::repeat_byte(5);
    let signature = key.delegate_to(service_key);
    let digest = delegation_digest(&Delegation { pay_to: KNOWN_ADDRESS, service_key });
    assert!(is_signed_by(KNOWN_ADDRESS, digest, &signature));
}

#[test]
fn the_first_start_makes_a_nodes_secrets_and_a_lost_nonce_secret_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, token) = (folder.path().join("keys"), folder.path().join("operator.token"));
    let entropy = SeededEntropy::new(3);
    let open = |holds_open| NodeSecrets::open_or_create(&keys, &token, holds_open, &entropy);
    let first = open(false).unwrap();
    assert_eq!(first.made.len(), 3);
    assert!(first.made.iter().all(|path| mode(path) == 0o600));
    let later = open(true).unwrap();
    assert_eq!(later.made.len(), 0);
    assert_eq!(later.nonce.fingerprint(), first.nonce.fingerprint());
    assert_eq!(later.service_key.address(), first.service_key.address());
    assert_eq!(later.operator.hash(), first.operator.hash());

    fs::remove_file(keys.join("nonce.secret")).unwrap();
    assert_eq!(open(true).unwrap_err(), KeyError::Missing(keys.join("nonce.secret")));
    let anew = open(false).unwrap();
    assert_ne!(anew.nonce.fingerprint(), first.nonce.fingerprint());
}

#[test]
fn a_passphrase_is_the_one_line_of_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phrase");
    let made = create_passphrase(&path, &SeededEntropy::new(1)).unwrap();
    assert_eq!(read_passphrase(&path).unwrap(), made);
    for (content, read) in
        [("a b \n", Some("a b ")), ("a\r\n", Some("a")), ("", None), ("\n", None), ("a\nb", None)]
    {
        fs::write(&path, content).unwrap();
        assert_eq!(read_passphrase(&path).ok().as_ref().map(|line| line.as_str()), read);
    }
}

/// A deposit by Permit2 is signed again to the byte after a restart, its permit at the token with it.
#[test]
fn a_deposit_by_permit2_is_signed_by_its_payer_and_always_the_same() {
    let salt = B256::repeat_byte(5);
    let permit = TokenPermit { nonce: 3, deadline_s: 1_999, signature: None };
    let terms = ChannelTerms {
        asset: TOKEN,
        payer: KNOWN_ADDRESS,
        payer_authorizer: Address::repeat_byte(1),
        receiver: Address::repeat_byte(2),
        receiver_authorizer: Address::repeat_byte(3),
        withdraw_delay_s: 900,
        salt,
    };
    let (id, amount, nano) = (id_of(&terms), Amount::new(1_000), Nano::new(1));
    let deposit = Deposit { amount, nano, nonce: salt, salt, valid_before_s: 2_000 };
    let incoming = deposit.by(TransferMethod::Permit2By(permit));
    let released = || ReleasedDeposit {
        opened: Opened {
            id,
            terms,
            wallet: WalletId::named(&name("main")),
            role: name("role"),
            provider: name("echo"),
        },
        incoming,
        permit: Permit::default(),
    };
    let key = SigningKey::from_hex(KNOWN_KEY, "here").unwrap();
    let domains = TokenDomains::new(&assets());
    let token = domains.find(TOKEN).unwrap();
    let first = fill(&released(), token, |digest| key.sign(digest));
    assert_eq!(fill(&released(), token, |digest| key.sign(digest)), first);
    let digest = deposit_digest(token, id, KNOWN_ADDRESS, &incoming);
    assert!(is_signed_by(KNOWN_ADDRESS, digest, &first.signature));
    let TransferMethod::Permit2By(signed) = first.method else { panic!("{first:?}") };
    let digest = token.permit_digest(&movement(&terms, &incoming), &permit);
    assert!(is_signed_by(KNOWN_ADDRESS, digest, &signed.signature.unwrap()));
}
