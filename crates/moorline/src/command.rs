//! One file per command that people type, all of them clients of the HTTP API.

pub mod agent_release;
pub mod audit;
pub mod camera;
pub mod camera_add;
pub mod camera_agent;
pub mod camera_diagnose;
pub mod camera_enroll;
pub mod camera_import;
pub mod camera_refer;
mod camera_rows;
pub mod camera_snapshot;
pub mod camera_text;
pub mod camera_web;
pub mod host_key;
pub mod link_code;
pub mod operate;
pub mod segments;
#[cfg(feature = "kube")]
pub mod tenant;
pub mod user;

use std::path::Path;

use anyhow::Context as _;
use moorline_base::error::Hinted;
use zeroize::Zeroizing;

use crate::output;

/// Asks at the terminal whether to do what cannot be undone.
///
/// # Errors
/// There is nobody to ask.
pub fn confirmed(what: &str) -> anyhow::Result<bool> {
    use std::io::{BufRead as _, IsTerminal as _};
    if !std::io::stdin().is_terminal() {
        anyhow::bail!(Hinted::new(
            format!("not asked whether to {what}"),
            "add --yes where nobody can answer"
        ));
    }
    output::say(&format!("{what}? Type yes to go on:"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

/// A secret from a file (its first line), or asked for at the terminal; `option` names the file.
///
/// # Errors
/// The file cannot be read, or there is no terminal to ask at.
pub fn secret(
    file: Option<&Path>,
    option: &str,
    question: &str,
) -> anyhow::Result<Zeroizing<String>> {
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
            .map_err(|_| {
                let hint = format!("give it in a file: {option} FILE");
                let title = format!("there is no terminal to ask for the {question}");
                Hinted::new(title, hint).into()
            }),
    }
}

/// A secret that is chosen here: at the terminal it is asked for twice, since whoever mistypes it would find that out when it is needed.
///
/// # Errors
/// As [`secret`]; or the two differ.
pub fn new_secret(
    file: Option<&Path>,
    option: &str,
    question: &str,
) -> anyhow::Result<Zeroizing<String>> {
    let chosen = secret(file, option, question)?;
    if file.is_none() {
        let again = secret(None, option, &format!("{question}, once more"))?;
        alike(&chosen, &again)?;
    }
    Ok(chosen)
}

fn alike(chosen: &str, again: &str) -> anyhow::Result<()> {
    if chosen != again {
        anyhow::bail!(Hinted::new(
            "the two are not the same",
            "nothing was done: try again"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_a_new_secret_is_refused_and_what_a_file_says_is_not_asked_again() {
        assert!(alike("correct horse", "correct horse").is_ok());
        let error = alike("correct horse", "correct house").unwrap_err();
        let told = error.to_string();
        assert!(!told.contains("horse") && !told.contains("house"), "{told}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passphrase");
        std::fs::write(&file, "correct horse\nbattery\n").unwrap();
        let read = new_secret(Some(&file), "--passphrase-file", "passphrase").unwrap();
        assert_eq!(*read, "correct horse");
    }
}
