//! How a Service of the cluster's inside is named on a command line and in settings.

use std::str::FromStr;

/// A Service inside the cluster, `name:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Its DNS name: what its certificate names.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// What was given names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no service: write it like moorline-mon.moorline-system.svc:8443")]
pub struct NoService(String);

impl FromStr for ServiceAddress {
    type Err = NoService;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoService(text.to_owned());
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        if name.is_empty() || port == 0 {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_name_and_a_port() {
        let service: ServiceAddress = "moorline-mon.moorline-system.svc:8443".parse().unwrap();
        assert_eq!(service.name, "moorline-mon.moorline-system.svc");
        assert_eq!(service.port, 8443);
        for bad in [
            "moorline-mon",
            ":8443",
            "moorline-mon:",
            "moorline-mon:0",
            "a:70000",
        ] {
            let told = bad.parse::<ServiceAddress>().unwrap_err().to_string();
            assert!(
                told.contains(bad) && told.contains("write it like"),
                "{told}"
            );
        }
    }
}
