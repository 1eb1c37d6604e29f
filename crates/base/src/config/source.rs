//! Reading the file and the environment.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::field::{FieldType, Raw};
use super::problem::{ConfigErrors, Place, Problem};
use super::section::{SectionDoc, Settings};
use super::units::Complaint;
use crate::error::{Hinted, WithHint};
use crate::secret::{MASKED, Secret};

/// What the names of our settings begin with in the environment.
pub const ENVIRONMENT_PREFIX: &str = "MOORLINE_";

/// The file's greatest size: a configuration, not a log that someone named by mistake.
const FILE_LIMIT: u64 = 1 << 20;

/// How alike two names must be to be proposed (Jaro-Winkler, 0 to 1): "retension" and "retention" have 0.96, "port" and "path" 0.70.
const ALIKE: f64 = 0.8;

/// A configuration file: its name for messages, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    name: String,
    text: String,
}

impl ConfigFile {
    /// A text under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        ConfigFile {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Reads a file of at most 1 MiB. Blocks: for start and reload.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Hinted> {
        let name = path.display().to_string();
        let hint = || "name another one with --config, or leave it out: no configuration is needed";
        let told = |error: std::io::Error| {
            std::io::Error::new(
                error.kind(),
                format!("cannot read the configuration {name}: {error}"),
            )
        };
        let size = std::fs::metadata(path).map_err(told).hint(hint)?.len();
        if size > FILE_LIMIT {
            return Err(Hinted::new(
                format!("the configuration {name} is greater than 1 MiB"),
                hint(),
            ));
        }
        let text = std::fs::read_to_string(path).map_err(told).hint(hint)?;
        Ok(ConfigFile { name, text })
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn place(&self, offset: usize) -> Place {
        Place::File(self.name.clone(), self.line(offset))
    }
}

#[derive(Debug)]
struct Entry {
    raw: Raw,
    place: Place,
}

type Entries = BTreeMap<(String, String), Entry>;

/// What was written, field by field, and what was found wrong on the way.
#[derive(Debug)]
pub struct Source {
    environment: Entries,
    file: Entries,
    errors: ConfigErrors,
}

/// Reads a configuration: the file, overlaid by the environment, over the defaults. Reads the files that `_file` fields name: for start and
/// reload.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load<T: Settings>(
    file: Option<&ConfigFile>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigErrors> {
    load_checked(file, environment, |_, _| ())
}

/// As [`load`]; `check` adds what has the right type and is wrong all the same. It sees the default where a field is wrong already.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_checked<T: Settings>(
    file: Option<&ConfigFile>,
    environment: impl IntoIterator<Item = (String, String)>,
    check: impl FnOnce(&T, &mut ConfigErrors),
) -> Result<T, ConfigErrors> {
    let known = T::describe();
    let mut source = Source {
        environment: Entries::new(),
        file: Entries::new(),
        errors: ConfigErrors::new(),
    };
    if let Some(file) = file {
        source.read_file(file, &known);
    }
    source.read_environment(environment, &known);
    let value = T::read(&mut source);
    check(&value, &mut source.errors);
    source.errors.or(value)
}

impl Source {
    fn read_file(&mut self, file: &ConfigFile, known: &[SectionDoc]) {
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            self.errors.push(Problem {
                place: file.place(offset),
                message: error.message().trim_end_matches('.').to_owned(),
                hint: None,
            });
        }
        if !errors.is_empty() {
            // What was recovered from a broken file may say something else than its author meant.
            return;
        }
        for (name, value) in table.get_ref() {
            self.read_section(file, known, name, value);
        }
    }

    fn read_section(
        &mut self,
        file: &ConfigFile,
        known: &[SectionDoc],
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let place = file.place(name.span().start);
        let section_name: &str = name.get_ref();
        let Some(fields) = value.get_ref().as_table() else {
            let owner = known
                .iter()
                .find(|section| has_field(section, section_name));
            self.errors.push(Problem {
                place,
                message: format!("field {section_name:?} stands outside of any section"),
                hint: owner
                    .map(|section| format!("{section_name:?} belongs into [{}]", section.name)),
            });
            return;
        };
        let Some(section) = known.iter().find(|section| section.name == section_name) else {
            self.errors.push(Problem {
                place,
                message: format!("unknown section [{section_name}]"),
                hint: section_hint(section_name, known),
            });
            return;
        };
        for (field, value) in fields {
            let place = file.place(field.span().start);
            let field: &str = field.get_ref();
            if has_field(section, field) {
                let raw = raw(value.get_ref());
                let name = format!("{}.{field}", section.name);
                self.errors.written(name, place.clone());
                let key = (section.name.to_owned(), field.to_owned());
                self.file.insert(key, Entry { raw, place });
            } else {
                self.errors.push(Problem {
                    place,
                    message: format!("unknown field {field:?} in [{section_name}]"),
                    hint: field_hint(field, section, known),
                });
            }
        }
    }

    fn read_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
        known: &[SectionDoc],
    ) {
        let names: Vec<String> = known.iter().flat_map(environment_names).collect();
        for (name, value) in environment {
            let Some((section, field)) = name
                .strip_prefix(ENVIRONMENT_PREFIX)
                .and_then(|rest| rest.split_once("__"))
            else {
                continue;
            };
            let place = Place::Environment(name.clone());
            if names.contains(&name) {
                let key = (section.to_ascii_lowercase(), field.to_ascii_lowercase());
                let name = format!("{}.{}", key.0, key.1);
                self.errors.written(name, place.clone());
                let raw = Raw::Environment(value);
                self.environment.insert(key, Entry { raw, place });
            } else {
                self.errors.push(Problem {
                    place,
                    message: "unknown setting in the environment".into(),
                    hint: proposal(&name, names.iter().cloned()),
                });
            }
        }
    }

    /// Takes one field out; when it is missing or wrong (then it is on the list) the default stands in. Called by
    /// [`config_section!`](crate::config_section).
    pub fn take<T: FieldType>(&mut self, section: &str, field: &str, default: T) -> T {
        let direct = (section.to_owned(), field.to_owned());
        let by_file = (section.to_owned(), format!("{field}_file"));
        for entries in [&mut self.environment, &mut self.file] {
            let value = entries.remove(&direct);
            let path = if T::SECRET {
                entries.remove(&by_file)
            } else {
                None
            };
            let mut shown = None;
            let (entry, result) = match (value, path) {
                (None, None) => continue,
                (Some(entry), None) => {
                    let read = T::read(&entry.raw);
                    (entry, read)
                }
                (None, Some(entry)) => {
                    let read = secret_of_file(&entry.raw);
                    // The path is no secret, and the field is the one that was written.
                    shown = Some((format!("{field}_file"), entry.raw.to_string()));
                    (entry, read)
                }
                (Some(_), Some(entry)) => {
                    let both = Complaint::new(
                        format!("{field} and {field}_file are both given"),
                        "remove one of them",
                    );
                    (entry, Err(both))
                }
            };
            return result.unwrap_or_else(|complaint| {
                let (field, shown) = shown.unwrap_or_else(|| {
                    let shown = match T::SECRET {
                        true => MASKED.to_owned(),
                        false => entry.raw.to_string(),
                    };
                    (field.to_owned(), shown)
                });
                self.errors.push(Problem {
                    place: entry.place,
                    message: format!("{section}.{field} = {shown}: {}", complaint.message),
                    hint: complaint.hint,
                });
                default
            });
        }
        default
    }
}

fn secret_of_file<T: FieldType>(raw: &Raw) -> Result<T, Complaint> {
    let path = std::path::PathBuf::read(raw)?;
    let secret = Secret::from_file(&path)
        .map_err(|error| Complaint::new(error.to_string(), error.hint()))?;
    T::read(&Raw::Text(secret.expose().clone()))
}

fn has_field(section: &SectionDoc, name: &str) -> bool {
    section.fields.iter().any(|field| {
        field.name == name || (field.secret && name.strip_suffix("_file") == Some(field.name))
    })
}

/// The names of a section's fields, with the `_file` variants.
fn field_names(section: &SectionDoc) -> impl Iterator<Item = String> + '_ {
    section.fields.iter().flat_map(|field| {
        let by_file = field.secret.then(|| format!("{}_file", field.name));
        std::iter::once(field.name.to_owned()).chain(by_file)
    })
}

fn environment_names(section: &SectionDoc) -> impl Iterator<Item = String> + '_ {
    field_names(section).map(|field| {
        format!(
            "{ENVIRONMENT_PREFIX}{}__{}",
            section.name.to_ascii_uppercase(),
            field.to_ascii_uppercase()
        )
    })
}

fn section_hint(name: &str, known: &[SectionDoc]) -> Option<String> {
    let names = || known.iter().map(|section| section.name.to_owned());
    proposal(name, names()).or_else(|| {
        let all: Vec<String> = names().map(|name| format!("[{name}]")).collect();
        Some(format!("there are {}", all.join(", ")))
    })
}

fn field_hint(field: &str, section: &SectionDoc, known: &[SectionDoc]) -> Option<String> {
    let other = known.iter().find(|other| has_field(other, field));
    other
        .map(|other| format!("{field:?} belongs into [{}]", other.name))
        .or_else(|| proposal(field, field_names(section)))
        .or_else(|| {
            let all: Vec<String> = field_names(section).collect();
            Some(format!("[{}] has {}", section.name, all.join(", ")))
        })
}

fn proposal(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    nearest(name, known).map(|best| format!("did you mean {best:?}?"))
}

/// The name that was perhaps meant; `None` if none is alike.
pub fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let (likeness, best) = known
        .map(|candidate| (strsim::jaro_winkler(name, &candidate), candidate))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness >= ALIKE).then_some(best)
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Raw::Other("integer", number.to_string()), Raw::Integer),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Float(number) => Raw::Other("float", number.to_string()),
        DeValue::Datetime(instant) => Raw::Other("datetime", instant.to_string()),
        DeValue::Table(_) => Raw::Other("table", "{ … }".into()),
    }
}
