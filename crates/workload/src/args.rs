//! What the pods of a camera are told. The monitor writes these lines; people read them with `kubectl describe`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use moorline_base::config::{ByteSize, HumanDuration};
use moorline_core::CameraId;
use moorline_gateway::ServiceAddress;

/// What runs in the pods of a camera of a cluster. The monitor starts them; nobody types this.
#[derive(Debug, Parser)]
#[command(
    name = "moorline-workload",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Which of the two.
    #[command(subcommand)]
    pub command: Command,
}

/// Which of the two.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Relay of one camera, as a pod that the monitor starts.
    Proxy(Box<ProxyArgs>),
    /// Archiver of one camera, as a pod that the monitor starts.
    Archive(Box<ArchiveArgs>),
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

/// `moorline-workload proxy`
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

/// `moorline-workload archive`
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
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1800MiB",
        env = "MOORLINE_WORKLOAD__SPOOL_BYTES"
    )]
    pub spool_bytes: ByteSize,
    /// Length of a segment.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        env = "MOORLINE_WORKLOAD__SEGMENT"
    )]
    pub segment: HumanDuration,
    /// How long an upload may take once the pod is told to end; below the pod's grace.
    #[arg(long, value_name = "DURATION", default_value = "580s")]
    pub goodbye: HumanDuration,
    /// File with the authority (PEM) of a store that has one of its own; it need not be there, and is read again when it changes.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/moorline/store-ca.crt"
    )]
    pub store_authority: PathBuf,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    fn typed(words: &str) -> Result<Command, clap::Error> {
        let words = words.split(' ');
        Cli::try_parse_from(["moorline-workload"].into_iter().chain(words)).map(|cli| cli.command)
    }

    #[test]
    fn a_relay_needs_its_camera_the_gateway_and_its_own_identity() {
        let whole = "proxy --camera acme/yard --gateway mon.moorline:8443 --pod-uid u-1";
        let Ok(Command::Proxy(relay)) = typed(whole) else {
            panic!("no relay");
        };
        assert_eq!(relay.pod.camera.to_string(), "acme/yard");
        assert_eq!(relay.pod.gateway.port, 8443);
        for left_out in [
            " --camera acme/yard",
            " --gateway mon.moorline:8443",
            " --pod-uid u-1",
        ] {
            let error = typed(&whole.replace(left_out, "")).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::MissingRequiredArgument,
                "{left_out}"
            );
        }
    }

    #[test]
    fn an_archiver_is_told_sizes_and_times_with_their_units() {
        let whole = "archive --camera acme/yard --gateway mon.moorline:8443 --signer signer.moorline:8444 --spool-bytes 900MiB --segment 5s";
        let Ok(Command::Archive(archiver)) = typed(whole) else {
            panic!("no archiver");
        };
        assert_eq!(archiver.spool_bytes.bytes(), 900 << 20);
        assert_eq!(archiver.segment.get(), Duration::from_secs(5));
        assert_eq!(archiver.goodbye.get(), Duration::from_secs(580));
        let error = typed(&whole.replace("5s", "5")).unwrap_err().to_string();
        assert!(error.contains("a duration needs a unit"), "{error}");
    }
}
