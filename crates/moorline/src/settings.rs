//! The configuration file: every field with its default and its meaning. The reference page is made of this text.

mod check;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use moorline_base::config::{self, ByteSize, ConfigFile, HumanDuration, SecretUrl};
use moorline_base::{Secret, config_choice, config_root, config_section};

use self::check::check;
pub use self::check::checked;
use crate::client::another_users;

config_section! {
    /// Where the server listens, and what the outside calls it.
    pub struct Server in "server" {
        /// Host name or address in every printed command and URL. Empty: this machine's own address is guessed, and `doctor` warns.
        pub public_host: String = String::new(),
        /// Another one for viewers, in the URLs of page and streams: where they come to another address than cameras do. Empty: the same.
        pub public_viewer_host: String = String::new(),
        /// SSH, for cameras.
        pub listen_ssh: String = "0.0.0.0:2222".to_owned(),
        /// RTSP and RTSPS on one port, for players.
        pub listen_rtsp: String = "0.0.0.0:8554".to_owned(),
        /// HTTPS, for people.
        pub listen_https: String = "0.0.0.0:8443".to_owned(),
        /// Plain HTTP with metrics and health. Whoever reaches it reads them: keep it on loopback.
        pub listen_admin: String = "127.0.0.1:9464".to_owned(),
        /// Port in printed SSH commands, where a router maps another one here. 0: the port that is listened on.
        pub public_ssh_port: u16 = 0,
        /// Port in printed RTSP addresses. 0: the port that is listened on.
        pub public_rtsp_port: u16 = 0,
        /// Port in printed page addresses. 0: the port that is listened on.
        pub public_https_port: u16 = 0,
        /// PEM file with the certificate chain. Empty: a self-signed one is made and kept.
        pub tls_certificate: String = String::new(),
        /// PEM file with the certificate's private key.
        pub tls_key: String = String::new(),
        /// What is logged: error, warn, info, debug or trace, and exceptions such as info,moorline_tunnel=debug.
        pub log: String = "info".to_owned(),
    }
}

config_section! {
    /// The cameras' tunnels.
    pub struct Tunnel in "tunnel" {
        /// How long a lost camera's relay and recorder wait for it to come back. 0s: not at all.
        pub grace: HumanDuration = HumanDuration::from_secs(30),
        /// How much a camera may have in flight on one stream, 256KiB to 4MiB. Small is right for slow uplinks.
        pub window: ByteSize = ByteSize::mib(1),
        /// How many not yet authenticated connections are held at once.
        pub strangers: u32 = 4096,
        /// How much of all cameras may wait in memory for whoever reads it, 16MiB or more. Over it the stream that holds most is closed, and read
        /// anew: a machine with 1 GiB is safe with 128MiB.
        pub queued: ByteSize = ByteSize::mib(512),
        /// The same for the cameras of one tenant; `serve` has one tenant alone.
        pub queued_per_tenant: ByteSize = ByteSize::mib(256),
    }
}

config_section! {
    /// Which stream is recorded of cameras whose owner left it to the server (`camera set --record auto`).
    pub struct Uplink in "uplink" {
        /// More than so many of a hundred pictures dropped by the camera's agent lead to its sub-stream, 1 to 99; 0: never.
        pub percent: u8 = 5,
        /// Within how long, 1s to 1h. The agent reports every 15 s at most.
        pub after: HumanDuration = HumanDuration::from_secs(120),
        /// How long nearly nothing may be dropped on the sub-stream before the main stream is tried again; doubled by each try that fails, up to 24h.
        pub back: HumanDuration = HumanDuration::from_secs(1800),
    }
}

config_section! {
    /// Players.
    pub struct Rtsp in "rtsp" {
        /// How many streams one login may watch at once, in players and in browsers, 1 to 4096: a wall of cameras needs one for each. The
        /// login may hold twice as many connections.
        pub streams_per_user: u32 = 64,
    }
}

config_choice! {
    /// Where recordings go.
    pub enum StoreKind {
        /// A directory.
        Directory = "directory",
        /// An S3 bucket.
        S3 = "s3",
    }
}

config_section! {
    /// Recording.
    pub struct Archive in "archive" {
        /// Where recordings go.
        pub store: StoreKind = StoreKind::Directory,
        /// The directory store. Empty: `archive` in the data directory. On the spool's file system a rename is the put.
        pub directory: String = String::new(),
        /// Length of a segment.
        pub segment: HumanDuration = HumanDuration::from_secs(60),
        /// How many days recordings of a new camera are kept, 1 to 999; 0: until somebody deletes them.
        pub keep_days: u16 = 14,
        /// How much of the disk recordings may use at most, in percent. The oldest leave first.
        pub disk_percent: u8 = 80,
        /// What always stays free on the disk.
        pub disk_free: ByteSize = ByteSize::gib(5),
        /// How much may wait for the store at most. 0: half of what recordings may use.
        pub spool: ByteSize = ByteSize::new(0),
        /// How long the last upload may take when a camera leaves or the server stops.
        pub drain: HumanDuration = HumanDuration::from_secs(60),
    }
}

config_choice! {
    /// Whether each object is looked up again before it leaves the spool.
    pub enum S3Verify {
        /// Ask for its size.
        Head = "head",
        /// Trust the digest in the answer, where the store was seen to compute it.
        Etag = "etag",
    }
}

config_section! {
    /// The bucket, where `archive.store = "s3"`.
    pub struct S3 in "s3" {
        /// URL of the service, such as https://fra1.digitaloceanspaces.com. Empty: Amazon's, by region.
        pub endpoint: String = String::new(),
        /// Region.
        pub region: String = "us-east-1".to_owned(),
        /// Bucket.
        pub bucket: String = String::new(),
        /// Access key.
        pub access_key: String = String::new(),
        /// Secret key.
        pub secret_key: Secret<String> = Secret::new(String::new()),
        /// Directory with the files `access-key` and `secret-key` instead: a mounted Secret. The roles of a cluster read it again when it changes, and use a
        /// new key once it works.
        pub key_dir: String = String::new(),
        /// Whether the bucket stands in the path instead of the host name.
        pub path_style: bool = true,
        /// Whether each object is looked up again before it leaves the spool.
        pub verify: S3Verify = S3Verify::Head,
        /// PEM file with the authority of the store's certificate, beside the public ones. Empty: those alone. In a cluster tenants' own buckets may have it, too.
        pub authority: String = String::new(),
    }
}

config_section! {
    /// Who is told when recording stops.
    pub struct Alert in "alert" {
        /// How long nothing new may become durable before somebody is told: at least twice `archive.segment`.
        pub after: HumanDuration = HumanDuration::from_secs(180),
        /// URL that gets each alarm as JSON by POST. Empty: none.
        pub webhook: SecretUrl = SecretUrl::default(),
        /// Networks that webhook and heartbeat may lie in although they are private, such as 192.168.1.0/24.
        pub webhook_private: Vec<String> = Vec::new(),
        /// Whether webhook and heartbeat may be plain http.
        pub webhook_http: bool = false,
        /// Addresses that get each alarm by e-mail. Empty: none.
        pub email_to: Vec<String> = Vec::new(),
        /// Sender of the e-mail.
        pub email_from: String = String::new(),
        /// Mail server, host:port.
        pub smtp: String = String::new(),
        /// How the mail server is spoken to.
        pub smtp_security: SmtpSecurity = SmtpSecurity::StartTls,
        /// Login at the mail server. Empty: none.
        pub smtp_user: String = String::new(),
        /// Its password.
        pub smtp_password: Secret<String> = Secret::new(String::new()),
        /// URL that is fetched again and again while the server lives, so that somebody else notices its death. Empty: none.
        pub heartbeat: SecretUrl = SecretUrl::default(),
        /// How often.
        pub heartbeat_every: HumanDuration = HumanDuration::from_secs(60),
    }
}

config_choice! {
    /// Where a front door's people are.
    pub enum PeopleStore {
        /// A file in the data directory: for one front door alone.
        Sqlite = "sqlite",
        /// A PostgreSQL database, which all front doors share.
        Postgres = "postgres",
    }
}

config_section! {
    /// People of a cluster: who may sign in and watch. `moorline frontdoor` reads this; `serve` keeps its people in the data directory.
    pub struct People in "people" {
        /// Where they are.
        pub store: PeopleStore = PeopleStore::Sqlite,
        /// File with the key of the secrets in PostgreSQL: a mounted Secret, the same for all front doors.
        pub key: String = "/etc/moorline/people/people.key".to_owned(),
    }
}

config_choice! {
    /// Whether a server is spoken to over TLS.
    pub enum TlsMode {
        /// Always, and its certificate has to name it.
        Verify = "verify",
        /// Never: a socket, or a network that nobody else is in.
        Off = "off",
    }
}

config_section! {
    /// The database, where `people.store = "postgres"`.
    pub struct Postgres in "postgres" {
        /// URL, such as postgres://moorline:PASSWORD@db.example.com:5432/moorline.
        pub url: Secret<String> = Secret::new(String::new()),
        /// Whether TLS is used.
        pub tls: TlsMode = TlsMode::Verify,
        /// PEM file with the authority of the server's certificate, beside the public ones. Empty: those alone.
        pub authority: String = String::new(),
        /// Connections at most, of each front door, 2 to 100.
        pub connections: u32 = 8,
    }
}

config_section! {
    /// The roles of a cluster (`mon`, `signer`, `tenants`, `frontdoor`); the chart writes these, and `serve` does not read them.
    pub struct Cluster in "cluster" {
        /// Namespace of the installation.
        pub namespace: String = "moorline-system".to_owned(),
        /// Name of the release: accounts and roles begin with it.
        pub release: String = "moorline".to_owned(),
        /// Name of this replica: that of its pod.
        pub replica: String = String::new(),
        /// Address of this pod, as other pods reach it.
        pub address: String = String::new(),
        /// The tunnel gateway of `mon`, for pods.
        pub listen_gateway: String = "0.0.0.0:8443".to_owned(),
        /// Service of the tunnel gateway, name:port. Its certificate names it.
        pub gateway: String = "moorline-mon.moorline-system.svc:8443".to_owned(),
        /// Headless Service at which other replicas are asked while the API server is away, name:port. Empty: nobody is asked.
        pub peers: String = String::new(),
        /// What the tunnels of a `mon` get to end after SIGTERM, 20 a second: its pod's grace less 20 s. More than fit end faster.
        pub stop: HumanDuration = HumanDuration::from_secs(140),
        /// The signer, for pods.
        pub listen_signer: String = "0.0.0.0:8444".to_owned(),
        /// Service of the signer, name:port.
        pub signer: String = "moorline-signer.moorline-system.svc:8444".to_owned(),
        /// Directory with `tls.crt`, `tls.key` and the authority `ca.crt`: a mounted Secret, read again when it changes.
        pub tls: String = "/etc/moorline/tls".to_owned(),
        /// Directory with the SSH host keys: a mounted Secret.
        pub host_keys: String = "/etc/moorline/host-keys".to_owned(),
        /// Directory with the public SSH host keys, which tenants are told: a mounted Secret; of `tenants` alone.
        pub known_hosts: String = "/etc/moorline/known-hosts".to_owned(),
        /// File with the public ticket keys, one a line.
        pub ticket_publics: String = "/etc/moorline/tickets/public".to_owned(),
        /// File with the private ticket key; the signer's alone.
        pub ticket_key: String = "/etc/moorline/ticket-key/key.pem".to_owned(),
        /// Namespace of the Secrets with keys of tenants' own buckets that may put, head and list. Empty: tenants have no buckets of their own.
        pub store_put: String = "moorline-store-put".to_owned(),
        /// The one with keys that may get and list.
        pub store_get: String = "moorline-store-get".to_owned(),
        /// The one with keys that may list and delete.
        pub store_delete: String = "moorline-store-delete".to_owned(),
        /// Networks that a tenant's own bucket may lie in although they are private, such as 10.0.0.0/8.
        pub store_private: Vec<String> = Vec::new(),
        /// Whether a tenant's own bucket may be reached by plain http.
        pub store_http: bool = false,
        /// How pods of tenants come to names: a JSON array of egress rules of a NetworkPolicy. Empty: port 53 of kube-dns.
        pub dns: String = String::new(),
        /// Whether there is a sweeper: without one, a tenant that is to be erased waits and says so.
        pub sweeper: bool = true,
        /// How often the sweeper looks for what has expired.
        pub sweep_every: HumanDuration = HumanDuration::from_secs(600),
        /// How many objects the sweeper deletes per second at most, 1 to 1000.
        pub sweep_pace: u32 = 100,
        /// Service account of the front door.
        pub frontdoor_account: String = "moorline-frontdoor".to_owned(),
        /// File with the front door's token for the signer; read again for each request.
        pub signer_token: String = "/run/moorline/signer/token".to_owned(),
        /// Whether the front door's page and API may add, change and remove cameras. Its account has to be allowed to.
        pub camera_changes: bool = true,
    }
}

config_choice! {
    /// How the mail server is spoken to.
    pub enum SmtpSecurity {
        /// In clear text, for a mail server on this machine.
        None = "none",
        /// Clear text that becomes TLS, port 587.
        StartTls = "starttls",
        /// TLS from the first byte, port 465.
        Tls = "tls",
    }
}

config_root! {
    /// The whole configuration.
    pub struct Settings {
        /// Where the server listens, and what the outside calls it.
        pub server: Server,
        /// The cameras' tunnels.
        pub tunnel: Tunnel,
        /// Which stream is recorded by itself.
        pub uplink: Uplink,
        /// Players.
        pub rtsp: Rtsp,
        /// Recording.
        pub archive: Archive,
        /// The bucket.
        pub s3: S3,
        /// Who is told when recording stops.
        pub alert: Alert,
        /// People of a cluster.
        pub people: People,
        /// Their database.
        pub postgres: Postgres,
        /// The roles of a cluster.
        pub cluster: Cluster,
    }
}

/// The file in a data directory.
const FILE: &str = "moorline.toml";

/// The file that is read: the one given, else `moorline.toml` in the data directory if it is there.
pub fn file(data: &Path, given: Option<&Path>) -> Option<PathBuf> {
    let usual = data.join(FILE);
    given
        .map(Path::to_owned)
        .or_else(|| usual.exists().then_some(usual))
}

/// The environment as text: what others put there need not be any, and `std::env::vars` panics then.
fn readable(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    variables
        .map(move |(name, value)| (text(name), text(value)))
        .filter(|(name, _)| name != "MOORLINE_DATA" && name != "MOORLINE_CONFIG")
}

/// Reads the configuration.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(data: &Path, given: Option<&Path>) -> anyhow::Result<Settings> {
    let usual = data.join(FILE).try_exists();
    if given.is_none()
        && let Err(error) = usual
        && let Some(told) = another_users(&error, data)
    {
        return Err(told.into());
    }
    let file = match file(data, given) {
        Some(path) => Some(ConfigFile::read(&path)?),
        None => None,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the binary alone reads the environment, here"
    )]
    let environment = readable(std::env::vars_os());
    Ok(config::load_checked(file.as_ref(), environment, check)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the guide promises to whoever sets nothing.
    #[test]
    fn without_a_file_it_keeps_14_days_80_percent_of_the_disk_and_5_gib_free() {
        let Settings { archive, alert, .. } = Settings::default();
        assert_eq!((archive.keep_days, archive.disk_percent), (14, 80));
        assert_eq!(archive.disk_free.bytes(), 5 << 30);
        assert_eq!(archive.segment.get().as_secs(), 60);
        assert_eq!(alert.after.get().as_secs(), 180);
    }

    #[test]
    fn an_unknown_name_hides_nothing_else_that_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[archive]\nkeep = 3\nkeep_days = 1000\n[s3]\nendpoint = \"ftp://x\"\n[alert]\nwebhook = \"htp:/x\"\n";
        std::fs::write(dir.path().join("moorline.toml"), text).unwrap();
        let told = load(dir.path(), None).unwrap_err().to_string();
        for (line, field) in [
            (2, "unknown field"),
            (3, "archive.keep_days"),
            (5, "s3.endpoint"),
            (7, "alert.webhook"),
        ] {
            let wanted = format!("moorline.toml:{line}: {field}");
            assert!(told.contains(&wanted), "{wanted}\n{told}");
        }
        let missing = load(dir.path(), Some(Path::new("nope.toml"))).unwrap_err();
        let told = format!("{missing:#}");
        assert_eq!(told.matches("nope.toml").count(), 1, "{told}");
    }

    #[test]
    fn a_foreign_variable_that_is_no_text_hurts_nobody() {
        use std::os::unix::ffi::OsStringExt as _;
        let variable = |name: &str, value: &[u8]| {
            let value = OsString::from_vec(value.to_vec());
            (OsString::from(name), value)
        };
        let environment = [
            variable("LESSOPEN", b"\xff\xfe"),
            variable("MOORLINE_DATA", b"/srv"),
            variable("MOORLINE_SERVER__LOG", b"debug"),
        ];
        let mut read = readable(environment.into_iter());
        assert_eq!(read.next().unwrap().0, "LESSOPEN");
        let log = ("MOORLINE_SERVER__LOG".to_owned(), "debug".to_owned());
        assert_eq!(read.collect::<Vec<_>>(), [log]);
    }
}
