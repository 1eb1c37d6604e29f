//! `moorline camera import`: a CSV file becomes cameras, all of them or none (promise P11).
//!
//! The columns are what `camera add` takes. Every row is looked at here as far as that goes, then the server looks at those that are right and
//! adds them in one step if all are: whatever is wrong is told at once, with its line, its column and its value.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use hyper::Method;
use moorline_base::Untrusted;
use moorline_base::config::nearest;
use moorline_base::error::Hinted;
use moorline_core::{CameraId, TenantId};
use moorline_web::api::{CameraAdd, CamerasImport, CamerasImported, RowProblem, StrangerView};

use crate::args::{self, CameraFields, CameraImport, Record};
use crate::client::{Client, WrongRows, segment};
use crate::command::camera_rows::{self, Row};
use crate::command::{camera, camera_add};
use crate::output;

/// The columns, and the fields of the API that each gives.
const COLUMNS: [(&str, &[&str]); 15] = [
    ("name", &["name"]),
    ("title", &["new_title", "title"]),
    ("site", &["site"]),
    ("timezone", &["timezone"]),
    ("key", &["keys", "key"]),
    ("rtsp", &["rtsp", "host", "port", "access"]),
    ("path", &["path", "main.path"]),
    ("sub_path", &["sub_path", "sub.path"]),
    ("login", &["user", "main.user", "sub.user"]),
    (
        "password_file",
        &["password", "main.password", "sub.password"],
    ),
    ("allow_basic", &["allow_basic"]),
    ("record", &["record", "record_by"]),
    ("keep", &["keep_days", "retention"]),
    ("forward", &["forwards"]),
    ("allow_from", &["allow_from"]),
];
/// A thousand rows with long keys are a quarter of it.
const LARGEST: u64 = 1 << 20;
/// Wrong rows that are told one by one.
const TOLD: usize = 40;
/// How much of a cell is repeated.
const SHOWN: usize = 80;

/// What is wrong with a row.
struct Wrong {
    line: usize,
    /// The column and what stands in it; none if it is not one cell that is wrong.
    cell: Option<(&'static str, String)>,
    why: String,
}

/// The file, read into cells.
struct Table<'a> {
    columns: Vec<&'static str>,
    rows: &'a [Row],
}

impl Table<'_> {
    /// What stands in a column, unless it is empty or missing.
    fn cell<'r>(&self, row: &'r Row, column: &str) -> Option<&'r str> {
        let at = self.columns.iter().position(|known| *known == column)?;
        let cell = row.cells.get(at)?;
        (!cell.is_empty()).then_some(cell)
    }

    /// Whether a key is given by its fingerprint.
    fn names_strangers(&self) -> bool {
        let mut keys = self.rows.iter().filter_map(|row| self.cell(row, "key"));
        keys.any(|key| key.starts_with("SHA256:"))
    }

    fn wrong(&self, row: &Row, column: &'static str, why: impl Into<String>) -> Wrong {
        let cell = self.cell(row, column).unwrap_or_default();
        // A login in front of a host is not repeated (P10).
        let value = match column {
            "rtsp" => cell.rsplit('@').next().unwrap_or_default(),
            _ => cell,
        };
        Wrong {
            line: row.line,
            cell: Some((column, value.to_owned())),
            why: why.into(),
        }
    }
}

/// Adds the cameras of a file.
///
/// # Errors
/// The file is no such list, or rows of it are wrong: nothing was added then.
pub async fn import(
    client: &Client,
    asked: &CameraImport,
    format: args::Output,
) -> anyhow::Result<()> {
    let name = asked.file.display().to_string();
    let rows = read(&asked.file, &name)?;
    let table = table(&name, &rows)?;
    // On a cluster whoever may add cameras cannot always ask for them.
    let strangers: Vec<StrangerView> = match table.names_strangers() {
        true => client.get("/strangers").await?,
        false => Vec::new(),
    };
    let looked = look(&table, &strangers, &|name| client.whole(name));
    let (rows, mut wrong) = (looked.rows, looked.wrong);
    let Some(tenant) = looked.tenant.filter(|_| !looked.cameras.is_empty()) else {
        return Err(told(&name, table.rows.len(), &wrong));
    };
    let request = CamerasImport {
        cameras: looked.cameras,
        // Where a row is wrong already the server only looks at the others.
        dry_run: asked.dry_run || !wrong.is_empty(),
    };
    let path = format!("/tenants/{}/camera-import", segment(tenant.as_str()));
    let importing = client.json::<CamerasImported>(Method::POST, &path, Some(&request));
    let (imported, is_broken_off) = client.through_signals(importing).await?;
    let imported = match imported {
        Ok(imported) if wrong.is_empty() => imported,
        Ok(_) => return Err(told(&name, table.rows.len(), &wrong)),
        Err(error) => {
            let Some(WrongRows { rows: refused, .. }) = error.downcast_ref() else {
                return Err(error);
            };
            // The one row is where it was; others were added, and are not taken back.
            if is_broken_off && refused.len() == 1 {
                bail!(Hinted::new(
                    "broken off: nothing was added",
                    "the same command adds them"
                ));
            }
            refuse(&table, &rows, refused, &mut wrong);
            return Err(told(&name, table.rows.len(), &wrong));
        }
    };
    output::print(format, &imported, || {
        let count = output::count(imported.cameras.len() as u64, "camera");
        match imported.dry_run {
            true => format!("{name}: {count} can be added; nothing was added"),
            false => format!(
                "{count} added\nSee them: moorline camera list{}",
                client.typed()
            ),
        }
    })
}

fn read(file: &Path, name: &str) -> anyhow::Result<Vec<Row>> {
    let size = file
        .metadata()
        .with_context(|| format!("cannot read {name}"))?;
    if size.len() > LARGEST {
        bail!(Hinted::new(
            format!("{name} is greater than 1 MiB"),
            "a list of cameras is smaller: is it the right file?"
        ));
    }
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = 1 + good.filter(|byte| **byte == b'\n').count();
        Hinted::new(
            format!("{name}:{line}: this is not UTF-8"),
            "save it from the spreadsheet as \"CSV UTF-8\"",
        )
    })?;
    Ok(camera_rows::rows(&text).map_err(|error| {
        Hinted::new(
            format!("{name}:{}: {error}", error.line),
            "a cell with a comma, a quote or a line end stands in quotes",
        )
    })?)
}

/// Names of columns as they are compared: `Sub-Path` is `sub_path`.
fn plain(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace(['-', ' '], "_")
}

fn table<'a>(name: &str, rows: &'a [Row]) -> anyhow::Result<Table<'a>> {
    let all = COLUMNS.map(|(column, _)| column);
    let Some((header, rows)) = rows.split_first() else {
        let first = format!("its first line names columns: {}", all.join(","));
        bail!(Hinted::new(format!("{name} is empty"), first));
    };
    let mut columns = Vec::new();
    for given in &header.cells {
        let at = format!("{name}:{}", header.line);
        let shown = Untrusted::new(given.chars().take(SHOWN).collect::<String>());
        let Some(column) = all.iter().find(|column| **column == plain(given)) else {
            let hint = match plain(given).as_str() {
                "password" => "name a file with it in the column password_file".to_owned(),
                "pending" | "fingerprint" | "public_key" => {
                    "public keys and fingerprints stand in the column key".to_owned()
                }
                other => nearest(other, all.iter().map(|&column| column.to_owned())).map_or_else(
                    || format!("there are {}", all.join(", ")),
                    |best| format!("did you mean {best:?}?"),
                ),
            };
            bail!(Hinted::new(
                format!("{at}: unknown column {:?}", shown.to_string()),
                hint
            ));
        };
        if columns.contains(column) {
            bail!(Hinted::new(
                format!("{at}: the column {column} is there twice"),
                "remove one of them"
            ));
        }
        columns.push(*column);
    }
    if !columns.contains(&"name") {
        bail!(Hinted::new(
            format!("{name}:{}: there is no column name", header.line),
            "the first line names the columns, and each camera has a name"
        ));
    }
    match rows.len() {
        0 => bail!(Hinted::new(
            format!("{name} has no cameras"),
            "one follows on each line after the header"
        )),
        many if many > CamerasImport::MOST => bail!(Hinted::new(
            format!("{name} has {many} cameras"),
            format!(
                "at most {} are added at once: part the file",
                CamerasImport::MOST
            )
        )),
        _ => Ok(Table { columns, rows }),
    }
}

/// What the rows are, as far as that is seen here.
#[derive(Default)]
struct Looked<'a> {
    /// The tenant of all of them, if one has a name.
    tenant: Option<TenantId>,
    cameras: Vec<CameraAdd>,
    /// The row of each camera.
    rows: Vec<&'a Row>,
    wrong: Vec<Wrong>,
}

/// The camera that a name means.
type Whole<'a> = &'a dyn Fn(&str) -> anyhow::Result<CameraId>;

fn look<'a>(table: &Table<'a>, strangers: &[StrangerView], whole: Whole<'_>) -> Looked<'a> {
    let mut looked = Looked::default();
    let mut lines = HashMap::new();
    for row in table.rows {
        let camera = named(table, row, whole, &mut lines, &mut looked.tenant)
            .and_then(|id| camera(table, row, &id, strangers));
        match camera {
            Ok(camera) => {
                looked.cameras.push(camera);
                looked.rows.push(row);
            }
            Err(why) => looked.wrong.push(why),
        }
    }
    looked
}

/// The name of a row: each once, all of one tenant.
fn named(
    table: &Table<'_>,
    row: &Row,
    whole: Whole<'_>,
    lines: &mut HashMap<CameraId, usize>,
    tenant: &mut Option<TenantId>,
) -> Result<CameraId, Wrong> {
    if row.cells.len() > table.columns.len() {
        let why = format!(
            "{} cells, and the header names {}: a cell with a comma stands in quotes",
            row.cells.len(),
            table.columns.len()
        );
        let (line, cell) = (row.line, None);
        return Err(Wrong { line, cell, why });
    }
    let name = table.cell(row, "name").unwrap_or_default();
    let id = whole(name).map_err(|error| {
        let hinted = error.downcast_ref::<Hinted>();
        let hint = hinted.and_then(|hinted| hinted.hints().first());
        let why = hint.map_or_else(|| error.to_string(), |hint| format!("{error}: {hint}"));
        table.wrong(row, "name", why)
    })?;
    if let Some(before) = lines.insert(id.clone(), row.line) {
        return Err(table.wrong(row, "name", format!("line {before} has it already")));
    }
    if tenant.get_or_insert_with(|| id.tenant().clone()) != id.tenant() {
        let why = "the cameras before it are another tenant's: a file is of one tenant";
        return Err(table.wrong(row, "name", why));
    }
    Ok(id)
}

fn camera(
    table: &Table<'_>,
    row: &Row,
    id: &CameraId,
    strangers: &[StrangerView],
) -> Result<CameraAdd, Wrong> {
    let keys = match (table.cell(row, "key"), table.cell(row, "rtsp")) {
        (Some(key), _) => {
            let key = public_key(key, strangers);
            vec![key.map_err(|error| table.wrong(row, "key", format!("{error:#}")))?]
        }
        (None, Some(_)) => Vec::new(),
        (None, None) => {
            let why = "give its public key, the fingerprint of a pending one, or rtsp (camera add makes a key pair, camera enroll a file by which a camera makes its own)";
            return Err(table.wrong(row, "key", why));
        }
    };
    let fields = fields(table, row)?;
    // What is left to go wrong here is the file with the password: the rest was looked at.
    let change = camera::patch(&fields, true);
    Ok(CameraAdd {
        name: id.name().to_owned(),
        keys,
        title: fields.title.clone(),
        change: change.map_err(|error| table.wrong(row, "password_file", format!("{error:#}")))?,
    })
}

/// A key, a file with it, or the fingerprint of somebody who has knocked.
fn public_key(text: &str, strangers: &[StrangerView]) -> anyhow::Result<String> {
    if !text.starts_with("SHA256:") {
        return Ok(camera_add::public_key(text)?.to_string());
    }
    let known = strangers
        .iter()
        .find(|stranger| stranger.fingerprint == text);
    match known {
        Some(stranger) => Ok(stranger.key.to_string()),
        None => {
            bail!("nobody with this fingerprint has knocked: moorline camera pending lists who has")
        }
    }
}

fn fields(table: &Table<'_>, row: &Row) -> Result<CameraFields, Wrong> {
    let text = |column| table.cell(row, column).map(str::to_owned);
    let words = |column| -> Vec<String> {
        let cell = table.cell(row, column).unwrap_or_default();
        let words = cell.split([' ', ',', ';']).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let record = table.cell(row, "record").map(|cell| {
        let read = Record::from_str(cell, true);
        read.map_err(|_| table.wrong(row, "record", "write main, sub, off or auto"))
    });
    let allow_basic = table.cell(row, "allow_basic").map(|cell| match cell {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(table.wrong(row, "allow_basic", "write true or false")),
    });
    if let Some(cell) = table.cell(row, "keep")
        && camera::keep_days(cell).is_err()
    {
        return Err(table.wrong(row, "keep", "write 1d to 999d, or 0d for ever"));
    }
    let (login, password_file) = (text("login"), text("password_file"));
    let alone = match (&login, &password_file) {
        (Some(_), None) => Some(("password_file", "a login needs a file with its password")),
        (None, Some(_)) => Some(("login", "a password needs a login")),
        _ => None,
    };
    if let Some((column, why)) = alone {
        return Err(table.wrong(row, column, why));
    }
    Ok(CameraFields {
        title: text("title"),
        site: text("site"),
        timezone: text("timezone"),
        rtsp: text("rtsp"),
        path: text("path"),
        sub_path: text("sub_path"),
        login,
        password_file: password_file.map(Into::into),
        allow_basic: allow_basic.transpose()?,
        record: record.transpose()?,
        keep: text("keep"),
        forward: words("forward"),
        allow_from: words("allow_from"),
    })
}

/// Puts what the server found in the rows that it was sent between what was found here, in the order of the lines.
fn refuse(table: &Table<'_>, sent: &[&Row], refused: &[RowProblem], wrong: &mut Vec<Wrong>) {
    let placed = refused
        .iter()
        .filter_map(|problem| Some(placed(table, sent.get(problem.row)?, problem)));
    wrong.extend(placed);
    wrong.sort_by_key(|wrong| wrong.line);
}

/// What the server found, at its line and in its column.
fn placed(table: &Table<'_>, row: &Row, problem: &RowProblem) -> Wrong {
    let column = problem.field.as_deref().and_then(|field| {
        let named = COLUMNS.iter().find(|(_, fields)| fields.contains(&field));
        named.map(|(column, _)| *column)
    });
    let hint = problem.hint.clone();
    let Some(column) = column else {
        let why = [Some(problem.title.clone()), hint].into_iter().flatten();
        return Wrong {
            line: row.line,
            cell: None,
            why: why.collect::<Vec<_>>().join(": "),
        };
    };
    // The cell is shown, and so is not said again.
    let why = match hint {
        Some(hint) if problem.title.ends_with(" is not right") => hint,
        Some(hint) => format!("{}: {hint}", problem.title),
        None => problem.title.clone(),
    };
    table.wrong(row, column, why)
}

/// All that is wrong, line by line.
fn told(file: &str, all: usize, wrong: &[Wrong]) -> anyhow::Error {
    let mut text = format!(
        "nothing was added: {} of {} wrong",
        wrong.len(),
        match all {
            1 => "1 row is".to_owned(),
            all => format!("{all} rows are"),
        }
    );
    for Wrong { line, cell, why } in wrong.iter().take(TOLD) {
        let _ = match cell {
            Some((column, value)) => {
                let value: String = value.chars().take(SHOWN).collect();
                let value = Untrusted::new(value).to_string();
                write!(text, "\n{file}:{line}: {column} = {value:?}: {why}")
            }
            None => write!(text, "\n{file}:{line}: {why}"),
        };
    }
    if let Some(more @ 1..) = wrong.len().checked_sub(TOLD) {
        let _ = write!(text, "\n… and {more} more");
    }
    Hinted::new(text, "correct the file; --dry-run looks and adds nothing").into()
}

#[cfg(test)]
mod tests;
