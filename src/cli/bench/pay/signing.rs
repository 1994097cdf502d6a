//! What signing and verifying alone would let through: the limit of everything that is paid by voucher.

use std::hint::black_box;

use alloy::primitives::{B256, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::channel::{Ceiling, ChannelId};
use bursar::domain::money::Amount;
use bursar::domain::x402::batch::read::voucher_digest;
use bursar::domain::x402::signature::is_signed_by;

use super::super::measure::timed;
use super::super::settled::key_text;

/// Vouchers that are signed and verified.
const VOUCHERS: u64 = 2_000;

/// Vouchers a second that two cores sign and verify, with their digests, and do nothing else.
pub fn limit_per_s() -> u64 {
    let key = key_text().parse::<PrivateKeySigner>().expect("the digits were made of a key");
    let key = key.into_secp256k1();
    let digest = |sum: u64| {
        let amount = Amount::new(sum.into());
        voucher_digest(B256::ZERO, &Ceiling { channel: ChannelId(B256::ZERO), amount })
    };
    let took = timed(|| {
        let signed = (0..VOUCHERS).map(|sum| key.sign_hash_sync(&digest(sum)));
        let signed: Vec<Signature> =
            signed.collect::<Result<_, _>>().expect("a key signs every digest");
        for (sum, signature) in (0..VOUCHERS).zip(&signed) {
            let is_signed = is_signed_by(key.address(), digest(sum), black_box(signature));
            assert!(is_signed, "it was signed just now");
        }
    });
    let nanos = took.as_nanos().max(1);
    let per_s = u128::from(VOUCHERS).saturating_mul(2_000_000_000).div_euclid(nanos);
    u64::try_from(per_s).unwrap_or(u64::MAX)
}
