//! `moorline demo`: the real server with two simulated cameras, for whoever wants to see it before owning a camera.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use hyper::Method;
use moorline_base::CancellationToken;
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_base::config::HumanDuration;
use moorline_base::error::Hinted;
use moorline_base::files::{Access, DataDir, write_atomic};
use moorline_base::logging::{self, Format};
use moorline_base::shutdown::Signals;
use moorline_core::key::KeyAlgorithm;
use moorline_simcam as simcam;
use moorline_tunnel::keyfile::PrivateKey;
use moorline_web::api::{CameraAdd, CameraPatch, CameraView};
use serde::Serialize;

use crate::args::{Demo, Global, Listen, Output};
use crate::client::Client;
use crate::output;
use crate::serve::parts::REGISTRY;
use crate::serve::{Ready, Server, first_user};

/// What the demo tells.
#[derive(Debug, Serialize)]
struct Shown {
    page: String,
    user: String,
    password: String,
    stream_password: String,
    rtsp: Vec<String>,
    server: Ready,
}

/// Runs the demo until a signal comes.
///
/// # Errors
/// The server does not start, a camera cannot be simulated, or standard output takes nothing.
pub async fn run(global: &Global, demo: Demo) -> anyhow::Result<()> {
    let leave_after = demo.leave_after.as_deref().map(duration).transpose()?;
    let log = logging::init_server("warn", Format::Auto)?;
    let mut signals = Signals::install()?;
    let temporary = if demo.keep {
        None
    } else {
        Some(temporary_directory()?)
    };
    let data = temporary
        .as_ref()
        .map_or(global.data.clone(), |dir| dir.path().to_owned());
    let global = Global {
        data,
        config: None,
        ..global.clone()
    };
    prepare(&global.data)?;
    let listen = on_loopback(&demo.listen);
    let Some(server) = crate::started(&global, &listen, log, &mut signals).await? else {
        return Ok(());
    };
    let broken = server.broken();
    let mut cameras = Vec::new();
    // Whatever fails in it, what was started is stopped below.
    let shown = async {
        start_cameras(&server, demo.dbclient, &mut cameras).await?;
        show(&server, &global, &cameras, demo.keep)?;
        wait(&mut signals, leave_after, &broken).await;
        output::say("leaving");
        anyhow::Ok(())
    };
    let result = shown.await;
    // The server first: cameras that went before it would be told as faults.
    let stopped = server.stop(&mut signals).await;
    for camera in cameras {
        camera.camera.stop().await;
    }
    drop(temporary);
    result.and(stopped)?;
    anyhow::ensure!(
        !broken.is_cancelled(),
        "a part of the server ended although nobody asked it to; its log names it"
    );
    Ok(())
}

fn duration(text: &str) -> anyhow::Result<HumanDuration> {
    text.parse()
        .map_err(|_| anyhow::anyhow!("--leave-after {text:?}: write it like 30s"))
}

fn temporary_directory() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("moorline-demo-")
        .tempdir()
        .context("cannot make a temporary directory")
}

/// Says that a directory holds a demo.
pub const MARK: &str = "moorline-demo";
/// The demo records also where little room is left: it takes some 2 MB a minute.
const SETTINGS: &str = "[archive]\ndisk_free = \"64MiB\"\n";

/// Makes the demo's directory, with its settings. One that a server was run on is left alone: its cameras are real.
fn prepare(data: &Path) -> anyhow::Result<()> {
    let mark = data.join(MARK);
    if data.join(REGISTRY).exists() && !mark.exists() {
        let what = format!("{} holds cameras of a real server", data.display());
        anyhow::bail!(Hinted::new(what, "name another directory with --data"));
    }
    let _lock = DataDir::open(data)?;
    let settings = data.join("moorline.toml");
    if !settings.exists() {
        write_atomic(&settings, SETTINGS.as_bytes(), Access::Private)?;
    }
    Ok(write_atomic(&mark, b"", Access::Private)?)
}

/// Free ports on loopback, unless others were asked for.
fn on_loopback(listen: &Listen) -> Listen {
    let free = || Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Listen {
        listen_ssh: listen.listen_ssh.or_else(free),
        listen_rtsp: listen.listen_rtsp.or_else(free),
        listen_https: listen.listen_https.or_else(free),
        listen_admin: listen.listen_admin.or_else(free),
        public_host: listen
            .public_host
            .clone()
            .or_else(|| Some("localhost".to_owned())),
    }
}

/// Until a signal comes, the time is over, or a part of the server has ended.
async fn wait(
    signals: &mut Signals,
    leave_after: Option<HumanDuration>,
    broken: &CancellationToken,
) {
    let over = async {
        match leave_after {
            Some(after) => {
                let until = SystemClock.monotonic() + after.get();
                SystemClock.sleep_until(until).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = signals.next() => {}
        () = broken.cancelled() => {}
        () = over => {}
    }
}

fn show(server: &Server, global: &Global, cameras: &[Simulated], keep: bool) -> anyhow::Result<()> {
    let host = &server.site.place.viewer_host;
    let ready = server.ready.clone();
    let secret = |name: &str| {
        ready
            .first_user
            .as_deref()
            .and_then(|file: &Path| first_user::read(file, name))
            .unwrap_or_default()
    };
    let (password, stream_password) = (secret("password"), secret("stream_password"));
    let url = |name: &str| {
        format!(
            "rtsp://{}:{stream_password}@{host}:{}/{name}",
            first_user::LOGIN,
            ready.rtsp.port()
        )
    };
    let shown = Shown {
        page: ready.page.clone(),
        user: first_user::LOGIN.to_owned(),
        rtsp: cameras.iter().map(|camera| url(&camera.name)).collect(),
        password,
        stream_password,
        server: ready,
    };
    if global.output == Output::Json {
        return output::print_line(&shown);
    }
    let mut text = format!(
        "\n  page      {}   (the browser will not know the certificate: go on)\n",
        shown.page
    );
    text.push_str(&format!(
        "  user      {}\n  password  {}\n\n",
        shown.user, shown.password
    ));
    for url in &shown.rtsp {
        text.push_str(&format!("  ffplay -rtsp_transport tcp {url}\n"));
    }
    // As it was called: whoever tries it has not installed it.
    let program = std::env::args().next();
    text.push_str(&format!(
        "\n  {} --data {} camera list\n",
        program.as_deref().unwrap_or("moorline"),
        shown.server.data.display()
    ));
    let left = match keep {
        true => format!(
            "Ctrl-C ends them; all of it stays in {}",
            shown.server.data.display()
        ),
        false => "Ctrl-C leaves nothing behind".to_owned(),
    };
    text.push_str(&format!(
        "\nTwo simulated cameras have tunnelled in and are being recorded. {left}.\n"
    ));
    output::write_all(text.as_bytes())
}

/// Puts them into `cameras`, where those that run are found also if one does not.
async fn start_cameras(
    server: &Server,
    dbclient: bool,
    cameras: &mut Vec<Simulated>,
) -> anyhow::Result<()> {
    let client = Client::Server(server.ready.socket.clone());
    for (index, (name, title)) in [("camera-1", "Front door"), ("camera-2", "Yard")]
        .into_iter()
        .enumerate()
    {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519)?;
        register(&client, name, title, &key).await?;
        let real = dbclient && index == 1;
        cameras.push(simulate(name, index as u32 + 1, &server.ready, &key, real).await?);
    }
    Ok(())
}

async fn register(
    client: &Client,
    name: &str,
    title: &str,
    key: &PrivateKey,
) -> anyhow::Result<()> {
    let add = CameraAdd {
        name: name.to_owned(),
        keys: vec![key.public().to_string()],
        title: Some(title.to_owned()),
        change: CameraPatch {
            timezone: Some(crate::moments::machine_zone()),
            site: Some("Demo".to_owned()),
            path: Some("/main".to_owned()),
            sub_path: Some("/sub".to_owned()),
            ..CameraPatch::default()
        },
    };
    let path = "/tenants/home/cameras";
    match client
        .json::<CameraView>(Method::POST, path, Some(&add))
        .await
    {
        Ok(_) => Ok(()),
        // A kept directory knows the camera from the last time, under another key.
        Err(_) => {
            let add = moorline_web::api::KeyAdd {
                key: key.public().to_string(),
                comment: "demo".to_owned(),
            };
            client
                .json::<CameraView>(Method::POST, &format!("{path}/{name}/keys"), Some(&add))
                .await
                .map(|_| ())
        }
    }
}

/// A simulated camera under its name.
struct Simulated {
    name: String,
    camera: simcam::Camera,
}

/// Starts a camera with the clip, behind our own SSH client or the real one.
async fn simulate(
    name: &str,
    number: u32,
    ready: &Ready,
    key: &PrivateKey,
    real: bool,
) -> anyhow::Result<Simulated> {
    let key = simcam::Key::from_dropbear(key.to_dropbear()?.expose())?;
    let pinned = simcam::KnownHosts::parse(ready.known_hosts.iter().map(String::as_str))?;
    let config = simcam::CameraConfig {
        source: simcam::SourceConfig::clip(number),
        tunnel: simcam::TunnelConfig::new(ready.ssh, name, key, pinned),
        client: if real {
            simcam::Client::Dbclient("dbclient".into())
        } else {
            simcam::Client::BuiltIn
        },
    };
    let camera = simcam::Camera::start(config, SystemClock::shared()).await;
    let camera = camera.with_context(|| format!("cannot simulate {name}"))?;
    Ok(Simulated {
        name: name.to_owned(),
        camera,
    })
}
