//! Which of two quotes is cheaper, by what was signed and never by what is displayed.

use std::cmp::Ordering;

use crate::domain::asset::{Asset, AssetRegistry};
use crate::domain::money::Nano;
use crate::domain::order::Order;
use crate::domain::pricing::price;
use crate::domain::quote::Quote;

/// A quote, and the asset it would be paid in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bid<'a> {
    /// What was signed.
    pub quote: &'a Quote,
    /// In what it would be paid.
    pub asset: Asset,
}

impl Bid<'_> {
    /// What `order` costs by this bid in the unit of account, rounded up. `None` where the asset is
    /// not in the registry, the quote does not take it, or the price does not fit.
    pub fn total(&self, order: &Order, assets: &AssetRegistry) -> Option<Nano> {
        let taken = self.quote.pay_by.iter().any(|way| way.asset == self.asset);
        let amount = price(&self.quote.terms, order).filter(|_| taken)?;
        assets.to_nano(self.asset, amount)
    }
}

/// Cheaper first; what has no price comes last. Equal prices are equal: what breaks a tie is the
/// caller's, who measured.
pub fn compare(a: &Bid<'_>, b: &Bid<'_>, order: &Order, assets: &AssetRegistry) -> Ordering {
    let total = |bid: &Bid<'_>| bid.total(order, assets);
    match (total(a), total(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}
