//! What the roles of a cluster are told. The chart and the monitor write these lines; people read them with `kubectl describe`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use moorline_base::config::{ByteSize, HumanDuration};
use moorline_core::CameraId;

/// A Service inside the cluster, `name:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Its DNS name: what its certificate names.
    pub name: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for ServiceAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = || {
            format!("{text:?} is no service: write it like moorline-mon.moorline-system.svc:8443")
        };
        let (name, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let port = port.parse().map_err(|_| wanted())?;
        if name.is_empty() || port == 0 {
            return Err(wanted());
        }
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
        .map_err(|error: moorline_base::config::Complaint| error.to_string())
}

/// A duration as people write it.
///
/// # Errors
/// What would be right.
pub fn duration(text: &str) -> Result<HumanDuration, String> {
    text.parse()
        .map_err(|error: moorline_base::config::Complaint| error.to_string())
}

/// What both kinds of workload pods take.
#[derive(Debug, Clone, Args)]
pub struct PodArgs {
    /// The camera, tenant/camera.
    #[arg(long, value_name = "TENANT/CAMERA")]
    pub camera: CameraId,
    /// The tunnel gateway of `moorline mon`.
    #[arg(long, value_name = "SERVICE:PORT", env = "MOORLINE_WORKLOAD__GATEWAY")]
    pub gateway: ServiceAddress,
    /// File with this pod's token for the gateway; read again for each request.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/run/moorline/gateway/token"
    )]
    pub gateway_token: PathBuf,
    /// File with the authority (PEM) that the gateway and the signer are known by.
    #[arg(long, value_name = "FILE", default_value = "/etc/moorline/ca.crt")]
    pub authority: PathBuf,
    /// Plain HTTP with metrics and health.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:9464")]
    pub listen_admin: SocketAddr,
    /// What is logged, such as info,moorline_proxy=debug.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "MOORLINE_WORKLOAD__LOG"
    )]
    pub log: String,
}

/// `moorline proxy`
#[derive(Debug, Clone, Args)]
pub struct ProxyArgs {
    /// What both kinds take.
    #[command(flatten)]
    pub pod: PodArgs,
    /// The identity that the cluster gave this pod: a ticket names it.
    #[arg(long, value_name = "UID", env = "MOORLINE_WORKLOAD__POD_UID")]
    pub pod_uid: String,
    /// Where readers with a ticket connect.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8554")]
    pub listen: SocketAddr,
    /// Directory that outlives the container: the relay's own key lies there.
    #[arg(long, value_name = "DIR", default_value = "/run/moorline/scratch")]
    pub keys: PathBuf,
    /// Directory with the passwords of the camera's own logins: the files main and sub, where it has them.
    #[arg(long, value_name = "DIR", default_value = "/run/moorline/passwords")]
    pub passwords: PathBuf,
}

/// `moorline archive`
#[derive(Debug, Clone, Args)]
pub struct ArchiveArgs {
    /// What both kinds take.
    #[command(flatten)]
    pub pod: PodArgs,
    /// The signer.
    #[arg(long, value_name = "SERVICE:PORT", env = "MOORLINE_WORKLOAD__SIGNER")]
    pub signer: ServiceAddress,
    /// File with this pod's token for the signer; read again for each request.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/run/moorline/signer/token"
    )]
    pub signer_token: PathBuf,
    /// Directory of the spool; it outlives the container.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/moorline/spool")]
    pub spool: PathBuf,
    /// How much may wait for the store; below the volume's limit, or the pod is evicted with all that waits.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1800MiB", env = "MOORLINE_WORKLOAD__SPOOL_BYTES")]
    pub spool_bytes: ByteSize,
    /// Length of a segment.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s", env = "MOORLINE_WORKLOAD__SEGMENT")]
    pub segment: HumanDuration,
    /// How long an upload may take once the pod is told to end; below the pod's grace.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "580s")]
    pub goodbye: HumanDuration,
    /// File with further authorities (PEM) for the store.
    #[arg(long, value_name = "FILE", env = "MOORLINE_WORKLOAD__STORE_AUTHORITY")]
    pub store_authority: Option<PathBuf>,
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
            let told = bad.parse::<ServiceAddress>().unwrap_err();
            assert!(
                told.contains(bad) && told.contains("write it like"),
                "{told}"
            );
        }
    }
}
