//! How the agent begins: what it reads, and all that the loop needs.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use moorline_control::{Level, Mac, Model};

use super::streams::Streams;
use super::{Driver, Input, Places, console};
use crate::client::reachable;
use crate::local::Local;
use crate::machine::{Event, Fixed, Machine, State};
use crate::mailbox::Sender;
use crate::moment::Moments;
use crate::probe::{FALLBACK, Search};
use crate::relay::{Relay, Streamer, spawn};
use crate::report::Report;
use crate::settings::Settings;
use crate::upgrade::Upgrade;
use crate::upgrade::store::Store;
use crate::uplink::{Recent, Uplink};
use crate::{files, stamp, system};

/// What the owner says, and what the servers set.
pub(super) struct Read {
    local: Local,
    settings: Settings,
}

impl Read {
    /// A file that is there and cannot be read says whose camera this is: without it the agent would take itself for nobody's, and write over it.
    pub(super) fn of(places: &Places) -> Result<Self, String> {
        let (local, wrong) = places
            .local()
            .map_err(|error| told(&files::shown(&places.local_file()), &error))?;
        for wrong in wrong {
            console(Level::Warn, format_args!("local.conf: {wrong}"));
        }
        let settings = places
            .settings(&local)
            .map_err(|error| told(&files::shown(&places.settings_file()), &error))?;
        Ok(Read { local, settings })
    }
}

/// What failed, and why: made in one place.
fn told(what: &dyn fmt::Display, error: &std::io::Error) -> String {
    format!("{what}: {error}")
}

impl Driver {
    pub(super) fn new(places: Places, read: Read, inputs: Sender<Input>) -> Result<Self, String> {
        for directory in [&places.directory, &places.run] {
            files::make_directory(directory)
                .map_err(|error| told(&files::shown(directory), &error))?;
        }
        let Read { local, settings } = read;
        // The agent that tries this one holds the port.
        let port = if places.trial { 0 } else { local.relay_port };
        let listener = listen(port).or_else(|error| {
            // Only dbclient is told which it is: another program on it must not keep a camera away.
            console(
                Level::Warn,
                format_args!("port {port}: {error}: the relay takes another one"),
            );
            listen(0)
        });
        let listener = listener.map_err(|error| told(&"the relay's port", &error))?;
        let relay_port = listener
            .local_addr()
            .map_err(|error| told(&"the relay's port", &error))?
            .port();
        let moments = Moments::begin();
        let search = Search::new(&local, &settings);
        let streamer = Streamer {
            address: search.known_address().unwrap_or(FALLBACK),
            login: local.login.clone(),
        };
        let limit = system::queue_limit(settings.queue);
        let relay = Relay::start(listener, streamer, limit, moments)
            .map_err(|error| told(&"the relay", &error))?;
        let model = local.model.clone();
        let model = match places.lan() {
            None => model.or_else(system::model),
            // Not the box's, which is no camera.
            Some(_) => model,
        };
        let model = model.or_else(|| Model::new("unknown"));
        let fixed = Fixed {
            model: model.ok_or("the model does not follow the grammar")?,
            mac: places
                .lan()
                .filter(|_| settings.camera.is_none())
                .and_then(|lan| mac_of(lan.address))
                .unwrap_or_else(system::mac),
            http: local.http.is_some(),
            source_ports: local.source_ports.clone(),
        };
        let key = has_key(&places.key(), &settings);
        if places.trial || places.lan().is_some_and(|lan| lan.leash) {
            system::listen_leash(stopping(&inputs)).map_err(|error| told(&"a thread", &error))?;
        }
        let listening = if places.trial {
            Ok(())
        } else {
            system::listen_fifo(&places.fifo(), stopping(&inputs))
        };
        if let Err(error) = listening {
            console(
                Level::Warn,
                format_args!(
                    "{}: {error}: a stop is not said to the server",
                    files::shown(&places.fifo())
                ),
            );
        }
        let mut report = Report::default();
        report.fixed.agent = Model::new(&stamp::version());
        let store = Store::new(&places);
        let keys = store.keys().0;
        // Who says what it was built for is offered upgrades: not one that would refuse them all.
        let takes = places.upgrades() && !keys.is_empty();
        report.fixed.target = stamp::own().filter(|_| takes).map(|stamp| stamp.target);
        let machine = Machine::new(fixed, settings, None, key, system::random());
        let upgrade = Upgrade::new(keys, stamp::own(), places.patience);
        Ok(Driver {
            places,
            local,
            machine,
            clients: Vec::new(),
            relay,
            relay_port,
            report,
            streams: Streams::default(),
            watchdog: None,
            moments,
            inputs,
            next_enroll: Duration::ZERO,
            next_feed: Duration::ZERO,
            kept: true,
            diagnosing: false,
            clock: None,
            state: String::new(),
            uplink: Uplink::default(),
            recent: Recent::default(),
            store,
            upgrade,
            trial: None,
            taken_back: None,
            settled: false,
            reset: None,
            hang_up: false,
            replaced: false,
            over: false,
        })
    }

    pub(super) fn announce(&mut self) {
        let version = stamp::version();
        console(
            Level::Info,
            format_args!(
                "moorline-agent {version}, relay on 127.0.0.1:{}",
                self.relay_port
            ),
        );
        if self.machine.state() != State::Key {
            // Beside the call: a program takes a tenth of a second on a slow camera, and this one only tells.
            let path = self.places.key();
            let telling = spawn("key", move || {
                if let Some(key) = system::fingerprint(&path) {
                    console(Level::Info, format_args!("{key}"));
                }
            });
            if let Err(error) = telling {
                console(Level::Warn, format_args!("no thread: {error}"));
            }
        }
        self.recover();
        if self.machine.settings().watchdog == Some(true) {
            self.set_watchdog(true);
        }
    }
}

/// The word for the running agent by which it forgets whose camera it is.
pub(crate) const RESET: &str = "reset";
/// The same, and its keys.
pub(crate) const RESET_KEY: &str = "reset-key";

/// What a word does that is said to the running agent.
fn stopping(inputs: &Sender<Input>) -> system::Word {
    let inputs = inputs.clone();
    Box::new(move |word| {
        let input = match word {
            "stop" => Input::Event(Event::Stop { hang_up: true }),
            "restart" => Input::Event(Event::Stop { hang_up: false }),
            RESET => Input::Reset(false),
            RESET_KEY => Input::Reset(true),
            _ => return,
        };
        inputs.send(input);
    })
}

/// The hardware address of a camera beside this box. The kernel asks for it when the camera is connected to.
fn mac_of(address: SocketAddr) -> Option<Mac> {
    let _ = reachable(address);
    system::neighbour(address.ip())
}

/// Whether the camera has its key. A file that is no key (the power was cut while it was written) is none as long as nobody knows the camera by it.
fn has_key(key: &Path, settings: &Settings) -> bool {
    key.exists() && (settings.camera.is_some() || system::is_key(key))
}

/// Only loopback: the relay answers whoever can connect.
#[expect(
    clippy::disallowed_methods,
    reason = "std only: there is no base here; std's backlog of 128 is enough for eight connections"
)]
fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))
}
