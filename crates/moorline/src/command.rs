//! One file per command that people type, all of them clients of the HTTP API.

pub mod camera;
pub mod camera_add;
pub mod camera_text;
pub mod operate;
pub mod segments;
pub mod user;

use std::path::Path;

use anyhow::Context as _;
use zeroize::Zeroizing;

/// A secret from a file (its first line), or asked for at the terminal.
///
/// # Errors
/// The file cannot be read, or there is no terminal to ask at.
pub fn secret(file: Option<&Path>, question: &str) -> anyhow::Result<Zeroizing<String>> {
    match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Zeroizing::new(
                text.lines().next().unwrap_or_default().to_owned(),
            ))
        }
        None => rpassword::prompt_password(format!("{question}: "))
            .map(Zeroizing::new)
            .context("there is no terminal to ask for the password: give it in a file"),
    }
}
