//! `moorline alert`, `backup`, `config`, `doctor` and `log`.

use std::path::Path;

use http_body_util::BodyExt as _;
use hyper::Method;
use moorline_base::error::Hinted;
use moorline_web::api::{AlertResult, DoctorFinding, LogLevel};
use serde_json::json;

use crate::args::{Backup, Config, Output};
use crate::backup;
use crate::client::Client;
use crate::command::new_secret;
use crate::output::{self, Table};
use crate::serve::tls;
use crate::settings;

/// `moorline alert test`. Returns whether every channel worked.
///
/// # Errors
/// No channel is configured, or the server refuses.
pub async fn alert_test(client: &Client, format: Output) -> anyhow::Result<bool> {
    let results: Vec<AlertResult> = client
        .json(Method::POST, "/alert/test", None::<&()>)
        .await?;
    output::print(format, &results, || {
        let mut table = Table::new(&["CHANNEL", "RESULT"]);
        for result in &results {
            let told = result.error.clone().unwrap_or_else(|| "sent".to_owned());
            table.row([result.channel.clone(), told]);
        }
        table.render()
    })?;
    Ok(results.iter().all(|result| result.error.is_none()))
}

/// `moorline doctor`. Returns whether nothing is a problem.
///
/// # Errors
/// The server refuses.
pub async fn doctor(client: &Client, format: Output) -> anyhow::Result<bool> {
    let findings: Vec<DoctorFinding> = client.get("/doctor").await?;
    output::print(format, &findings, || {
        let mut text = String::new();
        for finding in &findings {
            text.push_str(&format!(
                "{:<8} {}: {}\n",
                finding.level, finding.check, finding.finding
            ));
            if let Some(hint) = &finding.hint {
                text.push_str(&format!("         hint: {hint}\n"));
            }
        }
        text
    })?;
    Ok(findings.iter().all(|finding| finding.level != "problem"))
}

/// `moorline log FILTER`.
///
/// # Errors
/// The filter is wrong, or no server runs.
pub async fn log(client: &Client, filter: String, format: Output) -> anyhow::Result<()> {
    let level = LogLevel { filter };
    client.act(Method::PUT, "/log", Some(&level)).await?;
    output::print(format, &level, || {
        format!(
            "the server logs {} until it is restarted or reloaded",
            level.filter
        )
    })
}

/// `moorline config check|show`: needs no server.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn config(
    command: &Config,
    data: &Path,
    given: Option<&Path>,
    format: Output,
) -> anyhow::Result<()> {
    let loaded = settings::load(data, given)?;
    let file = settings::file(data, given);
    match command {
        Config::Check => {
            if file.is_none() && !data.exists() {
                let what = format!(
                    "there is no data directory {}, and no configuration file was named",
                    data.display()
                );
                let hint = "name the server's directory with --data or MOORLINE_DATA, or the file with --config";
                anyhow::bail!(Hinted::new(what, hint));
            }
            tls::given(&loaded.server)?;
            output::print(format, &json!({"ok": true, "file": file}), || match &file {
                Some(file) => format!("{} is in order", file.display()),
                None => format!(
                    "there is no {}, and none is needed",
                    data.join("moorline.toml").display()
                ),
            })
        }
        Config::Show { role } => {
            let text = role.effective(&loaded);
            output::print(format, &json!({"file": file, "toml": text}), || {
                text.clone()
            })
        }
    }
}

/// `moorline backup`.
///
/// # Errors
/// The passphrase is too short, or the file cannot be written.
pub async fn backup(client: &Client, args: &Backup, format: Output) -> anyhow::Result<()> {
    let file = args.file.path()?;
    let passphrase = new_secret(
        args.passphrase_file.as_deref(),
        "--passphrase-file",
        "passphrase for the backup",
    )?;
    let packed = client
        .stream(Method::GET, "/backup")
        .await?
        .into_body()
        .collect()
        .await?
        .to_bytes();
    backup::write(&packed, &passphrase, file)?;
    client
        .act(Method::POST, "/backup/done", None::<&()>)
        .await?;
    let hint =
        "keep it on another machine, and the passphrase apart from it; recordings are not in it";
    output::print(format, &json!({"file": file}), || {
        format!("backup written to {}\n{hint}\n", file.display())
    })
}
