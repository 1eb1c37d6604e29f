//! The guide to clusters as it is written: each of its commands is typed, in order, from an empty cluster to an empty cluster. Named so that it comes
//! last: it takes the installation of the other tests away, and leaves none.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use moorline_simcam::{Source, SourceConfig};
use moorline_testkit::{
    child::{Child, run},
    cluster::{Cluster, SOON, condition},
    eventually,
    postgres::Postgres,
    temp_dir,
    tempfile::TempDir,
};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{Archive, Bucket, Moorline, established, lab_values, people, people_at};

/// For one command: `helm test` records a segment first.
const COMMAND: Duration = Duration::from_secs(180);
/// Its sections. Each has its place below, with the commands of its blocks and of its sentences.
const SECTIONS: [&str; 12] = [
    "What you need",
    "Install",
    "A tenant",
    "A camera",
    "Watch it come",
    "When a condition says something",
    "When an alarm fires",
    "People who watch",
    "A bucket of the tenant's own",
    "Renew the keys",
    "Upgrade",
    "Remove",
];
/// What a sentence only names, or leaves to the reader to complete: other tests type these, with what takes their place.
const NAMED: [&str; 10] = [
    "kubectl create secret",
    "kubectl delete crd",
    "kubectl exec",
    "moorline agent-release … --cluster",
    "moorline camera add acme/shed --pending SHA256:… --cluster",
    "moorline keys rotate --only host-keys --next DIR",
    "moorline tenant list",
    "moorline tenants",
    "moorline user",
    "moorline user passwd",
];
/// Of a camera in a list.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC";
/// The guide's names, which nobody has.
const HOST: &str = "cctv.example.com";
const VIEWERS: &str = "watch.example.com";

/// What a reader of the guide has before them.
struct Desk {
    place: TempDir,
    cluster: Cluster,
    /// What a text of the guide stands for here.
    stands_for: Vec<(&'static str, String)>,
}

impl Desk {
    fn new(cluster: &Cluster) -> Self {
        let place = temp_dir().unwrap();
        for folder in ["charts", "deploy"] {
            let ours = moorline_tests::repository().join(folder);
            std::os::unix::fs::symlink(ours, place.path().join(folder)).unwrap();
        }
        std::fs::create_dir(place.path().join(".ssh")).unwrap();
        Self {
            place,
            cluster: cluster.clone(),
            stands_for: Vec::new(),
        }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    /// A shell at the desk, with the administrator's credentials where kubectl looks for them.
    fn shell(&self, line: &str) -> Command {
        let programs = moorline_tests::moorline().parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .current_dir(self.place.path())
            .env("HOME", self.place.path())
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("PATH", format!("{}:{path}", programs.display()));
        command
    }

    /// Types a command, which has to succeed, and gives what it printed.
    async fn types(&self, line: &str) -> String {
        let mut typed = line.to_owned();
        for (text, here) in &self.stands_for {
            typed = typed.replace(text, here);
        }
        println!("$ {typed}");
        let output = run(line, self.shell(&typed), COMMAND).await.unwrap();
        let (printed, errors) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr),
        );
        println!("{printed}{errors}");
        assert!(output.status.success(), "{line}: {errors}");
        printed
    }
}

fn section<'a>(guide: &'a str, heading: &str) -> &'a str {
    let section = guide.split("\n## ").find(|part| part.starts_with(heading));
    section.unwrap_or_else(|| panic!("the guide has no section {heading}"))
}

/// The commands of a section, and the other blocks, in the order of the page.
fn blocks(guide: &str, heading: &str) -> Vec<(String, Vec<String>)> {
    let section = section(guide, heading);
    let mut found = Vec::new();
    for rest in section.split("```").collect::<Vec<_>>().chunks(2) {
        if let [_, block] = rest {
            let (kind, text) = block.split_once('\n').unwrap();
            found.push((kind.to_owned(), text.lines().map(str::to_owned).collect()));
        }
    }
    found
}

fn commands(guide: &str, heading: &str) -> Vec<String> {
    let of_shell = |(kind, lines): (String, Vec<String>)| (kind == "sh").then_some(lines);
    let found = blocks(guide, heading).into_iter().filter_map(of_shell);
    found.flatten().collect()
}

/// The commands that the sentences of a section say in full.
fn mentioned(guide: &str, heading: &str) -> Vec<String> {
    let prose: String = section(guide, heading).split("```").step_by(2).collect();
    let quoted = prose.split('`').skip(1).step_by(2);
    let programs = ["kubectl ", "helm ", "moorline "];
    let commands = quoted.filter(|code| programs.iter().any(|one| code.starts_with(one)));
    let whole = commands.filter(|code| !NAMED.contains(code));
    whole.map(str::to_owned).collect()
}

/// The blocks of another kind.
fn texts(guide: &str, heading: &str) -> Vec<String> {
    let others = blocks(guide, heading).into_iter();
    let others = others.filter(|(kind, _)| kind == "yaml");
    others.map(|(_, lines)| lines.join("\n")).collect()
}

/// What watches for ever is looked at for a moment; one that fails does so at once.
fn looked(line: &str) -> String {
    match line.ends_with(" -w") {
        true => format!("timeout 3 {line} || test $? = 124"),
        false => line.to_owned(),
    }
}

/// Types what the sentences of a section say.
async fn says(desk: &Desk, guide: &str, heading: &str) {
    for line in mentioned(guide, heading) {
        desk.types(&line).await;
    }
}

async fn until_no_tenant(cluster: &Cluster) {
    // Of an empty list nothing is printed.
    let none = |list: &Value| list.is_null().then_some(());
    let deadline = SOON * 3;
    let waited = cluster.until(&["tenants"], "no tenant", deadline, none);
    waited.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_of_the_guide_does_what_it_says() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let page = moorline_tests::repository().join("docs/guide/kubernetes.md");
    let guide = std::fs::read_to_string(page).unwrap();
    let headings = guide.split("\n## ").skip(1);
    let headings: Vec<&str> = headings.filter_map(|part| part.lines().next()).collect();
    assert_eq!(headings, SECTIONS);
    let cluster = moorline.cluster();
    let mut desk = Desk::new(cluster);
    let remove = commands(&guide, "Remove");
    let (tenants, rest): (Vec<_>, Vec<_>) = remove
        .iter()
        .partition(|line| line.starts_with("moorline "));

    // What the other tests have used.
    until_no_tenant(cluster).await;
    for line in &rest {
        desk.types(line).await;
    }

    without_helm(&desk).await;

    let own = Bucket::apart(cluster.lab().unwrap()).await;
    let postgres = Postgres::start().await.unwrap();
    let reach = people_at(cluster, &postgres).await;
    prepare(&mut desk, &moorline, &own, &guide).await;

    for line in commands(&guide, "Install") {
        desk.types(&line).await;
    }
    says(&desk, &guide, "Install").await;
    for line in commands(&guide, "A tenant") {
        desk.types(&line).await;
    }
    says(&desk, &guide, "A tenant").await;
    desk.types("moorline tenant show acme --kubeconfig \"$KUBECONFIG\"")
        .await;
    let storage = cluster.json(&["get", "tenant", "acme", "-o", "json"]).await;
    let storage = storage.unwrap()["status"]["storageId"]
        .as_str()
        .unwrap()
        .to_owned();

    let mut film = SourceConfig::clip(7);
    // As thingino's streamer has them: the guide names no path.
    for (stream, path) in film.streams.iter_mut().zip(["ch0", "ch1"]) {
        path.clone_into(&mut stream.path);
    }
    let source = Source::new(film, moorline_base::SystemClock::shared());
    let listener = moorline_base::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let camera_at = listener.local_addr().unwrap();
    source.listen(listener);
    let mut call = None;
    for line in commands(&guide, "A camera") {
        if line.starts_with("dbclient ") {
            call = Some(calls(&desk, cluster, &line, &camera_at.to_string()).await);
            continue;
        }
        let printed = desk.types(&line).await;
        // What it prints for the camera's shell is typed too.
        for line in printed
            .lines()
            .filter(|line| line.contains(".ssh/known_hosts"))
        {
            desk.types(line.trim()).await;
        }
    }
    says(&desk, &guide, "A camera").await;
    for (at, camera) in texts(&guide, "A camera").iter().enumerate() {
        let name = format!("camera-{at}.yaml");
        std::fs::write(desk.file(&name), camera).unwrap();
        desk.types(&format!("kubectl apply -f {name}")).await;
    }
    let yard = |camera: &Value| {
        let all = ["Connected", "Archiving", "Ready"];
        let is_true = |kind: &&str| condition(camera, kind) == Some("True");
        all.iter().all(is_true).then_some(())
    };
    let object = ["-n", "t-acme", "camera/yard"];
    cluster
        .until(&object, "recorded", SOON, yard)
        .await
        .unwrap();
    for line in commands(&guide, "Watch it come") {
        desk.types(&looked(&line)).await;
    }
    for line in commands(&guide, "When a condition says something") {
        desk.types(&line).await;
    }
    says(&desk, &guide, "When a condition says something").await;
    says(&desk, &guide, "When an alarm fires").await;
    archived(&moorline.bucket, &storage).await;
    says(&desk, &guide, "Watch it come").await;

    let mut values = std::fs::read_to_string(desk.file("values.yaml")).unwrap();
    values.push_str(&texts(&guide, "People who watch").join("\n"));
    std::fs::write(desk.file("values.yaml"), values).unwrap();
    let mut printed = String::new();
    for line in commands(&guide, "People who watch") {
        printed = desk.types(&line).await;
    }
    assert!(printed.contains("stream password"), "{printed}");
    says(&desk, &guide, "People who watch").await;
    notes(&desk).await;
    for line in commands(&guide, "A bucket of the tenant's own") {
        desk.types(&line).await;
    }
    archived(&own, &storage).await;
    says(&desk, &guide, "A bucket of the tenant's own").await;
    for line in commands(&guide, "Renew the keys") {
        desk.types(&line).await;
    }
    let in_force = std::fs::metadata(desk.file("secrets.json")).unwrap();
    let mode = in_force.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "S36: it holds private keys");
    says(&desk, &guide, "Renew the keys").await;
    for line in commands(&guide, "Upgrade") {
        desk.types(&line).await;
    }
    says(&desk, &guide, "Upgrade").await;

    for line in &tenants {
        desk.types(line).await;
    }
    until_no_tenant(cluster).await;
    says(&desk, &guide, "Remove").await;
    let folder = format!("/{storage}/");
    let keys = own.keys();
    let left: Vec<_> = keys.iter().filter(|key| key.contains(&folder)).collect();
    assert_eq!(left, Vec::<&String>::new(), "what was to be erased");
    for line in &rest {
        desk.types(line).await;
    }
    drop((call, reach, postgres));
}

/// What the chart tells to do next, for another tenant than the guide's.
async fn notes(desk: &Desk) {
    let get = "helm get notes moorline --namespace moorline-system";
    let notes = desk.types(get).await;
    assert!(!notes.contains("MISSING"), "{notes}");
    let lines = notes.lines().map(str::trim);
    let typed = lines.filter(|line| line.starts_with("kubectl ") || line.starts_with("moorline "));
    let typed: Vec<String> = typed
        .map(|line| looked(&line.replace("acme", "notes").replace("anna", "berta")))
        .collect();
    assert!(typed.len() >= 8, "the commands were not found: {notes}");
    for line in typed {
        desk.types(&line).await;
    }
    desk.types("moorline camera rm notes/camera-1 --cluster")
        .await;
    desk.types("moorline tenant rm notes --erase --yes --cluster")
        .await;
}

/// The plain manifests, by the commands of their page; then all of it is taken away again. Nothing starts: image and Secrets are not there.
async fn without_helm(desk: &Desk) {
    let page = moorline_tests::repository().join("deploy/k8s/README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let typed = page.lines().filter(|line| line.starts_with("kubectl "));
    let typed: Vec<&str> = typed.collect();
    assert!(typed.len() >= 2, "the commands were not found");
    let namespace = "kubectl create namespace moorline-system";
    desk.types(namespace).await;
    for line in &typed {
        desk.types(line).await;
        if line.contains("crds.yaml") {
            for kind in ["cameras", "cameraclasses", "tenants"] {
                established(&desk.cluster, &format!("{kind}.moorline.dev")).await;
            }
        }
    }
    for line in typed.iter().rev() {
        desk.types(&line.replace(" apply ", " delete --ignore-not-found "))
            .await;
    }
    desk.types(&namespace.replace("create", "delete")).await;
}

/// Files and names that the guide takes for granted.
async fn prepare(desk: &mut Desk, moorline: &Moorline, own: &Bucket, guide: &str) {
    let (key, secret) = Bucket::KEYS;
    for name in ["PUT_KEY", "GET_KEY", "DELETE_KEY"] {
        desk.stands_for.push((name, key.to_owned()));
    }
    for name in ["PUT_SECRET", "GET_SECRET", "DELETE_SECRET"] {
        desk.stands_for.push((name, secret.to_owned()));
    }
    desk.stands_for.extend([
        (
            "--values values.yaml",
            "--values values.yaml --values lab.json".to_owned(),
        ),
        (
            "postgres://moorline:PASSWORD@db.example.com:5432/moorline",
            people(),
        ),
        ("--class NAME", "--class standard".to_owned()),
        ("--bucket acme-video --endpoint https://s3.example.com", {
            format!("--bucket {} --endpoint {}", Bucket::NAME, own.url())
        }),
    ]);
    std::fs::write(
        desk.file("values.yaml"),
        texts(guide, "Install").join("\n") + "\n",
    )
    .unwrap();
    let mut ours = lab_values(moorline.cluster());
    // The guide's own.
    for name in ["publicHost", "sweeper", "frontdoor"] {
        ours.as_object_mut().unwrap().remove(name);
    }
    ours["frontdoor"] = serde_json::json!({"service": {"type": "NodePort"}});
    std::fs::write(desk.file("lab.json"), ours.to_string()).unwrap();
    std::fs::write(desk.file("password.txt"), "not-asked-for\n").unwrap();
    let list = format!("name,key\nbarn,{KEY}\n");
    std::fs::write(desk.file("cameras.csv"), list).unwrap();
    let certificate = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={VIEWERS} \
         -addext subjectAltName=DNS:{VIEWERS} -keyout privkey.pem -out fullchain.pem 2>/dev/null"
    );
    desk.types(&certificate).await;
}

/// The camera's line, to the Service that the guide's name would lead to.
async fn calls(desk: &Desk, cluster: &Cluster, line: &str, camera: &str) -> Child {
    let object = [
        "-n",
        "moorline-system",
        "get",
        "service",
        "moorline-mon-ssh",
        "-o",
        "json",
    ];
    let service = cluster.json(&object).await.unwrap();
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let hosts = desk.file(".ssh/known_hosts");
    let known = std::fs::read_to_string(&hosts).unwrap();
    assert!(known.contains(HOST), "{known}");
    std::fs::write(&hosts, known.replace(HOST, address)).unwrap();
    let line = line
        .replace(HOST, address)
        .replace("/etc/moorline/id", "yard.key")
        .replace("127.0.0.1:554", camera);
    println!("$ {line}");
    // By its boot script, as on a camera: a replica that is replaced ends its tunnels.
    let script = format!("while :; do {line}; sleep 0.5; done");
    Child::spawn("a boot script", desk.shell(&script)).unwrap()
}

/// Waits until something of the camera is in a bucket.
async fn archived(bucket: &Bucket, storage: &str) {
    eventually("a segment in the bucket", SOON, || async {
        let archive = Archive::of(bucket, storage, "yard");
        (!archive.segments.is_empty()).then_some(())
    })
    .await;
}
