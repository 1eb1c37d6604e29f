//! What a store answers to LIST, before anybody relies on it: pure.
//!
//! Whoever lists goes on after the last key of a page for as long as there is more, and erasing deletes what is listed. A bucket may be a
//! tenant's own, behind whatever program answers there (rule S17): one that begins again and again, or lists what it was not asked for, would keep a
//! process busy for ever or have it delete what is somebody else's. So a page is taken as a whole or refused: its keys stand under the
//! prefix, behind the place from which they were asked for, and in the order of their bytes.

use moorline_core::port::{Listed, Page, StoreError};

/// How much of a foreign key an error quotes, in characters.
const QUOTED: usize = 120;

/// The page of what was listed under `prefix` behind `after`. An object without key or size is left out, as is one whose size is no number
/// of bytes.
///
/// # Errors
/// [`StoreError::Refused`]: this is no answer to what was asked.
pub(super) fn page<'a>(
    prefix: &str,
    after: &str,
    objects: impl IntoIterator<Item = (Option<&'a str>, Option<i64>)>,
    more: bool,
) -> Result<Page, StoreError> {
    let mut listed: Vec<Listed> = Vec::new();
    for (key, size) in objects {
        let (Some(key), Some(size)) = (key, size) else {
            continue;
        };
        let last = listed.last().map_or(after, |last| &last.key);
        if !key.starts_with(prefix) || key <= last {
            return Err(other("an object", key));
        }
        if let Ok(bytes) = u64::try_from(size) {
            let key = key.to_owned();
            listed.push(Listed { key, bytes });
        }
    }
    if more && listed.is_empty() {
        return Err(other("an end without an object", after));
    }
    Ok(Page {
        objects: listed,
        more,
    })
}

/// The names of the folders right under `prefix`, of those that were listed. One without a name (`v1//`) is somebody else's, and left out.
///
/// # Errors
/// [`StoreError::Refused`]: this is no answer to what was asked.
pub(super) fn folders<'a>(
    prefix: &str,
    listed: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for folder in listed {
        let name = folder.strip_prefix(prefix).and_then(|rest| {
            let name = rest.strip_suffix('/')?;
            (!name.contains('/')).then_some(name)
        });
        match name {
            Some("") => {}
            Some(name) => names.push(name.to_owned()),
            None => return Err(other("a folder", folder)),
        }
    }
    Ok(names)
}

fn other(what: &str, key: &str) -> StoreError {
    let quoted: String = key.chars().take(QUOTED).collect();
    StoreError::Refused(format!(
        "the store lists what it was not asked for: {what} at {quoted:?}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_to_something_else_is_refused() {
        let listed = |keys: &[&'static str], more| {
            let keys: Vec<_> = keys.iter().map(|key| (Some(*key), Some(5))).collect();
            page("v1/", "v1/b", keys, more)
        };
        assert_eq!(listed(&["v1/c", "v1/d"], true).unwrap().objects.len(), 2);
        assert!(listed(&[], false).unwrap().objects.is_empty());
        for wrong in [
            &["v1/a"][..],
            &["v1/b"],
            &["v1/d", "v1/c"],
            &["v1/c", "v1/c"],
            &["v2/a"],
        ] {
            assert!(listed(wrong, false).is_err(), "{wrong:?}");
        }
        assert!(
            listed(&[], true).is_err(),
            "more, and nothing to go on from"
        );
    }

    #[test]
    fn what_has_no_size_is_not_there() {
        let objects = [
            (Some("a"), None),
            (None, Some(1)),
            (Some("b"), Some(-1)),
            (Some("c"), Some(0)),
        ];
        let page = page("", "", objects, false).unwrap();
        assert_eq!(page.objects.len(), 1);
    }

    #[test]
    fn folders_are_right_below() {
        assert_eq!(
            folders("v1/", ["v1/a/", "v1//", "v1/b/"]).unwrap(),
            ["a", "b"].map(str::to_owned)
        );
        for wrong in ["v1/", "v1/a", "v1/a/b/", "w/a/"] {
            assert!(folders("v1/", [wrong]).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Whoever lists to the end comes to an end: each page that is taken leads further.
        #[test]
        fn a_page_that_is_taken_leads_further(
            after in "[a-c/]{0,3}",
            prefix in "[a-c]{0,1}",
            keys in prop::collection::vec(prop::option::weighted(0.9, "[a-c/]{0,4}"), 0..6),
            size in prop::option::of(any::<i64>()),
            more: bool,
        ) {
            let objects = keys.iter().map(|key| (key.as_deref(), size));
            if let Ok(page) = page(&prefix, &after, objects, more) {
                let keys: Vec<&str> = page.objects.iter().map(|object| &*object.key).collect();
                prop_assert!(keys.is_sorted_by(|a, b| a < b));
                prop_assert!(keys.iter().all(|key| *key > &*after && key.starts_with(&prefix)));
                prop_assert!(!page.more || !keys.is_empty());
            }
        }
    }
}
