//! `moorline keys rotate`: renews what `keys init` made, so that nothing in a running installation is refused meanwhile (rules S24, S25).
//!
//! ```text
//!              shown, signed with      accepted
//! in force     old                     old
//! step 1       old                     old, new       the new one waits in its Secret
//! step 2       new                     new, old
//! step 3       new                     new            in force again
//! ```
//! Each run does one step in the file of the Secrets, and applying the file does it in the cluster. Pods see their Secrets one after another, and each
//! of two neighbouring rows gets on with the other: that is why a step has to have arrived everywhere before the next is made. Which step is next is
//! read from the Secrets themselves, so that it does not matter who made the last one, or where.
//!
//! SSH host keys are renewed in steps of their own (`host_keys`), and not unless they are asked for. **Not renewed** is the key of the people's secrets,
//! which the database was begun with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use moorline_base::Clock as _;
use moorline_base::clock::SystemClock;
use moorline_base::error::Hinted;
use moorline_core::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::authority::{Authority, SERVERS};
use super::file::Secrets;
use crate::moments;

mod host_keys;

/// How long a step is given to arrive. A kubelet looks at a pod's Secrets every minute and a half at most; the authority goes on from there to
/// `moorline tenants`, a ConfigMap of each tenant, and another kubelet: four minutes. Tickets that were signed before are good for one more.
pub(in crate::cluster) const ARRIVED: Duration = Duration::from_secs(600);
const SECRETS: &str = "moorline-secrets.yaml";
const RELEASE: &str = "moorline";

/// `moorline keys rotate`
#[derive(Debug, Clone, clap::Args)]
pub struct KeysRotate {
    /// The Secrets as they are in force: the file of keys init, or what kubectl get secret --output json prints. It is changed, and kept as FILE.before.
    #[arg(long, value_name = "FILE", default_value = SECRETS)]
    pub secrets: PathBuf,
    /// Renew this alone; default: authority and tickets.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub only: Option<What>,
    /// Name of the release, as keys init was told it.
    #[arg(long, default_value = RELEASE)]
    pub release: String,
    /// Make the next step although the last one is younger than ten minutes.
    #[arg(long)]
    pub now: bool,
    /// With --only host-keys: the directory of their private halves, which the first step makes and the second reads. Keep it offline.
    #[arg(long, value_name = "DIR")]
    pub next: Option<PathBuf>,
    /// Make other next SSH host keys: those of which cameras were told are lost.
    #[arg(long, requires = "next")]
    pub anew: bool,
}

/// What is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The authority of the inside, and the certificates of gateway and signer.
    Authority,
    /// The key that the signer signs tickets to relays with.
    Tickets,
    /// The SSH host keys: cameras are told of the next ones ahead.
    HostKeys,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Tickets => "tickets",
            Self::HostKeys => "host-keys",
        }
    }

    /// Its Secrets.
    fn secrets(self) -> &'static [&'static str] {
        match self {
            Self::Authority => &["authority", "mon-tls", "signer-tls"],
            Self::Tickets => &["ticket-key", "tickets"],
            Self::HostKeys => &["host-keys", "known-hosts"],
        }
    }
}

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// One is in force, and nothing else is there.
    InForce,
    /// The new one is accepted, and not used yet.
    Announced,
    /// The new one is used, and the old one still accepted.
    Used,
}

/// One step of one rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is renewed.
    pub what: What,
    /// Which step it was.
    pub step: u8,
    /// How many there are.
    pub of: u8,
    /// What is so once it is applied.
    pub then: &'static str,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Rotated {
    /// The file that is to be applied.
    pub file: PathBuf,
    /// The Secrets as they were: applied, it takes the step back.
    pub before: PathBuf,
    /// The steps.
    pub steps: Vec<Step>,
    /// Lines for a camera's known_hosts, without its host: those that come next after the first step of the host keys, those in force after the second.
    pub host_keys: Vec<String>,
    /// When the next step may be made; nothing: this was the last.
    pub next: Option<Timestamp>,
    /// What is to be said of the host keys.
    #[serde(skip)]
    of_host_keys: String,
    /// What makes the next step.
    #[serde(skip)]
    again: String,
}

impl std::fmt::Display for Rotated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Step {
            what,
            step,
            of,
            then,
        } in &self.steps
        {
            writeln!(f, "{}, step {step} of {of}: {then}", what.name())?;
        }
        let (file, before) = (self.file.display(), self.before.display());
        if !self.host_keys.is_empty() {
            writeln!(f, "\n{}", self.of_host_keys)?;
            for key in &self.host_keys {
                writeln!(f, "  {key}")?;
            }
        }
        writeln!(f, "\napply it:   kubectl apply -f {file}")?;
        writeln!(f, "take back:  kubectl apply -f {before}")?;
        match self.next {
            Some(next) => write!(f, "then:       {}, from {} on", self.again, local(next)),
            None => write!(
                f,
                "then:       keep a copy of {file} where the cluster cannot lose it, and no older one"
            ),
        }
    }
}

/// Makes the next step of each rotation that is asked for. What is under way comes to its end before anything else begins.
///
/// # Errors
/// The file has not what is to be renewed, or the last step may not have arrived yet: nothing was changed then.
pub fn rotate(args: &KeysRotate) -> anyhow::Result<Rotated> {
    step(args, Timestamp::from_millis(SystemClock.wall_ms()))
}

fn step(args: &KeysRotate, now: Timestamp) -> anyhow::Result<Rotated> {
    host_keys::directory(args)?;
    let mut secrets = Secrets::read(&args.secrets, &args.release)?;
    let asked = match args.only {
        Some(what) => vec![what],
        None => vec![What::Authority, What::Tickets],
    };
    let mut stages = Vec::new();
    for what in asked {
        let stage = match stage(&secrets, what)? {
            Stage::Announced if args.anew => Stage::InForce,
            stage => stage,
        };
        stages.push((what, stage));
    }
    if stages.iter().any(|(_, stage)| *stage != Stage::InForce) {
        stages.retain(|(_, stage)| *stage != Stage::InForce);
        arrived(&secrets, &stages, args, now)?;
    }
    let mut steps = Vec::new();
    let (mut host_keys, mut of_host_keys) = (Vec::new(), String::new());
    for (what, stage) in stages {
        let (step, of, then) = match what {
            What::Authority => authority(&mut secrets, stage, now)?,
            What::Tickets => tickets(&mut secrets, stage, now)?,
            What::HostKeys => {
                let directory = host_keys::directory(args)?;
                let made = host_keys::step(&mut secrets, stage, directory, now)?;
                (host_keys, of_host_keys) = (made.keys, made.words);
                made.done
            }
        };
        steps.push(Step {
            what,
            step,
            of,
            then,
        });
    }
    let before = secrets.write()?;
    let more = steps.iter().any(|step| step.step < step.of);
    Ok(Rotated {
        file: args.secrets.clone(),
        before,
        steps,
        host_keys,
        of_host_keys,
        next: more.then(|| now + ARRIVED),
        again: again(args),
    })
}

/// The command as it is typed for the next step.
fn again(args: &KeysRotate) -> String {
    let mut text = "moorline keys rotate".to_owned();
    if let Some(what) = args.only {
        text.push_str(&format!(" --only {}", what.name()));
    }
    if let Some(next) = &args.next {
        text.push_str(&format!(" --next {}", next.display()));
    }
    if args.secrets.as_os_str() != SECRETS {
        text.push_str(&format!(" --secrets {}", args.secrets.display()));
    }
    if args.release != RELEASE {
        text.push_str(&format!(" --release {}", args.release));
    }
    text
}

fn local(instant: Timestamp) -> String {
    moments::local(instant, &moments::machine_zone())
}

/// Whether the last step can have arrived everywhere.
fn arrived(
    secrets: &Secrets,
    under_way: &[(What, Stage)],
    args: &KeysRotate,
    now: Timestamp,
) -> anyhow::Result<()> {
    let names = under_way.iter().flat_map(|(what, _)| what.secrets());
    let last = names.filter_map(|name| secrets.rotated(name)).max();
    match last {
        Some(last) if now < last + ARRIVED && !args.now => bail!(Hinted::new(
            format!(
                "the last step was made at {}: not all pods may have it yet",
                local(last)
            ),
            format!(
                "go on from {} on; with --now at once, and what does not have it is refused meanwhile",
                local(last + ARRIVED)
            )
        )),
        _ => Ok(()),
    }
}

/// How far the Secrets say that it has come: by how many private halves wait, and how many public ones are accepted.
fn stage(secrets: &Secrets, what: What) -> anyhow::Result<Stage> {
    let (held, accepted) = match what {
        What::Authority => (
            blocks(secrets.get("authority", "tls.key")?).len(),
            blocks(secrets.get("mon-tls", "ca.crt")?).len(),
        ),
        What::Tickets => (
            blocks(secrets.get("ticket-key", "key.pem")?).len(),
            secrets.get("tickets", "public")?.lines().count(),
        ),
        What::HostKeys => return host_keys::stage(secrets),
    };
    match (held, accepted) {
        (1, 1) => Ok(Stage::InForce),
        (2, 2) => Ok(Stage::Announced),
        (1, 2) => Ok(Stage::Used),
        _ => bail!(Hinted::new(
            format!(
                "{}: {held} private and {accepted} public halves are no step of a rotation",
                what.name()
            ),
            "renew them by hand, or go back to a file that keys init or keys rotate wrote"
        )),
    }
}

type Done = (u8, u8, &'static str);

fn authority(secrets: &mut Secrets, stage: Stage, now: Timestamp) -> anyhow::Result<Done> {
    let certificates = blocks(secrets.get("authority", "tls.crt")?);
    let keys = blocks(secrets.get("authority", "tls.key")?);
    let own = |certificate: &str, key: &str| {
        [
            ("tls.crt".to_owned(), Value::from(certificate)),
            ("tls.key".to_owned(), Value::from(key)),
        ]
    };
    match (stage, certificates.as_slice(), keys.as_slice()) {
        (Stage::InForce, [certificate], [key]) => {
            let new = Authority::make()?;
            let both = certificate.clone() + &new.certificate;
            trust(secrets, &both, now)?;
            secrets.set("authority", own(&both, &(key.clone() + &new.key())), now)?;
            Ok((
                1,
                3,
                "a new authority is trusted beside the old one, whose certificates stay",
            ))
        }
        (Stage::Announced, [old, certificate], [_, key]) => {
            let new = Authority::again(certificate, key).context("the new authority's key")?;
            let both = certificate.clone() + old;
            for server in SERVERS {
                let name = format!("{}-tls", server.0);
                let namespace = secrets.namespace(&name)?;
                let files = new.files(server, secrets.release(), &namespace, &both)?;
                secrets.set(&name, files, now)?;
            }
            secrets.set("authority", own(certificate, key), now)?;
            Ok((
                2,
                3,
                "gateway and signer have certificates of the new authority; both are trusted",
            ))
        }
        (Stage::Used, [certificate], [_]) => {
            let certificate = certificate.clone();
            trust(secrets, &certificate, now)?;
            Ok((3, 3, "the old authority is trusted no more"))
        }
        _ => bail!(Hinted::new(
            format!(
                "authority: {} certificates and {} keys do not belong together",
                certificates.len(),
                keys.len()
            ),
            "go back to a file that keys init or keys rotate wrote"
        )),
    }
}

/// Gives gateway and signer the authorities that they trust, and all others through them.
fn trust(secrets: &mut Secrets, authorities: &str, now: Timestamp) -> anyhow::Result<()> {
    for (server, _) in SERVERS {
        let file = ("ca.crt".to_owned(), Value::from(authorities));
        secrets.set(&format!("{server}-tls"), [file], now)?;
    }
    Ok(())
}

fn tickets(secrets: &mut Secrets, stage: Stage, now: Timestamp) -> anyhow::Result<Done> {
    let keys = blocks(secrets.get("ticket-key", "key.pem")?);
    let mut publics = Vec::new();
    for key in &keys {
        publics.push(moorline_gateway::public_of(key).context("the ticket key")?);
    }
    let mut private = |text: String| {
        let file = ("key.pem".to_owned(), Value::from(text));
        secrets.set("ticket-key", [file], now)
    };
    let (done, accepted): (Done, Vec<_>) = match (stage, keys.as_slice(), publics.as_slice()) {
        (Stage::InForce, [key], [old]) => {
            let (new_key, new) = moorline_gateway::generate_key()?;
            private(key.clone() + &new_key)?;
            let then =
                "relays accept a new key beside the old one, which the signer still signs with";
            ((1, 3, then), vec![*old, new])
        }
        (Stage::Announced, [_, key], [old, new]) => {
            private(key.clone())?;
            let then = "the signer signs with the new key; relays accept both";
            ((2, 3, then), vec![*new, *old])
        }
        (Stage::Used, [_], [new]) => ((3, 3, "relays accept the old key no more"), vec![*new]),
        _ => bail!("the ticket key is no key that keys init made"),
    };
    let lines: String = accepted.iter().map(|key| format!("{key}\n")).collect();
    secrets.set("tickets", [("public".to_owned(), Value::from(lines))], now)?;
    Ok(done)
}

/// The blocks of a PEM text, each with its line end.
fn blocks(pem: &str) -> Vec<String> {
    let (mut blocks, mut block) = (Vec::new(), String::new());
    for line in pem.lines().map(str::trim) {
        if line.starts_with("-----BEGIN ") {
            block.clear();
        }
        block.push_str(line);
        block.push('\n');
        if line.starts_with("-----END ") {
            blocks.push(std::mem::take(&mut block));
        }
    }
    blocks
}

#[cfg(test)]
mod tests;
