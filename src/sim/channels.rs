//! The contract that holds channels, with faults drawn, and who acts on it: the payee, the payer who
//! wants its money back, and a payee's hand that claims more than was charged.

use async_trait::async_trait;

use alloy::primitives::{Address, Signature, U256};

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::Ledger;
use crate::domain::money::Amount;
use crate::domain::x402::batch::funding::deposit_nonce;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::channel_rail::{
    ChannelEvidence, ChannelSettler, ChannelSights, ClaimRow, ClaimSettlement, Depth,
    SignedDeposit, SignedRefund, Withdrawals,
};
use crate::ports::clock::Clock as _;
use crate::ports::rail::{NonceState, RailError, Settlement};
use crate::runtime::treasury::Treasury;
use crate::sim::fate::Fault;
use crate::sim::rail::SimRail;
use crate::sim::roles::Ground;

/// Who signs claims and refunds for the payee.
pub const AUTHORIZER: Address = Address::repeat_byte(0xa7);

/// How long a payer waits for what its payee does not claim, in seconds.
pub const WITHDRAW_DELAY_S: u64 = 900;

/// How often somebody thinks about channels, in milliseconds at most.
const ROUND_MS_MAX: u64 = 40_000;

#[async_trait]
impl ChannelSettler for SimRail {
    fn authorizer(&self) -> Address {
        AUTHORIZER
    }

    fn network(&self) -> Network {
        ChannelEvidence::network(&self.channels)
    }

    async fn deposit(&self, deposit: &SignedDeposit) -> Result<Settlement, RailError> {
        self.answer().await?;
        let terms = &deposit.terms;
        let nonce = deposit_nonce(id_of(terms).0, U256::from_be_bytes(deposit.salt.0));
        let key = AuthorizationKey { asset: terms.asset, payer: terms.payer, nonce };
        if self.rail.nonce(&key) == NonceState::Unused {
            self.sent(key);
        }
        self.channels.script(self.fault());
        self.channels.by(AUTHORIZER).deposit(deposit).await
    }

    async fn claim(&self, rows: &[ClaimRow]) -> Result<ClaimSettlement, RailError> {
        self.answer().await?;
        self.channels.script(self.fault());
        self.channels.by(AUTHORIZER).claim(rows).await
    }

    async fn sweep(
        &self,
        receiver: Address,
        asset: Asset,
    ) -> Result<Option<Settlement>, RailError> {
        self.answer().await?;
        self.channels.script(self.fault());
        self.channels.by(AUTHORIZER).sweep(receiver, asset).await
    }

    async fn give_back(
        &self,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        self.answer().await?;
        self.channels.script(self.fault());
        self.channels.by(AUTHORIZER).give_back(terms, row, amount).await
    }

    async fn claim_signed(
        &self,
        rows: &[ClaimRow],
        signature: &Signature,
    ) -> Result<ClaimSettlement, RailError> {
        self.answer().await?;
        self.channels.script(self.fault());
        self.channels.by(AUTHORIZER).claim_signed(rows, signature).await
    }

    async fn give_back_signed(
        &self,
        refund: &SignedRefund,
        claim: Option<(&ClaimRow, &Signature)>,
    ) -> Result<Settlement, RailError> {
        self.answer().await?;
        self.channels.script(self.fault());
        self.channels.by(AUTHORIZER).give_back_signed(refund, claim).await
    }
}

/// The payer's own way out, by its session key.
pub struct WayOut {
    /// The contract.
    pub rail: SimRail,
    /// The session key's address.
    pub account: Address,
}

#[async_trait]
impl Withdrawals for WayOut {
    async fn begin(&self, terms: &ChannelTerms) -> Result<Settlement, RailError> {
        self.rail.answer().await?;
        self.rail.channels.script(self.rail.fault());
        self.rail.channels.by(self.account).begin(terms).await
    }

    async fn finish(&self, terms: &ChannelTerms) -> Result<Settlement, RailError> {
        self.rail.answer().await?;
        self.rail.channels.script(self.rail.fault());
        self.rail.channels.by(self.account).finish(terms).await
    }
}

#[async_trait]
impl ChannelEvidence for SimRail {
    async fn look(&self, channels: &[ChannelId], depth: Depth) -> Result<ChannelSights, RailError> {
        self.answer().await?;
        let sights = self.channels.look(channels, depth).await;
        self.arrive().await;
        sights
    }

    fn network(&self) -> Network {
        ChannelEvidence::network(&self.channels)
    }
}

/// A channel of the payer's that money lies in, by draw.
async fn draw_channel(ground: &Ground, treasury: &Treasury) -> Option<ChannelTerms> {
    let look = |ledger: &Ledger| {
        let filled = ledger.channels().filter(|channel| !channel.balance().is_zero());
        filled.map(|channel| channel.opened.terms).collect::<Vec<_>>()
    };
    let filled = treasury.read(look).await.ok()?;
    let count = u64::try_from(filled.len()).unwrap_or(u64::MAX);
    let place = usize::try_from(ground.fate.below(count)).unwrap_or(0);
    filled.get(place).copied()
}

/// The payer's owner takes money out of channels against everybody's will, for as long as anything goes
/// wrong at all.
pub async fn withdraw(ground: Ground, treasury: Treasury) {
    while !ground.fate.is_healed() {
        ground.clock.sleep_until(ground.clock.now().after(ground.fate.millis(ROUND_MS_MAX))).await;
        let Some(terms) = draw_channel(&ground, &treasury).await else { continue };
        if !ground.fate.strikes(Fault::Withdrawn) {
            continue;
        }
        let payer = ground.rail.channels.by(terms.payer);
        let _ = payer.begin(&terms).await;
        let ready = std::time::Duration::from_secs(WITHDRAW_DELAY_S.saturating_add(1));
        ground.clock.sleep_until(ground.clock.now().after(ready)).await;
        let _ = payer.finish(&terms).await;
    }
}

/// Somebody with the payee's keys claims whatever the payer ever signed, charged or not: no contract
/// prevents it. Source: threats.md E09.
pub async fn overclaim(ground: Ground) {
    while !ground.fate.is_healed() {
        ground.clock.sleep_until(ground.clock.now().after(ground.fate.millis(ROUND_MS_MAX))).await;
        let signed = ground.oracle.vouchers();
        let count = u64::try_from(signed.len()).unwrap_or(u64::MAX);
        let place = usize::try_from(ground.fate.below(count)).unwrap_or(0);
        let Some((terms, ceiling)) = signed.get(place).copied() else { continue };
        if !ground.fate.strikes(Fault::Overclaimed) {
            continue;
        }
        // The contract's twin looks at no signature.
        let signature = Signature::test_signature();
        let total = ceiling.min(ground.rail.channels.sight(id_of(&terms)).balance);
        let row = ClaimRow { terms, ceiling, signature: signature.into(), total };
        let _ = ground.rail.channels.by(AUTHORIZER).claim(&[row]).await;
    }
}
