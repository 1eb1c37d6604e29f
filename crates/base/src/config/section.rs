//! How a caller describes its settings: struct, default, documentation and known names as one text.

use super::field::FieldType;
use super::source::Source;

/// One field, for the reference and for the check of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDoc {
    /// The name in the file.
    pub name: &'static str,
    /// Its type in words.
    pub type_name: String,
    /// The default as it would stand in the file; empty when there is none.
    pub default: String,
    /// What it means.
    pub doc: &'static str,
    /// Secrets have a `_file` variant.
    pub secret: bool,
}

impl FieldDoc {
    /// The description of a field with its default.
    #[must_use]
    pub fn of<T: FieldType>(name: &'static str, default: &T, doc: &'static str) -> Self {
        FieldDoc {
            name,
            type_name: T::type_name(),
            default: default.show(),
            doc,
            secret: T::SECRET,
        }
    }
}

/// One `[section]`, for the reference and for the check of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionDoc {
    /// The name in brackets.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its fields in their order.
    pub fields: Vec<FieldDoc>,
}

/// One `[section]` as a struct. Made by [`config_section!`](crate::config_section).
pub trait Section: Default {
    /// Name, documentation and fields.
    fn describe() -> SectionDoc;
    /// Takes the fields out of a source; what is wrong goes into the source's list, and the default stands in.
    fn read(source: &mut Source) -> Self;
    /// Name and value of each field as it would stand in the file, secrets masked.
    fn show(&self) -> Vec<(&'static str, String)>;
    /// The names of the fields that another value differs in; secrets are compared, not shown.
    fn differing(&self, other: &Self) -> Vec<&'static str>;
}

/// The whole configuration as a struct of sections. Made by [`config_root!`](crate::config_root).
pub trait Settings: Default {
    /// All sections in their order.
    fn describe() -> Vec<SectionDoc>;
    /// Takes all sections out of a source.
    fn read(source: &mut Source) -> Self;
    /// Section name and fields, as [`Section::show`].
    fn show(&self) -> Vec<(&'static str, Vec<(&'static str, String)>)>;
    /// Section and field of what another value differs in, as [`Section::differing`].
    fn differing(&self, other: &Self) -> Vec<(&'static str, &'static str)>;
}

/// Describes one `[section]`: `field: Type = default`, each with its documentation, which goes into the reference page too.
///
/// The types are those that implement [`FieldType`]. The struct is `Debug`, `Clone`, `PartialEq` and `Default`.
#[macro_export]
macro_rules! config_section {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident in $section:literal {
            $($(#[doc = $field_doc:literal])* $field_vis:vis $field:ident: $type:ty = $default:expr),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $($(#[doc = $field_doc])* $field_vis $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $crate::config::Section for $name {
            fn describe() -> $crate::config::SectionDoc {
                let default = $name::default();
                $crate::config::SectionDoc {
                    name: $section,
                    doc: concat!($($doc, "\n",)* ""),
                    fields: vec![
                        $($crate::config::FieldDoc::of(stringify!($field), &default.$field, concat!($($field_doc, "\n",)* "")),)*
                    ],
                }
            }

            fn read(source: &mut $crate::config::Source) -> Self {
                let default = $name::default();
                $name { $($field: source.take($section, stringify!($field), default.$field),)* }
            }

            fn show(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), $crate::config::FieldType::show(&self.$field)),)*]
            }

            fn differing(&self, other: &Self) -> Vec<&'static str> {
                let fields = [$((stringify!($field), self.$field == other.$field),)*];
                let differing = fields.into_iter().filter(|(_, same)| !same);
                differing.map(|(field, _)| field).collect()
            }
        }
    };
}

/// Describes the whole configuration: a struct whose fields are sections.
#[macro_export]
macro_rules! config_root {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $($(#[doc = $section_doc:literal])* $section_vis:vis $section:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        $vis struct $name {
            $($(#[doc = $section_doc])* $section_vis $section: $type,)*
        }

        impl $crate::config::Settings for $name {
            fn describe() -> Vec<$crate::config::SectionDoc> {
                vec![$(<$type as $crate::config::Section>::describe(),)*]
            }

            fn read(source: &mut $crate::config::Source) -> Self {
                $name { $($section: $crate::config::Section::read(source),)* }
            }

            fn show(&self) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
                vec![$((
                    <$type as $crate::config::Section>::describe().name,
                    $crate::config::Section::show(&self.$section),
                ),)*]
            }

            fn differing(&self, other: &Self) -> Vec<(&'static str, &'static str)> {
                let mut differing = Vec::new();
                $(
                    let section = <$type as $crate::config::Section>::describe().name;
                    let fields = $crate::config::Section::differing(&self.$section, &other.$section);
                    differing.extend(fields.into_iter().map(|field| (section, field)));
                )*
                differing
            }
        }
    };
}
