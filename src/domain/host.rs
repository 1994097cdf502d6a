//! Network addresses: which are the public internet's, and which of them are one host's.
//!
//! It looks nothing up, and knows of no port.

use core::net::{IpAddr, Ipv6Addr};

/// Of an IPv6 address what its holder was given: the other half is its own to choose. Source: RFC 4291, 2.5.1.
const NETWORK_BITS: u128 = 0xffff_ffff_ffff_ffff_0000_0000_0000_0000;

/// Who calls from `address`, as far as that tells: of IPv6 the whole network that the address is in, and an IPv4
/// address that is written as IPv6 as what it is.
pub const fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & NETWORK_BITS)),
    }
}

/// Whether an address is one of the public internet: what another's word may make us call. Not this machine's,
/// not its own network's, not the one at which clouds keep their secrets, and none that wraps one of those.
/// Source: threats.md G07.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let special = ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast();
            // This network, carriers' own, IETF's own, benchmarks, and what is reserved.
            let kept = a == 0
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0)
                || (a == 198 && (18..20).contains(&b))
                || a >= 240;
            !special && !kept
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            // 2000::/3 is what is given out; 2001:db8::/32 is for examples, 2002::/16 wraps IPv4.
            first & 0xe000 == 0x2000
                && !(first == 0x2001 && second == 0x0db8)
                && !(first == 0x2001 && second < 0x0200)
                && first != 0x2002
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn an_ipv4_address_is_one_host_and_so_is_a_network_of_ipv6() {
        let host = |text: &str| network_of(text.parse().unwrap());
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::1", "192.0.2.1", false),
        ] {
            assert_eq!(host(one) == host(other), same, "{one} and {other}");
        }
    }

    #[test]
    fn what_leads_home_is_not_public_in_whatever_it_is_wrapped() {
        for home in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001::1",
        ] {
            assert!(!is_public(home.parse().unwrap()), "{home}");
        }
        for public in ["8.8.8.8", "198.20.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    /// The last address within each block, and the first without. Source: IANA special-purpose address
    /// registries of IPv4 and IPv6, RFC 6890.
    #[test]
    fn a_special_block_ends_where_the_registry_says() {
        for (address, public) in [
            ("0.255.255.255", false),
            ("1.0.0.0", true),
            ("100.63.255.255", true),
            ("100.64.0.0", false),
            ("100.127.255.255", false),
            ("100.128.0.0", true),
            ("101.64.0.0", true),
            ("192.0.0.255", false),
            ("192.0.2.1", false),
            ("192.1.0.0", true),
            ("193.0.0.0", true),
            ("198.17.255.255", true),
            ("198.18.0.0", false),
            ("198.19.255.255", false),
            ("199.18.0.0", true),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("223.255.255.255", true),
            ("224.0.0.0", false),
            ("239.255.255.255", false),
            ("255.255.255.255", false),
            ("1fff:ffff::1", false),
            ("2000::1", true),
            ("2001:1ff:ffff::1", false),
            ("2001:200::1", true),
            ("2001:db7::1", true),
            ("2001:db8::1", false),
            ("2001:db8:ffff::1", false),
            ("2001:db9::1", true),
            ("2003::1", true),
            // The same second half under another first is an address like any.
            ("2600:db8::1", true),
            ("2600:1::1", true),
            ("3fff:ffff::1", true),
            ("4000::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
