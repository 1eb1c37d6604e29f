//! Networks: from which a camera may call (rule S4), as its owner lists them, and which calls may reach (rule S17), as the operator does.
//!
//! Of an owner a prefix that does not fit its address is a slip: whoever meant one address would let a whole network in. An operator's list is
//! read [more freely](Network::around).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::id::text_serde;

/// A range of addresses, printed `192.0.2.0/24`, or one address, printed bare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

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

impl Network {
    /// Whether an address lies in it. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Reads what the operator lists: there an address with bits beyond the prefix means the network around it.
    ///
    /// # Errors
    /// [`InvalidNetwork`], but for those bits.
    pub fn around(text: &str) -> Result<Self, InvalidNetwork> {
        match text.parse::<Self>() {
            Err(InvalidNetwork::HostBits { network, .. }) => Ok(network),
            read => read,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        // Not by the crate's own reader, which takes 010.0.0.0 for 10.0.0.0.
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Malformed)?;
        let given = match bits {
            Some(bits) => {
                let bits: u8 = bits.parse().map_err(|_| InvalidNetwork::Malformed)?;
                IpNet::new(address, bits).map_err(|_| InvalidNetwork::Malformed)?
            }
            None => IpNet::from(address),
        };
        if address != address.to_canonical() {
            return Err(InvalidNetwork::Mapped);
        }
        let network = Self(given.trunc());
        if network.0 == given {
            Ok(network)
        } else {
            Err(InvalidNetwork::HostBits { network, address })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
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
    use std::net::Ipv4Addr;

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
            "010.0.0.0/8",
        ] {
            assert!(
                told(malformed).starts_with("write a network"),
                "{malformed}"
            );
        }
        assert!(told("::ffff:192.0.2.0/120").contains("IPv4"));
    }

    #[test]
    fn an_operators_network_holds_its_addresses_alone() {
        let listed = |text: &str| Network::around(text).unwrap();
        let network = listed("192.168.1.7/24");
        let holds = |text: &str| network.contains(text.parse().unwrap());
        assert!(holds("192.168.1.0") && holds("192.168.1.255") && holds("::ffff:192.168.1.7"));
        assert!(!holds("192.168.2.0") && !holds("::1"));
        let one = listed("fd00::1");
        assert!(
            one.contains("fd00::1".parse().unwrap()) && !one.contains("fd00::2".parse().unwrap())
        );
        assert!(listed("::/0").contains("fe80::1".parse().unwrap()));
        for bad in [
            "",
            "192.168.1.0/33",
            "home",
            "192.168.1.0/",
            "fd00::/129",
            "1.2.3/8",
        ] {
            let error = Network::around(bad).unwrap_err();
            assert_eq!(error, InvalidNetwork::Malformed, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(bits: u32, prefix in 0_u8..=32) {
            let printed = Network::around(&format!("{}/{prefix}", Ipv4Addr::from(bits))).unwrap();
            prop_assert_eq!(network(&printed.to_string()), printed);
            prop_assert!(printed.contains(IpAddr::V4(bits.into())));
        }
    }
}
