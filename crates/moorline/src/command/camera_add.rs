//! `moorline camera add`: makes or takes a key, registers the camera, and prints the exact lines to type on it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hyper::Method;
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_core::camera::Record;
use moorline_core::key::{InvalidKey, KeyAlgorithm};
use moorline_core::{CameraId, PublicKey};
use moorline_tunnel::keyfile::{PrivateKey, public_key_of_dropbear};
use moorline_web::api::{self, CameraView, DiskView, ServerView, StrangerView, USUAL_BITRATE};
use serde::Serialize;

use crate::args;
use crate::client::{Client, segment};
use crate::command::{camera, camera_text};
use crate::output;

/// The port of RTSP servers on most cameras.
const RTSP_PORT: u16 = 554;
/// What most cameras send, in bytes a day.
pub(super) const USUAL_BYTES_PER_DAY: u64 = USUAL_BITRATE / 8 * 86_400;
/// Where a camera keeps its key, in the printed lines.
const KEY_ON_CAMERA: &str = "/etc/moorline/id";

/// What `camera add` answers.
#[derive(Debug, Serialize)]
pub struct Added {
    id: CameraId,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh: Option<Ssh>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    known_hosts: Vec<String>,
    /// Nobody set the host: cameras elsewhere may not reach it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    host_guessed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// It calls already: it was refused until now.
    #[serde(skip)]
    calls: bool,
    rtsp_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<Estimate>,
    notes: Vec<String>,
}

/// What recording will take, before the camera has sent anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Estimate {
    assumed_bits_per_second: u64,
    bytes_per_day: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_days: Option<u64>,
}

impl Estimate {
    /// At [`USUAL_BITRATE`], beside what the other cameras take; nothing if nothing is recorded.
    fn of(record: Record, disk: Option<DiskView>, others: u64) -> Option<Self> {
        record.source().map(|_| Self {
            assumed_bits_per_second: USUAL_BITRATE,
            bytes_per_day: USUAL_BYTES_PER_DAY,
            disk_days: disk.map(|disk| disk.bound / (USUAL_BYTES_PER_DAY + others)),
        })
    }
}

/// What the cameras but this one take a day: as it was measured, or as usual.
fn others(cameras: &[CameraView], id: &CameraId) -> u64 {
    let name = id.to_string();
    let others = cameras.iter().filter(|camera| camera.id != name);
    let recorded = others.filter(|camera| camera.record.source().is_some());
    recorded
        .map(|camera| camera.bytes_per_day.unwrap_or(USUAL_BYTES_PER_DAY))
        .sum()
}

/// Where the camera connects.
#[derive(Debug, Clone, Serialize)]
pub struct Ssh {
    host: String,
    port: u16,
    user: String,
}

/// A public key from a file, or as the line itself.
///
/// # Errors
/// The file cannot be read, or holds no key that Moorline takes.
pub fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    match text.parse::<PublicKey>() {
        Ok(key) => return Ok(key),
        // Not repeated: it would stand on the terminal (P10).
        Err(private @ InvalidKey::Private) => return Err(private.into()),
        Err(_) => {}
    }
    let path = Path::new(text);
    if !path.exists() {
        let hint = "give the line that dropbearkey -y -f KEY prints, or a file with it";
        bail!(Hinted::new(
            format!("{text:?} is neither a public key nor a file"),
            hint
        ));
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {text}"))?;
    let content = String::from_utf8_lossy(&bytes);
    if content.contains("PRIVATE KEY") || public_key_of_dropbear(&bytes).is_ok() {
        let hint = format!(
            "give its public half, which dropbearkey -y -f {text} prints (OpenSSH: ssh-keygen -y -f {text})"
        );
        bail!(Hinted::new(format!("{text} is a private key"), hint));
    }
    let line = content
        .lines()
        .find(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-"));
    line.unwrap_or(content.trim())
        .parse()
        .with_context(|| format!("{text} holds no key that can be used"))
}

/// Adds the camera.
///
/// # Errors
/// A field is wrong, the name or key is taken: nothing was added and no key file is left.
pub async fn add(
    client: &Client,
    add: args::CameraAdd,
    format: args::Output,
) -> anyhow::Result<()> {
    let id: CameraId = add.name.parse()?;
    let is_lan = add.fields.rtsp.is_some();
    let change = camera::patch(&add.fields, true)?;
    let mut written = None;
    let keys = match (&add.key, &add.pending) {
        (Some(key), _) => vec![public_key(key)?.to_string()],
        (None, Some(fingerprint)) => vec![pending(client, fingerprint).await?],
        (None, None) if is_lan => Vec::new(),
        (None, None) => {
            let made = make_key(&id, add.key_kind, add.key_file.as_deref())?;
            let line = made.1.to_string();
            written = Some(made.0);
            vec![line]
        }
    };
    let request = api::CameraAdd {
        name: id.name().to_owned(),
        keys,
        title: add.fields.title.clone(),
        change,
    };
    let path = format!("/tenants/{}/cameras", segment(id.tenant().as_str()));
    let view: CameraView = match client.json(Method::POST, &path, Some(&request)).await {
        Ok(view) => view,
        Err(error) => {
            if let Some(path) = &written {
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
    };
    let server: ServerView = client.get("/server").await?;
    let cameras: Vec<CameraView> = client.get("/cameras").await?;
    let others = others(&cameras, &id);
    let mut added = answer(id, view, server, others, written, is_lan);
    added.calls = add.pending.is_some();
    output::print(format, &added, || text(&added, client.typed()))?;
    if let Some(guess) = guess(&added) {
        output::say(&guess);
    }
    Ok(())
}

/// That the lines to type lead to a host that nobody chose.
fn guess(added: &Added) -> Option<String> {
    let host = &added.ssh.as_ref().filter(|_| added.host_guessed)?.host;
    Some(format!(
        "note: {host} in these lines was guessed: server.public_host is not set\n\
         hint: type the name that cameras reach from where they hang instead; set server.public_host to it (moorline.toml, or serve --public-host), and later lines have it"
    ))
}

/// The key of a refused stranger.
///
/// # Errors
/// None with this fingerprint is known, or nobody can be asked.
pub(super) async fn pending(client: &Client, fingerprint: &str) -> anyhow::Result<String> {
    let strangers: Vec<StrangerView> = client.get("/strangers").await?;
    match strangers
        .into_iter()
        .find(|stranger| stranger.fingerprint == fingerprint)
    {
        Some(stranger) => Ok(stranger.key.to_string()),
        None => bail!(Hinted::new(
            format!("nobody with the fingerprint {fingerprint} has knocked"),
            "let the camera connect, then look at moorline camera pending",
        )),
    }
}

/// Makes a key pair; the private half goes into a 0600 file in Dropbear's format, since dbclient refuses OpenSSH's.
fn make_key(
    id: &CameraId,
    kind: args::KeyKind,
    file: Option<&Path>,
) -> anyhow::Result<(PathBuf, PublicKey)> {
    let path = file.map_or_else(
        || PathBuf::from(format!("{}.key", id.name())),
        Path::to_owned,
    );
    if path.exists() {
        let hint = format!(
            "if {0} was added before, moorline camera show {0} shows it; else move the file away, or choose another with --key-file",
            id.name()
        );
        bail!(Hinted::new(
            format!("{} exists already", path.display()),
            hint
        ));
    }
    let kind = match kind {
        args::KeyKind::Ed25519 => KeyAlgorithm::Ed25519,
        args::KeyKind::Ecdsa => KeyAlgorithm::EcdsaP256,
    };
    let made = PrivateKey::generate(kind)?;
    write_atomic(&path, made.to_dropbear()?.expose(), Access::Private)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok((std::path::absolute(&path)?, made.public().clone()))
}

fn answer(
    id: CameraId,
    view: CameraView,
    server: ServerView,
    others: u64,
    private_key: Option<PathBuf>,
    is_lan: bool,
) -> Added {
    let user = if id.tenant().as_str() == moorline_core::TenantId::HOME {
        id.name().to_owned()
    } else {
        id.to_string()
    };
    let ssh = (!is_lan).then(|| Ssh {
        host: server.public_host.clone(),
        port: server.ports.ssh,
        user,
    });
    let key = private_key
        .as_ref()
        .map_or(KEY_ON_CAMERA.to_owned(), |path| path.display().to_string());
    Added {
        command: ssh.as_ref().map(|ssh| command(ssh, &key)),
        calls: false,
        host_guessed: server.public_host_guessed && !is_lan,
        known_hosts: if is_lan {
            Vec::new()
        } else {
            server.known_hosts
        },
        id,
        private_key,
        ssh,
        rtsp_url: view.rtsp_url,
        recording: Estimate::of(view.record, server.disk, others),
        notes: view.notes,
    }
}

/// The line that opens the tunnel: `-K` notices a dead path, `-N` and `-T` ask for no shell, port 0 needs no agreement.
fn command(ssh: &Ssh, key: &str) -> String {
    let Ssh { host, port, user } = ssh;
    let key = if key.contains([' ', '\'']) {
        format!("'{}'", key.replace('\'', "'\\''"))
    } else {
        key.to_owned()
    };
    format!("dbclient -N -T -K 15 -p {port} -i {key} -R 0:127.0.0.1:{RTSP_PORT} {user}@{host}")
}

fn text(added: &Added, typed_on: &str) -> String {
    let mut text = format!("camera {} added\n", added.id);
    if let Some(ssh) = &added.ssh {
        let mut step = 1..;
        let mut number = || step.next().unwrap_or_default();
        if let Some(key) = &added.private_key {
            text.push_str(&format!(
                "\nHere:\n\n  {}. Put the private key onto the camera, then delete it here:\n       ssh root@CAMERA mkdir -p /etc/moorline\n       scp -O {} root@CAMERA:{KEY_ON_CAMERA}\n",
                number(),
                key.display(),
            ));
        }
        text.push_str(if added.calls {
            "\nIts next call is let in. If it does not call by itself, on the camera:\n"
        } else {
            "\nOn the camera:\n"
        });
        text.push_str(&format!(
            "\n  {}. Pin this server (one line per kind of host key):\n       mkdir -p ~/.ssh\n",
            number()
        ));
        for line in &added.known_hosts {
            text.push_str(&format!("       echo '{line}' >> ~/.ssh/known_hosts\n"));
        }
        text.push_str(&format!(
            "\n  {}. Open the tunnel (adapt 127.0.0.1:{RTSP_PORT} to the camera's RTSP server; in a boot script set HOME as it is here, where the pins lie):\n       {}\n",
            number(),
            command(ssh, KEY_ON_CAMERA),
        ));
    }
    text.push_str(&format!(
        "\nWatch it:  {}   (with a user's login and stream password: moorline user add{typed_on} makes one)\n",
        added.rtsp_url
    ));
    text.push_str(&format!(
        "See it:    moorline camera show {}{typed_on}\n",
        added.id.typed()
    ));
    if let Some(estimate) = &added.recording {
        let rate = estimate.assumed_bits_per_second / 1_000_000;
        let days = camera_text::holds(estimate.disk_days);
        text.push_str(&format!(
            "Records:   {} a day at an assumed {rate} Mbit/s, measured once it sends{days}\n",
            output::bytes(estimate.bytes_per_day)
        ));
    }
    for note in &added.notes {
        text.push_str(&format!("\nnote: {note}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_a_line_or_stands_in_a_file_and_a_private_one_is_told() {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let line = key.public().to_string();
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let public = file("id.pub", format!("{line} root@camera\n").as_bytes());
        let printed =
            format!("Public key portion is:\n{line} root@camera\nFingerprint: SHA256:x\n");
        let printed = file("dropbearkey", printed.as_bytes());
        for given in [&line, &public, &printed] {
            assert_eq!(public_key(given).unwrap(), *key.public(), "{given}");
        }
        let dropbear = file("id", key.to_dropbear().unwrap().expose());
        let openssh = file("id_ed25519", key.to_openssh().unwrap().expose().as_bytes());
        for given in [&dropbear, &openssh] {
            let error = public_key(given).unwrap_err();
            let told = moorline_base::error::report(error.as_ref());
            assert!(told.contains("is a private key\nhint: "), "{told}");
        }
        // P10: what was pasted is not repeated.
        let pasted = std::fs::read_to_string(&openssh).unwrap();
        let told = format!("{:#}", public_key(&pasted).unwrap_err());
        assert!(
            told.contains("private key") && !told.contains("BEGIN"),
            "{told}"
        );
        assert!(public_key("nowhere.pub").is_err());
    }

    #[test]
    fn what_recording_takes_is_estimated() {
        let disk = DiskView {
            total: 0,
            free: 0,
            bound: 216_000_000_000,
            used: 0,
        };
        let estimate = Estimate::of(Record::Main, Some(disk), 0).unwrap();
        assert_eq!(
            (estimate.bytes_per_day, estimate.disk_days),
            (21_600_000_000, Some(10))
        );
        assert_eq!(Estimate::of(Record::Off, Some(disk), 0), None);
        // Nine others as large: a disk is not promised to each of them alone.
        let beside = Estimate::of(Record::Main, Some(disk), 9 * 21_600_000_000).unwrap();
        assert_eq!(
            (beside.bytes_per_day, beside.disk_days),
            (21_600_000_000, Some(1))
        );
    }

    #[test]
    fn other_cameras_count_as_measured_or_as_usual_and_what_is_not_recorded_does_not() {
        let camera = |id: &str, record: &str, measured: Option<u64>| -> CameraView {
            let view = serde_json::json!({
                "id": id, "title": id, "site": null, "timezone": "UTC", "created": "2026-11-20T20:00:00Z", "keys": [],
                "access": {"kind": "tunnel", "forwards": []}, "main": {"path": null, "user": null, "allow_basic": false}, "sub": null,
                "record": record, "record_by": "owner", "tier": "full", "retention": "r014", "enabled": "yes", "bytes_per_day": measured,
                "disk_days": null, "status": null, "rtsp_url": "rtsp://h:8554/x", "notes": [],
            });
            serde_json::from_value(view).unwrap()
        };
        let cameras = [
            camera("home/new", "main", None),
            camera("home/yard", "main", Some(7)),
            camera("home/gate", "sub", None),
            camera("home/shed", "off", Some(9)),
        ];
        let id = "new".parse().unwrap();
        assert_eq!(others(&cameras, &id), 7 + USUAL_BYTES_PER_DAY);
    }

    fn added(private_key: Option<PathBuf>) -> Added {
        Added {
            id: "yard".parse().unwrap(),
            private_key,
            ssh: Some(Ssh {
                host: "cctv.example.com".to_owned(),
                port: 2222,
                user: "yard".to_owned(),
            }),
            known_hosts: vec!["cctv.example.com ssh-ed25519 AAAA".to_owned()],
            host_guessed: false,
            command: None,
            calls: false,
            rtsp_url: String::new(),
            recording: None,
            notes: Vec::new(),
        }
    }

    #[test]
    fn what_it_takes_a_day_and_how_long_the_disk_holds_is_printed() {
        let told = |bound: Option<u64>| {
            let disk = bound.map(|bound| DiskView {
                total: 0,
                free: 0,
                bound,
                used: 0,
            });
            let recording = Estimate::of(Record::Main, disk, 0);
            let text = text(
                &Added {
                    recording,
                    ..added(None)
                },
                "",
            );
            let line = text.lines().find(|line| line.starts_with("Records:"));
            line.unwrap().to_owned()
        };
        let day = "Records:   21.6 GB a day at an assumed 2 Mbit/s, measured once it sends";
        assert_eq!(told(None), day, "recordings go to a bucket");
        assert_eq!(
            told(Some(216_000_000_000)),
            format!("{day}; the disk holds about 10 days of all cameras")
        );
        assert_eq!(
            told(Some(20_000_000_000)),
            format!("{day}; the disk holds less than a day of all cameras")
        );
        assert!(!text(&added(None), "").contains("Records:"), "record = off");
    }

    #[test]
    fn what_is_typed_here_does_not_stand_under_the_camera() {
        let made = text(&added(Some("keys/yard.key".into())), "");
        let (here, camera) = made.split_once("On the camera:").unwrap();
        assert!(
            here.contains("Here:") && here.contains("scp -O keys/yard.key"),
            "{made}"
        );
        assert!(
            !camera.contains("scp") && camera.contains("2. Pin this server"),
            "{made}"
        );
        let given = text(&added(None), "");
        assert!(
            !given.contains("Here:") && given.contains("1. Pin this server"),
            "{given}"
        );
        let knocked = Added {
            calls: true,
            ..added(None)
        };
        assert!(text(&knocked, "").contains("next call is let in"));
    }

    #[test]
    fn the_printed_line_is_what_dbclient_takes() {
        let ssh = Ssh {
            host: "cctv.example.com".to_owned(),
            port: 2222,
            user: "yard".to_owned(),
        };
        assert_eq!(
            command(&ssh, KEY_ON_CAMERA),
            "dbclient -N -T -K 15 -p 2222 -i /etc/moorline/id -R 0:127.0.0.1:554 yard@cctv.example.com"
        );
        assert!(command(&ssh, "/tmp/a b").contains("-i '/tmp/a b'"));
    }
}
