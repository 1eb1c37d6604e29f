//! Which addresses calls that a tenant can aim may reach (rule S17): pure.
//!
//! Owns: what is a public address, what the operator allows beside them, and the check of a service's URL. Does not own: resolving and dialling;
//! whoever does them asks [`Outside::allows`] for each address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::Network;

/// Whether an address belongs to the public Internet: everything that the registries of special addresses (RFC 6890 and its successors)
/// set aside is not, whatever form it hides in.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        // This network; private; loopback; multicast, reserved, broadcast.
        0 | 10 | 127 | 224.. => true,
        // CGNAT (RFC 6598).
        100 => (64..128).contains(&b),
        // Link-local: also the metadata service of every cloud.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // Protocol assignments and documentation; 6to4 relays; private.
        192 => matches!((b, c), (0, 0) | (0, 2) | (88, 99)) || b == 168,
        // Benchmarks; documentation.
        198 => matches!(b, 18 | 19) || (b, c) == (51, 100),
        203 => (b, c) == (0, 113),
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [a, b, ..] = segments;
    // NAT64 (RFC 6052): the IPv4 address inside is what is reached.
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        return is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    }
    // Of 2000::/3, the only global range, not: protocol assignments with Teredo (2001::/23), documentation, 6to4.
    let special =
        (a == 0x2001 && (b < 0x200 || b == 0xdb8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    a & 0xe000 == 0x2000 && !special
}

/// What the operator allows of the outside beside the public Internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Networks that are no public ones and may be reached.
    pub private: Vec<Network>,
    /// Whether plain http may be spoken.
    pub http: bool,
}

impl Outside {
    /// Reads the operator's list.
    ///
    /// # Errors
    /// The first text that is no network.
    pub fn new(private: &[String], http: bool) -> Result<Self, String> {
        let parse = |text: &String| Network::around(text).map_err(|_| text.clone());
        Ok(Self {
            private: private.iter().map(parse).collect::<Result<_, _>>()?,
            http,
        })
    }

    /// Whether this address may be dialled.
    pub fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.private.iter().any(|network| network.contains(address))
    }

    /// Checks the URL of a service, `https://host[:port]`, as far as that goes without a resolver.
    ///
    /// # Errors
    /// What would be right.
    pub fn check(&self, url: &str) -> Result<(), &'static str> {
        let rest = match url.split_once("://") {
            Some(("https", rest)) => rest,
            Some(("http", rest)) if self.http => rest,
            Some(("http", _)) => return Err("use https: the operator allows no plain http"),
            _ => return Err("write it like https://s3.example.com"),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(plain) {
            return Err("write it like https://s3.example.com, without user, path or bucket");
        }
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                port.parse::<u16>().map_err(|_| "the port is 1 to 65535")?;
                host
            }
            _ => authority,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => {
                Err("that is no public address, and the operator lists no network with it")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_set_aside_is_not_public() {
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:192.168.1.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "100::1",
            "3fff::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn the_internet_is_public() {
        for public in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.1.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_services_url_is_checked_before_anybody_is_asked_for_its_name() {
        let strict = Outside::default();
        for good in [
            "https://s3.example.com",
            "https://s3.example.com:9000/",
            "https://1.1.1.1",
        ] {
            assert_eq!(strict.check(good), Ok(()), "{good}");
        }
        for bad in [
            "http://s3.example.com",
            "s3.example.com",
            "ftp://s3.example.com",
            "https://",
            "https://key:secret@s3.example.com",
            "https://s3.example.com/bucket",
            "https://s3.example.com?x",
            "https://169.254.169.254",
            "https://127.0.0.1:9000",
            "https://[::1]:9000",
            "https://[fd00::1]",
            "https://s3.example.com:99999",
        ] {
            assert!(strict.check(bad).is_err(), "{bad}");
        }
        let lab = Outside::new(&["10.0.0.0/8".to_owned()], true).unwrap();
        assert_eq!(lab.check("http://10.1.2.3:9000"), Ok(()));
        assert!(lab.check("http://192.168.1.1").is_err());
        assert_eq!(
            Outside::new(&["home".to_owned()], false),
            Err("home".to_owned())
        );
    }

    proptest! {
        #[test]
        fn mapping_into_ipv6_changes_nothing(bits: u32) {
            let plain = Ipv4Addr::from(bits);
            prop_assert_eq!(is_public(plain.into()), is_public(plain.to_ipv6_mapped().into()));
            let network: Network = plain.to_string().parse().unwrap();
            prop_assert!(network.contains(plain.to_ipv6_mapped().into()));
        }
    }
}
