//! Closed lists of words: what stands as a label in metrics, in logs, keys and the API.

/// An enumeration, each variant with its word, so that the list of all and the words cannot part from it.
///
/// It gets `ALL`, in the order of the variants, and `as_str`; it has to be `Copy`.
#[macro_export]
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $vis:vis enum $name:ident {
            $($(#[$variant_attribute:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$attribute])*
        $vis enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl $name {
            /// All of them, in the order of their definition.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word in metrics, logs, keys and the API.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    words! {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Light {
            /// Go.
            Green = "green",
            Red = "red",
        }
    }

    #[test]
    fn every_variant_is_listed_with_its_word() {
        assert_eq!(Light::ALL, [Light::Green, Light::Red]);
        assert_eq!(Light::ALL.map(Light::as_str), ["green", "red"]);
    }
}
