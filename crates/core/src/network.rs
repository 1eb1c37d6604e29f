//! Networks from which a camera may call (rule S4), as its owner lists them.
//!
//! Stricter than the operator's lists of `base`, which knows no cameras: a prefix that does not fit its address is a slip, and whoever meant
//! one address would let a whole network in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::id::text_serde;

/// A range of addresses, printed `192.0.2.0/24`, or one address, printed bare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor an address with a prefix.
    #[error("write a network such as 192.0.2.0/24 or 2001:db8::/32, or one address")]
    Malformed,
    /// The address has bits beyond the prefix.
    #[error("write {network} for the network, or {address} for that address alone")]
    HostBits {
        /// The network around it.
        network: Network,
        /// The address alone.
        address: IpAddr,
    },
    /// An IPv4 address in the form of IPv6: cameras are compared by their IPv4 address.
    #[error("write it as an IPv4 network, such as 192.0.2.0/24")]
    Mapped,
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address without what lies beyond the prefix.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let gone = u32::from(width(address).saturating_sub(bits));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(gone).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(gone).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl Network {
    /// Whether an address lies in it. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Malformed)?;
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| InvalidNetwork::Malformed)?,
            None => width(address),
        };
        if bits > width(address) {
            return Err(InvalidNetwork::Malformed);
        }
        if address != address.to_canonical() {
            return Err(InvalidNetwork::Mapped);
        }
        let network = Self {
            address: masked(address, bits),
            bits,
        };
        if network.address == address {
            Ok(network)
        } else {
            Err(InvalidNetwork::HostBits { network, address })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == width(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

text_serde!(Network);

/// Networks as one text, separated by commas.
pub fn listed(networks: &[Network]) -> String {
    let texts: Vec<String> = networks.iter().map(Network::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_alone() {
        let shop = network("192.0.2.0/24");
        let holds = |network: Network, address: &str| network.contains(address.parse().unwrap());
        for inside in ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7"] {
            assert!(holds(shop, inside), "{inside}");
        }
        for outside in ["192.0.3.0", "191.0.2.1", "::1", "2001:db8::1"] {
            assert!(!holds(shop, outside), "{outside}");
        }
        assert!(holds(network("0.0.0.0/0"), "203.0.113.9"));
        assert!(!holds(network("0.0.0.0/0"), "2001:db8::1"));
        assert!(holds(network("::/0"), "2001:db8::1"));
        assert!(holds(network("2001:db8::1"), "2001:db8::1"));
        assert!(!holds(network("2001:db8::1"), "2001:db8::2"));
    }

    #[test]
    fn a_slip_is_told_with_what_was_perhaps_meant() {
        let told = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        assert_eq!(
            told("192.0.2.7/24"),
            "write 192.0.2.0/24 for the network, or 192.0.2.7 for that address alone"
        );
        for malformed in [
            "",
            "any",
            "192.0.2.0/33",
            "192.0.2/24",
            "192.0.2.0/",
            "2001:db8::/129",
            "192.0.2.0/-1",
        ] {
            assert!(
                told(malformed).starts_with("write a network"),
                "{malformed}"
            );
        }
        assert!(told("::ffff:192.0.2.0/120").contains("IPv4"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(bits: u32, prefix in 0_u8..=32) {
            let address = masked(IpAddr::V4(bits.into()), prefix);
            let printed = network(&format!("{address}/{prefix}"));
            prop_assert_eq!(network(&printed.to_string()), printed);
            prop_assert!(printed.contains(IpAddr::V4(bits.into())));
        }
    }
}
