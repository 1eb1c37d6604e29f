//! The real dbclient in front of the source.

use std::path::{Path, PathBuf};

use moorline_base::SystemClock;
use moorline_simcam::{Camera, CameraConfig, Client, DbclientTunnel, Key};
use moorline_testkit::{eventually, patience};
use tokio::time::timeout;

use crate::reader::{SOON, quick, source};
use crate::tunnel_server::Server;

fn homes(pid: u32) -> Vec<PathBuf> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let home = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(b"HOME="));
    home.map(|home| PathBuf::from(String::from_utf8_lossy(home).into_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_through_dbclient_and_nothing_is_left() {
    let server = Server::start(1);
    let source = source(quick());
    let mut config = server.config(0);
    config.monitor = false;
    let tunnel = DbclientTunnel::start(Path::new("dbclient"), &config, &source)
        .await
        .unwrap();
    server.told("up home/camera-0", 1).await;
    let mut reader = server.reader(0).await;
    reader.play("main").await;
    let first = reader.stamp().await.unwrap();
    for n in 1..30 {
        assert_eq!(reader.stamp().await.unwrap().frame, first.frame + n);
    }
    let pid = tunnel.pid().unwrap();
    let home = eventually("the child has its environment", SOON, async || {
        homes(pid).pop()
    })
    .await;
    assert!(home.join(".ssh/known_hosts").exists());
    tunnel.stop().await;
    source.stop().await;
    server.told("ended Lost", 1).await;
    assert!(!home.exists(), "{}", home.display());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_may_have_dbclient_and_one_of_a_wrong_key_ends() {
    let server = Server::start(1);
    let client = Client::Dbclient(PathBuf::from("dbclient"));
    let config = CameraConfig {
        source: quick(),
        tunnel: server.config(0),
        client,
    };
    let camera = Camera::start(config, SystemClock::shared()).await.unwrap();
    server.told("up home/camera-0", 1).await;
    camera.stop().await;
    server.told("ended Lost", 1).await;

    let mut config = server.config(0);
    config.key = Key::generate().unwrap();
    let source = source(quick());
    let mut refused = DbclientTunnel::start(Path::new("dbclient"), &config, &source)
        .await
        .unwrap();
    let status = timeout(patience(SOON), refused.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(!status.success());
    refused.stop().await;
    source.stop().await;
}
