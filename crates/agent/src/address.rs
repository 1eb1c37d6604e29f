//! Which addresses a server may send the camera to (S7): none in private networks, unless the endpoint that enrolled it lies in one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address lies in a private, local or otherwise not public network.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => private_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(inner) => private_v4(inner),
            None => private_v6(address),
        },
    }
}

fn private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        // "This network" (RFC 791), carriers' NAT (RFC 6598), benchmarks (RFC 2544), reserved (RFC 1112).
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240
}

fn private_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let compatible = address.to_ipv4();
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        // Unique local (RFC 4193), link-local (RFC 4291), deprecated site-local.
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfe80
        || first & 0xffc0 == 0xfec0
        // NAT64 (RFC 6052, 8215) and 6to4 lead to a v4 address that is not looked at here.
        || (first == 0x64 && second == 0xff9b)
        || first == 0x2002
        || compatible.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_in_every_dress() {
        for private in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "fec0::1",
            "ff02::1",
            "::ffff:192.168.1.1",
            "::192.168.1.1",
            "64:ff9b::c0a8:101",
            "2002:c0a8:101::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "192.0.2.1",
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }
}
