//! The camera's own SSH client against the real server.

use futures::FutureExt as _;
use moorline_base::SystemClock;
use moorline_simcam::{
    Camera, CameraConfig, Client, Fault, HangUp, Key, SourceConfig, Tunnel, TunnelState,
};
use moorline_testkit::refusing::Refusing;
use moorline_testkit::{eventually, patience};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::reader::{SOON, quick, source};
use crate::tunnel_server::Server;

async fn start(server: &Server, camera: usize, source: SourceConfig) -> Camera {
    let config = CameraConfig {
        source,
        tunnel: server.config(camera),
        client: Client::BuiltIn,
    };
    let camera = Camera::start(config, SystemClock::shared()).await.unwrap();
    let ports = timeout(patience(SOON), camera.tunnel().unwrap().up())
        .await
        .unwrap();
    assert_ne!(ports, Some(vec![0]));
    camera
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_through_the_tunnel_and_pings_are_answered() {
    let server = Server::start(1);
    let camera = start(&server, 0, quick()).await;
    server.told("up home/camera-0", 1).await;
    server.told("line PONG 41", 1).await;
    let mut readers = [server.reader(0).await, server.reader(0).await];
    for reader in &mut readers {
        reader.play("main").await;
        let first = reader.stamp().await.unwrap();
        for n in 1..30 {
            let next = reader.stamp().await.unwrap();
            assert_eq!((next.camera, next.frame), (7, first.frame + n));
        }
    }
    camera.stop().await;
    server.told("ended Lost", 1).await;
    for reader in &mut readers {
        reader.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_it_calls_again_and_hung_up_it_does_not() {
    let server = Server::start(1);
    let camera = start(&server, 0, quick()).await;
    let tunnel = camera.tunnel().unwrap();
    tunnel.kill().await;
    server.told("ended Lost", 1).await;
    server.told("up home/camera-0", 2).await;
    let mut ups = 2;
    for how in [HangUp::Signal, HangUp::Close] {
        timeout(patience(SOON), tunnel.up()).await.unwrap();
        tunnel.hang_up(how).await;
        server.told("ended HungUp", ups - 1).await;
        let mut state = tunnel.state();
        timeout(
            patience(SOON),
            state.wait_for(|state| *state == TunnelState::Away),
        )
        .await
        .unwrap()
        .unwrap();
        tunnel.call();
        ups += 1;
        server.told("up home/camera-0", ups).await;
    }
    timeout(patience(SOON), tunnel.up()).await.unwrap();
    tunnel.say("EVENT motion 1").await;
    server.told("line EVENT motion 1", 1).await;
    // What BYE means is the monitor's; this one only notes it.
    let bye = tunnel.hang_up(HangUp::Bye);
    bye.await;
    server.told("line BYE", 1).await;
    camera.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_it_sends_nothing_and_thawed_it_goes_on() {
    let server = Server::start(1);
    let camera = start(&server, 0, quick()).await;
    let mut reader = server.reader(0).await;
    reader.play("main").await;
    reader.stamp().await.unwrap();
    let tunnel = camera.tunnel().unwrap();
    tunnel.freeze().await;
    let pause = std::time::Duration::from_millis(500);
    // What was on its way still comes; a minute of film does not.
    let mut late = 0;
    while reader.item(pause).await.is_ok() {
        late += 1;
        assert!(late < 2000, "it goes on sending");
    }
    assert_eq!(
        *tunnel.state().borrow(),
        TunnelState::Up {
            ports: timeout(pause, tunnel.up()).await.unwrap().unwrap()
        }
    );
    tunnel.thaw().await;
    reader.stamp().await.unwrap();
    camera.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_without_rtsp_refuses_the_channel() {
    let server = Server::start(1);
    let camera = start(&server, 0, quick()).await;
    camera.faults().on(Fault::Refuse);
    let id = "camera-0".parse().unwrap();
    let refused = {
        use moorline_core::port::Landings as _;
        server
            .tunnel()
            .connect(
                &id,
                &"rtsp".parse().unwrap(),
                moorline_core::Generation::default(),
            )
            .await
    };
    assert!(matches!(
        refused,
        Err(moorline_core::port::LandingError::RefusedByCamera)
    ));
    camera.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_server_and_a_wrong_key_are_told_apart() {
    let server = Server::start(1);
    let other = Server::start(1);
    let reason = async |config| {
        let tunnel = Tunnel::start(config, source(quick()), SystemClock::shared());
        let mut state = tunnel.state();
        let waiting = |state: &TunnelState| matches!(state, TunnelState::Waiting { .. });
        let found = timeout(patience(SOON), state.wait_for(waiting))
            .await
            .unwrap()
            .unwrap()
            .clone();
        tunnel.stop().await;
        assert_eq!(*tunnel.state().borrow(), TunnelState::Stopped);
        match found {
            TunnelState::Waiting { reason } => reason,
            other => panic!("{other:?}"),
        }
    };
    let mut config = server.config(0);
    config.known_hosts = other.known_hosts.clone();
    assert_eq!(
        reason(config).await,
        "the server's host key is not one of the pinned keys"
    );
    let mut config = server.config(0);
    config.key = Key::generate().unwrap();
    assert_eq!(
        reason(config).await,
        "the server does not accept this key for this name"
    );
    let mut config = server.config(0);
    let refusing = Refusing::new().unwrap();
    config.server = refusing.address();
    assert!(reason(config).await.starts_with("cannot connect"));
}

/// Many cameras in one process, each with its own mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_cameras_at_once_and_none_crossed() {
    const CAMERAS: usize = 100;
    let server = Server::start(CAMERAS);
    let mut cameras = Vec::new();
    for n in 0..CAMERAS {
        let mut source = quick();
        source.camera = n as u32;
        let config = CameraConfig {
            source,
            tunnel: server.config(n),
            client: Client::BuiltIn,
        };
        cameras.push(Camera::start(config, SystemClock::shared()).await.unwrap());
    }
    for camera in &cameras {
        timeout(patience(SOON * 3), camera.tunnel().unwrap().up())
            .await
            .unwrap()
            .unwrap();
    }
    for n in (0..CAMERAS).step_by(7) {
        let mut reader = server.reader(n).await;
        reader.play("main").await;
        assert_eq!(reader.stamp().await.unwrap().camera, n as u32);
    }
    for camera in cameras {
        camera.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_leaves_no_task_behind() {
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let source = source(quick());
    let (mut near, far) = tokio::io::duplex(1024);
    source.serve(far);
    source.listen(moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap());
    let unreachable = moorline_simcam::TunnelConfig::new(
        "127.0.0.1:1".parse().unwrap(),
        "x",
        Key::generate().unwrap(),
        Default::default(),
    );
    let tunnel = Tunnel::start(unreachable, source.clone(), SystemClock::shared());
    tunnel.stop().await;
    timeout(patience(SOON), source.stop()).await.unwrap();
    // When stop returns the connection's task is gone already, and its end of the stream with it.
    let read = near.read_u8().now_or_never();
    assert!(
        read.is_some_and(|read| read.is_err()),
        "the stream is still open"
    );
    eventually("no task is left", SOON, async || {
        (tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
            <= before)
            .then_some(())
    })
    .await;
}
