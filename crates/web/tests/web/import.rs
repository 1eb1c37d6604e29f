//! Many cameras at once: all are added or none, and everything that is wrong is told at once (promise P11).

use moorline_core::port::CameraDirectory as _;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::scene;
use crate::support::server::House;

async fn import(house: &House, body: &Value) -> Answer {
    let anna = house.sign_in("anna").await;
    let ask = house.ask("POST", "/api/v1/tenants/home/camera-import");
    house
        .send(ask.with_cookie(&anna).with_body(body.to_string()))
        .await
}

fn lan(name: &str) -> Value {
    json!({"name": name, "rtsp": "rtsp://192.0.2.1/"})
}

#[tokio::test]
async fn what_is_right_is_added_and_a_dry_run_adds_nothing() {
    let house = scene::house().await;
    let before = house.cameras.snapshot().len();
    let list = json!([lan("hall"), lan("stairs")]);
    let dry = import(&house, &json!({"cameras": list, "dry_run": true})).await;
    let told = json!({"cameras": ["home/hall", "home/stairs"], "dry_run": true});
    assert_eq!((dry.status.as_u16(), dry.json()), (200, told));
    assert_eq!(house.cameras.snapshot().len(), before);
    let added = import(&house, &json!({"cameras": list})).await;
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(house.cameras.snapshot().len(), before + 2);
}

#[tokio::test]
async fn p11_one_wrong_row_adds_none_and_every_wrong_row_is_told() {
    let house = scene::house().await;
    let before = house.cameras.snapshot().len();
    let list = json!([
        lan("hall"),
        {"name": "Stairs", "rtsp": "rtsp://192.0.2.1/"},
        lan("yard"),
        {"name": "roof", "keys": ["ssh-dss AAAA"]},
        {"name": "door", "rtsp": "rtsp://192.0.2.1/", "keep_days": 1000},
    ]);
    let refused = import(&house, &json!({"cameras": list})).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let told = refused.json();
    let rows = told["rows"].as_array().unwrap();
    let rows: Vec<(u64, &str)> = rows
        .iter()
        .map(|row| (row["row"].as_u64().unwrap(), row["field"].as_str().unwrap()))
        .collect();
    let wrong = [(1, "name"), (2, "name"), (3, "keys"), (4, "keep_days")];
    assert_eq!(rows, wrong, "{told}");
    assert_eq!(house.cameras.snapshot().len(), before);
}

#[tokio::test]
async fn an_empty_list_and_one_that_is_too_long_are_refused() {
    let house = scene::house().await;
    let many: Vec<Value> = (0..1_001).map(|at| lan(&format!("cam-{at}"))).collect();
    for list in [json!([]), json!(many)] {
        let refused = import(&house, &json!({"cameras": list})).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.json()["field"], "cameras");
    }
}
