//! Keys as paths. A key is made of normal components only, in every adapter: what is no path below the root is no key.

use moorline_base::Untrusted;
use moorline_core::port::StoreError;

/// S3's bound for a key, in bytes.
const MAX_KEY: usize = 1024;
/// The bound of common file systems for a name, in bytes.
const MAX_NAME: usize = 255;
/// Our keys have seven folders; nobody needs twice as many.
const MAX_FOLDERS: usize = 16;

/// The components of a key: at least one, none of them empty, `.` or `..`.
///
/// # Errors
/// [`StoreError::Refused`] for every other text.
pub(crate) fn components(key: &str) -> Result<Vec<&str>, StoreError> {
    let refused = || {
        StoreError::Refused(format!(
            "{} is not the key of an object",
            Untrusted::new(key)
        ))
    };
    let parts: Vec<&str> = key.split('/').collect();
    let fits = key.len() <= MAX_KEY && parts.len() <= MAX_FOLDERS;
    (fits && parts.iter().all(|part| is_name(part)))
        .then_some(parts)
        .ok_or_else(refused)
}

/// The folders that a prefix names whole; what follows the last `/` may be the beginning of a name.
///
/// # Errors
/// [`StoreError::Refused`] if one of them is no name.
pub(crate) fn folders(prefix: &str) -> Result<Vec<&str>, StoreError> {
    match prefix.rsplit_once('/') {
        Some((folders, _)) => components(folders),
        None => Ok(Vec::new()),
    }
}

fn is_name(part: &str) -> bool {
    let bytes = 1..=MAX_NAME;
    bytes.contains(&part.len()) && !matches!(part, "." | "..") && !part.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_components_are_keys() {
        assert_eq!(components("v1/r030/a").unwrap(), ["v1", "r030", "a"]);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a/./b",
            ".",
            "a\0b",
            &"x".repeat(256),
            &"a/".repeat(30),
        ] {
            assert!(components(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_may_end_inside_a_name() {
        assert_eq!(folders("v1/r0").unwrap(), ["v1"]);
        assert_eq!(folders("").unwrap(), Vec::<&str>::new());
        assert!(folders("../x").is_err());
    }
}
