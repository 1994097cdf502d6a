//! A directory's changes as a watcher sees them over real gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::listing::{Listing, Query, SignedListing, Ware};
use bursar::domain::quote::{PayBy, PriceTerms};
use bursar::domain::time::Timestamp;
use bursar::domain::x402::digest::{Delegation, delegation_digest, listing_digest};
use bursar::edge::grpc::{Address, Doors, GrpcDirectory, Listener, Reach, connect_one};
use bursar::edge::grpc::{pb, serve_directory};
use bursar::edge::sandbox::TOKEN;
use bursar::node::sandbox_assets;
use bursar::ports::clock::{Clock, ManualClock};
use bursar::ports::directory::{Cursor, Directory, DirectoryError, Watch, Watched};
use bursar::runtime::directory::{CHANGES_MAX, Registry, WATCHERS_MAX};
use futures_util::StreamExt;
use tonic::Code;

use crate::chain::key;

/// Longer than any change takes to arrive.
const SOON: Duration = Duration::from_secs(20);

pub struct House {
    pub clock: ManualClock,
    pub registry: Arc<Registry>,
    url: String,
    directory: GrpcDirectory,
}

impl House {
    pub async fn open() -> Self {
        let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
        let registry = Arc::new(Registry::new(Arc::new(clock.clone()), sandbox_assets()));
        let at = Address::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&at, "a test").await.unwrap();
        let url = listener.address().to_string();
        let doors = Doors::default().with(serve_directory(registry.clone()));
        tokio::spawn(doors.serve(vec![listener], std::future::pending(), Duration::ZERO));
        let channel = connect_one(&url, Reach::Loopback).await.unwrap();
        Self { clock, registry, url, directory: GrpcDirectory::new(channel) }
    }

    /// What a provider says of itself now, for so long.
    fn listing(&self, provider: &str, seconds: u64) -> SignedListing {
        let now = self.clock.now();
        let pay_to = key(4);
        let service = key(5);
        let listing = Listing {
            provider: provider.parse().unwrap(),
            // Long, so that a connection holds few that nobody has read.
            endpoint: format!("http://127.0.0.1:9/{}", "e".repeat(900)),
            wares: vec![Ware {
                capability: "echo".parse().unwrap(),
                model: "echo-1".parse().unwrap(),
                terms: PriceTerms::default(),
                tiers: Default::default(),
            }],
            pay_by: vec![PayBy {
                scheme: Scheme::Exact,
                method: TransferMethod::Eip3009,
                asset: bursar::domain::asset::Asset {
                    network: bursar::domain::asset::Network::SANDBOX,
                    contract: TOKEN,
                },
                pay_to: pay_to.address(),
                timeout_s: 60,
            }],
            issued_at: now,
            valid_until: now.after(Duration::from_secs(seconds)),
        };
        let sign = |key: &PrivateKeySigner, digest| key.sign_hash_sync(&digest).unwrap();
        let delegation = Delegation { pay_to: pay_to.address(), service_key: service.address() };
        SignedListing {
            service_key: service.address(),
            delegation: sign(&pay_to, delegation_digest(&delegation)),
            signature: sign(&service, listing_digest(&listing)),
            listing,
        }
    }

    pub async fn announce(&self, provider: &str, seconds: u64) -> SignedListing {
        let signed = self.listing(provider, seconds);
        self.directory.announce(signed.clone()).await.unwrap();
        signed
    }

    async fn found(&self) -> BTreeMap<String, SignedListing> {
        let query = Query {
            capability: "echo".parse().unwrap(),
            model: None,
            price_max: None,
            networks: Default::default(),
        };
        let found = self.directory.find(&query).await.unwrap().into_iter();
        found.map(|signed| (signed.listing.provider.to_string(), signed)).collect()
    }
}

async fn next(watch: &mut Watch) -> Result<Watched, DirectoryError> {
    tokio::time::timeout(SOON, watch.next()).await.expect("soon").expect("it goes on")
}

/// Takes a change over, and says where it was.
fn take(known: &mut BTreeMap<String, SignedListing>, seen: Watched) -> Option<Cursor> {
    match seen {
        Watched::Begun(cursor) => return Some(cursor),
        Watched::Standing(signed) => {
            known.insert(signed.listing.provider.to_string(), *signed);
        }
        Watched::Listed(signed, cursor) => {
            known.insert(signed.listing.provider.to_string(), *signed);
            return Some(cursor);
        }
        Watched::Gone(name, cursor) => {
            assert!(known.remove(name.as_str()).is_some(), "{name} was gone before");
            return Some(cursor);
        }
    }
    None
}

#[tokio::test]
async fn a_watcher_that_comes_back_with_its_cursor_sees_every_change_once() {
    let house = House::open().await;
    let (a, b) = (house.announce("a", 200).await, house.announce("b", 100).await);
    let mut watch = house.directory.watch(None).await.unwrap();
    assert_eq!(next(&mut watch).await, Ok(Watched::Standing(Box::new(a.clone()))));
    assert_eq!(next(&mut watch).await, Ok(Watched::Standing(Box::new(b.clone()))));
    let Ok(Watched::Begun(begun)) = next(&mut watch).await else { panic!("it had begun") };
    let c = house.announce("c", 10).await;
    let Ok(Watched::Listed(seen, at)) = next(&mut watch).await else { panic!("c was listed") };
    assert_eq!(*seen, c);
    assert_ne!(at, begun);
    drop(watch);

    // What changes while nobody watches: one anew, one more, and a lease that runs out.
    house.clock.advance(Duration::from_secs(1));
    let (a, d) = (house.announce("a", 200).await, house.announce("d", 200).await);
    house.clock.advance(Duration::from_secs(10));
    let mut watch = house.directory.watch(Some(at)).await.unwrap();
    let (mut places, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        match next(&mut watch).await.unwrap() {
            Watched::Listed(signed, cursor) => {
                seen.push(signed.listing.provider.to_string());
                assert!(*signed == a || *signed == d);
                places.push(cursor.place);
            }
            Watched::Gone(name, cursor) => {
                seen.push(format!("no {name}"));
                places.push(cursor.place);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["a", "d", "no c"]);
    assert_eq!(places, [at.place + 1, at.place + 2, at.place + 3]);

    // A lease that runs out while somebody watches is told then, though nobody announces.
    house.clock.advance(Duration::from_secs(90));
    let Ok(Watched::Gone(name, _)) = next(&mut watch).await else { panic!("b was gone") };
    assert_eq!(name.as_str(), "b");

    // From any place on, the same picture: that of a query.
    let mut known = BTreeMap::new();
    let mut watch = house.directory.watch(None).await.unwrap();
    while take(&mut known, next(&mut watch).await.unwrap()).is_none() {}
    assert_eq!(known, house.found().await);
    let mut known = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    let mut watch = house.directory.watch(Some(begun)).await.unwrap();
    for _ in 0..5 {
        take(&mut known, next(&mut watch).await.unwrap());
    }
    assert_eq!(known, house.found().await);
}

#[tokio::test]
async fn a_cursor_of_another_life_or_of_long_ago_is_told_to_begin_again() {
    let house = House::open().await;
    let signed = house.announce("a", 200).await;
    let mut watch = house.directory.watch(None).await.unwrap();
    let mut known = BTreeMap::new();
    let old = loop {
        if let Some(cursor) = take(&mut known, next(&mut watch).await.unwrap()) {
            break cursor;
        }
    };
    let directory = &house.directory;
    let refused = |cursor| async move {
        match directory.watch(Some(cursor)).await {
            Err(error) => error,
            Ok(mut watch) => panic!("{:?}", next(&mut watch).await),
        }
    };
    let other = Cursor { life: old.life - 1, ..old };
    assert_eq!(refused(other).await, DirectoryError::CursorTooOld);
    let ahead = Cursor { place: old.place + 1, ..old };
    assert_eq!(refused(ahead).await, DirectoryError::CursorTooOld);

    // The last change that is kept is the one after the cursor; one more, and it is forgotten.
    for _ in 0..CHANGES_MAX {
        house.registry.announce(signed.clone()).await.unwrap();
    }
    let mut again = house.directory.watch(Some(old)).await.unwrap();
    assert!(matches!(next(&mut again).await, Ok(Watched::Listed(..))));
    house.registry.announce(signed.clone()).await.unwrap();
    assert_eq!(refused(old).await, DirectoryError::CursorTooOld);

    let channel = connect_one(&house.url, Reach::Loopback).await.unwrap();
    let mut client = pb::directory_service_client::DirectoryServiceClient::new(channel);
    for nonsense in ["x", "1-", "-1", "01-2", "1-2-3", "1-g"] {
        let cursor = nonsense.to_owned();
        let asked = client.watch(pb::DirectoryServiceWatchRequest { cursor }).await;
        assert_eq!(asked.unwrap_err().code(), Code::InvalidArgument, "{nonsense}");
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_keep_up_is_dropped_and_told_so() {
    let house = House::open().await;
    let signed = house.announce("a", 200).await;
    let mut slow = house.directory.watch(None).await.unwrap();
    let mut quick = house.directory.watch(None).await.unwrap();
    // More than a connection holds and the directory keeps.
    for _ in 0..CHANGES_MAX * 2 {
        house.registry.announce(signed.clone()).await.unwrap();
        next(&mut quick).await.unwrap();
    }
    let mut seen = 0;
    let told = loop {
        match next(&mut slow).await {
            Ok(_) => seen += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(told, DirectoryError::TooSlow { bound: CHANGES_MAX as u64 });
    assert!(seen < CHANGES_MAX * 2, "{seen}");
    assert!(slow.next().await.is_none());
    house.registry.announce(signed.clone()).await.unwrap();
    assert!(next(&mut quick).await.is_ok());
}

#[tokio::test]
async fn so_many_watch_at_once_and_who_goes_makes_room() {
    let house = House::open().await;
    let mut watches = Vec::new();
    for _ in 0..WATCHERS_MAX {
        watches.push(house.registry.watch(None).await.unwrap());
    }
    let one_more = house.directory.watch(None).await.err();
    let bound = WATCHERS_MAX as u64;
    assert_eq!(one_more, Some(DirectoryError::TooManyWatchers { bound }));
    drop(watches.pop());
    let mut watch = house.directory.watch(None).await.unwrap();
    assert!(matches!(next(&mut watch).await, Ok(Watched::Begun(_))));
}
