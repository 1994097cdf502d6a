//! What a payee says of a channel, and where it keeps what its calls were answered.

use alloy::primitives::keccak256;

use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::tab::Tab;
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::BatchWord;
use crate::domain::x402::batch::state::{ChannelState, VoucherState};
use crate::domain::x402::batch::word::{self, SaidCharge};
use crate::domain::x402::signature;
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::archive::AnswerKey;
use crate::ports::paid_service::ServiceError;
use crate::runtime::payee::tabs::ChannelJob;

pub(super) fn said(
    job: &ChannelJob,
    tab: &Tab,
    charged: Amount,
    deposit: Option<(String, Amount)>,
) -> SettlementResponse {
    if job.brief && deposit.is_none() {
        let said = SaidCharge { amount: charged, cumulative: tab.charged };
        return word::brief(tab.id, said);
    }
    word::response(&job.word.terms, charged, state_of(tab), deposit)
}

pub(super) fn state_of(tab: &Tab) -> ChannelState {
    ChannelState {
        channel_id: tab.id.to_string(),
        balance: tab.newest.balance.to_string(),
        total_claimed: tab.newest.claimed.to_string(),
        withdraw_requested_at: tab
            .withdrawable_at_s
            .map_or(0, |at| at.saturating_sub(tab.terms.withdraw_delay_s)),
        refund_nonce: "0".to_owned(),
        charged_cumulative_amount: Some(tab.charged.to_string()),
    }
}

pub(super) fn voucher_of(tab: &Tab) -> VoucherState {
    VoucherState {
        signed_max_claimable: tab.voucher.map(|voucher| voucher.ceiling.to_string()),
        signature: tab.voucher.map(|voucher| signature::to_text(&voucher.signature)),
    }
}

/// Where the answer of a channel's call is kept: by the channel, and what had been charged before it.
pub(super) fn answer_key(word: &BatchWord, base: Amount) -> AnswerKey {
    let nonce = keccak256([word.channel.0.as_slice(), &base.get().to_be_bytes()].concat());
    let (asset, payer) = (word.terms.asset, word.terms.payer);
    AnswerKey::Sold(AuthorizationKey { asset, payer, nonce })
}

pub(super) fn unavailable(problem: &str) -> ServiceError {
    ServiceError::Unavailable(problem.to_owned())
}
