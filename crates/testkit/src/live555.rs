//! live555's own tools, unpacked from Debian sid into a cache beside cargo's target directory. Nothing is installed on the system.
//!
//! Debian 12's packages are years behind what cameras and clients of today run, so the newest is fetched through a private apt root:
//! sid's package list, the closure of `livemedia-utils` with sid's own libc, unpacked by `dpkg-deb -x`, run by sid's own loader. It
//! costs 17 MB of lists and 7 MB of packages once; the lists are removed. The version is whatever sid has, and is told at run time.
//!
//! An optional peer: without a mirror within reach it is [`Error::Unavailable`], and for ten minutes nobody tries again.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use crate::{Error, child::Child, netns::Netns, patience, peer};

/// How long a failure is remembered.
const FAILED_FOR: Duration = Duration::from_secs(600);

/// The unpacked tools.
#[derive(Debug, Clone)]
pub struct Live555 {
    version: String,
    loader: PathBuf,
    libraries: PathBuf,
    programs: PathBuf,
}

impl Live555 {
    /// The tools, from the cache or fetched now. Tests that ask at once wait for one fetch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be fetched here.
    pub async fn get() -> Result<Self, Error> {
        let cache = peer::directory()?.join("live555");
        let ours = cache.clone();
        // The lock is taken on a thread: it may be held by another test process for as long as a fetch takes.
        let lock = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&ours)?;
            let file = File::create(ours.join("lock"))?;
            file.lock()?;
            Ok::<_, std::io::Error>(file)
        });
        let _lock = match lock.await {
            Ok(Ok(lock)) => lock,
            Ok(Err(source)) => return Err(Error::io(format!("lock {}", cache.display()), source)),
            Err(error) => return Err(unavailable(error.to_string())),
        };
        if let Some(found) = Self::cached(&cache) {
            peer::announce("live555", &found.version);
            return Ok(found);
        }
        let failure = cache.join("failed");
        if let Some(reason) = recent_failure(&failure) {
            return Err(unavailable(reason));
        }
        if let Err(error) = fetch::fetch(&cache).await {
            let _ = fs::write(&failure, error.to_string());
            return Err(unavailable(error.to_string()));
        }
        let found = Self::cached(&cache)
            .ok_or_else(|| unavailable("the packages hold no loader".to_owned()))?;
        peer::announce("live555", &found.version);
        Ok(found)
    }

    /// The version of the package: `2026.10.24-2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command that runs `program` (`openRTSP`, `live555ProxyServer`, `live555MediaServer`) here.
    ///
    /// The servers listen on all interfaces: run them by [`Live555::command_in`].
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.arguments(Command::new(&self.loader), program)
    }

    /// A command that runs `program` inside a network namespace.
    #[must_use]
    pub fn command_in(&self, netns: &Netns, program: &str) -> Command {
        self.arguments(netns.command(&self.loader), program)
    }

    /// Starts live555's proxy for one source, inside a namespace. It reads over TCP (`-t`): a source that refuses UDP it describes, and then
    /// gives no picture for ever.
    ///
    /// # Errors
    /// When it does not say within 10 s where it serves, or has no description of the source 20 s later.
    pub async fn proxy(&self, netns: &Netns, source: &str) -> Result<LiveProxy, Error> {
        let mut command = self.command_in(netns, "live555ProxyServer");
        command.arg("-t").arg(source);
        let child = Child::spawn("live555ProxyServer", command)?;
        let url = child
            .wait_for_after(0, "its URL", Duration::from_secs(10), |line| {
                line.split_once("Play this stream using the URL: ")
                    .map(|(_, url)| url.trim().to_owned())
            })
            .await?;
        // It names the address of an interface, or 0.0.0.0 where there is only `lo`; the port stands there unless it is RTSP's own.
        let authority = url.trim_start_matches("rtsp://");
        let (authority, path) = authority.split_once('/').unwrap_or((authority, ""));
        let port = authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(554);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let proxy = LiveProxy {
            child,
            address,
            path: format!("/{path}"),
        };
        // It answers 404 until it has the description of its source.
        let deadline = patience(Duration::from_secs(20));
        let described = async {
            while !describes(netns, &proxy).await.unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(deadline, described).await {
            Ok(()) => Ok(proxy),
            Err(_) => Err(Error::Timeout {
                what: format!("live555ProxyServer's description of {source}"),
                patience: deadline,
                detail: proxy.child.tail(),
            }),
        }
    }

    fn arguments(&self, mut command: Command, program: &str) -> Command {
        command
            .arg("--library-path")
            .arg(&self.libraries)
            .arg(self.programs.join(program));
        command
    }

    fn cached(cache: &Path) -> Option<Self> {
        let version = fs::read_to_string(cache.join("version"))
            .ok()?
            .trim()
            .to_owned();
        let root = cache.join("root");
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let libraries = root.join("usr/lib").join(triplet);
        let loader = fs::read_dir(&libraries)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
            })?;
        let programs = root.join("usr/bin");
        programs.join("openRTSP").is_file().then_some(Self {
            version,
            loader,
            libraries,
            programs,
        })
    }
}

/// A running live555ProxyServer, inside the namespace in which it was started.
#[derive(Debug)]
pub struct LiveProxy {
    /// Its process.
    pub child: Child,
    /// Where it listens, inside.
    pub address: SocketAddr,
    /// The path of its one stream.
    pub path: String,
}

impl LiveProxy {
    /// The stream's URL, for clients inside.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rtsp://{}{}", self.address, self.path)
    }
}

/// Whether the proxy answers 200 to DESCRIBE.
async fn describes(netns: &Netns, proxy: &LiveProxy) -> Result<bool, Error> {
    let mut stream = netns.connect(proxy.address).await?;
    let request = format!(
        "DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n",
        proxy.url()
    );
    let failed = |source| Error::io("ask live555ProxyServer", source);
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    Ok(answer == b"RTSP/1.0 200")
}

fn unavailable(reason: String) -> Error {
    Error::Unavailable {
        peer: "live555",
        reason,
    }
}

fn recent_failure(file: &Path) -> Option<String> {
    let age = fs::metadata(file).ok()?.modified().ok()?.elapsed().ok()?;
    (age < FAILED_FOR).then(|| fs::read_to_string(file).unwrap_or_default())
}

mod fetch;

#[cfg(test)]
mod tests;
