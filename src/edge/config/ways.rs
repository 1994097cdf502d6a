//! How a provider is paid by one authorization: by which schemes, and how they move the asset.

use crate::domain::asset::AssetInfo;
use crate::domain::commitment::TransferMethod;
use crate::edge::config::problem::Kind;
use crate::edge::config::reader::Section;

/// One way to pay a call by itself.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PaidBy {
    /// Just its price.
    Exact(TransferMethod),
    /// At most its price, by Permit2 always: what was used is charged.
    Upto(TransferMethod),
}

/// How a provider is paid.
pub(super) struct Ways {
    /// Call by call, in order of preference.
    pub(super) by_call: Vec<PaidBy>,
    /// What moves the deposits of channels.
    pub(super) deposit_by: TransferMethod,
}

/// `schemes = ["exact", "upto"]`, in order of preference; `transfer = "permit2"` where `exact` and the
/// deposits of channels go by it too; `permits = false` where the payer's own permits at the token are not
/// handed in.
pub(super) fn read_ways(section: &Section<'_>, asset: Option<&AssetInfo>) -> Option<Ways> {
    let transfer = section.find("transfer");
    let permits = section.find("permits");
    let named = section.find("schemes");
    let asset = asset?;
    let by_permit2 = match permits {
        None if asset.has_domain() => TransferMethod::Permit2Sponsored,
        None => TransferMethod::Permit2,
        Some(item) => match item.flag()? {
            true if !asset.has_domain() => {
                let what = format!("{} takes no permits: it has no `eip712`", asset.symbol);
                return item.wrong(Kind::BadValue, what, "permits = false");
            }
            true => TransferMethod::Permit2Sponsored,
            false => TransferMethod::Permit2,
        },
    };
    let exact_by = match &transfer {
        None if asset.has_domain() => TransferMethod::Eip3009,
        None => by_permit2,
        Some(item) => match item.text()? {
            "permit2" => by_permit2,
            "eip3009" if asset.has_domain() => TransferMethod::Eip3009,
            "eip3009" => {
                let what = format!("{} has no `eip712`: only Permit2 moves it", asset.symbol);
                return item.wrong(Kind::BadValue, what, "transfer = \"permit2\"");
            }
            other => {
                let what = format!("`{other}` moves nothing");
                return item.wrong(Kind::BadValue, what, "\"eip3009\" or \"permit2\"");
            }
        },
    };
    let all = |by_call| Some(Ways { by_call, deposit_by: exact_by });
    let Some(list) = named else { return all(vec![PaidBy::Exact(exact_by)]) };
    let mut ways = Vec::new();
    for item in list.list()? {
        let way = match item.text()? {
            "exact" => PaidBy::Exact(exact_by),
            "upto" => PaidBy::Upto(by_permit2),
            "batch-settlement" => {
                let what = "channels are taken by their delay".to_owned();
                return item.wrong(Kind::BadValue, what, "withdraw_delay = \"15m\"");
            }
            other => {
                let what = format!("`{other}` is no scheme that can be paid by");
                return item.wrong(Kind::BadValue, what, "\"exact\" or \"upto\"");
            }
        };
        if ways.contains(&way) {
            return item.wrong(Kind::Duplicate, "it is there twice".to_owned(), "each once");
        }
        ways.push(way);
    }
    if ways.is_empty() {
        let what = "nobody could pay".to_owned();
        return list.wrong(Kind::BadValue, what, "schemes = [\"exact\"]");
    }
    all(ways)
}
