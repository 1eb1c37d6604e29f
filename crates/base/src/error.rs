//! How an error is told to a person (P11).
//!
//! Owns: an error that carries a `hint:` ([`Hinted`], made by [`WithHint`]) and the text that a binary prints ([`report`]). Does not own:
//! printing, exit codes, or any library's own error type.

use std::error::Error;
use std::fmt::{self, Display};

/// An error with what the reader can do about it. Transparent: it displays as the error that it carries, and shares its cause.
#[derive(Debug)]
pub struct Hinted {
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

impl Hinted {
    /// A new error from a sentence (no period) and a hint.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Hinted {
            error: message.into().into(),
            hints: vec![hint.into()],
        }
    }

    /// What the reader can do, in the order in which it was added.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The error that carries the hint.
    #[must_use]
    pub fn inner(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.error, f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Adds a hint to any error, or to the error of a result.
pub trait WithHint {
    /// The same with a hint.
    type Hinted;
    /// Says what the reader can do. Called only on an error.
    fn hint<H: Into<String>>(self, hint: impl FnOnce() -> H) -> Self::Hinted;
}

impl<T, E: Error + Send + Sync + 'static> WithHint for Result<T, E> {
    type Hinted = Result<T, Hinted>;

    fn hint<H: Into<String>>(self, hint: impl FnOnce() -> H) -> Result<T, Hinted> {
        self.map_err(|error| Hinted {
            error: Box::new(error),
            hints: vec![hint().into()],
        })
    }
}

/// The text for a terminal: the error and its causes in one line, then a `hint:` line for each hint on the way, no period at the end.
///
/// A cause that its wrapper has already quoted is not said twice. Hints are found in [`Hinted`], [`crate::config::ConfigErrors`],
/// [`crate::net::BindError`], [`crate::files::LockError`], [`crate::logging::LogError`] and [`crate::secret::SecretFileError`] anywhere in the chain.
#[must_use]
pub fn report(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut hints = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        collect_hints(error, &mut hints);
        next = error.source();
    }
    for hint in hints {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}

fn collect_hints(error: &(dyn Error + 'static), hints: &mut Vec<String>) {
    let mut add = |hint: String| {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    };
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        hinted.hints().iter().cloned().for_each(&mut add);
        collect_hints(hinted.inner(), hints);
    } else if let Some(bind) = error.downcast_ref::<crate::net::BindError>() {
        bind.hint().into_iter().for_each(add);
    } else if let Some(lock) = error.downcast_ref::<crate::files::LockError>() {
        lock.hint().into_iter().for_each(add);
    } else if let Some(log) = error.downcast_ref::<crate::logging::LogError>() {
        log.hint().map(str::to_owned).into_iter().for_each(add);
    } else if let Some(secret) = error.downcast_ref::<crate::secret::SecretFileError>() {
        add(secret.hint());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the registry")]
    struct Outer(#[source] Hinted);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it: {0}")]
    struct Quoting(#[source] std::io::Error);

    #[test]
    fn the_result_comes_first_then_the_causes_then_the_hints() {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let inner = Err::<(), _>(refused)
            .hint(|| "run it as the user that owns the data")
            .unwrap_err();
        assert_eq!(
            report(&Outer(inner)),
            "cannot open the registry: permission denied\nhint: run it as the user that owns the data"
        );
    }

    #[test]
    fn a_cause_that_was_quoted_is_not_said_twice() {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(
            report(&Quoting(refused)),
            "cannot read it: permission denied"
        );
    }

    #[test]
    fn a_hint_inside_a_hinted_error_is_kept() {
        let inner = Hinted::new("port 2222 is taken", "stop the other server");
        let both = Err::<(), _>(inner)
            .hint(|| "or choose another port")
            .unwrap_err();
        assert_eq!(
            report(&both),
            "port 2222 is taken\nhint: or choose another port\nhint: stop the other server"
        );
    }
}
