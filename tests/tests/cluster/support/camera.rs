//! Cameras: a simulated source behind the real `dbclient`.

use std::net::SocketAddr;

use moorline_base::SystemClock;
use moorline_simcam::{Source, SourceConfig, video::Shape};
use moorline_testkit::{
    child::{Child, run},
    cluster::SOON,
    peer, temp_dir,
    tempfile::TempDir,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Moorline, Replica, Tenant};

/// A camera: its resource is there, its RTSP server runs.
pub(crate) struct Camera {
    pub(crate) name: String,
    /// `tenant/camera`, as whom it calls.
    user: String,
    /// What its pictures are stamped with.
    pub(crate) number: u32,
    pub(crate) source: Source,
    address: SocketAddr,
    /// Its private key lies here.
    home: TempDir,
}

impl Camera {
    /// It films `bitrate` bits a second.
    pub(super) async fn new(tenant: &Tenant<'_>, name: &str, number: u32, bitrate: u64) -> Self {
        let shape = Shape {
            width: 320,
            height: 176,
            fps: 20,
            gop: 10,
            bitrate,
            ..Shape::default()
        };
        let spec = json!({"sources": {"main": {"path": "/main"}}});
        let films = SourceConfig::generated(number, shape);
        Self::filming(tenant, name, spec, films).await
    }

    /// Its resource has this spec and its key.
    pub(super) async fn filming(
        tenant: &Tenant<'_>,
        name: &str,
        mut spec: Value,
        films: SourceConfig,
    ) -> Self {
        let home = temp_dir().unwrap();
        let mut make = peer::DROPBEARKEY.command().unwrap();
        make.args(["-t", "ed25519", "-f"])
            .arg(home.path().join("key"));
        let output = run("dropbearkey", make, SOON).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let public = text.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let public = public.unwrap_or_else(|| panic!("no public key: {text}"));
        spec["keys"] = json!([public]);
        tenant
            .space
            .apply(&json!({
                "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
                "metadata": {"name": name},
                "spec": spec,
            }))
            .await
            .unwrap();
        let number = films.camera;
        let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let source = Source::new(films, SystemClock::shared());
        source.listen(listener);
        Self {
            name: name.to_owned(),
            user: format!("{}/{name}", tenant.name),
            number,
            source,
            address,
            home,
        }
    }

    /// Waits until so many more pictures were sent by it.
    pub(crate) async fn filmed(&self, more: u64) {
        let from = self.source.counters().pictures;
        moorline_testkit::eventually("more pictures of the camera", SOON * 2, || async {
            (self.source.counters().pictures >= from + more).then_some(())
        })
        .await;
    }

    /// Calls again and again, as a boot script does.
    pub(crate) fn keeps_calling(&self, moorline: &Moorline, at: SocketAddr) -> Call {
        let (home, command) = self.command(moorline, at, "-N");
        let words = command.as_std().get_args();
        let words: Vec<_> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let program = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let script = r#"while :; do "$@"; sleep 0.5; done"#;
        let mut shell = Command::new("/bin/sh");
        shell
            .env("HOME", home.path())
            .args(["-c", script, "sh", &program])
            .args(words);
        Call {
            child: Child::spawn("a boot script", shell).unwrap(),
            _home: home,
        }
    }

    /// Calls a replica as the printed line says: `-N`, so without a way for its agent to speak.
    pub(crate) fn call(&self, moorline: &Moorline, at: &Replica) -> Call {
        self.dial(moorline, at.ssh(), "-N")
    }

    /// The same with the monitor's channel: what is written to the child is the agent's.
    pub(crate) fn call_with_agent(&self, moorline: &Moorline, at: &Replica) -> Call {
        self.dial(moorline, at.ssh(), "")
    }

    fn dial(&self, moorline: &Moorline, at: SocketAddr, options: &str) -> Call {
        let (home, command) = self.command(moorline, at, options);
        Call {
            child: Child::spawn("dbclient", command).unwrap(),
            _home: home,
        }
    }

    fn command(&self, moorline: &Moorline, at: SocketAddr, options: &str) -> (TempDir, Command) {
        let home = temp_dir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let hosts = home.path().join(".ssh/known_hosts");
        std::fs::write(hosts, moorline.known_hosts(at.ip())).unwrap();
        let mut command = peer::DBCLIENT.command().unwrap();
        command.env("HOME", home.path()).args(["-T", "-K", "15"]);
        if !options.is_empty() {
            command.arg(options);
        }
        command
            .args(["-p", &at.port().to_string(), "-i"])
            .arg(self.home.path().join("key"))
            .args(["-R", &format!("0:{}", self.address)])
            .arg(format!("{}@{}", self.user, at.ip()));
        (home, command)
    }
}

/// A running `dbclient`.
pub(crate) struct Call {
    pub(crate) child: Child,
    _home: TempDir,
}
