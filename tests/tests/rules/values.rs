//! The chart's values: each that the schema takes stands in `values.yaml`, with what it is for. That nothing stands there which the schema does not
//! take is Helm's to say.

use std::{collections::BTreeMap, fs};

use moorline_tests::repository;
use serde_json::Value;

fn read(name: &str) -> String {
    let path = repository().join("charts/moorline").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of the schema that hold no others, by path.
fn settings(schema: &Value, above: &str) -> Vec<String> {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let mut found = Vec::new();
    for (name, field) in fields {
        let path = format!("{above}{name}");
        match field["properties"].is_object() {
            true => found.extend(settings(field, &format!("{path}."))),
            false => found.push(path),
        }
    }
    found
}

/// The keys of a file of values by path, and whether a comment right above says what each is for.
fn documented(text: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut says = false;
    for line in text.lines() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        if words.starts_with('#') {
            says |= words.starts_with("# -- ");
            continue;
        }
        let key = words.split_once(':').map(|(key, _)| key);
        let is_key = |key: &&str| key.chars().all(|c| c.is_ascii_alphanumeric());
        if let Some(key) = key.filter(is_key) {
            open.retain(|(above, _)| *above < indent);
            open.push((indent, key));
            let path: Vec<&str> = open.iter().map(|(_, key)| *key).collect();
            found.insert(path.join("."), says);
        }
        says = false;
    }
    found
}

#[test]
fn every_value_says_what_it_is_for() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut settings = settings(&schema, "");
    // Helm's own, of which this chart has none.
    settings.retain(|path| path != "global");
    assert!(settings.len() > 60, "the schema was not read: {settings:?}");
    let found = documented(&read("values.yaml"));
    settings.retain(|path| found.get(path) != Some(&true));
    assert_eq!(
        settings,
        Vec::<String>::new(),
        "write each into values.yaml, below a line that begins with `# -- `"
    );
}

#[test]
fn a_comment_is_the_next_values_alone() {
    let text = "# -- What it is.\n# And more.\nname: a\nbare: 1\npart:\n  # A note.\n  noted: 1\n  # -- So many.\n  count: 2\n";
    let said: Vec<(String, bool)> = documented(text).into_iter().collect();
    let wanted = [
        ("bare", false),
        ("name", true),
        ("part", false),
        ("part.count", true),
        ("part.noted", false),
    ];
    assert_eq!(said, wanted.map(|(path, says)| (path.to_owned(), says)));
}
