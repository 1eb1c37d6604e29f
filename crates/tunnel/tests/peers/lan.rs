//! Cameras of our own network.

use std::sync::Arc;

use moorline_base::SystemClock;
use moorline_core::Generation;
use moorline_core::camera::Access;
use moorline_core::id::ForwardName;
use moorline_core::key::KeyAlgorithm;
use moorline_core::port::{CameraDirectory, LandingError, Landings};
use moorline_testkit::refusing::Refusing;
use moorline_tunnel::keyfile::PrivateKey;
use moorline_tunnel::{AnyLandings, LanLandings};

use crate::support::{Rig, SOON, assert_echo, camera, config, echo_server};

#[tokio::test]
async fn a_lan_camera_is_dialled_and_a_tunnel_is_not_granted_to_it() {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let rtsp = echo_server("rtsp").await;
    let mut lan = camera("yard", &[key.public()]);
    lan.access = Access::Lan {
        host: "localhost".to_owned(),
        port: rtsp.port(),
    };
    let mut deaf = camera("deaf", &[]);
    let refusing = Refusing::new().unwrap();
    deaf.access = Access::Lan {
        host: "127.0.0.1".to_owned(),
        port: refusing.address().port(),
    };
    let rig = Rig::new(config(), vec![lan, deaf, camera("away", &[])]).await;
    let directory = Arc::clone(&rig.directory) as Arc<dyn CameraDirectory>;
    let lan = LanLandings::new(Arc::clone(&directory), SystemClock::shared());
    let any = AnyLandings::new(directory, Arc::new(rig.tunnel.clone()), Arc::new(lan));
    let connect = |camera: &str, forward: &str| {
        let (camera, forward) = (camera.parse().unwrap(), forward.parse().unwrap());
        let any = any.clone();
        async move { any.connect(&camera, &forward, Generation(3)).await }
    };
    let (mut stream, generation) = connect("yard", "rtsp").await.unwrap();
    assert_eq!(generation, Generation(3));
    assert_echo(&mut stream, "rtsp").await;
    for (camera, forward, error) in [
        ("yard", "http", LandingError::Unknown),
        ("nobody", "rtsp", LandingError::Unknown),
        ("deaf", "rtsp", LandingError::RefusedByCamera),
        ("away", "rtsp", LandingError::Away),
    ] {
        assert_eq!(
            connect(camera, forward).await.err(),
            Some(error),
            "{camera}"
        );
    }
    let forward = ForwardName::rtsp();
    let yard = "yard".parse().unwrap();
    let by_tunnel = rig.tunnel.connect(&yard, &forward, Generation(0)).await;
    assert_eq!(by_tunnel.err(), Some(LandingError::Unknown));
    let options = [
        "-N",
        "-o",
        "ExitOnForwardFailure=yes",
        "-R",
        "0:127.0.0.1:1",
    ];
    let mut client = rig.dbclient(&key, "yard", &options, &[]);
    assert_eq!(client.wait(SOON).await.unwrap().code(), Some(1));
}
