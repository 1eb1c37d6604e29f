//! `moorline-agent check [--report]`: the chain as it is seen on the camera, beside the running agent or without it.

use moorline_control::{Reason, ServerLine};

use crate::check::{Chain, NO_ENDPOINT, Session, server_s, walk};
use crate::client::{Client, Kit};
use crate::command::{name, say};
use crate::endpoint::Endpoint;
use crate::enroll;
use crate::local::Local;
use crate::machine::{Dial, Event, Forwards, HELLO_WITHIN, Link, Serial};
use crate::mailbox::{Empty, mailbox};
use crate::moment::Moments;
use crate::probe::{FALLBACK, Search};
use crate::run::{Input, Places};
use crate::running::Running;
use crate::settings::{Settings, Trust};
use crate::words::masked;
use crate::{files, log, system};

/// Says each link; true when all hold.
pub(crate) fn check(places: &Places, report: bool) -> bool {
    let mut troubles = Vec::new();
    let (local, wrong) = places.local().unwrap_or_else(|error| {
        troubles.push(format!("local.conf: {error}"));
        Default::default()
    });
    troubles.extend(wrong.iter().map(|wrong| format!("local.conf: {wrong}")));
    let settings = places.settings(&local).unwrap_or_else(|error| {
        troubles.push(format!("agent.conf: {error}"));
        Settings::default()
    });
    let search = Search::new(&local, &settings);
    let found = search.run();
    let agent = Running::of(places);
    let server = match &settings.camera {
        Some(_) => of_camera(&settings, agent.as_ref()),
        None => of_enrolment(places, agent.as_ref(), &mut troubles),
    };
    let session = session(places, &settings, server.as_ref().ok(), agent.as_ref());
    let chain = Chain {
        endpoint: server.map(|server| (server.host.to_string(), server.port)),
        session,
        streamer: found.as_ref().map_or_else(
            || search.first_address().unwrap_or(FALLBACK),
            |found| found.address,
        ),
        main: found
            .as_ref()
            .and_then(|found| Some(found.sources.first()?.path.to_string())),
        login: found
            .as_ref()
            .and_then(|found| found.login.clone())
            .or(local.login.clone()),
        uplink: agent.as_ref().and_then(|agent| agent.uplink),
        clock: server_s(agent.as_ref().and_then(|agent| agent.clock)),
    };
    if report {
        say(format_args!("```text"));
        about(&local, &settings, agent.as_ref());
        for source in found.iter().flat_map(|found| &found.sources) {
            say(format_args!("source {}", masked(&source.to_string())));
        }
    }
    for trouble in troubles {
        say(format_args!("{trouble}"));
    }
    let mut holds = true;
    let mut link = |name: &str, ok: bool, text: &str| {
        holds &= ok;
        let result = if ok { "ok" } else { "FAIL" };
        say(format_args!("{result:<4} {name:<8} {text}"));
    };
    match &agent {
        Some(agent) => link("agent", true, &agent.state),
        None => link("agent", false, "does not run: start it, or see its log"),
    }
    walk(&chain, &mut |step, ok, text| link(step.as_str(), ok, &text));
    if report {
        for line in log::last(&places.log()) {
            say(format_args!("log {}", masked(&line)));
        }
        say(format_args!("```"));
    }
    holds
}

fn about(local: &Local, settings: &Settings, agent: Option<&Running>) {
    fn shown<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    // The one that runs: the image's own may have given way to it.
    let version = agent.and_then(|agent| agent.version.clone());
    let version = version.unwrap_or_else(name);
    say(format_args!("moorline-agent {version}"));
    say(format_args!(
        "dbclient {}",
        shown(system::dbclient_version())
    ));
    let model = local.model.clone().or_else(system::model);
    say(format_args!("model {}", shown(model)));
    say(format_args!(
        "uptime {} s, memory {} KiB",
        shown(system::uptime()),
        shown(system::memory())
    ));
    let state = agent.map_or("does not run", |agent| &agent.state);
    say(format_args!("agent {state}"));
    say(format_args!("camera {}", shown(settings.camera.as_ref())));
}

/// The server that the running agent calls.
fn of_camera(settings: &Settings, agent: Option<&Running>) -> Result<Endpoint, &'static str> {
    called(settings.calls(), agent).ok_or(NO_ENDPOINT)
}

/// The one of these that the running agent calls; the first one, where none runs.
fn called(mut calls: Vec<(Endpoint, Trust)>, agent: Option<&Running>) -> Option<Endpoint> {
    let called = agent.and_then(|agent| agent.server.as_ref());
    let at = called.and_then(|(host, port)| {
        calls
            .iter()
            .position(|(call, _)| call.host.as_str() == host && call.port == *port)
    });
    (!calls.is_empty()).then(|| calls.swap_remove(at.unwrap_or(0)).0)
}

/// The server that is to enrol the camera; what is wrong with the files that should name it.
fn of_enrolment(
    places: &Places,
    agent: Option<&Running>,
    troubles: &mut Vec<String>,
) -> Result<Endpoint, &'static str> {
    let (all, wrong) = places.enrolls(false);
    let none = if wrong.is_empty() {
        NO_ENDPOINT
    } else {
        "the file enroll is wrong: its lines are told above"
    };
    troubles.extend(wrong);
    called(enroll::calls(&all), agent).ok_or(none)
}

fn session(
    places: &Places,
    settings: &Settings,
    server: Option<&Endpoint>,
    agent: Option<&Running>,
) -> Session {
    let Some(server) = server else {
        return Session::Nobody;
    };
    if !system::has_dbclient() {
        return Session::NoClient;
    }
    let enrolled = settings.camera.is_some();
    let of = |reason| match enrolled {
        true => Session::Down(reason),
        false => Session::Enrolling(Some(reason)),
    };
    match agent {
        Some(agent) if agent.is_up() => Session::Up {
            forward: Some(true),
        },
        Some(Running {
            last_end: Some(reason),
            ..
        }) => of(*reason),
        // A session without a forward takes nothing from the agent that runs. No token is shown: whoever enrols is the agent.
        _ => match call(places, server.clone(), enrolled && agent.is_none()) {
            Ok(_) if !enrolled => Session::Enrolling(None),
            Ok(forward) => Session::Up { forward },
            Err(reason) => of(reason),
        },
    }
}

/// One call of our own, until its hello: whether it had its forward.
fn call(places: &Places, endpoint: Endpoint, forward: bool) -> Result<Option<bool>, Reason> {
    let home = places.run.join("check");
    if files::make_directory(&home).is_err() {
        return Err(Reason::Exit);
    }
    let kit = Kit {
        key: places.identities(Trust::Told).swap_remove(0),
        home,
        relay: 8555,
        http: None,
    };
    let dial = Dial {
        trust: Trust::Owner,
        key: 0,
        address: 0,
        link: Link::Endpoint,
        serial: Serial(0),
        pins: endpoint.pins(0),
        endpoint,
        forwards: if forward {
            Forwards::RtspOrEnd
        } else {
            Forwards::None
        },
        private: true,
    };
    let (inputs, events) = mailbox(64);
    let Ok(client) = Client::start(dial, kit, inputs) else {
        return Err(Reason::Exit);
    };
    let begin = Moments::begin();
    let session = loop {
        match events.take_within(HELLO_WITHIN.saturating_sub(begin.now())) {
            Ok(Input::Event(Event::Line { line, .. })) => {
                if let Ok(ServerLine::Hello { .. }) = ServerLine::parse(&line) {
                    break Ok(forward.then_some(true));
                }
            }
            Ok(Input::Event(Event::Ended { reason, .. })) => break Err(reason),
            Ok(_) => {}
            Err(Empty::Late | Empty::Over) => break Err(Reason::Hello),
        }
    };
    client.kill();
    session
}
