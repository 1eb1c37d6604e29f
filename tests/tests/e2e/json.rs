//! `--output json`: every command of the reference answers a program with one document on standard output, and nothing beside it.

use std::collections::BTreeSet;
use std::fs;

use moorline_simcam::Key;
use moorline_testkit::{child::run, temp_dir};
use serde_json::Value;

use crate::support::{Moorline, SOON, command};

/// Commands with what they are told.
type Commands = &'static [(&'static str, &'static [&'static str])];

const OF_THE_SERVER: Commands = &[
    ("user add", &["vera"]),
    ("user list", &[]),
    ("user passwd", &["vera"]),
    ("user rm", &["vera"]),
    ("audit", &[]),
    ("config check", &[]),
    ("config show", &[]),
    ("host-key show", &[]),
    ("agent-release list", &[]),
    ("doctor", &[]),
    ("log", &["info"]),
    ("completions", &["zsh"]),
];

const OF_A_CAMERA: Commands = &[
    ("camera list", &[]),
    ("camera show", &["yard"]),
    ("camera set", &["yard", "--title", "Back yard"]),
    ("camera diagnose", &["yard"]),
    ("camera disable", &["yard"]),
    ("camera enable", &["yard"]),
    ("camera hang-up", &["yard"]),
    ("camera pending", &[]),
    ("segments list", &["yard"]),
    ("segments verify", &[]),
];

/// What needs more than a server, each with the file whose test reads its document.
const ELSEWHERE: &[(&str, &str)] = &[
    ("serve", "support/server"),
    ("demo", "demo"),
    ("camera move", "enrol"),
    ("camera refer", "refer"),
    ("camera rekey", "host_key"),
    ("camera reboot", "first_camera"),
    ("camera agent", "enrol"),
    ("camera web", "reach_in"),
    ("camera snapshot", "reach_in"),
    ("agent-release sign", "agent_release"),
    ("agent-release add", "agent_release"),
    ("agent-release roll-out", "agent_release"),
    ("segments get", "first_camera"),
    ("segments export", "first_camera"),
    ("alert test", "alarm"),
    ("host-key rotate", "host_key"),
];

/// What is of no use without a cluster: the roles of one answer nobody.
const ON_A_CLUSTER: &[&str] = &[
    "cluster-check",
    "frontdoor",
    "keys rotate",
    "mon",
    "signer",
    "sweeper",
    "tenant add",
    "tenant list",
    "tenant resume",
    "tenant rm",
    "tenant set",
    "tenant show",
    "tenant suspend",
    "tenants",
];

/// The commands of the reference that have no further ones below them.
fn commands() -> BTreeSet<String> {
    let page = moorline_tests::repository().join("docs/reference/command-line.md");
    let text = fs::read_to_string(page).unwrap();
    let all: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## moorline "))
        .collect();
    let has_below = |one: &str| {
        all.iter()
            .any(|other| other.starts_with(&format!("{one} ")))
    };
    all.iter()
        .filter(|one| !has_below(one))
        .map(|one| (*one).to_owned())
        .collect()
}

/// A server, and the commands that have answered.
struct Asked {
    moorline: Moorline,
    answered: BTreeSet<String>,
}

impl Asked {
    /// The one document that a command prints, also where it ends with 1 since something is wrong.
    async fn answer(&mut self, words: &str, more: &[&str]) -> Value {
        let all: Vec<&str> = words.split(' ').chain(more.iter().copied()).collect();
        let output = self.moorline.try_cli(&all).await;
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("moorline {words}: {error}: {output:?}"));
        self.answered.insert(words.to_owned());
        document
    }

    /// A path beside the server's data.
    fn path(&self, name: &str) -> String {
        self.moorline.place().join(name).display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_answers_with_one_document() {
    let mut asked = Asked {
        moorline: Moorline::start().await,
        answered: BTreeSet::new(),
    };
    cameras(&mut asked).await;
    files(&mut asked).await;
    for (words, more) in OF_THE_SERVER {
        asked.answer(words, more).await;
    }

    let mut known = asked.answered;
    for (words, file) in ELSEWHERE {
        let path = format!("tests/tests/e2e/{file}.rs");
        let text = fs::read_to_string(moorline_tests::repository().join(&path)).unwrap();
        let last = words.rsplit(' ').next().unwrap();
        assert!(text.contains(&format!("\"{last}\"")), "{path}: no {words}");
        known.insert((*words).to_owned());
    }
    known.extend(ON_A_CLUSTER.iter().map(|words| (*words).to_owned()));
    let all = commands();
    let untried: Vec<_> = all.difference(&known).collect();
    assert_eq!(untried, [""; 0], "commands that nobody tries here");
    let gone: Vec<_> = known.difference(&all).collect();
    assert_eq!(gone, [""; 0], "commands that are not in the reference");
}

async fn cameras(asked: &mut Asked) {
    asked
        .answer("camera add", &["yard", "--path", "/main"])
        .await;
    let list = asked.path("cameras.csv");
    fs::write(&list, "name,rtsp\nhall,rtsp://127.0.0.1:9/\n").unwrap();
    asked.answer("camera import", &[&list]).await;
    let line = Key::generate().unwrap().public_line();
    let added = asked.answer("camera key add", &["yard", &line]).await;
    let fingerprint = added["keys"][0]["fingerprint"].as_str().unwrap();
    asked
        .answer("camera key revoke", &["yard", fingerprint])
        .await;
    for (words, more) in OF_A_CAMERA {
        asked.answer(words, more).await;
    }
    let file = asked.path("enroll");
    asked
        .answer("camera enroll", &["roof", "--file", &file])
        .await;
    let tokens = asked.answer("camera enrolments", &[]).await;
    let token = tokens[0]["id"].to_string();
    asked.answer("camera unenroll", &[&token]).await;
    asked.answer("camera rm", &["yard", "--yes"]).await;
}

/// Those that write a file, and what brings one back elsewhere.
async fn files(asked: &mut Asked) {
    let passphrase = asked.path("passphrase");
    fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    let backup = asked.path("moorline.age");
    let by = ["-f", &backup, "--passphrase-file", &passphrase];
    asked.answer("backup", &by).await;
    let elsewhere = temp_dir().unwrap();
    let mut restore = command(elsewhere.path());
    restore.arg("restore").args(by);
    let output = run("moorline restore", restore, SOON).await.unwrap();
    let restored: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(restored["files"].is_array(), "{restored}");
    asked.answered.insert("restore".to_owned());

    let (stick, secrets) = (asked.path("stick"), asked.path("secrets"));
    asked.answer("host-key prepare", &["--out", &stick]).await;
    asked.answer("keys init", &["--out", &secrets]).await;
    let key = asked.path("release.key");
    asked
        .answer("agent-release keygen", &["--file", &key])
        .await;
}
