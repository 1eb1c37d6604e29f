//! Debian's Chromium, headless, driven through chromedriver: for tests of pages.
//!
//! WebDriver and not the DevTools protocol alone: clicking and typing go through the browser's own input path, an element that is
//! covered or hidden is refused as a person would be, and one small HTTP client is all it takes. DevTools commands go through it where
//! WebDriver has none (a phone's width, dark mode).
//!
//! The browser reaches nothing but 127.0.0.1 and localhost: every other name fails to resolve. Its profile is a temporary directory.

use std::{net::SocketAddr, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    Error,
    child::Child,
    peer, temp_dir,
    webdriver::{Session, refused},
};

mod person;

/// A browser with one window of 1280×800.
#[derive(Debug)]
pub struct Browser {
    session: Session,
    _driver: Child,
    _profile: tempfile::TempDir,
}

/// A line of the browser's console or a failed load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleLine {
    /// `SEVERE`, `WARNING`, `INFO`.
    pub level: String,
    /// `javascript`, `network`, `security`, `console-api`, …
    pub source: String,
    /// The text, with the place it came from.
    pub message: String,
}

impl Browser {
    /// Starts driver and browser. Certificates are not verified, so that our own self-signed one is accepted.
    ///
    /// # Errors
    /// [`Error::Missing`] without Chromium or its driver; else what they answered.
    pub async fn start() -> Result<Self, Error> {
        let chromium = peer::CHROMIUM.find()?;
        let profile = temp_dir()?;
        let mut command = peer::CHROMEDRIVER.command()?;
        command.arg("--port=0");
        let driver = Child::spawn("chromedriver", command)?;
        let port: u16 = driver
            .wait_for_after(0, "its port", Duration::from_secs(60), |line| {
                line.split_once("started successfully on port ")
                    .and_then(|(_, port)| port.trim_end_matches('.').parse().ok())
            })
            .await?;
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--no-first-run".to_owned(),
            "--autoplay-policy=no-user-gesture-required".to_owned(),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
                .to_owned(),
            "--window-size=1280,800".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        if rustix::process::geteuid().is_root() {
            // Chromium refuses to make its sandbox as root; the pages of tests are our own.
            arguments.push("--no-sandbox".to_owned());
        }
        let capabilities = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "timeouts": { "script": 20_000, "pageLoad": 30_000, "implicit": 0 },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": chromium.path, "args": arguments },
        });
        let session = Session::open(SocketAddr::from(([127, 0, 0, 1], port)), capabilities).await?;
        Ok(Self {
            session,
            _driver: driver,
            _profile: profile,
        })
    }

    /// Opens a page and waits until it has loaded.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub async fn open(&self, url: &str) -> Result<(), Error> {
        self.session
            .post("url", json!({ "url": url }))
            .await
            .map(drop)
    }

    /// Loads the page again.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub async fn reload(&self) -> Result<(), Error> {
        self.session.post("refresh", json!({})).await.map(drop)
    }

    /// The address of the page now shown.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn url(&self) -> Result<String, Error> {
        Ok(self
            .session
            .get("url")
            .await?
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// The page's title.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn title(&self) -> Result<String, Error> {
        Ok(self
            .session
            .get("title")
            .await?
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Runs `script` as the body of a function in the page; what it returns (a promise is awaited) comes back as JSON.
    ///
    /// # Errors
    /// What it throws.
    pub async fn script(&self, script: &str) -> Result<Value, Error> {
        self.session
            .post("execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// Gives the page this size in CSS pixels; narrow ones count as a phone with touch (390×844 is a common one).
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn resize(&self, width: u32, height: u32) -> Result<(), Error> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await
            .map(drop)
    }

    /// Makes the page believe that the person prefers dark, or light, colours.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn prefer_dark(&self, dark: bool) -> Result<(), Error> {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", features)
            .await
            .map(drop)
    }

    /// Sends one DevTools command.
    ///
    /// # Errors
    /// What the browser answers.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value, Error> {
        self.session
            .post(
                "goog/cdp/execute",
                json!({ "cmd": command, "params": parameters }),
            )
            .await
    }

    /// Writes a picture of the window to a PNG file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn screenshot(&self, file: &Path) -> Result<(), Error> {
        let encoded = self.session.get("screenshot").await?;
        let png = STANDARD
            .decode(encoded.as_str().unwrap_or_default())
            .map_err(|error| refused(format!("a screenshot that is not base64: {error}")))?;
        std::fs::write(file, png)
            .map_err(|source| Error::io(format!("write {}", file.display()), source))
    }

    /// What the console has got since the last call.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn console(&self) -> Result<Vec<ConsoleLine>, Error> {
        let entries = self
            .session
            .post("se/log", json!({ "type": "browser" }))
            .await?;
        let text = |entry: &Value, key: &str| {
            entry
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let lines = entries
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| ConsoleLine {
                level: text(entry, "level"),
                source: text(entry, "source"),
                message: text(entry, "message"),
            });
        Ok(lines.collect())
    }

    /// The errors among [`Browser::console`]'s lines: uncaught exceptions, failed loads, broken content policy.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn console_errors(&self) -> Result<Vec<String>, Error> {
        let lines = self.console().await?;
        Ok(lines
            .into_iter()
            .filter(|line| line.level == "SEVERE")
            .map(|line| line.message)
            .collect())
    }
}

/// Code points of special keys for [`Browser::press`] (WebDriver section 17.4.2).
pub mod key {
    /// Moves the focus on.
    pub const TAB: &str = "\u{E004}";
    /// Activates.
    pub const ENTER: &str = "\u{E007}";
    /// Leaves.
    pub const ESCAPE: &str = "\u{E00C}";
    /// Left.
    pub const LEFT: &str = "\u{E012}";
    /// Up.
    pub const UP: &str = "\u{E013}";
    /// Right.
    pub const RIGHT: &str = "\u{E014}";
    /// Down.
    pub const DOWN: &str = "\u{E015}";
}

#[cfg(test)]
mod tests;
