//! `moorline-workload proxy`: the relay of one camera as a pod.
//!
//! Reads its camera through the tunnel gateway and serves whoever has a ticket of the signer. After an order to drain it says `drained` and
//! rests until the cluster deletes it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use moorline_base::{CancellationToken, net};
use moorline_core::port::{PodUid, Relays};
use moorline_gateway::{
    ControlSettings, GatewayLandings, RelayKey, TicketCheck, TicketDoor, TicketMetrics,
};
use moorline_proxy::{Candidates, Hub, ProxyMetrics, RelayConfig, relay_workload};

use crate::args::ProxyArgs;
use crate::camera::OneCamera;
use crate::pod::{Pod, rest, until_stopped};

/// What readers and the camera get to say goodbye, with room.
const GOODBYE: Duration = Duration::from_secs(4);

/// Runs until SIGTERM.
///
/// # Errors
/// A file or an address is wrong; the workload failed.
pub(crate) async fn run(args: ProxyArgs) -> anyhow::Result<()> {
    let mut pod = Pod::new(&args.pod, GOODBYE)?;
    let key = RelayKey::load_or_make(&args.keys).context("--keys cannot be used")?;
    let listener = net::listen(args.listen)?;
    let check = Arc::new(TicketCheck::new(
        args.pod.camera.clone(),
        PodUid(args.pod_uid.clone()),
    ));
    let passwords = args.passwords.exists().then(|| args.passwords.clone());
    let settings = ControlSettings {
        key: Some(key.pin()),
        tickets: Some(Arc::clone(&check)),
        passwords: passwords.clone(),
    };
    let link = pod.link(&args.pod, settings);
    let landings = Arc::new(GatewayLandings::new(
        pod.gateway.clone(),
        Some(key.pin()),
        Some(Arc::clone(&check)),
    ));
    let proxy_metrics = ProxyMetrics::register(&mut pod.metrics.registry);
    let ticket_metrics = TicketMetrics::register(&mut pod.metrics.registry);
    let (clock, stop, doors) = (Arc::clone(&pod.clock), pod.work.token(), pod.doors.clone());
    let work = async move {
        let spec = tokio::select! {
            spec = link.spec() => spec,
            () = stop.cancelled() => None,
        };
        let Some(spec) = spec else { return Ok(()) };
        let config = RelayConfig {
            candidates: Candidates::known(),
            ..RelayConfig::default()
        };
        let directory = Arc::new(OneCamera::new(&spec.camera));
        if let Some(passwords) = passwords {
            let (camera, clock, closing) =
                (Arc::clone(&directory), Arc::clone(&clock), doors.token());
            doors.spawn("passwords", async move {
                camera.follow(&passwords, &*clock, &closing).await;
            });
        }
        let hub = Hub::new(Arc::clone(&clock), directory, config, proxy_metrics);
        let relays: Arc<dyn Relays> = Arc::new(hub.clone());
        let door = TicketDoor::new(clock, key, check, relays, ticket_metrics);
        let closing = doors.token();
        doors.spawn("tickets", async move { door.run(listener, closing).await });
        let control = until_stopped(&link, &stop, GOODBYE);
        let kill = CancellationToken::new();
        let relay = relay_workload(hub, landings, spec, control, kill);
        relay
            .await
            .map_err(|why| anyhow!("the relay failed: {why}"))?;
        if !stop.is_cancelled() {
            link.drained().await;
            rest(&stop).await;
        }
        Ok(())
    };
    pod.run(&args.pod, work).await
}
