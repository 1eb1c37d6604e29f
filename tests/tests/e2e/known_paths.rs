//! A camera that was added by its name and key alone: the paths and logins that firmware is delivered with are tried, and the right one is found.

use futures::future::join_all;
use moorline_simcam::{Audio, Key, Login, SourceConfig};
use moorline_testkit::eventually;

use crate::faults_device::small;
use crate::faults_rig::{SHORT, SOON, Server, fault_of, notes};

/// A user and a password.
type Account = Option<(&'static str, &'static str)>;

/// What firmware serves at which path, and to whom.
const FIRMWARE: [(&str, &str, Account); 4] = [
    ("thingino", "ch0", Some(("thingino", "thingino"))),
    ("openipc", "stream=0", None),
    ("dafang", "unicast", None),
    // Its owner has given it a login of his own.
    ("locked", "ch0", Some(("thingino", "another"))),
];

fn film(number: u32, path: &str, login: Account) -> SourceConfig {
    let mut config = small(number);
    config.streams[0].path = path.to_owned();
    config.streams[0].audio = Some(Audio::Pcma);
    config.login = login.map(|(user, password)| Login {
        user: user.to_owned(),
        password: password.to_owned(),
        basic: false,
    });
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_without_a_path_is_found_at_the_one_that_its_firmware_has() {
    let server = Server::start(SHORT).await;
    let mut devices = Vec::new();
    for (number, (name, path, login)) in (1..).zip(FIRMWARE) {
        let key = Key::generate().unwrap();
        let added = server
            .cli(&["camera", "add", name, "--key", &key.public_line()])
            .await;
        assert_eq!(added["id"], format!("home/{name}"), "{added}");
        devices.push(server.call(name, &key, film(number, path, login), &[]));
    }
    // What its firmware's own login opens is recorded, from whatever path.
    join_all((1..).zip(FIRMWARE).take(3).map(|(number, (name, ..))| {
        let server = &server;
        async move {
            server.moves_on(name).await;
            server.nothing_lost(name, number).await;
        }
    }))
    .await;
    // It stays with what it has found: a connection that begins anew asks for that path alone.
    let dafang = &devices[2];
    let before = dafang.source.counters();
    dafang.source.faults().fire(moorline_simcam::Event::Close);
    eventually("it does not play again", SOON, || async {
        (dafang.source.counters().plays > before.plays).then_some(())
    })
    .await;
    let asked = dafang.source.counters().requests - before.requests;
    assert!(asked <= 5, "{asked} requests, tried other paths again");

    // A login that is nobody's is told, and the camera is not asked for it again and again.
    let told = server
        .until("locked", "unauthorized", |camera| {
            (fault_of(camera)? == "unauthorized").then(|| notes(camera))
        })
        .await;
    assert!(told.contains("--login USER"), "{told}");
    server.stop().await;
}

#[tokio::test]
async fn a_path_that_no_firmware_has_is_asked_for() {
    let server = Server::start(SHORT).await;
    let key = Key::generate().unwrap();
    server
        .cli(&["camera", "add", "odd", "--key", &key.public_line()])
        .await;
    let _odd = server.call("odd", &key, film(1, "odd/path", None), &[]);
    let told = server
        .until("odd", "not_found", |camera| {
            (fault_of(camera)? == "not_found").then(|| notes(camera))
        })
        .await;
    assert!(told.contains("--path"), "{told}");
    server
        .cli(&["camera", "set", "odd", "--path", "/odd/path"])
        .await;
    server.moves_on("odd").await;
    server.nothing_lost("odd", 1).await;
    server.stop().await;
}
