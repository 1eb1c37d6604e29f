//! Bodies of requests may be anything (rule S32): each is carried out whole or refused with words (promise P11), and no secret comes back.
//!
//! These are all the ways in which cameras and people are brought in: the command line turns a CSV file into such a body.

use moorline_core::port::CameraDirectory as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::scene;
use crate::support::server::House;

/// A password that no answer may repeat.
const SECRET: &str = "hunter2 of the camera";

/// Fields that some request takes, and one that none does.
const FIELDS: [&str; 28] = [
    "name",
    "keys",
    "title",
    "new_title",
    "site",
    "timezone",
    "rtsp",
    "path",
    "sub_path",
    "user",
    "password",
    "allow_basic",
    "record",
    "keep_days",
    "enabled",
    "forwards",
    "allow_from",
    "key",
    "comment",
    "camera",
    "prefix",
    "count",
    "expires_in",
    "endpoints",
    "line",
    "role",
    "login",
    "colour",
];

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,8}",
        Just("a".repeat(3_000)),
        Just("yard".to_owned()),
        Just("main".to_owned()),
        Just("Europe/Berlin".to_owned()),
        Just("/stream".to_owned()),
        "rtsp://[a-z0-9.:@/\\[\\]]{0,16}",
        "ssh-(ed25519|rsa) [A-Za-z0-9+/=]{0,40}",
        Just("../../etc/passwd".to_owned()),
        Just("\u{1b}[31m\0".to_owned()),
    ];
    let leaf = prop_oneof![
        4 => text.prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => (0..1_100).prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..3).prop_map(Value::from_iter),
        ]
    })
}

fn body() -> impl Strategy<Value = String> {
    let field = (prop::sample::select(FIELDS.to_vec()), value());
    let fields = prop::collection::vec(field, 0..5);
    let object = (fields, any::<bool>())
        .prop_map(|(fields, secret)| {
            let mut object = json!({});
            for (name, value) in fields {
                object[name] = value;
            }
            if secret {
                object["password"] = json!(SECRET);
            }
            object
        })
        .boxed();
    let list = (prop::collection::vec(object.clone(), 0..3), any::<bool>());
    let list = list.prop_map(|(cameras, dry)| json!({"cameras": cameras, "dry_run": dry}));
    let object = prop_oneof![4 => object, 1 => list];
    let object = object.prop_map(|object| object.to_string()).boxed();
    let torn = (
        object.clone(),
        any::<prop::sample::Index>(),
        "[\\[\\]{}\",:0-9eE.-]{0,3}",
    )
        .prop_map(|(text, at, put)| {
            let at = at.index(text.len() + 1);
            let at = (0..=at)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            format!("{}{put}{}", &text[..at], &text[at..])
        });
    prop_oneof![3 => object, 1 => torn]
}

/// What a refused request looks like, whatever it was.
fn refusal(method: &str, path: &str, body: &str, answer: &Answer) {
    let told = answer.json();
    let context = format!("{method} {path} {body}: {answer:?}");
    assert!(answer.status.is_client_error(), "{context}");
    assert_eq!(told["status"], answer.status.as_u16(), "{context}");
    let title = told["title"].as_str().unwrap_or_default();
    assert!(!title.is_empty() && title.len() < 1_000, "{context}");
    assert!(!title.contains(['\u{1b}', '\0']), "{context}");
    assert!(
        !String::from_utf8_lossy(&answer.body).contains(SECRET),
        "{context}"
    );
}

/// What people would see of all cameras.
fn cameras(house: &House) -> String {
    let all = house.cameras.snapshot();
    let mut all: Vec<String> = all.iter().map(|camera| format!("{camera:?}")).collect();
    all.sort();
    all.join("\n")
}

#[test]
fn any_body_is_carried_out_whole_or_refused_with_words() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (house, anna) = runtime.block_on(async {
        let house = scene::house().await;
        let anna = house.sign_in("anna").await;
        (house, anna)
    });
    let routes = [
        ("PATCH", "/api/v1/tenants/home/cameras/yard"),
        ("POST", "/api/v1/tenants/home/cameras"),
        ("POST", "/api/v1/tenants/home/camera-import"),
        ("POST", "/api/v1/tenants/home/cameras/gate/keys"),
        ("POST", "/api/v1/tenants/home/cameras/front-door/agent"),
        ("POST", "/api/v1/tenants/home/enrolments"),
        ("POST", "/api/v1/tenants/home/users"),
    ];
    let mut runner = TestRunner::new(Config {
        cases: 300,
        ..Config::default()
    });
    let cases = (prop::sample::select(routes.to_vec()), body());
    let tried = runner.run(&cases, |((method, path), body)| {
        runtime.block_on(async {
            let before = cameras(&house);
            let ask = house.ask(method, path).with_cookie(&anna);
            let answer = house.send(ask.with_body(&body)).await;
            if !answer.status.is_success() {
                refusal(method, path, &body, &answer);
                assert_eq!(cameras(&house), before, "half applied: {body}");
            }
        });
        Ok(())
    });
    tried.unwrap();
}
