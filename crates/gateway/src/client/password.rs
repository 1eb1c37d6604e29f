//! The password of a camera's own login, as it is mounted into the relay's pod: it never comes over the wire.

use std::path::Path;

use moorline_core::{Masked, SourceName};

use crate::reread::{self, FileError};

/// The password of a source as it is mounted now, without the line's end.
///
/// # Errors
/// [`FileError`]: it is not there, or cannot be read.
pub fn mounted_password(directory: &Path, source: SourceName) -> Result<Masked<String>, FileError> {
    let bytes = reread::read(&directory.join(source.as_str()))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Masked::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
