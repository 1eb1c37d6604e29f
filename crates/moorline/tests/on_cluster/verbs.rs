//! What the replicas of `moorline mon` alone know: who was refused, and what a camera's agent says. A replica is a `moorline serve` here, and kubectl a script
//! that lists two of them and starts in the first what would be started in its pod.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use moorline_testkit::child::{Child, run as ended_well};
use moorline_testkit::peer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::cluster::{BINARY, CAMERAS, Cluster, Ended, ended, serve};

const SOON: Duration = Duration::from_secs(60);
/// It begins as a JPEG does.
const PICTURE: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 1];

/// Somebody with a key, who is no camera's yet.
struct Stranger {
    home: TempDir,
    public: String,
}

impl Stranger {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut make = peer::DROPBEARKEY.command().unwrap();
        make.args(["-t", "ed25519", "-f"])
            .arg(home.path().join("key"));
        let output = ended_well("dropbearkey", make, SOON).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let public = text.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let public = public.unwrap_or_else(|| panic!("no public key: {text}"));
        let words: Vec<&str> = public.split(' ').take(2).collect();
        Self {
            public: words.join(" "),
            home,
        }
    }

    fn dial(&self, at: SocketAddr, user: &str, options: &[&str]) -> Child {
        let mut command = peer::DBCLIENT.command().unwrap();
        command
            .env("HOME", self.home.path())
            .args(["-y", "-y", "-T", "-K", "15", "-p", &at.port().to_string()])
            .arg("-i")
            .arg(self.home.path().join("key"))
            .args(options)
            .arg(format!("{user}@{}", at.ip()));
        Child::spawn("dbclient", command).unwrap()
    }

    /// Calls, and is refused.
    async fn knocks(&self, at: SocketAddr, user: &str) {
        let mut call = self.dial(at, user, &["-N"]);
        let status = call.wait(SOON).await.unwrap();
        assert!(!status.success(), "{status}");
    }
}

/// A replica, and a cluster whose kubectl leads to it.
struct World {
    cluster: Cluster,
    replica: Child,
    behind: TempDir,
    ssh: SocketAddr,
    programs: PathBuf,
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::new("").await;
        cluster.run(&["tenant", "add", "acme"]).await.well();
        let behind = tempfile::tempdir().unwrap();
        let replica = serve(behind.path(), &[], &[]).await;
        let line = replica.wait_for_line("\"page\"", SOON).await.unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let programs = cluster.directory.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        let script = format!(
            "#!/bin/sh\n\
             case \"$*\" in\n\
             *' get pods '*) echo pod/moorline-mon-0; echo pod/moorline-mon-1; exit 0;;\n\
             *pod/moorline-mon-1*) echo 'error: unable to upgrade connection' >&2; exit 1;;\n\
             esac\n\
             while [ \"$1\" != -- ]; do shift; done; shift 2\n\
             export MOORLINE_DATA='{}'\nexec '{BINARY}' \"$@\"\n",
            behind.path().join("data").display()
        );
        let file = programs.join("kubectl");
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            ssh: ready["ssh"].as_str().unwrap().parse().unwrap(),
            cluster,
            replica,
            behind,
            programs,
        }
    }

    /// Types a command where kubectl leads to the replica.
    async fn types(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(BINARY);
        command
            .args(words)
            .args(["--kubeconfig", "kubeconfig"])
            .current_dir(self.cluster.directory.path())
            .env_remove("KUBECONFIG")
            .env("HOME", self.cluster.directory.path())
            .env("PATH", &self.programs)
            .stdin(std::process::Stdio::null());
        ended(command).await
    }

    /// Types a command at the replica itself, and gives what it printed as JSON.
    async fn at_replica(&self, words: &[&str]) -> Value {
        let words = [words, &["--data", "data", "--output", "json"][..]].concat();
        crate::cluster::run(self.behind.path(), &words).await.json()
    }

    fn keys(&self, namespace: &str, camera: &str) -> Vec<String> {
        let camera = self.cluster.api.get(CAMERAS, namespace, camera).unwrap();
        let keys = camera["spec"]["keys"].as_array().unwrap().iter();
        keys.map(|key| key.as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_added_by_its_fingerprint_wherever_it_knocked() {
    let (world, stranger) = (World::new().await, Stranger::new().await);
    stranger.knocks(world.ssh, "acme/yard").await;
    let pending = world
        .types(&["camera", "pending", "--output", "json"])
        .await;
    assert!(
        pending.err.contains("moorline-mon-1 does not answer"),
        "the others count all the same: {pending:?}"
    );
    let pending = pending.json();
    assert_eq!(pending[0]["names"], json!(["acme/yard"]), "{pending}");
    assert_eq!(pending.as_array().unwrap().len(), 1, "{pending}");
    let fingerprint = pending[0]["fingerprint"].as_str().unwrap();
    let told = world.types(&["camera", "pending"]).await.well();
    let add = "Add one: moorline camera add NAME --pending FINGERPRINT --kubeconfig kubeconfig";
    assert!(told.contains(fingerprint) && told.contains(add), "{told}");

    let words = ["camera", "add", "acme/yard", "--pending", fingerprint];
    world.types(&words).await.well();
    assert_eq!(
        world.keys("t-acme", "yard"),
        std::slice::from_ref(&stranger.public)
    );
    let words = ["camera", "add", "acme/gate", "--timezone", "UTC"];
    world.types(&words).await.well();
    let words = ["camera", "key", "add", "acme/gate", fingerprint];
    let taken = world.types(&words).await.refused();
    assert!(taken.contains("belongs to camera acme/yard"), "{taken}");
    let words = ["camera", "key", "add", "acme/gate", "SHA256:nobody"];
    let unknown = world.types(&words).await.refused();
    assert!(unknown.contains("has knocked"), "{unknown}");

    // It goes on under another name, and the chain says so.
    stranger.knocks(world.ssh, "root").await;
    let chain = world.types(&["camera", "diagnose", "acme/yard"]).await;
    assert_eq!(chain.code, Some(1), "{chain:?}");
    for part in ["tunnel", "absent", "login", "FAIL", "the name that it uses"] {
        assert!(chain.out.contains(part), "{part}: {chain:?}");
    }
    world.replica.end(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_enter_the_replicas_is_told_what_is_not_known() {
    let world = World::new().await;
    let words = ["camera", "add", "acme/yard", "--timezone", "UTC"];
    world.cluster.run(&words).await.well();
    let script = "#!/bin/sh\necho 'Error from server (Forbidden): pods is forbidden' >&2; exit 1\n";
    std::fs::write(world.programs.join("kubectl"), script).unwrap();
    let refused = world.types(&["camera", "pending"]).await.refused();
    let cure = "hint: it takes the right to create pods/exec in the namespace moorline-system";
    assert!(refused.contains(cure), "{refused}");
    let chain = world.types(&["camera", "diagnose", "acme/yard"]).await;
    assert_eq!(chain.code, Some(1), "the tunnel is absent: {chain:?}");
    let unasked =
        "whether it calls and is refused was not asked: the replicas of mon are not known";
    assert!(
        chain.out.contains(unasked) && chain.out.contains(cure),
        "{chain:?}"
    );
    // A list without fingerprints asks nobody.
    let list = "name,rtsp\nacme/hall,rtsp://192.168.1.5/stream\n";
    std::fs::write(world.cluster.directory.path().join("list.csv"), list).unwrap();
    let refused = world
        .types(&["camera", "import", "list.csv"])
        .await
        .refused();
    let told = "list.csv:2: rtsp = \"rtsp://192.168.1.5/stream\": a cluster reaches cameras by their tunnels only";
    assert!(refused.contains(told), "{refused}");
    let bare = "name,key\nhall,nobody\n";
    std::fs::write(world.cluster.directory.path().join("list.csv"), bare).unwrap();
    let refused = world
        .types(&["camera", "import", "list.csv"])
        .await
        .refused();
    assert!(
        refused.contains("write TENANT/hall, or add --tenant"),
        "{refused}"
    );
    world.replica.end(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_spoken_to_by_the_replica_that_holds_its_camera() {
    let (world, camera) = (World::new().await, Stranger::new().await);
    // The replica is a server of one tenant here, and so both know the camera by that name.
    world.cluster.run(&["tenant", "add", "home"]).await.well();
    let add = ["camera", "add", "home/yard", "--key", &camera.public];
    world.cluster.run(&add).await.well();
    world.at_replica(&add).await;
    let reboot = ["camera", "reboot", "home/yard"];
    let away = world.types(&reboot).await.refused();
    assert!(
        away.contains("no agent of this camera is connected"),
        "{away}"
    );

    let mut call = camera.dial(world.ssh, "yard", &["-R", "0:127.0.0.1:1"]);
    call.wait_for_line("MOORLINE/1", SOON).await.unwrap();
    call.write(b"STATUS agent=0.1.0\n").await.unwrap();
    moorline_testkit::eventually("its agent's words", SOON, || async {
        let shown = world.at_replica(&["camera", "show", "yard"]).await;
        let said = shown["status"]["said"].to_string();
        said.contains("\"agent\"").then_some(())
    })
    .await;
    let held = json!({"status": {
        "session": {"generation": 1, "mon": "moorline-mon-0", "since": "2026-11-20T21:10:05Z"},
        "conditions": [
            {"type": "Connected", "status": "True", "reason": "Tunnel", "message": "", "lastTransitionTime": "2026-11-20T21:10:05Z"},
            {"type": "WorkloadsReady", "status": "False", "reason": "QuotaExceeded", "message": "pods 200/200", "lastTransitionTime": "2026-11-20T21:10:05Z"},
        ],
    }});
    world.cluster.api.patch(CAMERAS, "t-home", "yard", &held);
    world.types(&reboot).await.well();
    let line = call.wait_for_line("REBOOT", SOON).await.unwrap();
    assert_eq!(line, "REBOOT");
    let words = ["camera", "agent", "home/yard", "watchdog", "off"];
    world.types(&words).await.well();
    let line = call.wait_for_line("CONFIG watchdog", SOON).await.unwrap();
    assert_eq!(line, "CONFIG watchdog off");

    // The key that it makes gets into the Camera before it is told to take it into use.
    let made = "AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    let rekey = world.types(&["camera", "rekey", "home/yard"]);
    let answered = async {
        call.wait_for_line("REKEY", SOON).await.unwrap();
        let answer = format!("NEWKEY {made}\n");
        call.write(answer.as_bytes()).await.unwrap();
        let line = call.wait_for_line("REKEYED", SOON).await.unwrap();
        (line, world.keys("t-home", "yard"))
    };
    let (told, (line, keys)) = tokio::join!(rekey, answered);
    let told = told.well();
    assert!(
        told.contains("camera key revoke home/yard SHA256:"),
        "{told}"
    );
    assert_eq!(line, format!("REKEYED {made}"));
    let note = format!("ssh-ed25519 {made} made by its agent");
    assert_eq!(keys, [camera.public.clone(), note]);

    // What it finds stands below what the cluster sees.
    let chain = world.types(&["camera", "diagnose", "home/yard"]);
    let answered = async {
        call.wait_for_line("DIAG", SOON).await.unwrap();
        let steps = b"DIAG link ok eth0 is up\nDIAG clock ok it is right\n";
        call.write(steps).await.unwrap();
    };
    let (chain, ()) = tokio::join!(chain, answered);
    for part in [
        "up, held by moorline-mon-0",
        "QuotaExceeded: pods 200/200",
        "eth0 is up",
    ] {
        assert!(chain.out.contains(part), "{part}: {chain:?}");
    }
    world.replica.end(SOON).await.unwrap();
}

/// A camera's web server, which has one picture.
async fn page() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut browser, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = browser.read(&mut asked).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n";
            let answer = [head.as_bytes(), PICTURE].concat();
            let _ = browser.write_all(&answer).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cameras_own_page_is_reached_by_the_replica_that_holds_it() {
    let (world, camera) = (World::new().await, Stranger::new().await);
    world.cluster.run(&["tenant", "add", "home"]).await.well();
    let add = ["camera", "add", "home/yard", "--key", &camera.public];
    world.cluster.run(&add).await.well();
    world.at_replica(&add).await;
    world
        .at_replica(&["camera", "set", "yard", "--forward", "http"])
        .await;
    let snapshot = ["camera", "snapshot", "home/yard", "-f", "yard.jpg"];
    let away = world.types(&snapshot).await.refused();
    assert!(away.contains("camera yard is away"), "{away}");

    let forward = format!("0:{}", page().await);
    let options = ["-N", "-R", "0:127.0.0.1:1", "-R", &forward];
    let _call = camera.dial(world.ssh, "yard", &options);
    let held = json!({"status": {"session": {"generation": 1, "mon": "moorline-mon-0"}}});
    world.cluster.api.patch(CAMERAS, "t-home", "yard", &held);
    moorline_testkit::eventually("the picture", SOON, || async {
        let fetched = world.types(&snapshot).await;
        (fetched.code == Some(0)).then_some(())
    })
    .await;
    let picture = world.cluster.directory.path().join("yard.jpg");
    assert_eq!(std::fs::read(picture).unwrap(), PICTURE);
    world.replica.end(SOON).await.unwrap();
}
