//! `moorline camera …`, all but `add`.

use anyhow::bail;
use hyper::Method;
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_base::error::Hinted;
use moorline_core::camera::Enabled;
use moorline_core::{CameraId, Timestamp};
use moorline_web::api::{CameraPatch, CameraView, KeyAdd, RecordAsked, StrangerView};
use serde_json::json;

use crate::args::{self, Camera, CameraFields, CameraKey, Output};
use crate::client::{Client, camera_path, segment};
use crate::command::{
    camera_add, camera_agent, camera_diagnose, camera_enroll, camera_import, camera_refer,
    camera_snapshot, camera_text, camera_web, confirmed, secret,
};
use crate::moments;
use crate::output::{self, Table};

/// Runs a camera command. Returns whether nothing is wrong, of which `diagnose` alone tells.
///
/// # Errors
/// What the server refuses, in words.
pub async fn run(client: &Client, command: Camera, format: Output) -> anyhow::Result<bool> {
    match command {
        Camera::Add(add) => camera_add::add(client, *add, format).await,
        Camera::Import(import) => camera_import::import(client, &import, format).await,
        Camera::List => {
            let cameras: Vec<CameraView> = client.get("/cameras").await?;
            let now = Timestamp::from_millis(SystemClock.wall_ms());
            output::print(format, &cameras, || {
                camera_text::list(&cameras, now, client.typed())
            })
        }
        Camera::Show(name) => {
            let camera: CameraView = client.get(&camera_path(&name.camera)?).await?;
            output::print(format, &camera, || camera_text::show(&camera))
        }
        Camera::Diagnose(name) => {
            return camera_diagnose::run(client, &name.camera, format).await;
        }
        Camera::Move(asked) => camera_agent::send_to(client, &asked, format).await,
        Camera::Refer(asked) => camera_refer::run(client, &asked, format).await,
        Camera::Rekey(name) => camera_agent::rekey(client, &name.camera, format).await,
        Camera::Reboot(name) => camera_agent::reboot(client, &name.camera, format).await,
        Camera::Agent { camera, key, value } => {
            camera_agent::set(client, &camera, &key, &value, format).await
        }
        Camera::Set(set) => {
            let change = CameraPatch {
                new_title: set.fields.title.clone(),
                ..patch(&set.fields, false)?
            };
            if change == CameraPatch::default() {
                bail!(Hinted::new(
                    "nothing to change",
                    "moorline camera set --help lists what can be set"
                ));
            }
            let camera: CameraView = client
                .json(Method::PATCH, &camera_path(&set.camera)?, Some(&change))
                .await?;
            output::print(format, &camera, || {
                changed(&camera, &set.fields, client.typed())
            })
        }
        Camera::Disable { camera, stolen } => {
            let enabled = if stolen {
                Enabled::Stolen
            } else {
                Enabled::Disabled
            };
            enable(
                client,
                &camera,
                enabled,
                format,
                "disabled; its session has ended",
            )
            .await
        }
        Camera::Enable(name) => enable(client, &name.camera, Enabled::Yes, format, "enabled").await,
        Camera::HangUp(name) => {
            let path = format!("{}/hang-up", camera_path(&name.camera)?);
            client.act(Method::POST, &path, None::<&()>).await?;
            let id = id(&name.camera)?;
            output::print(format, &json!({"id": id}), || {
                format!("tunnel of {} ended", id.typed())
            })
        }
        Camera::Web(asked) => camera_web::run(client, &asked, format).await,
        Camera::Snapshot(asked) => camera_snapshot::run(client, &asked, format).await,
        Camera::Rm { camera, erase, yes } => remove(client, &camera, erase, yes, format).await,
        Camera::Key(key) => keys(client, key, format).await,
        Camera::Pending => {
            let strangers: Vec<StrangerView> = client.get("/strangers").await?;
            output::print(format, &strangers, || pending(&strangers, client.typed()))
        }
        Camera::Enroll(enroll) => camera_enroll::enroll(client, *enroll, format).await,
        Camera::Enrolments => camera_enroll::list(client, format).await,
        Camera::Unenroll { id } => camera_enroll::revoke(client, id, format).await,
    }
    .map(|()| true)
}

/// Runs a camera command on a cluster.
///
/// # Errors
/// What the cluster refuses, in words.
#[cfg(feature = "kube")]
pub async fn on_cluster(command: args::CameraCommand, format: Output) -> anyhow::Result<bool> {
    use crate::cluster::api::ClusterApi;
    use crate::cluster::choice::whole;
    let args::CameraCommand {
        on,
        at,
        mut command,
    } = command;
    let about = name_of(&mut command).cloned();
    let api = ClusterApi::open(&on, &at, about.as_deref()).await?;
    if let Some(name) = name_of(&mut command) {
        *name = whole(name, api.tenant())?;
    }
    match &command {
        Camera::Diagnose(name) => {
            return camera_diagnose::on_cluster(api, &name.camera, format).await;
        }
        // Its agent speaks to the replica that holds its tunnel. Without one the routes say so.
        Camera::Move(args::CameraMove { camera, .. })
        | Camera::Agent { camera, .. }
        | Camera::Reboot(args::CameraName { camera }) => {
            if let Some(holder) = api.holder(&camera.parse()?) {
                return run(&Client::Entered(Box::new(holder)), command, format).await;
            }
        }
        // Its own page is reached by that tunnel too.
        Camera::Web(args::CameraWeb { camera, .. })
        | Camera::Snapshot(args::CameraSnapshot { camera, .. }) => {
            let id: CameraId = camera.parse()?;
            if let Some(holder) = api.holder(&id) {
                return run(&Client::Entered(Box::new(holder)), command, format).await;
            }
            let client = Client::Cluster(Box::new(api));
            let _known: CameraView = client.get(&camera_path(camera)?).await?;
            bail!(Hinted::new(
                format!("camera {} is away", id.typed()),
                format!(
                    "moorline camera show {}{} tells since when, and what to do",
                    id.typed(),
                    client.typed()
                )
            ));
        }
        Camera::Rekey(args::CameraName { camera }) => {
            if let Some(holder) = api.holder(&camera.parse()?) {
                let client = Client::Cluster(Box::new(api));
                let holder = Client::Entered(Box::new(holder));
                let rekeyed =
                    camera_agent::rekey_on_cluster(&client, &holder, camera, format).await;
                return rekeyed.map(|()| true);
            }
        }
        _ => {}
    }
    let client = Client::Cluster(Box::new(api));
    if let Camera::Key(CameraKey::Add { key, .. }) = &mut command
        && key.starts_with("SHA256:")
    {
        *key = camera_add::pending(&client, key).await?;
    }
    run(&client, command, format).await
}

/// The camera that a command is about.
#[cfg(feature = "kube")]
fn name_of(command: &mut Camera) -> Option<&mut String> {
    match command {
        Camera::Add(add) => Some(&mut add.name),
        Camera::Show(name)
        | Camera::Diagnose(name)
        | Camera::Enable(name)
        | Camera::Rekey(name)
        | Camera::Reboot(name)
        | Camera::HangUp(name) => Some(&mut name.camera),
        Camera::Enroll(enroll) => Some(&mut enroll.name),
        Camera::Move(asked) => Some(&mut asked.camera),
        Camera::Refer(asked) => Some(&mut asked.camera),
        Camera::Web(asked) => Some(&mut asked.camera),
        Camera::Snapshot(asked) => Some(&mut asked.camera),
        Camera::Agent { camera, .. } => Some(camera),
        Camera::Set(set) => Some(&mut set.camera),
        Camera::Disable { camera, .. }
        | Camera::Rm { camera, .. }
        | Camera::Key(CameraKey::Add { camera, .. } | CameraKey::Revoke { camera, .. }) => {
            Some(camera)
        }
        Camera::Import(_)
        | Camera::List
        | Camera::Pending
        | Camera::Enrolments
        | Camera::Unenroll { .. } => None,
    }
}

/// Says where older recordings are found when another stream is recorded from now on.
/// And from when on its networks count. `options` are those of the cluster.
fn changed(camera: &CameraView, fields: &CameraFields, options: &str) -> String {
    let mut text = format!("camera {} changed", camera.id);
    let typed = camera.id.trim_start_matches("home/");
    let before = match fields.record {
        Some(args::Record::Main) => camera.sub.as_ref().map(|_| "sub"),
        Some(args::Record::Sub) => Some("main"),
        Some(args::Record::Off | args::Record::Auto) | None => None,
    };
    if let Some(before) = before {
        text.push_str(&format!(
            "\nWhat was recorded of {before} stays: moorline segments list {typed} --source {before}"
        ));
    }
    if !camera.allow_from.is_empty() && !fields.allow_from.is_empty() {
        text.push_str(&format!(
            "\nThis counts from its next login on; a tunnel that is up stays: moorline camera hang-up {typed}{options} ends it now"
        ));
    }
    text
}

fn id(camera: &str) -> anyhow::Result<CameraId> {
    Ok(camera.parse()?)
}

/// What the fields ask to change. A new camera gets this machine's time zone unless one is given.
///
/// # Errors
/// A field is wrong, or a password cannot be had.
pub fn patch(fields: &CameraFields, is_new: bool) -> anyhow::Result<CameraPatch> {
    let password = match &fields.login {
        Some(user) if !user.is_empty() => {
            let question = format!("password of the camera's user {user}");
            Some(
                secret(
                    fields.password_file.as_deref(),
                    "--password-file",
                    &question,
                )?
                .to_string(),
            )
        }
        _ => None,
    };
    Ok(CameraPatch {
        new_title: None,
        site: fields.site.clone(),
        timezone: fields
            .timezone
            .clone()
            .or_else(|| is_new.then(moments::machine_zone)),
        rtsp: fields.rtsp.clone(),
        path: fields.path.clone(),
        sub_path: fields.sub_path.clone(),
        user: fields.login.clone(),
        password,
        allow_basic: fields.allow_basic,
        record: fields.record.map(recorded),
        keep_days: fields.keep.as_deref().map(keep_days).transpose()?,
        enabled: None,
        forwards: forwards(&fields.forward)?,
        allow_from: allowed(&fields.allow_from)?,
    })
}

/// The further forwards as the API has them: an empty list for none.
fn forwards(names: &[String]) -> anyhow::Result<Option<Vec<String>>> {
    match names {
        [] => Ok(None),
        [none] if none == "none" => Ok(Some(Vec::new())),
        names if names.iter().any(|one| one == "none") => bail!(Hinted::new(
            "--forward: none stands alone",
            "name forwards, such as --forward http, or write none"
        )),
        names => Ok(Some(names.to_vec())),
    }
}

/// The networks as the API has them: none for any.
fn allowed(networks: &[String]) -> anyhow::Result<Option<Vec<String>>> {
    match networks {
        [] => Ok(None),
        [any] if any == "any" => Ok(Some(Vec::new())),
        networks if networks.iter().any(|one| one == "any") => bail!(Hinted::new(
            "--allow-from: any stands alone",
            "list networks, such as 192.0.2.0/24,2001:db8::/32, or write any"
        )),
        networks => Ok(Some(networks.to_vec())),
    }
}

/// What to record, as the API has it.
pub(super) fn recorded(record: args::Record) -> RecordAsked {
    match record {
        args::Record::Main => RecordAsked::Main,
        args::Record::Sub => RecordAsked::Sub,
        args::Record::Off => RecordAsked::Off,
        args::Record::Auto => RecordAsked::Auto,
    }
}

pub(super) fn keep_days(text: &str) -> anyhow::Result<u16> {
    match text.strip_suffix('d').and_then(|days| days.parse().ok()) {
        Some(days) if days <= 999 => Ok(days),
        _ => bail!(Hinted::new(
            format!("--keep {text:?} is no number of days"),
            "write 1d to 999d, or 0d for ever"
        )),
    }
}

async fn enable(
    client: &Client,
    camera: &str,
    enabled: Enabled,
    format: Output,
    told: &str,
) -> anyhow::Result<()> {
    let change = CameraPatch {
        enabled: Some(enabled),
        ..CameraPatch::default()
    };
    let view: CameraView = client
        .json(Method::PATCH, &camera_path(camera)?, Some(&change))
        .await?;
    output::print(format, &view, || format!("camera {} {told}", view.id))
}

async fn remove(
    client: &Client,
    camera: &str,
    erase: bool,
    yes: bool,
    format: Output,
) -> anyhow::Result<()> {
    let path = camera_path(camera)?;
    let typed = id(camera)?.typed();
    if erase && !yes && !confirmed(&format!("delete camera {typed} and all its recordings"))? {
        bail!("nothing was removed");
    }
    client
        .act(
            Method::DELETE,
            &format!("{path}?erase={erase}"),
            None::<&()>,
        )
        .await?;
    let id = id(camera)?;
    let told = match (erase, client.is_cluster()) {
        (true, false) => "and its recordings removed".to_owned(),
        (true, true) => "removed; its recordings are erased once it has drained".to_owned(),
        (false, true) => "removed; its recordings stay until they expire".to_owned(),
        (false, false) => format!(
            "removed; its recordings stay until they expire, in the store under v1/*/{id}/\n\
             See them: add a camera of that name again (moorline camera add {typed} --record off), then moorline segments list {typed}\n\
             Delete them now: moorline camera rm {typed} --erase"
        ),
    };
    output::print(format, &json!({"id": id, "erased": erase}), || {
        format!("camera {typed} {told}")
    })
}

async fn keys(client: &Client, command: CameraKey, format: Output) -> anyhow::Result<()> {
    match command {
        CameraKey::Add {
            camera,
            key,
            comment,
        } => {
            let key = if key.starts_with("SHA256:") {
                key
            } else {
                camera_add::public_key(&key)?.to_string()
            };
            let path = format!("{}/keys", camera_path(&camera)?);
            let view: CameraView = client
                .json(Method::POST, &path, Some(&KeyAdd { key, comment }))
                .await?;
            output::print(format, &view, || {
                format!(
                    "camera {} has {}",
                    view.id,
                    output::count(view.keys.len() as u64, "key")
                )
            })
        }
        CameraKey::Revoke {
            camera,
            fingerprint,
        } => {
            let path = format!("{}/keys/{}", camera_path(&camera)?, segment(&fingerprint));
            let view: CameraView = client.json(Method::DELETE, &path, None::<&()>).await?;
            output::print(format, &view, || {
                let left = match view.keys.len() {
                    0 => "has no key left and cannot come in".to_owned(),
                    left => format!("has {}", output::count(left as u64, "key")),
                };
                format!("key revoked; camera {} {left}", view.id)
            })
        }
    }
}

/// The names that a key tried, the last one first. A server of before tells only that one.
fn tried(stranger: &StrangerView) -> String {
    match stranger.names.as_slice() {
        [] => stranger.name.clone(),
        names => names.join(", "),
    }
}

fn pending(strangers: &[StrangerView], typed: &str) -> String {
    if strangers.is_empty() {
        return "nobody was refused\n".to_owned();
    }
    let zone = moments::machine_zone();
    let mut text = String::new();
    for stranger in strangers {
        let mut block = Table::new(&[]);
        for (name, value) in [
            ("key", stranger.fingerprint.clone()),
            ("kind", stranger.key.algorithm().as_str().to_owned()),
            ("as", tried(stranger)),
            ("from", format!("{}, {}", stranger.peer, stranger.client)),
            (
                "last",
                format!(
                    "{}, {}",
                    moments::local(stranger.last, &zone),
                    output::count(stranger.tries, "try").replace("trys", "tries")
                ),
            ),
            ("why", stranger.reason.replace('_', " ")),
        ] {
            block.row([name.to_owned(), value]);
        }
        if let Some(seconds) = stranger.held_off_seconds {
            let told = format!("for {seconds} s more: too many tries from its network");
            block.row(["held off".to_owned(), told]);
        }
        text.push_str(block.render().trim_start());
        text.push('\n');
    }
    text + &format!(
        "Add one: moorline camera add NAME --pending FINGERPRINT{typed}\n\
         One of a camera that is there already: moorline camera key add CAMERA FINGERPRINT{typed}\n"
    )
}
