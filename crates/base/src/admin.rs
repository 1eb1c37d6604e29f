//! The admin port: `/metrics`, `/healthz`, `/readyz`. It only reads (S34).
//!
//! Owns: the router, the named readiness checks and the metrics reference. Does not own: the listener, which is passed in and bound to
//! loopback (embedded) or the pod's address (cluster); nor anything that changes the process: that goes through a 0600 Unix socket.
//!
//! How [`serve`] ends: its token is cancelled; open requests get 5 s.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{SharedClock, timeout};
use crate::impatient::{Impatient, Patience};
use crate::net::Acceptor;

/// The content type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long open requests get when the server stops.
const STOP_BUDGET: Duration = Duration::from_secs(5);

/// How many connections are served at once: Prometheus, kubelet and a person need a handful.
const CONNECTIONS: usize = 32;

/// How long a connection may take to send its request, the first as any later one.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// How long it may take to read an answer: three times what Prometheus waits for a whole scrape by default.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The named checks behind `/readyz`. Clones are the same set. Without any check the process is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    /// No checks yet.
    #[must_use]
    pub fn new() -> Self {
        Readiness::default()
    }

    fn set(&self, name: &'static str, waiting: Option<String>) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.insert(name, waiting);
    }

    /// Adds a check that is not ready for the reason `starting`; it is the part's own to change.
    #[must_use]
    pub fn check(&self, name: &'static str) -> Check {
        self.set(name, Some("starting".into()));
        Check {
            readiness: self.clone(),
            name,
        }
    }

    /// Every check with why it is not ready.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, Option<String>)> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks
            .iter()
            .map(|(name, waiting)| (*name, waiting.clone()))
            .collect()
    }

    /// True when every check is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshot().iter().all(|(_, waiting)| waiting.is_none())
    }
}

/// One part's own check.
#[derive(Debug, Clone)]
pub struct Check {
    readiness: Readiness,
    name: &'static str,
}

impl Check {
    /// The part is ready.
    pub fn ready(&self) {
        self.readiness.set(self.name, None);
    }

    /// The part is not ready, and why: one sentence without secrets.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.readiness.set(self.name, Some(why.into()));
    }
}

#[derive(Clone)]
struct Admin {
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// The routes: `GET` (and `HEAD`) only, everything else is answered 404 or 405.
pub fn router(registry: Arc<Registry>, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(Admin {
            registry,
            readiness,
        })
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    let mut status = StatusCode::OK;
    for (name, waiting) in admin.readiness.snapshot() {
        match waiting {
            None => {
                let _ = writeln!(text, "{name}: ready");
            }
            Some(why) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                let _ = writeln!(text, "{name}: {why}");
            }
        }
    }
    if text.is_empty() {
        text.push_str("ready\n");
    }
    (status, text)
}

/// Serves until `cancel` is cancelled; open requests get 5 s then. At most 32 connections at once, further ones wait in the kernel's
/// backlog; one that sends no complete request within 10 s, or does not read the answer within 30 s, is closed, so that the slow cannot keep the
/// others out.
///
/// The router may be any: the binary adds nothing that writes (S34).
pub async fn serve(
    listener: TcpListener,
    router: Router,
    clock: SharedClock,
    cancel: CancellationToken,
) {
    let mut acceptor = Acceptor::new("admin", listener, clock.clone(), cancel.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let (Ok(place), Some((stream, _))) = (place, acceptor.next().await) else {
            break;
        };
        let serving = connection(stream, router.clone(), clock.clone(), cancel.clone());
        connections.spawn(async move {
            let _place = place;
            serving.await;
        });
    }
    connections.close();
    if timeout(&*clock, STOP_BUDGET, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!("the admin server stopped with requests open");
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    router: Router,
    clock: SharedClock,
    cancel: CancellationToken,
) {
    let stream = Impatient::new(stream, clock, Patience::Answer(ANSWER_DEADLINE));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended");
    }
}

/// The reference of a registry's metrics as a Markdown table: name, type, unit, meaning, in the order of their names.
///
/// A family without any member is not in the registry's text and so not in the table: whoever makes the page touches each
/// (`get_or_create`) first.
#[must_use]
pub fn reference_markdown(registry: &Registry) -> String {
    let mut text = String::new();
    if encode(&mut text, registry).is_err() {
        text.clear();
    }
    let mut rows: BTreeMap<&str, [&str; 3]> = BTreeMap::new();
    for line in text.lines() {
        for (column, keyword) in ["# TYPE ", "# UNIT ", "# HELP "].into_iter().enumerate() {
            let Some((name, value)) = line
                .strip_prefix(keyword)
                .and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            if let Some(cell) = rows.entry(name).or_default().get_mut(column) {
                *cell = value;
            }
        }
    }
    let mut page = String::from("| metric | type | unit | meaning |\n|---|---|---|---|\n");
    for (name, [kind, unit, help]) in rows {
        // OpenMetrics gives the family's name; a counter's sample ends in `_total`, and that is what is asked for in a query.
        let suffix = if kind == "counter" { "_total" } else { "" };
        let unit = if unit.is_empty() { "–" } else { unit };
        let help = help.replace('|', "\\|");
        let _ = writeln!(page, "| `{name}{suffix}` | {kind} | {unit} | {help} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SimulatedClock, SystemClock};
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Unit;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Server {
        address: SocketAddr,
        readiness: Readiness,
        cancel: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn registry() -> Registry {
        let mut registry = Registry::with_prefix("moorline");
        let sessions: Counter = Counter::default();
        sessions.inc_by(3);
        registry.register("sessions", "Sessions that were authenticated", sessions);
        let spool: Family<Vec<(String, String)>, Gauge> = Family::default();
        let _ = spool.get_or_create(&vec![("camera".into(), "acme/yard".into())]);
        registry.register_with_unit("spool", "Bytes in the spool", Unit::Bytes, spool);
        registry
    }

    async fn start() -> Server {
        start_by(SystemClock::shared()).await
    }

    async fn start_by(clock: SharedClock) -> Server {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = crate::net::listen(loopback).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let readiness = Readiness::new();
        let cancel = CancellationToken::new();
        let router = router(Arc::new(registry()), readiness.clone());
        let task = tokio::spawn(serve(listener, router, clock, cancel.clone()));
        Server {
            address,
            readiness,
            cancel,
            task,
        }
    }

    impl Server {
        async fn ask(&self, request: &str) -> (u16, String) {
            let mut stream = TcpStream::connect(self.address).await.expect("connected");
            let request =
                format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("answered");
            let status = answer[9..12].parse().expect("a status");
            (status, answer)
        }
    }

    #[tokio::test]
    async fn metrics_and_health_are_read() {
        let server = start().await;
        let (status, answer) = server.ask("GET /metrics").await;
        assert_eq!(status, 200);
        assert!(answer.contains("moorline_sessions_total 3\n"), "{answer}");
        assert!(answer.contains("application/openmetrics-text"), "{answer}");
        assert_eq!(server.ask("GET /healthz").await.0, 200);
    }

    #[tokio::test]
    async fn ready_only_when_every_part_is_and_the_missing_one_is_named() {
        let server = start().await;
        assert_eq!(server.ask("GET /readyz").await.0, 200);
        let (ssh, store) = (
            server.readiness.check("ssh"),
            server.readiness.check("store"),
        );
        ssh.ready();
        let (status, answer) = server.ask("GET /readyz").await;
        assert_eq!(status, 503);
        assert!(
            answer.ends_with("ssh: ready\nstore: starting\n"),
            "{answer}"
        );
        store.ready();
        assert_eq!(server.ask("GET /readyz").await.0, 200);
        ssh.not_ready("draining");
        assert_eq!(server.ask("GET /readyz").await.0, 503);
    }

    #[tokio::test]
    async fn nothing_can_be_changed_through_it() {
        let server = start().await;
        for path in ["/metrics", "/healthz", "/readyz"] {
            for method in ["POST", "PUT", "DELETE", "PATCH"] {
                let (status, _) = server.ask(&format!("{method} {path}")).await;
                assert_eq!(status, 405, "{method} {path}");
            }
        }
        assert_eq!(server.ask("GET /drain").await.0, 404);
    }

    #[tokio::test]
    async fn cancelling_ends_it() {
        let server = start().await;
        assert_eq!(server.ask("GET /healthz").await.0, 200);
        server.cancel.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), server.task).await;
        ended.expect("in time").expect("no panic");
    }

    #[tokio::test]
    async fn cancelling_ends_it_with_an_idle_connection_open() {
        // The budget of a stop is never over: what ends the idle one is the stop, or the deadline of its request.
        let server = start_by(Arc::new(SimulatedClock::new(0))).await;
        let mut idle = TcpStream::connect(server.address).await.expect("connected");
        assert_eq!(
            server.ask("GET /healthz").await.0,
            200,
            "the idle one was accepted before"
        );
        server.cancel.cancel();
        let ended = tokio::time::timeout(REQUEST_DEADLINE * 4 / 5, server.task).await;
        ended
            .expect("it does not wait for the idle one")
            .expect("no panic");
        assert_eq!(idle.read(&mut [0; 1]).await.expect("closed"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_say_nothing_do_not_keep_others_out() {
        let server = start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(server.address).await.expect("connected"));
        }
        let before = SystemClock.monotonic();
        assert_eq!(server.ask("GET /healthz").await.0, 200);
        assert!(SystemClock.monotonic() - before < 2 * REQUEST_DEADLINE);
    }

    /// P9.
    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_the_answer_leaves_its_place() {
        for reads in [false, true] {
            let (mut peer, ours) = tokio::io::duplex(1024);
            let router = Router::new().route("/", get(|| async { "x".repeat(64 << 10) }));
            let (clock, cancel) = (SystemClock::shared(), CancellationToken::new());
            let serving = tokio::spawn(connection(ours, router, clock, cancel));
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            peer.write_all(request).await.expect("sent");
            let before = SystemClock.monotonic();
            let mut second = tokio::time::interval(Duration::from_secs(1));
            for _ in 0..ANSWER_DEADLINE.as_secs() * 2 {
                second.tick().await;
                if reads {
                    let _ = peer.read(&mut [0; 1]).await;
                }
                if serving.is_finished() {
                    break;
                }
            }
            assert!(serving.is_finished(), "reads a byte a second: {reads}");
            assert!(SystemClock.monotonic() - before >= ANSWER_DEADLINE);
        }
    }

    #[test]
    fn the_reference_names_every_metric_with_type_unit_and_meaning() {
        assert_eq!(
            reference_markdown(&registry()),
            "| metric | type | unit | meaning |\n|---|---|---|---|\n\
             | `moorline_sessions_total` | counter | – | Sessions that were authenticated. |\n\
             | `moorline_spool_bytes` | gauge | bytes | Bytes in the spool. |\n"
        );
    }
}
