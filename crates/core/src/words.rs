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
    use crate::alarm::NoticeKind;
    use crate::port::AuditEvent;
    use crate::segment::Tier;
    use crate::status::RtspFault;

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

    /// Two texts of one thing: what the API writes by serde, and what keys and metrics have.
    #[test]
    fn serde_writes_the_word() {
        fn same<T: Copy + serde::Serialize, const N: usize>(
            all: [T; N],
            word: fn(T) -> &'static str,
        ) {
            for one in all {
                let text = serde_json::to_value(one).expect("a text");
                assert_eq!(text, word(one));
            }
        }
        same(NoticeKind::ALL, NoticeKind::as_str);
        same(AuditEvent::ALL, AuditEvent::as_str);
        same(Tier::ALL, Tier::as_str);
        same(RtspFault::ALL, RtspFault::as_str);
    }
}
