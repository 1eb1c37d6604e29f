//! Told when it stops: one webhook and one mail, with camera, since when and cause.

use moorline_testkit::{http::Receiver, smtp::SmtpSink};

use crate::support::{Moorline, SOON, Setup, simulated};

async fn told() -> (Moorline, Receiver, SmtpSink) {
    let (hook, mail) = (
        Receiver::start().await.unwrap(),
        SmtpSink::start().await.unwrap(),
    );
    // Longer than a busy machine takes to store a segment: that is no stop.
    let alert = format!(
        "[alert]\nafter = \"15s\"\nwebhook = \"{}\"\nwebhook_private = [\"127.0.0.0/8\"]\nwebhook_http = true\n\
         email_to = [\"owner@example.com\"]\nemail_from = \"moorline@example.com\"\nsmtp = \"{}\"\nsmtp_security = \"none\"\n\
         [tunnel]\ngrace = \"1s\"\n",
        hook.url("/hook"),
        mail.address(),
    );
    let moorline = Moorline::with(Setup {
        archive: "segment = \"2s\"\n".to_owned(),
        sections: alert,
        ..Setup::default()
    })
    .await;
    (moorline, hook, mail)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_alarm_goes_out_by_every_channel() {
    let (moorline, hook, mail) = told().await;
    let results = moorline.cli(&["alert", "test"]).await;
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(
        results
            .iter()
            .all(|result| result.get("error").is_none_or(|error| error.is_null()))
    );
    assert_eq!(hook.wait_for(1, SOON).await.unwrap()[0].method, "POST");
    let mails = mail.wait_for(1, SOON).await.unwrap();
    assert_eq!(mails[0].to, ["owner@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_alarm_that_cannot_go_out_says_why() {
    let (moorline, _hook, mail) = told().await;
    mail.refuse(true);
    let output = moorline.try_cli(&["alert", "test"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let results: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let email = results
        .as_array()
        .unwrap()
        .iter()
        .find(|result| result["channel"] == "email")
        .unwrap();
    assert!(
        email["error"].as_str().unwrap().contains("not now"),
        "{email}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_when_a_camera_stops_being_recorded() {
    let (moorline, hook, mail) = told().await;
    let camera = simulated(&moorline, "yard", 1).await;
    moorline
        .until("yard", "something durable", |view| {
            view["status"]["recorded_until"].is_string()
        })
        .await;
    assert_eq!(hook.requests().len(), 0, "{:?}", hook.requests());
    camera.stop().await;

    let alarm = hook.wait_for(1, SOON).await.unwrap()[0].json();
    let text = alarm.to_string();
    for part in ["home/yard", "tunnel_down", "since"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let mails = mail.wait_for(1, SOON).await.unwrap();
    for part in ["yard", "could not be reached", "nothing recorded since"] {
        assert!(
            mails[0].text.contains(part),
            "no {part:?} in {}",
            mails[0].text
        );
    }
    assert_eq!((hook.requests().len(), mail.mails().len()), (1, 1));
}

/// A message waits half a minute for further cameras of its site.
#[tokio::test(flavor = "multi_thread")]
async fn cameras_of_one_site_that_fail_together_are_one_message() {
    let (mut moorline, hook, mail) = told().await;
    let mut cameras = Vec::new();
    for (number, name) in [(1, "till"), (2, "door"), (3, "yard"), (4, "home")] {
        cameras.push(simulated(&moorline, name, number).await);
        let site = if name == "home" { "Home" } else { "Shop" };
        moorline.cli(&["camera", "set", name, "--site", site]).await;
    }
    for name in ["till", "door", "yard", "home"] {
        moorline
            .until(name, "something durable", |view| {
                view["status"]["recorded_until"].is_string()
            })
            .await;
    }
    let _home = cameras.pop();
    // The shop's router fails.
    for camera in cameras {
        camera.stop().await;
    }
    let log = moorline.child();
    let said = log.wait_for_line("recording_stopped", SOON * 3);
    let said = said.await.unwrap();
    for camera in ["home/till", "home/door", "home/yard"] {
        assert!(said.contains(camera), "{said}");
    }

    let text = hook.wait_for(1, SOON).await.unwrap()[0].json().to_string();
    let mails = mail.wait_for(1, SOON).await.unwrap();
    for part in ["till", "door", "yard", "Shop"] {
        assert!(text.contains(part), "no {part} in {text}");
        assert!(mails[0].text.contains(part), "no {part}: {}", mails[0].text);
    }
    let subject = mails[0]
        .text
        .lines()
        .find(|line| line.starts_with("Subject:"));
    let subject = subject.unwrap();
    assert!(subject.contains("3 cameras at Shop"), "{subject}");
    assert!(!text.contains("home/home"), "it is well: {text}");
    assert_eq!((hook.requests().len(), mail.mails().len()), (1, 1));
}

/// The all-clear needs a minute of recording.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the all-clear takes a minute"]
async fn one_all_clear_when_it_is_well_again() {
    let (moorline, hook, mail) = told().await;
    let camera = simulated(&moorline, "yard", 1).await;
    moorline
        .until("yard", "something durable", |view| {
            view["status"]["recorded_until"].is_string()
        })
        .await;
    camera
        .tunnel()
        .unwrap()
        .hang_up(moorline_simcam::HangUp::Bye)
        .await;
    hook.wait_for(1, SOON).await.unwrap();
    camera.tunnel().unwrap().call();
    let all = hook.wait_for(2, SOON * 6).await.unwrap();
    assert!(
        all[1].json().to_string().contains("resumed"),
        "{}",
        all[1].json()
    );
    assert_eq!(mail.wait_for(2, SOON).await.unwrap().len(), 2);
}
