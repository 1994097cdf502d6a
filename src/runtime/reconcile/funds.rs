//! What entered and left our wallets, block by final block.

use alloy::primitives::Address;

use crate::domain::asset::Asset;
use crate::domain::id::Name;
use crate::domain::ledger::{Command, Rejection};
use crate::domain::money::Amount;
use crate::ports::rail::{Evidence, RailError, Transfer};
use crate::runtime::reconcile::channels::Filling;
use crate::runtime::reconcile::{Open, Reconciler, Round};
use crate::runtime::treasury::Refused;

/// Blocks in which nothing moved that are followed before the ledger is told: each time costs an entry in the
/// journal. A rail that ends a search at its bound has looked at more than these.
pub(super) const QUIET_MAX: u64 = 1_000;

/// One wallet's place in one asset.
struct Place {
    wallet: Name,
    address: Address,
    asset: Asset,
}

/// What moved in one place by no payment of ours, up to a block.
struct Moved {
    after: Option<u64>,
    entered: Amount,
    left: Amount,
    up_to: u64,
}

impl Moved {
    /// Nothing after block `after`, as far as block `up_to`.
    const fn nothing(after: u64, up_to: u64) -> Self {
        Self { after: Some(after), entered: Amount::ZERO, left: Amount::ZERO, up_to }
    }
}

impl Reconciler {
    pub(super) async fn follow_all(
        &self,
        rail: &dyn Evidence,
        assets: &[Asset],
        round: &mut Round,
    ) -> Result<Result<(), RailError>, Refused> {
        let wallets =
            self.treasury.read(|ledger| ledger.wallets().into_iter().cloned().collect::<Vec<_>>());
        for wallet in wallets.await? {
            for asset in assets {
                let place =
                    Place { wallet: wallet.name.clone(), address: wallet.address, asset: *asset };
                let followed = match wallet.find(*asset) {
                    None => self.open_position(rail, &place).await?,
                    Some(position) => self.follow(rail, &place, position.up_to, round).await?,
                };
                if let Err(problem) = followed {
                    return Ok(Err(problem));
                }
            }
        }
        Ok(Ok(()))
    }

    /// A wallet's first sight: what it owns on a final block.
    async fn open_position(
        &self,
        rail: &dyn Evidence,
        place: &Place,
    ) -> Result<Result<(), RailError>, Refused> {
        let holding = match rail.balance(place.asset, place.address).await {
            Ok(holding) => holding,
            Err(problem) => return Ok(Err(problem)),
        };
        let (entered, up_to) = (holding.amount, holding.block);
        self.see(place, Moved { after: None, entered, left: Amount::ZERO, up_to }).await?;
        Ok(Ok(()))
    }

    /// What moved since: our own payments are closed by it, everything else is counted as funds.
    async fn follow(
        &self,
        rail: &dyn Evidence,
        place: &Place,
        after: u64,
        round: &mut Round,
    ) -> Result<Result<(), RailError>, Refused> {
        let found = match rail.transfers(place.asset, place.address, after).await {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        if found.moved.is_empty() {
            // A rail looks so far at a time and no further: what lies beyond a long quiet stretch is found only
            // where the next look begins behind it.
            if found.up_to.saturating_sub(after) > QUIET_MAX {
                self.see(place, Moved::nothing(after, found.up_to)).await?;
            }
            return Ok(Ok(()));
        }
        let open = self.open_payments(rail.network()).await?;
        let filling = self.filling(rail.network()).await?;
        let channels = self.channels_of(rail.network()).await?;
        let mut moved = Moved::nothing(after, found.up_to);
        let mut ours: Vec<(Open, Transfer)> = Vec::new();
        let mut arrived: Vec<(Filling, Transfer)> = Vec::new();
        for transfer in found.moved {
            // What comes back from a channel was the wallet's all along: the channel says how much.
            let back = transfer.channel.is_some_and(|channel| channels.contains(&channel));
            if transfer.to == place.address && !back {
                moved.entered = sum(moved.entered, transfer.amount);
            }
            // Only the payer's own wallet closes a payment: where the payee is a wallet of ours too, the
            // payer's has not counted the transfer yet, and would take it for a foreign one.
            if transfer.from == place.address {
                let deposit = filling.iter().find(|deposit| Some(deposit.key()) == transfer.key);
                match open.iter().find(|open| Some(open.commitment.key()) == transfer.key) {
                    Some(payment) => ours.push((payment.clone(), transfer)),
                    None => match deposit {
                        Some(deposit) => arrived.push((deposit.clone(), transfer)),
                        None => moved.left = sum(moved.left, transfer.amount),
                    },
                }
            }
        }
        // First the height, then the payments: cut in between, a restart counts no payment of ours as
        // a foreign transfer, and finds each still open by its own nonce.
        if !self.see(place, moved).await? {
            return Ok(Ok(()));
        }
        for (filling, transfer) in arrived {
            self.arrived(rail, &filling, &transfer).await?;
        }
        for (open, transfer) in ours {
            self.close_by_transfer(rail, &open, &transfer, round).await?;
        }
        Ok(Ok(()))
    }

    /// Whether it was counted; another round may have been faster.
    async fn see(&self, place: &Place, moved: Moved) -> Result<bool, Refused> {
        let command = Command::SeeFunds {
            wallet: place.wallet.clone(),
            asset: place.asset,
            entered: moved.entered,
            left: moved.left,
            after: moved.after,
            up_to: moved.up_to,
        };
        match self.treasury.execute(command).await {
            Err(refused @ Refused::Stopped { .. }) => Err(refused),
            Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => Ok(false),
            Err(refused @ Refused::Rejected(_)) => {
                tracing::error!(%refused, "funds do not match the books");
                Ok(false)
            }
            Ok(_) => Ok(true),
        }
    }
}

fn sum(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).unwrap_or(Amount::MAX)
}
