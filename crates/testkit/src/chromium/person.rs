//! What a person does with a page: look, wait, click, type.

use std::time::Duration;

use serde_json::{Value, json};

use super::Browser;
use crate::{Error, patience, webdriver::refused};

/// Pause between two looks at the page while something is awaited of it.
const POLL: Duration = Duration::from_millis(50);

impl Browser {
    /// Whether an element fits the selector now.
    ///
    /// # Errors
    /// When the selector is none.
    pub async fn has(&self, css: &str) -> Result<bool, Error> {
        Ok(self.session.find(css).await?.is_some())
    }

    /// Waits until an element that fits is there and visible.
    ///
    /// # Errors
    /// [`Error::Timeout`], with the page's text.
    pub async fn wait_for(&self, css: &str, deadline: Duration) -> Result<(), Error> {
        self.until(&format!("{css:?} on the page"), deadline, || async {
            let Some(element) = self.session.find(css).await? else {
                return Ok(None);
            };
            let shown = self
                .session
                .get(&format!("element/{element}/displayed"))
                .await?;
            Ok((shown == Value::Bool(true)).then_some(()))
        })
        .await
    }

    /// Waits until `script`, the body of a function, returns something true, and returns it.
    ///
    /// # Errors
    /// [`Error::Timeout`], with the page's text; an error of the script itself at once.
    pub async fn wait_for_script(&self, script: &str, deadline: Duration) -> Result<Value, Error> {
        self.until(&format!("{script:?}"), deadline, || async {
            let value = self.script(script).await?;
            let is_true = !matches!(&value, Value::Null | Value::Bool(false))
                && value != json!(0)
                && value != json!("");
            Ok(is_true.then_some(value))
        })
        .await
    }

    /// Clicks the middle of the first element that fits, as a mouse does: something that covers it makes this fail.
    ///
    /// # Errors
    /// When there is none, or it cannot be clicked.
    pub async fn click(&self, css: &str) -> Result<(), Error> {
        let element = self.element(css).await?;
        self.session
            .post(&format!("element/{element}/click"), json!({}))
            .await
            .map(drop)
    }

    /// Empties a field and types into it.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn type_into(&self, css: &str, text: &str) -> Result<(), Error> {
        let element = self.element(css).await?;
        self.session
            .post(&format!("element/{element}/clear"), json!({}))
            .await?;
        self.session
            .post(&format!("element/{element}/value"), json!({ "text": text }))
            .await
            .map(drop)
    }

    /// Presses and releases keys on whatever has the focus. Special keys are WebDriver's code points (see [`super::key`]).
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn press(&self, keys: &str) -> Result<(), Error> {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        let actions =
            json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.session.post("actions", actions).await.map(drop)
    }

    /// The visible text of the first element that fits.
    ///
    /// # Errors
    /// When there is none.
    pub async fn text(&self, css: &str) -> Result<String, Error> {
        let element = self.element(css).await?;
        Ok(self
            .session
            .get(&format!("element/{element}/text"))
            .await?
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    async fn element(&self, css: &str) -> Result<String, Error> {
        self.session
            .find(css)
            .await?
            .ok_or_else(|| refused(format!("no element fits {css:?}")))
    }

    async fn until<T, F, Fut>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: F,
    ) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Option<T>, Error>>,
    {
        let deadline = patience(deadline);
        let start = std::time::Instant::now();
        loop {
            if let Some(value) = look().await? {
                return Ok(value);
            }
            if start.elapsed() >= deadline {
                let page = self
                    .script("return location.href + '\\n' + document.body.innerText")
                    .await
                    .unwrap_or_default();
                let console = self.console_errors().await.unwrap_or_default().join("\n");
                let detail = format!("{}\n{console}", page.as_str().unwrap_or_default());
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    patience: deadline,
                    detail,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
