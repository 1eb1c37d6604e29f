//! A server to call: where it is, as whom, and its pinned keys.
//!
//! Several keys may be pinned (a rotation, a recovery key), but dbclient stops at the first line of a host and algorithm: each attempt
//! gets one key per algorithm, and the next ones have their turn when a host key was refused.

use moorline_control::{Host, HostKey, HostKeyAlgorithm, SshUser, Target};

/// A server to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The SSH user name.
    pub user: SshUser,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Its pinned keys: at least one.
    pub keys: Vec<HostKey>,
}

impl Endpoint {
    /// The pins after so many refused host keys: at most one per algorithm.
    #[must_use]
    pub fn pins(&self, refused: usize) -> Vec<HostKey> {
        let mut pins = Vec::new();
        for algorithm in [HostKeyAlgorithm::Ed25519, HostKeyAlgorithm::EcdsaP256] {
            let of_it = || self.keys.iter().filter(|key| key.algorithm() == algorithm);
            if let Some(nth) = refused.checked_rem(of_it().count()) {
                pins.extend(of_it().nth(nth).cloned());
            }
        }
        pins
    }

    /// As lines of REFER's grammar, of two keys each.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for keys in self.keys.chunks(2) {
            if let [key, rest @ ..] = keys {
                targets.push(Target {
                    user: self.user.clone(),
                    host: self.host.clone(),
                    port: self.port,
                    key: key.clone(),
                    second_key: rest.first().cloned(),
                    ttl: None,
                });
            }
        }
        targets
    }

    /// Adds a target to a list: its keys, if the server is there already.
    pub fn gather(list: &mut Vec<Endpoint>, target: &Target) {
        let new = Endpoint::from(target);
        let known = list.iter_mut().find(|known| {
            (&known.user, &known.host, known.port) == (&new.user, &new.host, new.port)
        });
        match known {
            None => list.push(new),
            Some(known) => {
                for key in new.keys {
                    if !known.keys.contains(&key) {
                        known.keys.push(key);
                    }
                }
            }
        }
    }
}

impl From<&Target> for Endpoint {
    fn from(target: &Target) -> Self {
        let keys = std::iter::once(&target.key).chain(&target.second_key);
        Endpoint {
            user: target.user.clone(),
            host: target.host.clone(),
            port: target.port,
            keys: keys.cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: HostKeyAlgorithm, byte: u8) -> HostKey {
        let (start, rest): (&[u8], usize) = match algorithm {
            HostKeyAlgorithm::Ed25519 => (b"\0\0\0\x0bssh-ed25519\0\0\0\x20", 32),
            HostKeyAlgorithm::EcdsaP256 => (
                b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x41\x04",
                64,
            ),
        };
        HostKey::of_blob(&[start, &vec![byte; rest]].concat()).unwrap()
    }

    #[test]
    fn each_attempt_has_one_pin_per_algorithm_and_each_pin_its_attempt() {
        let ed = |byte| key(HostKeyAlgorithm::Ed25519, byte);
        let ecdsa = key(HostKeyAlgorithm::EcdsaP256, 9);
        let endpoint = Endpoint {
            user: SshUser::new("home/yard").unwrap(),
            host: Host::new("a.example.com").unwrap(),
            port: 2222,
            keys: vec![ed(1), ecdsa.clone(), ed(2)],
        };
        assert_eq!(endpoint.pins(0), [ed(1), ecdsa.clone()]);
        assert_eq!(endpoint.pins(1), [ed(2), ecdsa.clone()]);
        assert_eq!(endpoint.pins(2), [ed(1), ecdsa]);
        let mut again = Vec::new();
        for target in endpoint.targets() {
            Endpoint::gather(&mut again, &target);
        }
        assert_eq!(again, [endpoint], "written as lines and read again");
    }
}
