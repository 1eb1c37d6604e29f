//! The remote forwards of a session: names, never OS ports (promise P2).
//!
//! Pure. Owns: which name a forward gets, which label port answers `-R 0:…`, and what has to be echoed to the camera. A forwarded port is a
//! label inside its session: no port is bound, so none runs out, is exposed, or is in use at a takeover.

use moorline_core::camera::{Access, Camera};
use moorline_core::id::ForwardName;

use crate::metrics::RequestRefused;

/// The first label port that is given to a forward of port 0.
const FIRST_LABEL: u32 = 49_152;

/// A granted forward, as the camera asked for it: `forwarded-tcpip` must echo address and port, else dropbear says "unrequested forward".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) name: ForwardName,
    pub(crate) address: String,
    pub(crate) port: u32,
}

/// The forwards of one session.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    granted: Vec<Forward>,
}

impl Forwards {
    /// Grants a forward, and returns its port: the one asked for, or a label for 0.
    pub(crate) fn grant(
        &mut self,
        camera: &Camera,
        most: usize,
        address: &str,
        port: u32,
    ) -> Result<u32, RequestRefused> {
        let Access::Tunnel { forwards } = &camera.access else {
            return Err(RequestRefused::ForwardOfLanCamera);
        };
        if camera.streampoint.is_some() {
            return Err(RequestRefused::ForwardAtEndpoint);
        }
        if self.granted.len() >= most {
            return Err(RequestRefused::ForwardTooMany);
        }
        let mut names = std::iter::once(ForwardName::rtsp()).chain(forwards.iter().cloned());
        let name = names
            .find(|name| self.named(name).is_none())
            .ok_or(RequestRefused::ForwardUnnamed)?;
        let taken = |port| self.granted.iter().any(|forward| forward.port == port);
        let granted_port = match port {
            0 => (FIRST_LABEL..).find(|label| !taken(*label)).unwrap_or(0),
            port if self.find(address, port).is_some() => {
                return Err(RequestRefused::ForwardRepeated);
            }
            port => port,
        };
        self.granted.push(Forward {
            name,
            address: address.to_owned(),
            port: granted_port,
        });
        Ok(granted_port)
    }

    /// Takes a forward back. False if there is none.
    pub(crate) fn cancel(&mut self, address: &str, port: u32) -> bool {
        let found = self.find(address, port);
        found.map(|at| self.granted.remove(at)).is_some()
    }

    /// The forward of that name.
    pub(crate) fn named(&self, name: &ForwardName) -> Option<&Forward> {
        self.granted.iter().find(|forward| forward.name == *name)
    }

    fn find(&self, address: &str, port: u32) -> Option<usize> {
        self.granted
            .iter()
            .position(|forward| forward.address == address && forward.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_core::Timestamp;
    use moorline_core::segment::Retention;

    fn camera(access: Access) -> Camera {
        Camera {
            access,
            ..Camera::new(
                "yard".parse().unwrap(),
                Timestamp::default(),
                Retention::Days(14),
            )
        }
    }

    #[test]
    fn the_first_is_rtsp_and_the_others_have_the_names_of_the_record() {
        let camera = camera(Access::Tunnel {
            forwards: vec!["http".parse().unwrap()],
        });
        let mut forwards = Forwards::default();
        assert_eq!(forwards.grant(&camera, 4, "localhost", 0), Ok(FIRST_LABEL));
        assert_eq!(
            forwards.grant(&camera, 4, "localhost", FIRST_LABEL),
            Err(RequestRefused::ForwardRepeated)
        );
        assert_eq!(forwards.grant(&camera, 4, "", 8080), Ok(8080));
        assert_eq!(
            forwards.grant(&camera, 4, "", 8081),
            Err(RequestRefused::ForwardUnnamed)
        );
        assert_eq!(
            forwards.grant(&camera, 2, "", 8081),
            Err(RequestRefused::ForwardTooMany)
        );
        let http = forwards.named(&"http".parse().unwrap()).unwrap();
        assert_eq!((http.address.as_str(), http.port), ("", 8080));
        assert!(forwards.cancel("", 8080));
        assert!(!forwards.cancel("", 8080));
        assert!(forwards.named(&"http".parse().unwrap()).is_none());
        assert!(forwards.named(&ForwardName::rtsp()).is_some());
    }

    #[test]
    fn a_lan_camera_opens_no_tunnel() {
        let lan = Access::Lan {
            host: "192.0.2.5".to_owned(),
            port: 554,
        };
        assert_eq!(
            Forwards::default().grant(&camera(lan), 4, "", 0),
            Err(RequestRefused::ForwardOfLanCamera)
        );
    }
}
