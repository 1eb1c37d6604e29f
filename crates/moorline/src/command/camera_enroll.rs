//! `moorline camera enroll`: the file by which a camera becomes one of this installation's (rule S3), and the tokens behind such files.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use hyper::Method;
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_base::config::HumanDuration;
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_control::Host;
use moorline_core::{CameraId, TenantId, Timestamp};
use moorline_web::api::{EnrolmentAdd, EnrolmentMade, EnrolmentView, ServerView};
use serde::Serialize;
use serde_json::json;

use crate::args;
use crate::client::{Client, segment};
use crate::command::camera;
use crate::command::link_code::Code;
use crate::moments;
use crate::output::{self, Table};

/// A batch that is said to take its time.
const MANY: u32 = 50;

/// What `camera enroll` answers: never the token, which is in the file.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    host: String,
    ports: Vec<u16>,
    /// Where its owner finds it on the page, once it has called; no secret.
    link: String,
    #[serde(flatten)]
    token: EnrolmentView,
}

fn path(tenant: &TenantId) -> String {
    format!("/tenants/{}/enrolments", segment(tenant.as_str()))
}

/// Makes a token and writes the file.
///
/// # Errors
/// A field is wrong, or the file cannot be written: then the token is revoked.
pub async fn enroll(
    client: &Client,
    asked: args::CameraEnroll,
    format: args::Output,
) -> anyhow::Result<()> {
    let id: CameraId = asked.name.parse()?;
    let expires: HumanDuration = asked
        .expires
        .parse()
        .map_err(|error| anyhow::anyhow!("--expires {:?}: {error}", asked.expires))?;
    let file = asked.file.clone().unwrap_or_else(|| "enroll".into());
    if file.exists() {
        bail!(Hinted::new(
            format!("{} exists already; nothing was made", file.display()),
            "remove it, or choose another name with --file"
        ));
    }
    let (camera, prefix) = match asked.batch {
        Some(_) => (None, Some(id.name().to_owned())),
        None => (Some(id.name().to_owned()), None),
    };
    let request = EnrolmentAdd {
        camera,
        again: asked.again,
        prefix,
        count: asked.batch,
        expires_in: Some(Duration::from(expires).as_secs()),
        comment: asked.comment.clone().unwrap_or_default(),
        title: asked.title.clone(),
        site: asked.site.clone(),
        timezone: asked
            .timezone
            .clone()
            .or_else(|| Some(moments::machine_zone())),
        record: asked.record.map(camera::recorded),
        keep_days: asked.keep.as_deref().map(camera::keep_days).transpose()?,
    };
    let server: ServerView = client.get("/server").await?;
    let host = host(&server, asked.host.as_deref())?;
    if server.known_hosts.is_empty() {
        bail!(Hinted::new(
            "the server's host keys are not known here, and a camera believes no other; nothing was made",
            "an operator tells them to the tenant: see moorline keys init, and cluster.known_hosts"
        ));
    }
    let made = make(client, &id, &request).await?;
    let mut ports = vec![server.ports.ssh];
    ports.extend(asked.port.iter().filter(|port| **port != server.ports.ssh));
    let keys = server
        .known_hosts
        .iter()
        .filter_map(|line| line.split(' ').nth(2))
        .chain(server.next_host_keys.iter().map(String::as_str));
    let text = file_text(&host, &ports, keys, &made);
    if let Err(error) = write_atomic(&file, text.as_bytes(), Access::Private) {
        let taken = taken_back(client, &id, &made).await;
        bail!("cannot write {}: {error}; {taken}", file.display());
    }
    let link = link(&server, &made.view, &id);
    if let Some(svg) = &asked.svg {
        let code = Code::of(&link)?;
        write_atomic(svg, code.svg().as_bytes(), Access::Public).map_err(|error| {
            anyhow::anyhow!(
                "cannot write {}: {error}; the token and {} are made",
                svg.display(),
                file.display()
            )
        })?;
    }
    let written = Written {
        file,
        host,
        ports,
        link,
        token: made.view,
    };
    output::print(format, &written, || {
        told(&written, &options(client, id.tenant()))
    })
}

/// Makes the token. On a cluster a batch is some calls for each of its cameras, so that it may be broken off: none of it stays then. A token that came all
/// the same is taken back: nobody has it.
async fn make(
    client: &Client,
    id: &CameraId,
    request: &EnrolmentAdd,
) -> anyhow::Result<EnrolmentMade> {
    let at = path(id.tenant());
    let many = request.count.filter(|count| *count >= MANY);
    if let Some(count) = many.filter(|_| client.is_cluster()) {
        output::say(&format!(
            "making {}, one after the other: that takes minutes where the cluster is slow",
            output::count(count.into(), "camera")
        ));
    }
    let making = client.json::<EnrolmentMade>(Method::POST, &at, Some(request));
    let (made, is_broken_off) = client.through_signals(making).await?;
    let made = match made {
        Err(error) if is_broken_off => bail!("{error}; no file was written"),
        made => made?,
    };
    if is_broken_off {
        let taken = taken_back(client, id, &made).await;
        bail!("broken off: no file was written, and {taken}");
    }
    Ok(made)
}

/// Takes a token back that nobody has, and tells what became of it and of what it was for.
async fn taken_back(client: &Client, id: &CameraId, made: &EnrolmentMade) -> String {
    let number = made.view.id;
    let revoke = format!("{}/{number}", path(id.tenant()));
    let what = match client.act(Method::DELETE, &revoke, None::<&()>).await {
        Ok(()) => "the token is revoked".to_owned(),
        Err(error) => format!(
            "the token is not revoked ({error:#}), which moorline camera unenroll {number}{} does",
            options(client, id.tenant())
        ),
    };
    match client.is_cluster() {
        true => format!(
            "{what}, and what it was for stays: moorline camera rm, or camera enroll --again"
        ),
        false => what,
    }
}

/// What is typed behind a command about the tokens of a tenant: on a cluster their numbers are the tenant's.
fn options(client: &Client, tenant: &TenantId) -> String {
    match client.is_cluster() {
        true => format!(" --tenant {tenant}{}", client.typed()),
        false => client.typed().to_owned(),
    }
}

/// What stands in the file: for good, on a card that may go far. A guess does not.
fn host(server: &ServerView, asked: Option<&str>) -> anyhow::Result<String> {
    let told = server.public_host.trim_matches(['[', ']']);
    let good = |host: &str| {
        Host::new(host).is_some() && (!host.contains(':') || host.parse::<Ipv6Addr>().is_ok())
    };
    match asked.map(|asked| asked.trim_matches(['[', ']'])) {
        Some(asked) if good(asked) => Ok(asked.to_owned()),
        Some(asked) => bail!("--host {asked:?}: a name or an address, without a port"),
        None if told.is_empty() => bail!(Hinted::new(
            "the name by which cameras reach the server is not known here; nothing was made",
            "say it: --host NAME"
        )),
        None if server.public_host_guessed => bail!(Hinted::new(
            format!(
                "the file would send the camera to {told}, which was guessed: server.public_host is not set; nothing was made"
            ),
            format!(
                "set server.public_host to the name that cameras reach from where they hang, or say it here: --host NAME (--host {told} if they stay in this network, at this address)"
            )
        )),
        None => Ok(told.to_owned()),
    }
}

/// The page of the camera, or of the batch's stock.
fn link(server: &ServerView, token: &EnrolmentView, asked: &CameraId) -> String {
    let (host, port) = (&server.viewer_host, server.ports.https);
    let what = match &token.camera {
        Some(camera) => format!("camera={camera}"),
        None => format!("claim={asked}"),
    };
    format!("https://{host}:{port}/?{what}")
}

/// The file, as moorline-agent reads it.
fn file_text<'a>(
    host: &str,
    ports: &[u16],
    keys: impl Iterator<Item = &'a str>,
    made: &EnrolmentMade,
) -> String {
    let mut text = String::from(
        "# Moorline: put this file onto the camera's SD card, as moorline/enroll. It is a secret until it is used.\n",
    );
    let _ = writeln!(text, "host {host}");
    for port in ports {
        let _ = writeln!(text, "port {port}");
    }
    for key in keys {
        let _ = writeln!(text, "key {key}");
    }
    let _ = writeln!(text, "token {}", made.token);
    text
}

/// What a person types.
fn typed(camera: &str) -> &str {
    camera.trim_start_matches("home/")
}

/// What is said of the file; `options` are those of the cluster.
fn told(written: &Written, options: &str) -> String {
    let token = &written.token;
    let makes = match (&token.camera, &token.prefix) {
        (Some(camera), _) => format!("enrols camera {}", typed(camera)),
        (None, prefix) => {
            let prefix = prefix.as_deref().unwrap_or_default();
            format!("enrols {} cameras, {prefix}-1, {prefix}-2, …", token.count)
        }
    };
    let code = Code::of(&written.link).map(|code| code.terminal());
    let link = format!("{}{}\n", code.unwrap_or_default(), written.link);
    format!(
        "{} {makes}, until {}\n\
         Copy it onto the SD card of a camera with moorline-agent, as moorline/enroll, or to its /etc/moorline/enroll.\n\
         The camera connects to {} and is recorded; the file is wiped then. Whoever has it meanwhile can enrol a camera of their own:\n\
         moorline camera unenroll {}{options} takes it back.\n\n\
         Its owner finds it here, once it has called:\n\n{link}",
        written.file.display(),
        moments::local(token.expires, &moments::machine_zone()),
        written.host,
        token.id
    )
}

/// All tokens.
///
/// # Errors
/// The server fails.
pub async fn list(client: &Client, format: args::Output) -> anyhow::Result<()> {
    let tokens: Vec<EnrolmentView> = client.get(&path(&client.tenant()?)).await?;
    let now = Timestamp::from_millis(SystemClock.wall_ms());
    output::print(format, &tokens, || listed(&tokens, now, client.typed()))
}

fn listed(tokens: &[EnrolmentView], now: Timestamp, options: &str) -> String {
    if tokens.is_empty() {
        return format!(
            "no enrolment tokens\nhint: moorline camera enroll NAME{options} makes one"
        );
    }
    let zone = moments::machine_zone();
    let mut table = Table::new(&["ID", "MAKES", "MADE", "LEFT", "STATE", "COMMENT"]);
    for token in tokens {
        let makes = match (&token.camera, &token.prefix) {
            (Some(camera), _) => typed(camera).to_owned(),
            (None, prefix) => format!("{}-…", prefix.as_deref().unwrap_or_default()),
        };
        let state = if token.revoked {
            "revoked".to_owned()
        } else if now >= token.expires {
            "expired".to_owned()
        } else if token.left == 0 {
            "spent".to_owned()
        } else {
            format!("until {}", moments::local(token.expires, &zone))
        };
        table.row([
            token.id.to_string(),
            makes,
            token.cameras.len().to_string(),
            token.left.to_string(),
            state,
            token.comment.clone(),
        ]);
    }
    let mut text = table.render();
    for (token, reuse) in tokens
        .iter()
        .filter_map(|token| token.reused.as_ref().map(|reuse| (token, reuse)))
    {
        let _ = write!(
            text,
            "\ntoken {} was used by another key, {} {}, last from {} at {} ({}): somebody has a copy of its file",
            token.id,
            reuse.times,
            if reuse.times == 1 { "time" } else { "times" },
            reuse.from,
            moments::local(reuse.at, &zone),
            reuse.key,
        );
    }
    text
}

/// Takes a token back.
///
/// # Errors
/// There is none of this number.
pub async fn revoke(client: &Client, id: i64, format: args::Output) -> anyhow::Result<()> {
    let at = format!("{}/{id}", path(&client.tenant()?));
    client.act(Method::DELETE, &at, None::<&()>).await?;
    output::print(format, &json!({"id": id, "revoked": true}), || {
        format!("enrolment token {id} is revoked; the cameras that it made stay")
    })
}

#[cfg(test)]
mod tests {
    use moorline_web::api::Ports;

    use super::*;

    fn server(public_host: &str, public_host_guessed: bool) -> ServerView {
        ServerView {
            version: String::new(),
            public_host: public_host.to_owned(),
            public_host_guessed,
            viewer_host: public_host.to_owned(),
            ports: Ports {
                ssh: 2222,
                rtsp: 8554,
                https: 8443,
            },
            known_hosts: Vec::new(),
            next_host_keys: Vec::new(),
            disk: None,
            store: String::new(),
        }
    }

    #[test]
    fn no_card_goes_onto_a_wall_with_a_guessed_address() {
        for guess in ["10.0.0.5", "127.0.0.1"] {
            let error = host(&server(guess, true), None).unwrap_err();
            let told = error.downcast_ref::<Hinted>().unwrap().hints().join("");
            assert!(
                told.contains("server.public_host") && told.contains(&format!("--host {guess}")),
                "{told}"
            );
            assert_eq!(
                host(&server(guess, true), Some("cctv.example.com")).unwrap(),
                "cctv.example.com"
            );
        }
        assert_eq!(
            host(&server("10.0.0.5", false), None).unwrap(),
            "10.0.0.5",
            "its owner says so"
        );
        assert_eq!(
            host(&server("[2001:db8::1]", false), None).unwrap(),
            "2001:db8::1"
        );
        assert_eq!(
            host(&server("a.example", false), Some("[2001:db8::2]")).unwrap(),
            "2001:db8::2"
        );
        for wrong in ["", "a b", "-oProxyCommand=x", "a.example:2222"] {
            assert!(
                host(&server("a.example", false), Some(wrong)).is_err(),
                "{wrong}"
            );
        }
    }

    fn made(camera: Option<&str>, prefix: Option<&str>, count: u32) -> EnrolmentMade {
        let made = json!({
            "token": "a-token-of-some-30-characters", "id": 7, "camera": camera, "prefix": prefix, "count": count, "left": count, "cameras": [],
            "created": "2026-11-20T20:00:00Z", "expires": "2026-11-21T20:00:00Z", "revoked": false, "comment": "",
        });
        serde_json::from_value(made).unwrap()
    }

    /// It goes onto leaflets.
    #[test]
    fn the_link_leads_to_the_camera_or_to_its_batch_and_nothing_but_the_file_holds_the_token() {
        let server = server("cctv.example.com", false);
        for (made, asked, leads) in [
            (
                made(Some("home/yard"), None, 1),
                "yard",
                "?camera=home/yard",
            ),
            (made(None, Some("shop"), 50), "shop", "?claim=home/shop"),
        ] {
            let link = link(&server, &made.view, &asked.parse().unwrap());
            assert_eq!(link, format!("https://cctv.example.com:8443/{leads}"));
            let written = Written {
                file: "enroll".into(),
                host: "cctv.example.com".to_owned(),
                ports: vec![2222],
                link,
                token: made.view,
            };
            let shown = told(&written, " --cluster");
            assert!(
                shown.contains("moorline camera unenroll 7 --cluster takes it back"),
                "{shown}"
            );
            assert!(shown.ends_with(&format!("{}\n", written.link)), "{shown}");
            let answered = serde_json::to_string(&written).unwrap();
            for text in [shown, answered] {
                assert!(!text.contains(&made.token), "{text}");
            }
        }
    }

    #[test]
    fn the_file_names_server_ports_keys_and_token_a_line_each() {
        let made = made(Some("home/yard"), None, 1);
        let keys = ["AAAA1", "AAAA2"].into_iter();
        let text = file_text("cctv.example.com", &[2222, 443], keys, &made);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "host cctv.example.com",
                "port 2222",
                "port 443",
                "key AAAA1",
                "key AAAA2",
                "token a-token-of-some-30-characters"
            ]
        );
    }
}
