//! The cameras that the owner approved, in `local.conf`:
//!
//! ```text
//! lan yard 192.168.1.20:554
//! lan.yard login admin:secret
//! lan.yard main /Streaming/Channels/101
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;

use moorline_control::{Host, Id};

use crate::local::Local;
use crate::words::{Wrong, need, read};

/// Cameras of one gateway: each is a process of some MB, with a dbclient.
const MAX: usize = 32;
/// What may be said of each beside its address. The rest is the box's.
const KEYS: &[&str] = &["login", "main", "sub", "model", "camera", "endpoint"];

/// A camera that may be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// What the gateway calls it: the name of its directory. The server names it by its enrolment.
    pub name: String,
    /// The one address that is connected to.
    pub address: SocketAddr,
    /// The rest of what the owner says of it.
    pub local: Local,
}

/// Reads the approvals of `local.conf`; other keys are not looked at. A wrong line is told and left out.
#[must_use]
pub fn approved(text: &str) -> (Vec<Approved>, Vec<Wrong>) {
    let (mut all, mut wrong) = (Vec::<Approved>::new(), Vec::new());
    // Addresses first: what is said of a camera may stand before or behind its line.
    wrong.extend(read(text, &mut |key, value| match key {
        "lan" => {
            let what = "lan: <name> <address>:<port>, such as yard 192.168.1.20:554";
            let parts = value.split_once([' ', '\t']);
            let parts = parts.and_then(|(name, address)| {
                let address: SocketAddr = address.trim().parse().ok()?;
                (address.port() > 0).then_some(())?;
                Some((label(name)?, address))
            });
            let (name, address) = parts.ok_or(what)?;
            if let SocketAddr::V6(address) = address
                && address.ip().is_unicast_link_local()
            {
                // It is one only together with the number of an interface, which another boot may give to another one.
                return Err(format!("lan: {name}: a link-local address leads nowhere by itself: give the camera another one"));
            }
            if all.iter().any(|known| known.name == name) {
                return Err(format!("lan: {name} is there already"));
            }
            if all.iter().any(|known| known.address == address) {
                return Err(format!("lan: {address} is there already"));
            }
            need(key, (all.len() < MAX).then_some(()), "at most 32 cameras")?;
            let local = of_lan(address).ok_or(what)?;
            all.push(Approved {
                name,
                address,
                local,
            });
            Ok(())
        }
        _ => Ok(()),
    }));
    let mut names: BTreeMap<String, &mut Approved> = all
        .iter_mut()
        .map(|approved| (approved.name.clone(), approved))
        .collect();
    wrong.extend(read(text, &mut |key, value| {
        let Some(name) = key.strip_prefix("lan.") else {
            return Ok(());
        };
        let of = names.get_mut(name);
        let approved = of.ok_or_else(|| format!("{key}: no line `lan {name} <address>:<port>`"))?;
        let (own, value) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        if !KEYS.contains(&own) {
            return Err(format!("{key}: known: {}", KEYS.join(" ")));
        }
        let taken = approved.local.take(own, value.trim());
        taken.map_err(|what| format!("lan.{name} {what}"))
    }));
    wrong.sort_by_key(|wrong| wrong.line);
    (all, wrong)
}

/// A DNS label, as in a camera's id: it becomes a directory.
fn label(name: &str) -> Option<String> {
    Id::new(&format!("lan/{name}"))?;
    Some(name.to_owned())
}

/// What holds for every camera behind a gateway: its address is fixed, and the box is not its.
fn of_lan(address: SocketAddr) -> Option<Local> {
    Some(Local {
        source: Some((Host::new(&address.ip().to_string())?, address.port())),
        // No server chooses another one.
        source_ports: Vec::new(),
        clock: false,
        relay_port: 0,
        ..Local::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_camera_has_its_address_and_its_own_words() {
        let text = "\
            lan.door login admin:secret of door\n\
            lan yard 192.168.1.20:554\n\
            lan  door\t192.168.1.21:8554\r\n\
            # lan shed 192.168.1.22:554\n\
            lan.yard main /Streaming/Channels/101\n\
            lan.door camera home/door\n\
            source 192.168.1.99:554\nlogin root:root\n\
            lan attic [fd00::7]:554\n";
        let (all, wrong) = approved(text);
        assert_eq!(wrong, []);
        let seen: Vec<_> = all
            .iter()
            .map(|one| (one.name.as_str(), one.address.to_string()))
            .collect();
        assert_eq!(
            seen,
            [
                ("yard", "192.168.1.20:554".to_owned()),
                ("door", "192.168.1.21:8554".to_owned()),
                ("attic", "[fd00::7]:554".to_owned())
            ]
        );
        let (yard, door) = (&all[0].local, &all[1].local);
        assert_eq!(
            yard.main.as_ref().unwrap().as_str(),
            "/Streaming/Channels/101"
        );
        assert_eq!((&yard.login, &yard.camera), (&None, &None));
        assert_eq!(door.login.as_ref().unwrap().password, "secret of door");
        assert_eq!(door.camera.as_ref().unwrap().as_str(), "home/door");
        for one in &all {
            let (host, port) = one.local.source.as_ref().unwrap();
            assert_eq!(
                (host.as_str().parse(), *port),
                (Ok(one.address.ip()), one.address.port())
            );
            // No server leads it to another one, nor to what the box itself serves.
            assert!(
                !one.local
                    .allows_source(&Host::new("127.0.0.1").unwrap(), 554)
            );
            assert!(!one.local.clock);
        }
        // The same file makes no ordinary agent stumble.
        assert_eq!(Local::parse(text).1, []);
    }

    #[test]
    fn what_is_no_approval_approves_nothing() {
        let text = "\
            lan yard camera.lan:554\n\
            lan ../etc 192.168.1.20:554\n\
            lan yard 192.168.1.20\n\
            lan Yard 192.168.1.20:554\n\
            lan yard\n\
            lan yard 192.168.1.20:0\n\
            lan.shed login a:b\n\
            lan a 192.168.1.1:554\n\
            lan a 192.168.1.2:554\n\
            lan b 192.168.1.1:554\n\
            lan.a restart /bin/sh\n\
            lan.a http 80\n\
            lan.a login hunter2\n\
            lan c [fe80::1]:554\n\
            lan d [fe80::1%2]:554\n";
        let (all, wrong) = approved(text);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].address.to_string(), "192.168.1.1:554");
        let lines: Vec<usize> = wrong.iter().map(|wrong| wrong.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]);
        let told: Vec<_> = wrong.iter().map(|wrong| wrong.what.as_str()).collect();
        assert_eq!(told[6], "lan.shed: no line `lan shed <address>:<port>`");
        assert_eq!(told[11], "lan.a login: user:password");
        assert!(!told.iter().any(|told| told.contains("hunter2")));
        for told in &told[12..] {
            assert!(told.contains("link-local"), "{told}");
        }
        let many: String = (0..40)
            .map(|n| format!("lan c{n} 192.168.1.{n}:554\n"))
            .collect();
        let (all, wrong) = approved(&many);
        assert_eq!((all.len(), wrong.len()), (MAX, 8));
    }
}
