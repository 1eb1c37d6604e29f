//! Configuration: one TOML file and the environment, into a struct that the caller describes.
//!
//! Owns: reading, typing, complaining (P11) and the generated reference. Does not own: any setting; the binary describes them with
//! [`config_section!`](crate::config_section) and [`config_root!`](crate::config_root), so that struct, default, documentation and known
//! names are one text. It reads no environment: the binary passes it in.
//!
//! - A field is `[section] field` in the file and `MOORLINE_SECTION__FIELD` in the environment, which wins. Names of the environment
//!   without `__` are not ours: Kubernetes makes `MOORLINE_PORT` and the like for a Service called `moorline`.
//! - Each [`Secret`](crate::Secret) field may also be given as `<field>_file`, a path (S25).
//! - All errors are collected before any is told; nothing is half applied.
//!
//! ```
//! use moorline_base::config::{self, HumanDuration, ConfigFile};
//!
//! moorline_base::config_section! {
//!     /// What is recorded.
//!     pub struct Archive in "archive" {
//!         /// Length of a segment.
//!         pub segment: HumanDuration = HumanDuration::from_secs(60),
//!     }
//! }
//! moorline_base::config_root! {
//!     /// The whole file.
//!     pub struct Settings {
//!         /// What is recorded.
//!         pub archive: Archive,
//!     }
//! }
//!
//! let file = ConfigFile::new("moorline.toml", "[archive]\nsegment = \"2m\"\n");
//! let settings: Settings = config::load(Some(&file), [])?;
//! assert_eq!(settings.archive.segment, HumanDuration::from_secs(120));
//! # Ok::<(), config::ConfigErrors>(())
//! ```

mod field;
mod problem;
mod reference;
mod secret_url;
mod section;
mod source;
mod units;

pub use field::{FieldType, Raw};
pub use problem::{ConfigErrors, Problem};
pub use reference::{effective_toml, reference_markdown};
pub use secret_url::SecretUrl;
pub use section::{FieldDoc, Section, SectionDoc, Settings};
pub use source::{ConfigFile, ENVIRONMENT_PREFIX, Source, load, load_checked, nearest};
pub use units::{ByteSize, Complaint, HumanDuration};

#[cfg(test)]
mod tests;
