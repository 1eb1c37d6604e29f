//! The configuration as text: the reference page and the effective file. Both come from the description alone, so they cannot lie.

use std::fmt::Write;

use super::section::{FieldDoc, SectionDoc, Settings};
use super::source::ENVIRONMENT_PREFIX;

/// The reference of all settings as Markdown: one `##` per section, one `###` per field. Ends with one line end.
#[must_use]
pub fn reference_markdown<T: Settings>() -> String {
    let mut page = String::new();
    for section in T::describe() {
        if !page.is_empty() {
            page.push('\n');
        }
        let _ = write!(
            page,
            "## `[{}]`\n\n{}\n",
            section.name,
            paragraph(section.doc)
        );
        for field in &section.fields {
            write_field(&mut page, &section, field);
        }
    }
    page
}

fn write_field(page: &mut String, section: &SectionDoc, field: &FieldDoc) {
    let environment =
        format!("{ENVIRONMENT_PREFIX}{}__{}", section.name, field.name).to_ascii_uppercase();
    let default = if field.default.is_empty() {
        "none".to_owned()
    } else {
        format!("`{}`", field.default)
    };
    let _ = write!(
        page,
        "\n### `{}.{}`\n\n{}\n\n- type: {}\n- default: {default}\n- environment: `{environment}`\n",
        section.name,
        field.name,
        paragraph(field.doc),
        field.type_name,
    );
    if field.secret {
        let _ = writeln!(
            page,
            "- from a file: `{}_file`, `{environment}_FILE`",
            field.name
        );
    }
}

/// Doc comments without the one space that stands before each of their lines.
fn paragraph(doc: &str) -> String {
    let lines: Vec<_> = doc
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n").trim().to_owned()
}

/// The configuration in force as a file: every field, secrets masked, a field without a value as a comment. For `config show`.
#[must_use]
pub fn effective_toml<T: Settings>(settings: &T) -> String {
    let mut file = String::new();
    for (section, fields) in settings.show() {
        if !file.is_empty() {
            file.push('\n');
        }
        let _ = writeln!(file, "[{section}]");
        for (name, value) in fields {
            if value.is_empty() {
                let _ = writeln!(file, "# {name} =");
            } else {
                let _ = writeln!(file, "{name} = {value}");
            }
        }
    }
    file
}
