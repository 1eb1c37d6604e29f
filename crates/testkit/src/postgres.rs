//! PostgreSQL: a server of one's own in a temporary directory, never the system's.
//!
//! It runs as `nobody` where the tests run as root, which PostgreSQL refuses, and listens on a Unix socket in its directory. It cannot listen on
//! port 0, so over TCP with TLS it runs in a network namespace and is reached through [`Netns::expose`]. Nothing is synced: its data dies with it.

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{net::UnixStream, process::Command};

use crate::{
    Error,
    child::{Child, Signal, run},
    netns::{Exposed, Netns},
    peer,
    serving::{Task, listen_on, serve},
    temp_dir,
};

/// `nobody` of every Debian.
const NOBODY: u32 = 65534;
/// In a namespace of its own, and in the socket's name.
const PORT: u16 = 5432;
/// For `initdb` and for a start, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A certificate for the server, PEM.
#[derive(Debug, Clone, Copy)]
pub struct ServerCertificate<'a> {
    /// The certificate, which names `localhost`.
    pub certificate: &'a str,
    /// Its key.
    pub key: &'a str,
}

/// A running server with one empty database. Dropping it ends it and removes what it stored.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    tcp: Option<(Arc<Netns>, Exposed)>,
    directory: tempfile::TempDir,
}

/// A way to a server from elsewhere, which ends with its value.
#[derive(Debug)]
pub struct Reachable {
    /// Where it is reached without TLS: as [`Postgres::USER`] without a password, as others as over the socket.
    pub address: SocketAddr,
    _serving: Task,
}

impl Postgres {
    /// The superuser, who needs no password over the socket.
    pub const USER: &str = "moorline";
    /// The password over TCP.
    pub const PASSWORD: &str = "moorline-test-secret";
    /// The database.
    pub const DATABASE: &str = "postgres";

    /// Starts it on a Unix socket.
    ///
    /// # Errors
    /// [`Error::Missing`] where it is not installed; when it does not start.
    pub async fn start() -> Result<Self, Error> {
        let mut server = Self::prepare().await?;
        server.run().await?;
        Ok(server)
    }

    /// Starts it on a Unix socket over which everybody but [`Postgres::USER`] needs a password.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn start_guarded() -> Result<Self, Error> {
        let mut server = Self::prepare().await?;
        let rules = format!(
            "local all {} trust\nlocal all all scram-sha-256\n",
            Self::USER
        );
        server.write("data/pg_hba.conf", &rules)?;
        server.run().await?;
        Ok(server)
    }

    /// Starts it on TCP too, where it takes TLS alone.
    ///
    /// # Errors
    /// As [`Postgres::start`]; [`Error::Unavailable`] where no network namespace can be made.
    pub async fn start_tls(certificate: ServerCertificate<'_>) -> Result<Self, Error> {
        let netns = Arc::new(Netns::new().await?);
        let mut server = Self::prepare().await?;
        server.write("server.crt", certificate.certificate)?;
        server.write("server.key", certificate.key)?;
        server.write(
            "data/pg_hba.conf",
            "local all all trust\nhostssl all all all scram-sha-256\n",
        )?;
        let inside = SocketAddr::from(([127, 0, 0, 1], PORT));
        server.tcp = Some((Arc::clone(&netns), netns.expose(inside).await?));
        server.run().await?;
        let password = format!("ALTER USER {} PASSWORD '{}'", Self::USER, Self::PASSWORD);
        server.sql(&password).await?;
        Ok(server)
    }

    async fn prepare() -> Result<Self, Error> {
        let initdb = program("initdb")?;
        let directory = temp_dir()?;
        own(directory.path())?;
        let data = directory.path().join("data");
        let mut command = unprivileged(&initdb);
        command
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .args(["-U", Self::USER, "-D"])
            .arg(data)
            // One that the other user may enter.
            .current_dir(directory.path());
        let made = run("initdb", command, START).await?;
        if !made.status.success() {
            return Err(Error::Refused {
                peer: "initdb",
                message: String::from_utf8_lossy(&made.stderr).into_owned(),
            });
        }
        Ok(Self {
            child: None,
            tcp: None,
            directory,
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.directory.path().join(name);
        std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)))
            .map_err(|source| Error::io(format!("write {name}"), source))?;
        own(&path)
    }

    async fn run(&mut self) -> Result<(), Error> {
        let server = program("postgres")?;
        let directory = self.directory.path();
        let mut command = match &self.tcp {
            Some((netns, _)) => {
                let mut command = netns.command("setpriv");
                command.args(SETPRIV).arg(&server);
                command
            }
            None => unprivileged(&server),
        };
        let at = |name: &str| directory.join(name).display().to_string();
        command
            .arg("-D")
            .arg(directory.join("data"))
            .arg("-k")
            .arg(directory)
            .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=40", "-c", "shared_buffers=16MB"])
            .current_dir(directory);
        if self.tcp.is_some() {
            command.args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]);
            command.args(["-c", &format!("ssl_cert_file={}", at("server.crt"))]);
            command.args(["-c", &format!("ssl_key_file={}", at("server.key"))]);
        } else {
            command.args(["-c", "listen_addresses="]);
        }
        let child = Child::spawn("postgres", command)?;
        child
            .wait_for_line("ready to accept connections", START)
            .await?;
        self.child = Some(child);
        Ok(())
    }

    /// `postgres://…` over the Unix socket.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://{}@localhost/{}?host={}",
            Self::USER,
            Self::DATABASE,
            self.directory.path().display(),
        )
    }

    /// `postgres://…` over TCP, with the password.
    #[must_use]
    pub fn tcp_url(&self, host: &str) -> Option<String> {
        let (_, exposed) = self.tcp.as_ref()?;
        Some(format!(
            "postgres://{}:{}@{host}:{}/{}",
            Self::USER,
            Self::PASSWORD,
            exposed.address.port(),
            Self::DATABASE,
        ))
    }

    /// Makes it reachable on an address of this machine, without TLS: for the pods of a lab.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn reach_on(&self, address: IpAddr) -> Result<Reachable, Error> {
        let (listener, address) = listen_on(address).await?;
        let socket = self.directory.path().join(format!(".s.PGSQL.{PORT}"));
        let serving = serve(listener, move |mut outer| {
            let socket = socket.clone();
            async move {
                if let Ok(mut inner) = UnixStream::connect(&socket).await {
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                }
            }
        });
        Ok(Reachable {
            address,
            _serving: serving,
        })
    }

    /// Carries statements out over the socket, and returns what they answer, a line a row.
    ///
    /// # Errors
    /// When the server refuses them.
    pub async fn sql(&self, statements: &str) -> Result<String, Error> {
        let mut command = Command::new(program("psql")?);
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-U", Self::USER, "-d", Self::DATABASE, "-h"])
            .arg(self.directory.path())
            .args(["-c", statements]);
        let done = run("psql", command, Duration::from_secs(60)).await?;
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        } else {
            Err(Error::Refused {
                peer: "postgres",
                message: String::from_utf8_lossy(&done.stderr).into_owned(),
            })
        }
    }

    /// Ends it at once; its connections break. What it stored stays for [`Postgres::resume`].
    pub async fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.signal(Signal::QUIT);
            // One that does not end is killed with its value.
            let _ = child.wait(Duration::from_secs(10)).await;
        }
    }

    /// Lets all its processes stand still: connections stay open, and nothing answers.
    pub fn freeze(&self) {
        if let Some(child) = &self.child {
            child.freeze_family();
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        if let Some(child) = &self.child {
            child.thaw_family();
        }
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn resume(&mut self) -> Result<(), Error> {
        self.run().await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(child) = &self.child else { return };
        child.thaw_family();
        // It then removes its shared memory, which a killed one leaves behind. One that does not end in time is killed with its value.
        child.signal(Signal::QUIT);
        let begin = std::time::Instant::now();
        while child.pid().is_some_and(runs) && begin.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a process of ours has not ended yet: one that waits to be reaped has.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

const SETPRIV: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];

/// A command as `nobody`, where this process is root.
fn unprivileged(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(SETPRIV).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Gives a file to whom the server runs as.
fn own(path: &Path) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(path, Some(NOBODY), Some(NOBODY))
        .map_err(|source| Error::io(format!("give {} away", path.display()), source))
}

/// Debian keeps the programs of each version in a directory that is on nobody's path.
fn program(name: &str) -> Result<PathBuf, Error> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin").join(name);
            program.is_file().then_some((version, program))
        })
        .max();
    if let Some((version, program)) = newest {
        if name == "postgres" {
            peer::announce("postgres", &version.to_string());
        }
        return Ok(program);
    }
    peer::locate(name).ok_or(Error::Missing {
        peer: "postgres",
        package: "postgresql",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frozen_one_answers_once_it_is_thawed() {
        let server = Postgres::start().await.unwrap();
        server.freeze();
        let asked = server.sql("SELECT 1");
        let answer = tokio::time::timeout(Duration::from_secs(1), asked).await;
        assert!(answer.is_err(), "{answer:?}");
        server.thaw();
        assert_eq!(server.sql("SELECT 1").await.unwrap(), "1");
    }

    #[tokio::test]
    async fn others_need_a_password_at_a_guarded_one() {
        let server = Postgres::start_guarded().await.unwrap();
        server
            .sql("CREATE ROLE anna LOGIN PASSWORD 'first'")
            .await
            .unwrap();
        let mut command = Command::new(program("psql").unwrap());
        command
            .env("LC_ALL", "C")
            .args(["-X", "-w", "-U", "anna", "-d", Postgres::DATABASE, "-h"])
            .arg(server.directory.path())
            .args(["-c", "SELECT 1"]);
        let refused = run("psql", command, START).await.unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("no password supplied"), "{said}");
    }

    #[tokio::test]
    async fn starts_stops_and_keeps_what_it_stored() {
        let mut server = Postgres::start().await.unwrap();
        server
            .sql("CREATE TABLE t (x int); INSERT INTO t VALUES (1), (2)")
            .await
            .unwrap();
        server.stop().await;
        assert!(server.sql("SELECT 1").await.is_err());
        server.resume().await.unwrap();
        assert_eq!(server.sql("SELECT x FROM t").await.unwrap(), "1\n2");
        let refused = server.sql("SELECT * FROM nowhere").await.unwrap_err();
        assert!(refused.to_string().contains("nowhere"), "{refused}");
    }
}
