//! The client that the adapters want: no silent retries, and no connection that hangs for ever.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use moorline_core::port::PortError;

use crate::call::chain;

const OPERATION: &str = "connect to the cluster";
/// A connection that does not come about.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection on which nothing is read: watches are ended by the server after 60 s, so a live one is never silent for longer.
const SILENCE: Duration = Duration::from_secs(70);

/// A client of the cluster in which this pod runs, by its service account.
///
/// # Errors
/// This is no pod, or its account is not mounted.
pub fn in_cluster() -> Result<Client, PortError> {
    client(Config::incluster().map_err(failed)?)
}

/// A client by a kubeconfig file, in its current context.
///
/// # Errors
/// The file cannot be read, or names no cluster.
pub async fn by_kubeconfig(path: &Path) -> Result<Client, PortError> {
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options).await;
    client(config.map_err(failed)?)
}

/// A cluster that a person chose, and the namespace of the context.
#[derive(Clone)]
pub struct Chosen {
    /// Its client.
    pub client: Client,
    /// The context's namespace; `default` where it names none.
    pub namespace: String,
}

/// A client as kubectl chooses it: the file, else `KUBECONFIG`, else the user's own; the context, else the current one. Without a file and
/// without a context also the cluster in which this pod runs.
///
/// # Errors
/// No file, no such context, or it is not usable.
pub async fn chosen(file: Option<&Path>, context: Option<&str>) -> Result<Chosen, PortError> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let config = match file {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(file, &options).await
        }
        None => Config::from_kubeconfig(&options).await,
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => match Config::incluster() {
            Ok(config) if file.is_none() && context.is_none() => config,
            _ => return Err(failed(error)),
        },
    };
    let namespace = config.default_namespace.clone();
    Ok(Chosen {
        client: client(config)?,
        namespace,
    })
}

/// A client of this configuration, with the deadlines that the adapters count on. kube's own retries are off: they would hide a refusal for
/// minutes, and a claim has to know.
///
/// # Errors
/// The configuration is not usable, its certificates for example.
pub fn client(mut config: Config) -> Result<Client, PortError> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    Client::try_from(config).map_err(failed)
}

fn failed(error: impl std::error::Error + 'static) -> PortError {
    PortError::new(OPERATION, chain(&error))
}
