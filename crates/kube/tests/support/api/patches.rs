//! The two kinds of patch that change what is there: merge and JSON Patch.

use serde_json::{Value, json};

pub(super) fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (name, value) in fields {
                if value.is_null() {
                    object.as_object_mut().unwrap().remove(name);
                } else {
                    merge(&mut object[name.as_str()], value);
                }
            }
        }
        other => *object = other.clone(),
    }
}

/// `test`, `add`, `replace` and `remove`; `false` if a test fails or a path is not there.
pub(super) fn json_patch(object: &mut Value, patch: &Value) -> bool {
    for step in patch.as_array().into_iter().flatten() {
        let path = step["path"].as_str().unwrap_or_default();
        let (parent, last) = path.rsplit_once('/').unwrap_or_default();
        let last = last.replace("~1", "/").replace("~0", "~");
        let done = match step["op"].as_str() {
            Some("test") => object.pointer(path) == Some(&step["value"]),
            Some("remove") => match object.pointer_mut(parent) {
                Some(Value::Array(all)) => last.parse().is_ok_and(|index: usize| {
                    let there = index < all.len();
                    if there {
                        all.remove(index);
                    }
                    there
                }),
                Some(Value::Object(all)) => all.remove(&last).is_some(),
                _ => false,
            },
            Some("add" | "replace") => match object.pointer_mut(parent) {
                Some(Value::Array(all)) => {
                    let at = last.parse().unwrap_or(all.len()).min(all.len());
                    all.insert(at, step["value"].clone());
                    true
                }
                Some(Value::Object(all)) => {
                    all.insert(last, step["value"].clone());
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if !done {
            return false;
        }
    }
    true
}
