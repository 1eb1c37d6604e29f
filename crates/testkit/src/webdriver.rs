//! A session with `chromedriver` over W3C WebDriver: one JSON request per command.

use std::{net::SocketAddr, time::Duration};

use hyper::Method;
use serde_json::{Value, json};

use crate::{Error, http_call::call, patience};

/// How long one command may take. Pages are local; scripts have their own, shorter limit.
const COMMAND: Duration = Duration::from_secs(40);
/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

#[derive(Debug)]
pub(crate) struct Session {
    address: SocketAddr,
    id: String,
}

impl Session {
    pub(crate) async fn open(address: SocketAddr, capabilities: Value) -> Result<Self, Error> {
        let value = exchange(
            address,
            Method::POST,
            "/session",
            Some(json!({ "capabilities": { "alwaysMatch": capabilities } })),
        )
        .await?;
        let id = value
            .get("sessionId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let id = id.ok_or_else(|| refused(format!("no session in {value}")))?;
        Ok(Self { address, id })
    }

    pub(crate) async fn get(&self, command: &str) -> Result<Value, Error> {
        exchange(self.address, Method::GET, &self.path(command), None).await
    }

    pub(crate) async fn post(&self, command: &str, body: Value) -> Result<Value, Error> {
        exchange(self.address, Method::POST, &self.path(command), Some(body)).await
    }

    pub(crate) async fn find(&self, css: &str) -> Result<Option<String>, Error> {
        let found = self
            .post("elements", json!({ "using": "css selector", "value": css }))
            .await?;
        Ok(found
            .pointer(&format!("/0/{ELEMENT}"))
            .and_then(Value::as_str)
            .map(str::to_owned))
    }

    fn path(&self, command: &str) -> String {
        format!("/session/{}/{command}", self.id)
    }
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, Error> {
    let body = body.map(|body| body.to_string());
    let (status, bytes) = call(
        "chromedriver",
        address,
        method,
        path,
        body,
        patience(COMMAND),
    )
    .await?;
    let answer: Value =
        serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    let value = answer.get("value").cloned().unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(value);
    }
    let text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let message = text("message");
    Err(refused(format!(
        "{}: {}",
        text("error"),
        message.lines().next().unwrap_or_default()
    )))
}

pub(crate) fn refused(message: String) -> Error {
    Error::Refused {
        peer: "chromedriver",
        message,
    }
}
