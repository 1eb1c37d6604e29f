//! Front doors: there while a test wants them, with a database of its own for the people.

use std::{net::SocketAddr, process::Stdio};

use moorline_testkit::{
    child::run,
    cluster::{Cluster, SOON},
    peer,
    postgres::{Postgres, Reachable},
};
use serde_json::{Value, json};

use super::{Moorline, Tenant, bucket, nodes::Undo};

/// What runs them.
pub(super) const DEPLOYMENT: &str = "deployment/moorline-frontdoor";
/// The database's Service.
const SERVICE: &str = "people";
const PORT: u16 = 5432;

/// Where the installation is told that the people are.
pub(crate) fn people() -> String {
    people_as(Postgres::USER)
}

/// The same with another login, and its password behind a colon.
pub(crate) fn people_as(login: &str) -> String {
    format!(
        "postgres://{login}@{SERVICE}.{}.svc:{PORT}/{}",
        bucket::NAMESPACE,
        Postgres::DATABASE,
    )
}

/// Two front doors, ready. They go with this value.
pub(crate) struct FrontDoor<'a> {
    /// Through the Service, as from inside: players.
    pub(crate) rtsp: SocketAddr,
    /// The same: the page and its API.
    pub(crate) https: SocketAddr,
    /// Through the port of a node, as from outside: players.
    pub(crate) node_rtsp: SocketAddr,
    running: Running<'a>,
    /// Where front doors reach the database.
    pub(crate) people: Reachable,
    /// Where the people are.
    pub(crate) postgres: Postgres,
}

/// Replicas are wanted as long as this lives.
struct Running<'a>(&'a Moorline);

/// What somebody signs in with.
pub(crate) struct Login {
    pub(crate) name: String,
    /// For the page.
    pub(crate) password: String,
    /// For players.
    pub(crate) stream_password: String,
}

/// From now on a server of this test is where the people are.
pub(crate) async fn people_at(cluster: &Cluster, postgres: &Postgres) -> Reachable {
    let host = cluster.lab().unwrap().host();
    let reach = postgres.reach_on(host.into()).await.unwrap();
    bucket::serve_as(cluster, SERVICE, PORT, reach.address).await;
    reach
}

impl Moorline {
    /// Front doors over an empty database.
    pub(crate) async fn front_door(&self) -> FrontDoor<'_> {
        self.front_door_over(Postgres::start().await.unwrap()).await
    }

    /// Tells the installation another URL of the people, as an operator does, until the returned value is dropped.
    pub(crate) async fn tell_people(&self, url: &str) -> Undo {
        let patch = |url: &str| json!({"stringData": {"url": url}}).to_string();
        let words = ["patch", "secret", "moorline-postgres", "--type=merge", "-p"];
        let usual = patch(&people());
        let mut back = vec!["-n", self.system.name()];
        back.extend(words);
        back.push(&usual);
        let undo = self.later(&back);
        let told = patch(url);
        let mut now = words.to_vec();
        now.push(&told);
        self.system.kubectl(&now).await.unwrap();
        undo
    }

    /// Front doors over this database.
    pub(crate) async fn front_door_over(&self, postgres: Postgres) -> FrontDoor<'_> {
        let reach = people_at(self.cluster(), &postgres).await;
        let (system, running) = (&self.system, Running(self));
        let two = ["scale", DEPLOYMENT, "--replicas=2"];
        system.kubectl(&two).await.unwrap();
        let ready = |object: &Value| (object["status"]["readyReplicas"] == 2).then_some(());
        system
            .until(DEPLOYMENT, "two front doors", SOON * 2, ready)
            .await
            .unwrap();
        let service = system.get(&["service/moorline-frontdoor"]).await.unwrap();
        let ports = service["spec"]["ports"].as_array().unwrap();
        let rtsp = ports.iter().find(|port| port["name"] == "rtsp").unwrap();
        let port = rtsp["nodePort"].as_u64().unwrap();
        // Traffic stays on the node that it comes to: one with a front door.
        let pods = ["pods", "-l", "app.kubernetes.io/component=frontdoor"];
        let pods = system.get(&pods).await.unwrap();
        let host = pods["items"][0]["status"]["hostIP"].as_str().unwrap();
        let of = async |port| {
            let reach = system.reach("moorline-frontdoor", port).await;
            reach.unwrap().address
        };
        FrontDoor {
            rtsp: of(8554).await,
            https: of(443).await,
            node_rtsp: SocketAddr::new(host.parse().unwrap(), u16::try_from(port).unwrap()),
            running,
            people: reach,
            postgres,
        }
    }
}

impl FrontDoor<'_> {
    /// Makes a user of a tenant, as an operator does.
    pub(crate) async fn user(&self, tenant: &Tenant<'_>, login: &str) -> Login {
        let words = [
            "exec",
            DEPLOYMENT,
            "--",
            "moorline",
            "--output",
            "json",
            "user",
            "add",
            login,
            "--tenant",
            &tenant.name,
            "--role",
            "admin",
        ];
        let system = &self.running.0.system;
        let printed = system.kubectl(&words).await.unwrap();
        let made: Value = serde_json::from_str(&printed).unwrap();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        self.until_known(tenant, login).await;
        Login {
            name: text("login"),
            password: text("password"),
            stream_password: text("stream_password"),
        }
    }
}

impl FrontDoor<'_> {
    /// Waits until each of them has heard of a user: they ask the database four times a second, and a test is faster than a person.
    async fn until_known(&self, tenant: &Tenant<'_>, login: &str) {
        let system = &self.running.0.system;
        let pods = ["pods", "-l", "app.kubernetes.io/component=frontdoor"];
        let pods = system.get(&pods).await.unwrap();
        for pod in pods["items"].as_array().unwrap() {
            let pod = pod["metadata"]["name"].as_str().unwrap();
            let words = [
                "moorline",
                "--output",
                "json",
                "user",
                "list",
                "--tenant",
                &tenant.name,
            ];
            moorline_testkit::eventually("the user is known everywhere", SOON, || async {
                let output = system.try_exec(pod, &words).await.unwrap();
                let users = String::from_utf8_lossy(&output.stdout).into_owned();
                users.contains(&format!("\"{login}\"")).then_some(())
            })
            .await;
        }
    }
}

impl Login {
    /// What a player is given to watch a camera, at one of the addresses.
    pub(crate) fn url(&self, scheme: &str, at: SocketAddr, camera: &str) -> String {
        format!(
            "{scheme}://{}:{}@{at}/{camera}",
            self.name, self.stream_password
        )
    }
}

/// Whether a player finds pictures behind a URL, soon.
pub(crate) async fn plays(url: &str) -> bool {
    let mut command = peer::FFPROBE.command().unwrap();
    // In microseconds: a part that stands still takes connections.
    command.args([
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        "-timeout",
        "5000000",
    ]);
    command.args(["-show_entries", "stream=codec_name", "-of", "csv=p=0", url]);
    let output = run("ffprobe", command, SOON).await.unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("h264")
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let system = &self.0.system;
        let mut command = system.cluster().command().into_std();
        command
            .args(["--request-timeout=10s", "-n", system.name()])
            .args(["scale", DEPLOYMENT, "--replicas=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let _ = command.status();
    }
}
