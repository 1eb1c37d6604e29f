//! Told when a key or a token is somewhere where it should not be (rules S3, S4), with the real dbclient: by webhook and mail, on the page and
//! in `camera show`, and still there after a restart.

use std::net::SocketAddr;

use moorline_testkit::{eventually, http::Receiver, smtp::SmtpSink};
use serde_json::Value;

use crate::support::{Dbclient, Moorline, SOON, Setup, listening, quick};

struct Told {
    moorline: Moorline,
    hook: Receiver,
    mail: SmtpSink,
}

impl Told {
    async fn start() -> Self {
        let (hook, mail) = (
            Receiver::start().await.unwrap(),
            SmtpSink::start().await.unwrap(),
        );
        let sections = format!(
            "[alert]\nwebhook = \"{}\"\nwebhook_private = [\"127.0.0.0/8\"]\nwebhook_http = true\n\
             email_to = [\"owner@example.com\"]\nemail_from = \"moorline@example.com\"\nsmtp = \"{}\"\nsmtp_security = \"none\"\n",
            hook.url("/hook"),
            mail.address(),
        );
        let moorline = Moorline::with(Setup {
            sections,
            ..Setup::default()
        })
        .await;
        Self {
            moorline,
            hook,
            mail,
        }
    }

    /// Waits until hook and mail were told about the camera, by a word of the alarm and of the mail; tells what the hook got.
    async fn told(&self, word: &str, subject: &str) -> Value {
        let alarm = eventually(word, SOON, async || {
            let all = self.hook.requests();
            let mut all = all.iter().map(|request| request.json());
            all.find(|alarm| alarm.to_string().contains(word))
        })
        .await;
        eventually(subject, SOON, async || {
            let mails = self.mail.mails();
            mails
                .iter()
                .any(|mail| mail.text.contains(subject))
                .then_some(())
        })
        .await;
        alarm
    }

    /// Waits until the camera shows a notice of this kind.
    async fn shown(&self, camera: &str, what: &str) -> Value {
        shown(&self.moorline, camera, what).await
    }

    async fn add(&self, name: &str) -> Value {
        let add = ["camera", "add", name, "--path", "/main"];
        self.moorline.cli(&add).await
    }
}

async fn shown(moorline: &Moorline, camera: &str, what: &str) -> Value {
    let find = |view: &Value| -> Option<Value> {
        let notices = view["status"]["notices"].as_array()?;
        notices
            .iter()
            .find(|notice| notice["what"] == what)
            .cloned()
    };
    let view = moorline
        .until(camera, what, |view| find(view).is_some())
        .await;
    find(&view).unwrap()
}

/// The camera's dbclient, calling from another address of the loopback network.
fn calls_from(address: &str, added: &Value, source: SocketAddr) -> Dbclient {
    let line = added["command"].as_str().unwrap();
    let line = line.replacen("dbclient ", &format!("dbclient -b {address} "), 1);
    Dbclient::run(&line, added, source)
}

async fn up(moorline: &Moorline, camera: &str, address: &str) {
    let from = |view: &Value| {
        let peer = view["status"]["link"]["peer"].as_str().unwrap_or_default();
        peer.starts_with(&format!("{address}:"))
    };
    moorline.until(camera, address, from).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_call_from_a_new_network_is_told_and_kept_over_a_restart() {
    let told = Told::start().await;
    let added = told.add("yard").await;
    let (_source, address) = listening(quick(1));
    let home = calls_from("127.0.0.1", &added, address);
    up(&told.moorline, "yard", "127.0.0.1").await;
    drop(home);
    assert_eq!(told.hook.requests().len(), 0, "its first network is none");
    let _abroad = calls_from("127.44.5.6", &added, address);
    let alarm = told.told("new_network", "from a new network: yard").await;
    assert!(
        alarm.to_string().contains("127.44.5.6"),
        "no address in {alarm}"
    );
    let notice = told.shown("yard", "new_network").await;
    assert!(notice["peer"].as_str().unwrap().starts_with("127.44.5.6:"));

    let (sent, place) = (told.hook.requests().len(), told.moorline.stop().await);
    let again = Moorline::on(place, &Value::Null).await;
    shown(&again, "yard", "new_network").await;
    assert_eq!(told.hook.requests().len(), sent, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_in_two_places_is_told_with_both() {
    let told = Told::start().await;
    let added = told.add("yard").await;
    let (_source, address) = listening(quick(1));
    // Each supersedes the other, as two devices with one image do; the fourth within a minute is one too many.
    let mut clients = Vec::new();
    for place in ["127.0.0.1", "127.44.5.6", "127.0.0.1"] {
        clients.push(calls_from(place, &added, address));
        up(&told.moorline, "yard", place).await;
    }
    clients.push(calls_from("127.44.5.6", &added, address));
    let alarm = told
        .told("key_in_two_places", "One key in two places")
        .await;
    for place in ["127.0.0.1:", "127.44.5.6:"] {
        assert!(alarm.to_string().contains(place), "no {place} in {alarm}");
    }
    told.shown("yard", "key_in_two_places").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_camera_that_calls_is_told_with_its_address() {
    let told = Told::start().await;
    let added = told.add("yard").await;
    let disable = ["camera", "disable", "yard", "--stolen"];
    told.moorline.cli(&disable).await;
    let (_source, address) = listening(quick(1));
    let mut thief = calls_from("127.44.5.6", &added, address);
    assert!(!thief.child.wait(SOON).await.unwrap().success());
    let alarm = told.told("stolen_key", "A stolen camera calls: yard").await;
    assert!(
        alarm.to_string().contains("127.44.5.6"),
        "no address in {alarm}"
    );
    told.shown("yard", "stolen_key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_second_key_uses_is_told_and_kept_over_a_restart() {
    let told = Told::start().await;
    let file = told.moorline.place().join("enroll");
    let enroll = ["camera", "enroll", "roof", "--file", file.to_str().unwrap()];
    told.moorline.cli(&enroll).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let token = text
        .lines()
        .find_map(|line| line.strip_prefix("token "))
        .unwrap();
    // Two cameras with a key each; their keys are made as `camera add` makes them.
    let keys = [told.add("one").await, told.add("two").await];
    for name in ["one", "two"] {
        told.moorline.cli(&["camera", "rm", name, "--yes"]).await;
    }
    let (_source, address) = listening(quick(1));
    for (key, enrolled) in keys.iter().zip([true, false]) {
        let line = key["command"].as_str().unwrap();
        // As user `enroll`, with a shell; the forward is refused.
        let line = line.replace(" -N ", " ");
        let (options, host) = line.rsplit_once('@').unwrap();
        let (options, _) = options.rsplit_once(' ').unwrap();
        let line = format!("{options} enroll@{host}");
        let mut client = Dbclient::run(&line, key, address);
        let hello = client
            .child
            .wait_for_line("MOORLINE/1 enroll -", SOON)
            .await;
        hello.unwrap();
        let ask = format!("ENROLL {token} xiaofang 00:01:02:03:04:05\n");
        client.child.write(ask.as_bytes()).await.unwrap();
        client.child.wait(SOON).await.unwrap();
        assert_eq!(
            client.child.tail().contains("ENROLLED home/roof"),
            enrolled,
            "{}",
            client.child.tail()
        );
    }
    told.told("spent_token", "An enrolment token was used twice: roof")
        .await;
    told.shown("roof", "spent_token").await;
    let list = told.moorline.cli(&["camera", "enrolments"]).await;
    assert_eq!(list[0]["reused"]["times"], 1, "{list}");

    let again = Moorline::on(told.moorline.stop().await, &Value::Null).await;
    shown(&again, "roof", "spent_token").await;
    let list = again.cli(&["camera", "enrolments"]).await;
    assert_eq!(list[0]["reused"]["from"], "127.0.0.1", "{list}");
    let view = again.camera("roof").await;
    assert_eq!(
        view["keys"].as_array().unwrap().len(),
        1,
        "no key was added"
    );
}
