//! Everything that is wrong with a configuration, told at once.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::units::Complaint;

/// Where a wrong value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In the file, at this line (from 1).
    File(String, usize),
    /// In the environment, under this name.
    Environment(String),
    /// In what the fields say together.
    Whole,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(name, line) => write!(f, "{name}:{line}: "),
            Place::Environment(name) => write!(f, "{name}: "),
            Place::Whole => Ok(()),
        }
    }
}

/// One thing that is wrong: `moorline.toml:3: archive.segment = "60": a duration needs a unit`, and its hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    /// The sentence, without place and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the file, then of the environment. Displays as all of it, each with its hint.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    /// Where each field that was written stands.
    places: BTreeMap<String, Place>,
}

impl ConfigErrors {
    /// Nothing wrong yet.
    #[must_use]
    pub fn new() -> Self {
        ConfigErrors::default()
    }

    /// Each thing that is wrong.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Notes where `section.field` was written.
    pub(super) fn written(&mut self, field: String, place: Place) {
        self.places.insert(field, place);
    }

    /// Adds what the fields say wrongly together: `field` is `section.field`, `value` as it is shown (never a secret's). It is told where the
    /// field was written, if it was.
    pub fn add(&mut self, field: &str, value: impl Display, complaint: Complaint) {
        let place = [field.to_owned(), format!("{field}_file")]
            .iter()
            .find_map(|field| self.places.get(field).cloned());
        self.push(Problem {
            place: place.unwrap_or(Place::Whole),
            message: format!("{field} = {value}: {}", complaint.message),
            hint: complaint.hint,
        });
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// `Ok(value)` when nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn or<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        self.problems
            .sort_by(|one, other| one.place.cmp(&other.place));
        Err(self)
    }
}

impl Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            Display::fmt(problem, f)?;
        }
        Ok(())
    }
}
