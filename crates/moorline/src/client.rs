//! The command line as a client: it speaks the HTTP API to the running server over its Unix socket. Without a running server it takes the
//! data directory's lock and answers its own requests with the same parts. A cluster's cameras it answers for itself; of its people and its
//! audit a front door is asked, of refused keys and agents the replicas of `moorline mon`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use moorline_base::error::Hinted;
use moorline_base::files::LockError;
use moorline_base::shutdown::Signals;
use moorline_web::route::REACH_IN;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tower::ServiceExt as _;

use crate::offline::Offline;
use crate::serve::parts::REGISTRY;

mod paths;
mod refusal;
#[cfg(test)]
mod tests;

pub use self::paths::{camera_path, reach_in_path, segment};
pub use self::refusal::WrongRows;
use self::refusal::{Named, is_unknown, problem, told};

/// Answers of more bytes than this are streamed, never collected.
const LARGEST_ANSWER: usize = 64 << 20;
/// How long an answer's head may take. `segments verify` reads a lot before it answers.
const DEADLINE: Duration = Duration::from_secs(600);
/// All cameras that may be seen.
const CAMERAS: &str = "/cameras";

/// Where the Unix socket of a data directory lies.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("moorline.sock")
}

/// Somebody who answers requests.
pub enum Client {
    /// The running server.
    Server(PathBuf),
    /// Ourselves, while no server runs.
    Offline(Box<Offline>),
    /// Ourselves, over the cameras of a cluster.
    #[cfg(feature = "kube")]
    Cluster(Box<crate::cluster::api::ClusterApi>),
    /// A front door of a cluster, or a replica of `moorline mon`.
    #[cfg(feature = "kube")]
    Entered(Box<crate::cluster::entered::Entered>),
}

/// Joins standard input and output with the running server's socket, until the server has said all: how commands reach it from another machine,
/// by whatever lets them run this here.
///
/// # Errors
/// No server runs, or the connection breaks.
#[cfg(feature = "kube")]
pub fn attach(data: &Path) -> anyhow::Result<()> {
    let socket = std::os::unix::net::UnixStream::connect(socket_path(data))
        .map_err(|_| not_running(data))?;
    let asked = socket.try_clone()?;
    // A read of standard input cannot be broken off: the thread ends with the process.
    std::thread::spawn(move || {
        let _ = pour(std::io::stdin().lock(), &asked);
        let _ = asked.shutdown(std::net::Shutdown::Write);
    });
    pour(&socket, std::io::stdout().lock()).context("the server went away")
}

/// Passes on what comes, at once, until the end. Not by `std::io::copy`: that lets the kernel move it (`splice`), which holds the lock of a pipe while it
/// waits for a silent socket, so that whoever reads the pipe stands still, even where it asked not to wait.
#[cfg(feature = "kube")]
fn pour(mut from: impl std::io::Read, mut to: impl std::io::Write) -> std::io::Result<()> {
    let mut room = vec![0; 64 << 10];
    loop {
        match from.read(&mut room) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&room[..count])?;
                to.flush()?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn not_running(data: &Path) -> Hinted {
    Hinted::new(
        format!("no server runs on {}", data.display()),
        "start it with moorline serve, or name its directory with --data",
    )
}

/// The socket of the running server; `None` where none runs.
///
/// # Errors
/// Its directory is another user's.
async fn running_socket(data: &Path) -> anyhow::Result<Option<PathBuf>> {
    let socket = socket_path(data);
    match UnixStream::connect(&socket).await {
        Ok(_) => Ok(Some(socket)),
        Err(error) => another_users(&error, data).map_or(Ok(None), |told| Err(told.into())),
    }
}

/// Whoever may not look into a data directory would else be told that there is nothing in it.
pub fn another_users(error: &std::io::Error, data: &Path) -> Option<Hinted> {
    let data = data.display();
    (error.kind() == ErrorKind::PermissionDenied).then(|| {
        Hinted::new(
            format!("{data} is another user's, who alone may look into it"),
            format!(
                "run this as the user of the server; that of the service is moorline: sudo -u moorline moorline --data {data} …"
            ),
        )
    })
}

/// A server that holds the directory and does not answer is on its way up or down. To stop it, as who starts a second one is advised, would cost the
/// uploads that it waits for.
fn between(error: anyhow::Error) -> anyhow::Error {
    let held = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<LockError>());
    let Some(LockError::Held { directory, pid }) = held else {
        return error;
    };
    let process = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    let what = format!(
        "the server on {}{process} is starting or stopping and takes no commands",
        directory.display()
    );
    Hinted::new(
        what,
        "wait until it is done, its log says what it does, and try again",
    )
    .into()
}

impl Client {
    /// The running server, else ourselves.
    ///
    /// # Errors
    /// The data directory is another user's, or is locked but its server does not answer, or cannot be opened.
    pub async fn connect(data: &Path, config: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(socket) = running_socket(data).await? {
            return Ok(Self::Server(socket));
        }
        let hint = "start the server first (moorline serve), or name its directory with --data or MOORLINE_DATA";
        if !data.exists() {
            let what = format!("there is no data directory {}", data.display());
            bail!(Hinted::new(what, hint));
        }
        // A slip in its name must not make a data directory of whatever is there.
        if !data.join(REGISTRY).exists() {
            let what = format!("no server ever ran on {}", data.display());
            bail!(Hinted::new(what, hint));
        }
        let offline = Offline::open(data, config).await.map_err(between)?;
        crate::output::say(&format!(
            "no server runs on {}: this is done on its files",
            data.display()
        ));
        Ok(Self::Offline(Box::new(offline)))
    }

    /// The running server only: for what makes no sense without one.
    ///
    /// # Errors
    /// No server runs, or it is another user's.
    pub async fn running(data: &Path) -> anyhow::Result<Self> {
        match running_socket(data).await? {
            Some(socket) => Ok(Self::Server(socket)),
            None => bail!(not_running(data)),
        }
    }

    /// The options by which a cluster was chosen, for a command that is printed; empty otherwise.
    pub fn typed(&self) -> &str {
        match self {
            Self::Server(_) | Self::Offline(_) => "",
            #[cfg(feature = "kube")]
            Self::Cluster(cluster) => cluster.typed(),
            #[cfg(feature = "kube")]
            Self::Entered(entered) => entered.typed(),
        }
    }

    /// The camera that a name means: on a cluster a tenant has to be known.
    ///
    /// # Errors
    /// It is no name, or no tenant is known.
    pub fn whole(&self, camera: &str) -> anyhow::Result<moorline_core::CameraId> {
        #[cfg(feature = "kube")]
        if let Self::Cluster(cluster) = self {
            let whole = crate::cluster::choice::whole(camera, cluster.tenant())?;
            return Ok(whole.parse()?);
        }
        Ok(camera.parse()?)
    }

    /// The tenant of what is asked for by no camera's name: on a cluster one has to be known.
    ///
    /// # Errors
    /// None is.
    pub fn tenant(&self) -> anyhow::Result<moorline_core::TenantId> {
        #[cfg(feature = "kube")]
        if let Self::Cluster(cluster) = self {
            return crate::cluster::choice::needed(cluster.tenant().cloned());
        }
        Ok(moorline_core::TenantId::home())
    }

    /// Whether what is asked about is a cluster's.
    pub fn is_cluster(&self) -> bool {
        match self {
            Self::Server(_) | Self::Offline(_) => false,
            #[cfg(feature = "kube")]
            Self::Cluster(_) | Self::Entered(_) => true,
        }
    }

    /// Waits for what makes several cameras, all or none, through a first SIGINT or SIGTERM: on a cluster it is broken off then, and what was made is taken
    /// back; elsewhere it is one step. `true`: there was one.
    ///
    /// # Errors
    /// A second one came: what was made by then may stay.
    pub async fn through_signals<T>(
        &self,
        making: impl Future<Output = T>,
    ) -> anyhow::Result<(T, bool)> {
        const ONE_STEP: &str = "it is one step: its end is waited for; Ctrl-C again does not wait";
        let mut signals = Signals::install()?;
        let mut making = pin!(making);
        tokio::select! {
            made = &mut making => return Ok((made, false)),
            () = signals.stopped() => {}
        }
        crate::output::say(match self {
            Self::Server(_) | Self::Offline(_) => ONE_STEP,
            #[cfg(feature = "kube")]
            Self::Entered(_) => ONE_STEP,
            #[cfg(feature = "kube")]
            Self::Cluster(cluster) => {
                cluster.break_off();
                "broken off: what was made is taken back; Ctrl-C again leaves it as it is"
            }
        });
        tokio::select! {
            made = &mut making => Ok((made, true)),
            () = signals.stopped() => {
                let options = self.typed();
                bail!(Hinted::new(
                    "broken off: what was made by then may stay",
                    format!("moorline camera list{options} shows the cameras, moorline camera rm NAME{options} removes one; moorline camera enrolments{options} shows the tokens"),
                ))
            }
        }
    }

    /// How often is asked again what is waited for: each question to a pod is a process here and one there, and a call to the API server.
    pub fn look_every(&self) -> Duration {
        #[cfg(feature = "kube")]
        if let Self::Entered(_) = self {
            return Duration::from_secs(2);
        }
        Duration::from_millis(250)
    }

    /// A request whose answer is JSON.
    ///
    /// # Errors
    /// The server's [`Problem`](moorline_web::api::Problem), in words.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let response = self.send(method, path, body).await?;
        let collected = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await;
        let bytes = collected
            .map_err(|error| anyhow::anyhow!("the answer ended early: {error}"))?
            .to_bytes();
        let bytes = if bytes.is_empty() {
            Bytes::from_static(b"null")
        } else {
            bytes
        };
        serde_json::from_slice(&bytes)
            .context("the server's answer is not what this version expects")
    }

    /// `GET` with a JSON answer.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(Method::GET, path, None::<&()>).await
    }

    /// A request without an answer that matters.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub async fn act(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<()> {
        self.json::<serde_json::Value>(method, path, body)
            .await
            .map(|_| ())
    }

    /// A request whose answer is read piece by piece.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub async fn stream(&self, method: Method, path: &str) -> anyhow::Result<Response<Body>> {
        self.send(method, path, None::<&()>).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Response<Body>> {
        let json = body.map(serde_json::to_vec).transpose()?;
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(json.unwrap_or_default())))?;
        let answered = match self {
            Self::Server(socket) => {
                tokio::time::timeout(DEADLINE, over_socket(socket, request)).await
            }
            Self::Offline(offline) => {
                tokio::time::timeout(DEADLINE, in_process(offline.router(), request)).await
            }
            #[cfg(feature = "kube")]
            Self::Cluster(cluster) => tokio::time::timeout(DEADLINE, cluster.ask(request)).await,
            #[cfg(feature = "kube")]
            Self::Entered(entered) => tokio::time::timeout(DEADLINE, entered.ask(request)).await,
        };
        let response = answered.context("the server did not answer in time")??;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(response, path).await),
        }
    }

    /// A stream to the web server of a camera, by the path of [`reach_in_path`]. Only who holds its tunnel has one: the running server, or a replica.
    ///
    /// # Errors
    /// As [`Client::json`]; nothing else than a server on this machine was asked for it.
    pub async fn reach_in(&self, path: &str) -> anyhow::Result<Upgraded> {
        let request = Request::builder()
            .uri(format!("/api/v1{path}"))
            .header("host", "localhost")
            .header("connection", "upgrade")
            .header("upgrade", REACH_IN)
            .body(Full::default())?;
        let opening = async {
            match self {
                Self::Server(socket) => over_socket(socket, request).await,
                #[cfg(feature = "kube")]
                Self::Entered(entered) => entered.open(request).await,
                _ => bail!("only a server on this machine leads to its cameras"),
            }
        };
        let answered = tokio::time::timeout(DEADLINE, opening).await;
        let response = answered.context("the server did not answer in time")??;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let upgraded = tokio::time::timeout(DEADLINE, hyper::upgrade::on(response)).await;
                Ok(upgraded.context("the server did not answer in time")??)
            }
            _ => Err(self.refusal(response, path).await),
        }
    }

    /// What a server refuses, in words.
    async fn refusal(&self, response: Response<Body>, path: &str) -> anyhow::Error {
        match problem(response).await {
            Ok(problem) => {
                let known = match is_unknown(&problem, "camera") && path != CAMERAS {
                    true => Box::pin(self.get::<Vec<Named>>(CAMERAS)).await.ok(),
                    false => None,
                };
                told(problem, path, &known.unwrap_or_default())
            }
            Err(error) => error,
        }
    }

    /// Ends cleanly what was opened without a server.
    pub async fn close(self) {
        if let Self::Offline(offline) = self {
            offline.close().await;
        }
    }
}

async fn over_socket(
    socket: &Path,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Body>> {
    let stream = UnixStream::connect(socket)
        .await
        .context("the server went away")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?.map(Body::new))
}

async fn in_process(
    router: Router,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Body>> {
    Ok(router.oneshot(request.map(Body::new)).await?)
}
