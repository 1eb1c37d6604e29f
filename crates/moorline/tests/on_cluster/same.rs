//! Commands print the same against a cluster as against `moorline serve`, and end with the same code.

use std::path::Path;
use std::time::Duration;

use crate::cluster::{CAMERAS, Cluster, Ended, run, serve};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
const THIRD: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";
const FOURTH: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD";

/// The third word of a line of another server's known_hosts.
const PIN: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";

/// What is read of the place where it is typed: a password, and lists of cameras, of which each row of one is wrong.
fn files(place: &Path) {
    let write = |name: &str, text: String| std::fs::write(place.join(name), text).unwrap();
    write("word", "hunter2\n".to_owned());
    let good = format!(
        "name,key,timezone,keep,login,password_file\n\
         barn,{THIRD},UTC,7d,admin,word\n\
         shed,{FOURTH},Europe/Berlin,,,\n"
    );
    write("good.csv", good);
    let wrong = format!(
        "name,key,timezone,path\n\
         yard,{THIRD},UTC,\n\
         barn,{FOURTH},Mars/One,\n\
         Door,{THIRD},UTC,\n\
         shed,{KEY},UTC,\n\
         hall,{THIRD},UTC,a b\n\
         attic,,UTC,\n"
    );
    write("wrong.csv", wrong);
}

/// Each is typed at both.
fn typed() -> Vec<Vec<&'static str>> {
    let all: &[&[&str]] = &[
        &["camera", "list"],
        &[
            "camera",
            "add",
            "yard",
            "--key",
            KEY,
            "--timezone",
            "UTC",
            "--title",
            "Back yard",
            "--site",
            "Main street 5",
        ],
        &["camera", "add", "yard", "--key", OTHER],
        &["camera", "add", "gate", "--key", KEY],
        &["camera", "add", "Gate", "--key", OTHER],
        &["camera", "add", "gate", "--key", "ssh-dss AAAA"],
        &[
            "camera",
            "add",
            "gate",
            "--key",
            OTHER,
            "--timezone",
            "Mars/One",
        ],
        &["camera", "add", "gate", "--key", OTHER, "--path", "a b"],
        &["camera", "add", "gate", "--key", OTHER, "--keep", "1000d"],
        &[
            "camera",
            "add",
            "gate",
            "--timezone",
            "UTC",
            "--keep",
            "7d",
            "--login",
            "admin",
            "--password-file",
            "word",
            "--sub-path",
            "/sub",
            "--record",
            "sub",
        ],
        &["camera", "add", "gate", "--timezone", "UTC"],
        &["camera", "show", "yard"],
        &["camera", "show", "nobody"],
        &["camera", "set", "yard", "--title", "Yard", "--path", "/ch0"],
        &["camera", "set", "yard"],
        &["camera", "set", "yard", "--record", "sub"],
        &["camera", "set", "nobody", "--title", "x"],
        &["camera", "set", "gate", "--record", "main"],
        &["camera", "set", "gate", "--record", "auto"],
        &[
            "camera",
            "set",
            "gate",
            "--allow-from",
            "192.0.2.0/24,2001:db8::/32",
        ],
        &["camera", "set", "gate", "--allow-from", "192.0.2.7/24"],
        &["camera", "show", "gate"],
        &[
            "camera",
            "key",
            "add",
            "yard",
            OTHER,
            "--comment",
            "the new board",
        ],
        &["camera", "key", "add", "yard", "no key"],
        &["camera", "key", "add", "nobody", OTHER],
        &["camera", "key", "revoke", "yard", "SHA256:nobody"],
        &["camera", "disable", "yard", "--stolen"],
        &["camera", "show", "yard"],
        &["camera", "enable", "yard"],
        &["camera", "disable", "nobody"],
        &["camera", "hang-up", "yard"],
        &["camera", "hang-up", "nobody"],
        &["camera", "reboot", "yard"],
        &["camera", "reboot", "nobody"],
        &["camera", "rekey", "yard"],
        &["camera", "import", "wrong.csv"],
        &["camera", "import", "good.csv", "--dry-run"],
        &["camera", "import", "good.csv"],
        &["camera", "import", "nowhere.csv"],
        &["camera", "show", "barn"],
        &[
            "camera",
            "refer",
            "yard",
            "--to",
            "b.example.com:443",
            "--key",
            PIN,
        ],
        &["camera", "show", "yard"],
        &["camera", "refer", "yard", "--to", "b example", "--key", PIN],
        &["camera", "refer", "nobody", "--here"],
        &["camera", "refer", "yard", "--here"],
        &["camera", "rm", "nobody"],
        &["camera", "rm", "gate", "--erase"],
        &["camera", "rm", "yard"],
    ];
    all.iter().map(|words| words.to_vec()).collect()
}

/// Without what differs by nature: instants and ages, keys, the machine's disk, how a cluster is chosen.
pub(crate) fn alike(ended: &Ended) -> (Option<i32>, Vec<String>) {
    let lines = ended.out.lines().chain(ended.err.lines());
    let lines = lines.filter(|line| {
        let by_time = ["added ", "link ", "trouble ", "durable until", "stream "];
        // Where recordings lie until they expire: a tenant on a cluster may have a bucket of its own.
        let of_serve = ["See them: ", "Delete them now: "];
        let starts = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
        !starts(&by_time) && !starts(&of_serve)
    });
    let clean = |line: &str| {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word {
                word if word.len() > 60 && word.starts_with("AAAA") => "KEY".to_owned(),
                word if word.starts_with("SHA256:") => "PRINT".to_owned(),
                word if word.ends_with("/gate.key") => "gate.key".to_owned(),
                word => word.to_owned(),
            })
            .filter(|word| !word.is_empty())
            .collect();
        let line = words.join(" ").replace(" --kubeconfig kubeconfig", "");
        let end = |line: &str, words| line.split(words).next().unwrap_or_default().to_owned();
        end(&end(&line, "; the disk holds"), ", in the store under")
    };
    (ended.code, lines.map(clean).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_prints_against_a_cluster_what_it_prints_against_serve() {
    let serving = tempfile::tempdir().unwrap();
    files(serving.path());
    let host = ["--public-host", "cctv.example.com"];
    let told = [
        ("MOORLINE_SERVER__PUBLIC_VIEWER_HOST", "watch.example.com"),
        ("MOORLINE_SERVER__PUBLIC_SSH_PORT", "2200"),
        ("MOORLINE_SERVER__PUBLIC_RTSP_PORT", "554"),
    ];
    let server = serve(serving.path(), &host, &told).await;
    let pins = "cctv.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT\n\
        cctv.example.com ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
    let cluster = Cluster::new(pins).await;
    files(cluster.directory.path());
    cluster.run(&["tenant", "add", "home"]).await.well();

    for mut words in typed() {
        let on_cluster = cluster
            .run(&[&words[..], &["--tenant", "home"]].concat())
            .await;
        words.extend(["--data", "data"]);
        let on_serve = run(serving.path(), &words).await;
        // What a cluster does later, and asks for nobody to confirm before, is told so.
        assert_eq!(
            alike(&on_cluster),
            alike(&on_serve),
            "{words:?}\n{on_cluster:?}\n{on_serve:?}"
        );
        if words[1] == "add" && words[2] == "gate" && on_cluster.code == Some(0) {
            let secret = cluster
                .api
                .get("/api/v1/secrets", "t-home", "gate-rtsp")
                .unwrap();
            assert_eq!(secret["data"]["main"], "aHVudGVyMg==");
            assert_eq!(secret["data"]["sub"], "aHVudGVyMg==");
        }
    }
    let left = cluster.api.list(CAMERAS);
    let deleted = |name: &str| {
        let found = left
            .iter()
            .find(|camera| camera["metadata"]["name"] == name);
        found.map(|camera| !camera["metadata"]["deletionTimestamp"].is_null())
    };
    assert_eq!(
        deleted("yard"),
        Some(true),
        "it drains; then its finalizer goes"
    );
    server.end(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_get_the_same_fields_with_what_the_tenant_was_told() {
    let cluster = Cluster::new("cctv.example.com ssh-ed25519 AAAA").await;
    cluster.run(&["tenant", "add", "acme"]).await.well();
    let added = cluster
        .run(&["camera", "add", "acme/yard", "--output", "json"])
        .await
        .json();
    assert_eq!(added["id"], "acme/yard");
    assert_eq!(added["ssh"]["host"], "cctv.example.com");
    assert_eq!(added["ssh"]["user"], "acme/yard");
    assert_eq!(added["ssh"]["port"], 2200);
    assert_eq!(added["known_hosts"][0], "cctv.example.com ssh-ed25519 AAAA");
    assert_eq!(added["rtsp_url"], "rtsp://watch.example.com:554/yard");
    let line = added["command"].as_str().unwrap();
    assert!(
        line.starts_with("dbclient -N -T -K 15 -p 2200 -i ")
            && line.ends_with("acme/yard@cctv.example.com"),
        "{line}"
    );
    assert!(std::fs::metadata(cluster.directory.path().join("yard.key")).is_ok());
    let shown = cluster
        .run(&[
            "camera",
            "show",
            "yard",
            "--context",
            "owner",
            "--output",
            "json",
        ])
        .await
        .json();
    assert_eq!(
        shown["id"], "acme/yard",
        "the context's namespace is the tenant"
    );
    assert_eq!(shown["status"]["link"]["state"], "absent");
    cluster.api.patch(CAMERAS, "t-acme", "yard", &serde_json::json!({"status": {
        "session": {"generation": 3, "mon": "moorline-mon-1", "since": "2026-11-20T21:10:05Z", "peer": "203.0.113.9:51822"},
        "conditions": [{"type": "WorkloadsReady", "status": "False", "reason": "QuotaExceeded", "message": "pods 200/200",
            "lastTransitionTime": "2026-11-20T21:10:05Z"}],
    }}));
    let shown = cluster.run(&["camera", "show", "acme/yard"]).await.well();
    assert!(shown.contains("up since 2026-11-20"), "{shown}");
    assert!(
        shown.contains("WorkloadsReady (QuotaExceeded): pods 200/200"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_names_the_cure() {
    let cluster = Cluster::new("").await;
    let err = cluster.run(&["camera", "add", "yard"]).await.refused();
    assert!(
        err.contains("hint: write TENANT/yard, or add --tenant TENANT"),
        "{err}"
    );
    let err = cluster.run(&["camera", "add", "acme/yard"]).await.refused();
    assert!(
        err.contains(
            "there is no tenant acme\nhint: an operator makes it: moorline tenant add acme"
        ),
        "{err}"
    );
    assert!(
        !cluster.directory.path().join("yard.key").exists(),
        "nothing is left of it"
    );
    let err = run(
        cluster.directory.path(),
        &["camera", "list", "--kubeconfig", "nowhere"],
    )
    .await
    .refused();
    assert!(
        err.contains("nowhere") && err.contains("hint: name a kubeconfig file"),
        "{err}"
    );
    let err = cluster
        .run(&["camera", "list", "--context", "other"])
        .await
        .refused();
    assert!(err.contains("other"), "{err}");
    cluster.run(&["tenant", "add", "acme"]).await.well();
    let refused = |message: &str| crate::api::Fault::Refused(403, "Forbidden", message.to_owned());
    let policy = "cameras.moorline.dev \"yard\" is forbidden: ValidatingAdmissionPolicy 'moorline-cameras' with binding 'moorline-cameras' denied request: spec.retention = 90d: this tenant keeps recordings for at most 30d";
    cluster
        .api
        .trap(http::Method::POST, "/cameras", 1, refused(policy));
    let err = cluster
        .run(&["camera", "add", "acme/yard", "--keep", "90d"])
        .await
        .refused();
    assert!(
        err.starts_with(
            "error: spec.retention = 90d: this tenant keeps recordings for at most 30d\nhint: "
        ),
        "{err}"
    );
}
