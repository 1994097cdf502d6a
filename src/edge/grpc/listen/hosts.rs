//! How many connections each host has open, so that no one of them has all the places of a listener.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::domain::host::network_of;
use crate::edge::grpc::limits::CONNECTIONS_PER_HOST_MAX;

/// Counts them.
#[derive(Debug)]
pub(super) struct Hosts {
    most: usize,
    /// Whether this machine counts as a host too: everything on it shares one address.
    counts_own: bool,
    /// By their networks.
    open: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A connection's place among those of its host; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<(Arc<Hosts>, IpAddr)>);

impl Default for Hosts {
    fn default() -> Self {
        Self { most: CONNECTIONS_PER_HOST_MAX, counts_own: false, open: Mutex::default() }
    }
}

impl Hosts {
    /// So many of each host, this machine too.
    #[cfg(test)]
    pub(super) fn of_each(most: usize) -> Self {
        Self { most, counts_own: true, ..Self::default() }
    }

    /// A place for one more connection; `None` where its host has as many as it may. Who has no address is
    /// this machine's.
    pub(super) fn enter(self: &Arc<Self>, from: Option<IpAddr>) -> Option<Place> {
        let counted = |ip: &IpAddr| self.counts_own || !ip.to_canonical().is_loopback();
        let Some(ip) = from.filter(counted) else { return Some(Place(None)) };
        let host = network_of(ip);
        let mut open = self.open.lock().expect("no holder of the hosts panics");
        let count = open.get(&host).copied().unwrap_or(0);
        if count >= self.most {
            return None;
        }
        open.insert(host, count.saturating_add(1));
        Some(Place(Some((Arc::clone(self), host))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((hosts, host)) = self.0.take() else { return };
        let mut open = hosts.open.lock().expect("no holder of the hosts panics");
        let Some(count) = open.get_mut(&host) else { return };
        *count = count.saturating_sub(1);
        // A host without a connection is forgotten: the map has no more hosts than there are connections.
        if *count == 0 {
            open.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn t06_no_host_has_more_places_than_its_own_and_others_have_theirs() {
        let hosts = Arc::new(Hosts::default());
        let same = ["192.0.2.1", "::ffff:192.0.2.1"].into_iter().cycle();
        let mut held: Vec<Place> = same
            .take(CONNECTIONS_PER_HOST_MAX)
            .map(|text| hosts.enter(ip(text)).unwrap())
            .collect();
        assert!(hosts.enter(ip("192.0.2.1")).is_none());
        assert!(hosts.enter(ip("::ffff:192.0.2.1")).is_none());
        assert!(hosts.enter(ip("192.0.2.2")).is_some());
        // A place that is given back is the next one's.
        held.pop();
        held.push(hosts.enter(ip("192.0.2.1")).unwrap());
        assert!(hosts.enter(ip("192.0.2.1")).is_none());
        drop(held);
        assert!(hosts.open.lock().unwrap().is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn t06_a_network_of_ipv6_is_one_host_whatever_address_it_takes() {
        let hosts = Arc::new(Hosts::of_each(2));
        let held = ["2001:db8::1", "2001:db8::2:3:4:5"].map(|text| hosts.enter(ip(text)).unwrap());
        assert!(hosts.enter(ip("2001:db8::ffff")).is_none());
        assert!(hosts.enter(ip("2001:db8:0:1::1")).is_some());
        drop(held);
        assert!(hosts.enter(ip("2001:db8::ffff")).is_some());
    }

    #[test]
    fn this_machine_is_not_counted_unless_it_is_asked_for() {
        let hosts = Arc::new(Hosts { most: 0, ..Hosts::default() });
        for own in [ip("127.0.0.1"), ip("127.9.9.9"), ip("::1"), ip("::ffff:127.0.0.1"), None] {
            assert!(hosts.enter(own).is_some(), "{own:?}");
        }
        assert!(hosts.enter(ip("192.0.2.1")).is_none());
        assert!(hosts.open.lock().unwrap().is_empty());
        assert!(Arc::new(Hosts::of_each(0)).enter(ip("::1")).is_none());
    }
}
