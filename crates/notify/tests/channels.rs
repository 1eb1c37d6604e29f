//! The channels against real receivers on loopback.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::clock::{Clock, Sleeping};
use moorline_base::config::HumanDuration;
use moorline_base::{CancellationToken, Secret, SimulatedClock, SystemClock};
use moorline_core::Cause;
use moorline_core::alarm::{Alarm, AlarmCamera, AlarmCause, AlarmKind, NoticeKind};
use moorline_core::port::Notifier;
use moorline_notify::{Config, Heartbeat, Outlets, Security};
use moorline_testkit::http::{Answer, Receiver};
use moorline_testkit::refusing::Refusing;
use moorline_testkit::smtp::SmtpSink;
use tokio::sync::Notify;

const SOON: Duration = Duration::from_secs(30);

fn stopped(title: &str) -> Alarm {
    Alarm {
        tenant: "home".parse().unwrap(),
        at: "2026-11-21T03:23:05Z".parse().unwrap(),
        kind: AlarmKind::RecordingStopped {
            site: Some("Farm".into()),
            cameras: vec![AlarmCamera {
                id: "yard".parse().unwrap(),
                title: title.into(),
                timezone: "Europe/Berlin".into(),
                since: "2026-11-21T03:20:05Z".parse().unwrap(),
                until: None,
                cause: AlarmCause::Gap(Cause::TunnelDown),
                detail: None,
            }],
        },
    }
}

fn hook(receiver: &Receiver) -> Config {
    hook_at(receiver.address())
}

fn hook_at(address: SocketAddr) -> Config {
    Config {
        webhook: format!("http://{address}/hook?token=s3cret"),
        webhook_http: true,
        webhook_private: vec!["127.0.0.0/8".into()],
        ..Config::default()
    }
}

fn mail(sink: &SmtpSink) -> Config {
    Config {
        email_to: vec!["Anna <anna@example.com>".into(), "bert@example.com".into()],
        email_from: "cameras@example.com".into(),
        smtp: sink.address().to_string(),
        smtp_security: Security::None,
        smtp_user: "moor".into(),
        smtp_password: Secret::new("secret".into()),
        ..Config::default()
    }
}

fn outlets(config: &Config) -> Outlets {
    Outlets::new(config, SystemClock::shared()).unwrap()
}

#[tokio::test]
async fn a_webhook_gets_the_alarm_and_the_sentence() {
    let receiver = Receiver::start().await.unwrap();
    assert_eq!(
        outlets(&hook(&receiver))
            .tell(&stopped("Gate \"north\" <b>"))
            .await,
        [Ok("webhook")]
    );
    let seen = receiver.wait_for(1, SOON).await.unwrap();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].target.as_str()),
        ("POST", "/hook?token=s3cret")
    );
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    let body = seen[0].json();
    assert_eq!(body["alarm"], "recording_stopped");
    assert_eq!(body["tenant"], "home");
    assert_eq!(body["at"], "2026-11-21T03:23:05.000Z");
    assert_eq!(body["site"], "Farm");
    assert_eq!(body["cameras"][0]["id"], "home/yard");
    assert_eq!(body["cameras"][0]["title"], "Gate \"north\" <b>");
    assert_eq!(body["cameras"][0]["since"], "2026-11-21T03:20:05.000Z");
    assert_eq!(body["cameras"][0]["cause"], "tunnel_down");
    assert_eq!(body["cameras"][0]["timezone"], "Europe/Berlin");
    assert_eq!(
        body["subject"],
        "Recording has stopped: Gate \"north\" <b> at Farm"
    );
    assert!(
        body["text"].as_str().unwrap().contains("what to do:"),
        "{body}"
    );
}

#[tokio::test]
async fn a_mail_is_readable_and_goes_to_each() {
    let sink = SmtpSink::start().await.unwrap();
    assert_eq!(
        outlets(&mail(&sink)).tell(&stopped("Gate")).await,
        [Ok("email")]
    );
    let mails = sink.wait_for(2, SOON).await.unwrap();
    let mut to: Vec<_> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
    to.sort();
    assert_eq!(to, ["anna@example.com", "bert@example.com"]);
    for mail in &mails {
        assert_eq!(mail.from, "cameras@example.com");
        assert_eq!(mail.login, Some(("moor".to_owned(), "secret".to_owned())));
        let (header, text) = mail.text.split_once("\n\n").unwrap();
        assert!(
            header
                .lines()
                .any(|line| line == "Subject: Recording has stopped: Gate at Farm"),
            "{header}"
        );
        assert!(
            header
                .lines()
                .any(|line| line == "Auto-Submitted: auto-generated"),
            "{header}"
        );
        assert!(
            header.contains("Date: ") && header.contains("Message-ID: "),
            "{header}"
        );
        assert!(
            text.contains("nothing recorded since 2026-11-21 04:20:05 CET (03:20:05 UTC)"),
            "{text}"
        );
        assert!(
            text.contains("why: the camera could not be reached"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_title_adds_no_header() {
    let sink = SmtpSink::start().await.unwrap();
    let evil = "Gate\r\nBcc: victim@example.com\r\n\r\n.\r\nRCPT TO:<victim@example.com>";
    assert_eq!(
        outlets(&mail(&sink)).tell(&stopped(evil)).await,
        [Ok("email")]
    );
    let mails = sink.wait_for(2, SOON).await.unwrap();
    for mail in &mails {
        assert_eq!(mail.to.len(), 1, "{mail:?}");
        assert!(
            mail.text
                .lines()
                .all(|line| !line.starts_with("Bcc:") && !line.starts_with("RCPT")),
            "{}",
            mail.text
        );
    }
}

/// S17.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (receiver, inside) = (
        Receiver::start().await.unwrap(),
        Receiver::start().await.unwrap(),
    );
    for status in [301, 302, 303, 307, 308] {
        receiver.answer(Answer {
            status,
            location: Some(inside.url("/admin")),
            ..Answer::default()
        });
        let ended = outlets(&hook(&receiver)).tell(&stopped("Gate")).await;
        let error = ended[0].as_ref().unwrap_err();
        assert_eq!(
            error.why,
            format!("it answered {status}: redirects are not followed, give the final URL")
        );
    }
    assert_eq!(receiver.requests().len(), 5);
    assert!(inside.requests().is_empty());
}

/// S17.
#[tokio::test]
async fn loopback_is_refused_by_name_and_by_number() {
    let receiver = Receiver::start().await.unwrap();
    let port = receiver.address().port();
    let with = |url: String| Config {
        webhook: url,
        webhook_http: true,
        ..Config::default()
    };
    let by_name = outlets(&with(format!("http://localhost:{port}/")))
        .tell(&stopped("Gate"))
        .await;
    assert!(
        by_name[0]
            .as_ref()
            .unwrap_err()
            .why
            .contains("private network"),
        "{by_name:?}"
    );
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "100.64.0.1",
        "169.254.169.254",
    ] {
        let error = Outlets::new(
            &with(format!("http://{host}:{port}/")),
            SystemClock::shared(),
        )
        .unwrap_err();
        assert_eq!(error.field, "webhook");
        assert!(
            error.expected.contains("webhook_private"),
            "{host}: {error}"
        );
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn wrong_fields_are_named_and_secrets_stay_inside() {
    let refused = |config: Config| Outlets::new(&config, SystemClock::shared()).unwrap_err();
    let hook = |url: &str| Config {
        webhook: url.into(),
        ..Config::default()
    };
    let error = refused(hook("http://hooks.example.com/services/T0/B0/s3cret"));
    assert_eq!(
        error.expected,
        "use https, or allow http with webhook_http = true"
    );
    for url in [
        "http://hooks.example.com/services/T0/B0/s3cret",
        "ftp://user:s3cret@example.com/",
        "http://user:s3cret@example.com/",
        "user:s3cret@example.com/hook",
        "hooks.example.com/B0/s3cret",
        "s3cret@example.com",
    ] {
        let error = refused(hook(url));
        assert_eq!(error.field, "webhook");
        assert!(
            !error.to_string().contains("s3cret") && !error.to_string().contains("B0"),
            "{error}"
        );
        assert!(error.value.contains("example.com"), "{error}");
    }
    let mut config = Config {
        webhook_private: vec!["home".into()],
        ..Config::default()
    };
    assert_eq!(refused(config.clone()).field, "webhook_private");
    config = Config {
        email_to: vec!["nobody".into()],
        email_from: "a@example.com".into(),
        smtp: "mail.example.com".into(),
        ..Config::default()
    };
    assert_eq!(refused(config.clone()).field, "email_to");
    config.email_to = vec!["a@example.com".into()];
    config.email_from = String::new();
    assert_eq!(refused(config.clone()).field, "email_from");
    config.email_from = "a@example.com".into();
    for bad in [
        "",
        "smtp://mail.example.com",
        "mail.example.com:",
        "mail.example.com:99999",
        "::1",
        "a b",
    ] {
        config.smtp = bad.into();
        assert_eq!(refused(config.clone()).field, "smtp", "{bad}");
    }
    config.smtp = "mail.example.com:587".into();
    config.smtp_user = "moor".into();
    config.smtp_security = Security::None;
    assert_eq!(
        refused(config.clone()).field,
        "smtp_user",
        "no password in clear over a network"
    );
    for good in ["mail.example.com", "[::1]:25", "[::1]"] {
        config.smtp = good.into();
        config.smtp_security = Security::Tls;
        assert!(
            Outlets::new(&config, SystemClock::shared()).is_ok(),
            "{good}"
        );
    }
    let nobody = Outlets::new(&Config::default(), SystemClock::shared()).unwrap();
    assert!(!nobody.reaches_anybody());
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_lasts_is_not() {
    let receiver = Receiver::start().await.unwrap();
    let answer = |status| {
        receiver.answer(Answer {
            status,
            ..Answer::default()
        });
    };
    answer(404);
    let ended = outlets(&hook(&receiver)).tell(&stopped("Gate")).await;
    assert_eq!(
        ended[0].as_ref().unwrap_err().to_string(),
        "webhook: it answered 404"
    );

    answer(503);
    let clock = SimulatedClock::new(0);
    let telling = {
        let outlets = Outlets::new(&hook(&receiver), Arc::new(clock.clone())).unwrap();
        tokio::spawn(async move { outlets.tell(&stopped("Gate")).await })
    };
    receiver.wait_for(2, SOON).await.unwrap();
    clock.sleepers(1).await;
    answer(200);
    clock.advance(Duration::from_secs(2));
    assert_eq!(
        tokio::time::timeout(SOON, telling).await.unwrap().unwrap(),
        [Ok("webhook")]
    );
}

#[tokio::test]
async fn after_ten_minutes_it_is_over() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer(Answer {
        status: 500,
        ..Answer::default()
    });
    let clock = SimulatedClock::new(0);
    let outlets = Outlets::new(&hook(&receiver), Arc::new(clock.clone())).unwrap();
    let mut telling = tokio::spawn(async move { outlets.tell(&stopped("Gate")).await });
    let mut simulated = Duration::ZERO;
    let ended = loop {
        tokio::select! {
            ended = &mut telling => break ended.unwrap(),
            () = clock.sleepers(1) => {
                clock.advance(Duration::from_secs(10));
                simulated += Duration::from_secs(10);
            }
        }
        assert!(
            simulated <= Duration::from_secs(610),
            "still trying after {simulated:?}"
        );
        tokio::task::yield_now().await;
    };
    assert!(
        simulated >= Duration::from_secs(480),
        "gave up after {simulated:?}"
    );
    let why = &ended[0].as_ref().unwrap_err().why;
    assert!(why.starts_with("it answered 500 (tried "), "{why}");
}

#[tokio::test]
async fn a_mail_server_that_is_busy_gets_it_later_and_a_webhook_does_not_wait() {
    let (receiver, sink) = (
        Receiver::start().await.unwrap(),
        SmtpSink::start().await.unwrap(),
    );
    sink.refuse(true);
    let config = Config {
        email_to: vec!["anna@example.com".into()],
        ..Config {
            webhook: hook(&receiver).webhook,
            webhook_http: true,
            webhook_private: vec!["127.0.0.1".into()],
            ..mail(&sink)
        }
    };
    let paused = Arc::new(Notify::new());
    let clock = Arc::new(Announcing(Arc::clone(&paused)));
    let outlets = Outlets::new(&config, clock).unwrap();
    let telling = tokio::spawn(async move { outlets.tell(&stopped("Gate")).await });
    receiver.wait_for(1, SOON).await.unwrap();
    tokio::time::timeout(SOON, paused.notified()).await.unwrap();
    assert!(sink.mails().is_empty());
    sink.refuse(false);
    let ended = tokio::time::timeout(SOON, telling).await.unwrap().unwrap();
    assert_eq!(ended, [Ok("webhook"), Ok("email")]);
    assert_eq!(sink.mails().len(), 1);
}

/// Real time, which says when the pause after a first failure (at most 2 s; every deadline is longer) begins.
#[derive(Debug)]
struct Announcing(Arc<Notify>);

impl Clock for Announcing {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    fn wall_ms(&self) -> i64 {
        SystemClock.wall_ms()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleeping {
        if deadline.saturating_duration_since(self.monotonic()) <= Duration::from_secs(2) {
            self.0.notify_one();
        }
        SystemClock.sleep_until(deadline)
    }
}

#[tokio::test]
async fn nobody_there_is_told_without_the_url() {
    let refusing = Refusing::new().unwrap();
    let closed = hook_at(refusing.address());
    let clock = SimulatedClock::new(0);
    let outlets = Outlets::new(&closed, Arc::new(clock.clone())).unwrap();
    assert!(!format!("{outlets:?}").contains("s3cret"));
    let mut telling = tokio::spawn(async move { outlets.tell(&stopped("Gate")).await });
    let ended = loop {
        tokio::select! {
            ended = &mut telling => break ended.unwrap(),
            () = clock.sleepers(1) => clock.advance(Duration::from_secs(60)),
        }
        tokio::task::yield_now().await;
    };
    let why = &ended[0].as_ref().unwrap_err().why;
    assert!(why.starts_with("no connection: "), "{why}");
    assert!(!why.contains("s3cret") && !why.contains("/hook"), "{why}");
}

#[tokio::test]
async fn a_heartbeat_beats_counts_its_failures_and_ends() {
    let receiver = Receiver::start().await.unwrap();
    let clock = SimulatedClock::new(0);
    let mut config = Config {
        heartbeat: receiver.url("/ping/abc"),
        ..hook(&receiver)
    };
    let heartbeat = Heartbeat::new(&config, Arc::new(clock.clone()))
        .unwrap()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (heartbeat, stop) = (heartbeat.clone(), stop.clone());
        async move { heartbeat.run(stop).await }
    });
    let first = receiver.wait_for(1, SOON).await.unwrap();
    assert_eq!(
        (first[0].method.as_str(), first[0].target.as_str()),
        ("GET", "/ping/abc")
    );
    clock.sleepers(1).await;
    receiver.answer(Answer {
        status: 500,
        ..Answer::default()
    });
    clock.advance(Duration::from_secs(59));
    assert_eq!(receiver.requests().len(), 1, "not before its time");
    clock.advance(Duration::from_secs(1));
    receiver.wait_for(2, SOON).await.unwrap();
    clock.sleepers(1).await;
    assert_eq!((heartbeat.sent(), heartbeat.failed()), (1, 1));
    stop.cancel();
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();

    config.heartbeat_every = HumanDuration::from_secs(1);
    let error = Heartbeat::new(&config, SystemClock::shared()).unwrap_err();
    assert_eq!(error.to_string(), "heartbeat_every = \"1s\": use 10s to 1d");
    config.heartbeat = String::new();
    assert!(
        Heartbeat::new(&config, SystemClock::shared())
            .unwrap()
            .is_none()
    );
}

/// Runs to the end while only time passes.
async fn exhausted(config: &Config) -> String {
    let clock = SimulatedClock::new(0);
    let outlets = Outlets::new(config, Arc::new(clock.clone())).unwrap();
    let mut telling = tokio::spawn(async move { outlets.tell(&stopped("Gate")).await });
    let ended = loop {
        tokio::select! {
            ended = &mut telling => break ended.unwrap(),
            () = clock.sleepers(1) => clock.advance(Duration::from_secs(20)),
        }
        tokio::task::yield_now().await;
    };
    ended[0].as_ref().unwrap_err().why.clone()
}

#[tokio::test]
async fn without_tls_nothing_is_said() {
    let receiver = Receiver::start().await.unwrap();
    let mut https = hook(&receiver);
    https.webhook = https.webhook.replace("http://", "https://");
    https.webhook_http = false;
    let why = exhausted(&https).await;
    assert!(why.starts_with("no connection: "), "{why}");
    assert!(receiver.requests().is_empty());

    let sink = SmtpSink::start().await.unwrap();
    for security in [Security::StartTls, Security::Tls] {
        let config = Config {
            email_to: vec!["anna@example.com".into()],
            smtp_security: security,
            ..mail(&sink)
        };
        // Real time: it must fail by itself, and for good. After a deadline it would be tried for ten minutes.
        let outlets = outlets(&config);
        let telling = tokio::spawn(async move { outlets.tell(&stopped("Gate")).await });
        let ended = tokio::time::timeout(SOON, telling).await;
        assert!(
            sink.mails().is_empty(),
            "{security:?}: a mail went out in clear text"
        );
        let ended = ended.unwrap().unwrap();
        let why = &ended[0].as_ref().unwrap_err().why;
        assert!(
            why.starts_with("anna@example.com: ") && !why.contains("secret"),
            "{why}"
        );
    }
}

#[tokio::test]
async fn s4_a_webhook_gets_a_notice_with_its_facts() {
    let receiver = Receiver::start().await.unwrap();
    let notice = Alarm {
        tenant: "home".parse().unwrap(),
        at: "2026-11-21T03:23:05Z".parse().unwrap(),
        kind: AlarmKind::Notice {
            camera: "yard".parse().unwrap(),
            title: "Yard".into(),
            timezone: "Europe/Berlin".into(),
            what: NoticeKind::StolenKey,
            peer: Some("198.51.100.7:4000".parse().unwrap()),
            client: "SSH-2.0-dropbear_2022.83".into(),
        },
    };
    assert_eq!(
        outlets(&hook(&receiver)).tell(&notice).await,
        [Ok("webhook")]
    );
    let seen = receiver.wait_for(1, SOON).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    for (field, value) in [
        ("alarm", "notice"),
        ("camera", "home/yard"),
        ("what", "stolen_key"),
        ("peer", "198.51.100.7:4000"),
        ("at", "2026-11-21T03:23:05.000Z"),
        ("subject", "A stolen camera calls: Yard"),
    ] {
        assert_eq!(body[field], value, "{body}");
    }
}
