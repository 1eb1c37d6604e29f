//! What the server answers with: an object, or a refusal in the words of Kubernetes.

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::Key;

pub(super) type Answer = Response<BoxBody<Bytes, std::io::Error>>;

fn body(value: &Value, code: u16) -> Answer {
    let text = Bytes::from(value.to_string());
    let body = Full::new(text).map_err(|never| match never {}).boxed();
    Response::builder().status(code).body(body).unwrap()
}

pub(super) fn ok(object: &Value) -> Answer {
    body(object, 200)
}

pub(super) fn created(object: &Value) -> Answer {
    body(object, 201)
}

pub(super) fn missing(key: &Key) -> Answer {
    refusal(404, "NotFound", &format!("{} is not there", key.2))
}

pub(super) fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    body(&status, code)
}
