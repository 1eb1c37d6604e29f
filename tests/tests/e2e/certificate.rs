//! The owner's certificate: taken from files, exchanged by SIGHUP while streams and sessions go on, kept where the new files are wrong.

use std::path::Path;

use moorline_testkit::child::Signal;
use moorline_testkit::{temp_dir, tempfile::TempDir};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::faults_http::{Person, tls};
use crate::support::{Moorline, SOON, Setup, assert_in_order, ffmpeg, simulated};

/// A certificate and its key as another server made them for itself.
async fn made() -> TempDir {
    let other = Moorline::start().await;
    let kept = temp_dir().unwrap();
    for name in ["tls-certificate.pem", "tls-key.pem"] {
        std::fs::copy(other.data().join(name), kept.path().join(name)).unwrap();
    }
    kept
}

fn certificate(place: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(place.join("tls-certificate.pem")).unwrap()
}

fn put(from: &Path, to: &Path) {
    for name in ["tls-certificate.pem", "tls-key.pem"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// What both TLS doors show to somebody who comes now.
async fn shown(moorline: &Moorline) -> Vec<CertificateDer<'static>> {
    let mut shown = Vec::new();
    for door in ["https", "rtsp"] {
        let stream = tls(moorline.address(door)).await.unwrap();
        let (_, session) = stream.get_ref();
        shown.push(session.peer_certificates().unwrap()[0].clone().into_owned());
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_certificate_is_exchanged_while_a_player_and_a_browser_stay() {
    let (first, second) = (made().await, made().await);
    let files = temp_dir().unwrap();
    put(first.path(), files.path());
    let file = |name: &str| files.path().join(name).display().to_string();
    let mut moorline = Moorline::with(Setup {
        sections: format!(
            "[server]\ntls_certificate = {:?}\ntls_key = {:?}\n",
            file("tls-certificate.pem"),
            file("tls-key.pem")
        ),
        ..Setup::default()
    })
    .await;
    let _camera = simulated(&moorline, "yard", 1).await;
    moorline.until_recording("yard").await;
    assert_eq!(shown(&moorline).await, vec![certificate(first.path()); 2]);
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsps", "yard"));
    player.pictures(10).await;
    let password = moorline.first_user("password");
    let person = Person::sign_in(moorline.address("https"), "admin", &password).await;

    put(second.path(), files.path());
    moorline.child().signal(Signal::HUP);
    let reloaded = "reloaded: ";
    let mark = moorline.child().mark();
    let told = moorline.child().wait_for_line(reloaded, SOON);
    told.await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shown(&moorline).await, vec![certificate(second.path()); 2]);

    // A key that is not this certificate's changes nothing, and is told with the files' names.
    std::fs::copy(
        first.path().join("tls-key.pem"),
        files.path().join("tls-key.pem"),
    )
    .unwrap();
    moorline.child().signal(Signal::HUP);
    let wrong = moorline
        .child()
        .wait_for_after(mark, "that it is wrong", SOON, |line| {
            line.contains("do not belong together")
                .then(|| line.to_owned())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(wrong.contains(&file("tls-key.pem")), "{wrong}");
    assert_eq!(shown(&moorline).await, vec![certificate(second.path()); 2]);

    assert_eq!(person.ask("GET", "/me", None).await.status, 200);
    let seen = player.stamps().len();
    assert_in_order(&player.pictures(seen + 20).await, 1);
    moorline.stop().await;
}
