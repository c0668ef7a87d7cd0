//! Names of people: which usernames are allowed, which two count as one, and what a first or last name may be
//! (proto.md, section 11). Who holds a name is the server's to know.

use std::fmt;
use std::ops::RangeInclusive;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::skeleton;

use super::show;

/// Characters of a username, after NFC.
pub const USERNAME_CHARS: RangeInclusive<usize> = 2..=32;
/// Characters of a first or last name.
pub const PERSON_NAME_CHARS: usize = 64;
/// Combining marks on one letter (UTS 39, 5.4): no language needs more, and a pile of them covers other lines.
const MARKS_ON_A_LETTER: usize = 4;

/// A username that proto.md allows, in NFC. Whether it is free is another question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A username of less than 2 characters; a first or last name that is empty.
    #[error("the name is too short")]
    TooShort,
    /// A username of more than 32 characters; a first or last name of more than 64.
    #[error("the name is too long")]
    TooLong,
    /// A character that may not stand in such a name, or not there.
    #[error("a name may not have {} in it", described(*.0))]
    Character(char),
}

impl Username {
    /// Takes what a person typed, spaces around it excluded, and puts it in NFC.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(typed: &str) -> Result<Username, NameError> {
        let name: String = typed.nfc().take(*USERNAME_CHARS.end() + 1).collect();
        let mut word = false;
        let mut marks = 0;
        for c in name.chars() {
            if is_combining_mark(c) && !show::is_invisible(c) {
                marks += 1;
                if !word || marks > MARKS_ON_A_LETTER {
                    return Err(NameError::Character(c));
                }
            } else if c.is_alphanumeric() && !show::is_invisible(c) {
                (word, marks) = (true, 0);
            } else if matches!(c, '.' | '_' | '-') {
                (word, marks) = (false, 0);
            } else {
                return Err(NameError::Character(c));
            }
        }
        match name.chars().count() {
            few if few < *USERNAME_CHARS.start() => Err(NameError::TooShort),
            many if many > *USERNAME_CHARS.end() => Err(NameError::TooLong),
            _ => Ok(Username(name)),
        }
    }

    /// The name as it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What makes it unique: see [`name_key`].
    pub fn key(&self) -> String {
        name_key(&self.0)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> String {
        name.0
    }
}

/// Folds a name so that two that look alike are one: NFC, case folding, the skeleton of UTS 39. What a person types is
/// folded the same way before it is looked up. Takes any text; a key is for comparing, never for showing.
pub fn name_key(name: &str) -> String {
    let mut key = name.to_owned();
    for _ in 0..FOLDS {
        let cased = caseless::default_case_fold_str(&key.nfc().collect::<String>());
        let folded: String = skeleton(&cased).collect();
        if folded == key {
            break;
        }
        key = folded;
    }
    key
}

/// A skeleton may be capital (that of `0` is `O`), so that folding is repeated until nothing changes; the tests see that
/// every character is done long before.
const FOLDS: usize = 8;

/// Takes a first or last name: in NFC, without spaces around it.
///
/// # Errors
/// The first fault found: nothing but spaces, more than 64 characters, a character that would have to be escaped to be
/// shown (controls, line breaks, bidi and other invisible ones).
pub fn check_person_name(typed: &str) -> Result<String, NameError> {
    let name: String = typed.trim().nfc().take(PERSON_NAME_CHARS + 1).collect();
    if name.is_empty() {
        return Err(NameError::TooShort);
    }
    if let Some(c) = show::first_unshowable(&name).or_else(|| name.chars().find(|c| c.is_control())) {
        return Err(NameError::Character(c));
    }
    if name.chars().count() > PERSON_NAME_CHARS { Err(NameError::TooLong) } else { Ok(name) }
}

fn described(c: char) -> String {
    match c {
        ' ' => "a space".into(),
        c if c.is_whitespace() || c.is_control() || show::is_invisible(c) => format!("U+{:04X}", u32::from(c)),
        c => format!("“{c}”"),
    }
}

#[cfg(test)]
mod tests {
    use super::NameError::{Character, TooLong, TooShort};
    use super::*;

    #[test]
    fn usernames_of_every_script_are_allowed() {
        let a_mark_each = "हिन्दी";
        for name in ["bob", "zoé", "a1", "Jean-Luc", "m.l_k", "Ярослав", "山田", "ⵜⴰⵎⴰ", "نور", a_mark_each, "7b"]
        {
            assert_eq!(Username::parse(name).unwrap().as_str(), name);
        }
        assert!(Username::parse(&"é".repeat(32)).is_ok());
    }

    #[test]
    fn a_decomposed_name_is_composed() {
        let name = Username::parse("zoe\u{301}").unwrap();
        assert_eq!(name.as_str(), "zoé");
        let thirty_two = "e\u{301}".repeat(32);
        assert_eq!(Username::parse(&thirty_two).unwrap().as_str().chars().count(), 32);
    }

    #[test]
    fn other_usernames_are_refused_with_the_reason() {
        let long = "a".repeat(33);
        let huge = "a".repeat(1 << 20);
        let cases = [
            ("", TooShort),
            ("a", TooShort),
            ("e\u{301}", TooShort),
            (long.as_str(), TooLong),
            (huge.as_str(), TooLong),
            ("a b", Character(' ')),
            (" ab", Character(' ')),
            ("a@b", Character('@')),
            ("a/b", Character('/')),
            ("ab\n", Character('\n')),
            ("ab\0", Character('\0')),
            ("ab\u{202e}", Character('\u{202e}')),
            ("a\u{200d}b", Character('\u{200d}')),
            ("a\u{200b}b", Character('\u{200b}')),
            ("a\u{3164}", Character('\u{3164}')),
            ("a\u{115f}b", Character('\u{115f}')),
            ("a\u{fe0f}b", Character('\u{fe0f}')),
            ("a\u{34f}b", Character('\u{34f}')),
            ("a\u{2800}b", Character('\u{2800}')),
            ("ab🎒", Character('🎒')),
            ("\u{301}ab", Character('\u{301}')),
            ("a-\u{301}b", Character('\u{301}')),
            ("ax\u{316}\u{317}\u{318}\u{319}\u{31c}", Character('\u{31c}')),
        ];
        for (name, why) in cases {
            assert_eq!(Username::parse(name), Err(why), "{:?}", name.chars().take(40).collect::<String>());
        }
    }

    #[test]
    fn names_that_look_alike_have_one_key() {
        for (a, b) in [
            ("Bob", "bob"),
            ("ZOÉ", "zoe\u{301}"),
            ("straße", "STRASSE"),
            ("раураl", "paypal"),
            ("b0b", "bob"),
            ("1ea", "lea"),
            ("IVAN", "ivan"),
            ("rnarc", "marc"),
        ] {
            assert_eq!(name_key(a), name_key(b), "{a} and {b}");
        }
        for (a, b) in [("zoe", "zoé"), ("lea1", "lea2"), ("marc", "mark"), ("a.b", "a-b")] {
            assert_ne!(name_key(a), name_key(b), "{a} and {b}");
        }
    }

    #[test]
    fn a_key_is_its_own_key() {
        let allowed = |c: &char| c.is_alphanumeric() || is_combining_mark(*c);
        for c in ('\0'..=char::MAX).filter(allowed) {
            let key = name_key(&format!("a{c}\u{301}{c}"));
            assert_eq!(name_key(&key), key, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn person_names_are_trimmed_and_shown_as_they_are() {
        let o = |name: &str| Ok(name.to_owned());
        assert_eq!(check_person_name("  Zoé "), o("Zoé"));
        assert_eq!(check_person_name("Anne Marie d'Été-Noël"), o("Anne Marie d'Été-Noël"));
        assert_eq!(check_person_name("می\u{200c}نا"), o("می\u{200c}نا"));
        assert_eq!(check_person_name(&"é".repeat(64)), o(&"é".repeat(64)));
        assert_eq!(check_person_name(&"é".repeat(65)), Err(TooLong));
        assert_eq!(check_person_name(" \u{3000} "), Err(TooShort));
        assert_eq!(check_person_name("a\tb"), Err(Character('\t')));
        assert_eq!(check_person_name("a\nb"), Err(Character('\n')));
        assert_eq!(check_person_name("a\u{202e}b"), Err(Character('\u{202e}')));
    }

    #[test]
    fn an_error_reads_as_a_sentence() {
        assert_eq!(Character('@').to_string(), "a name may not have “@” in it");
        assert_eq!(Character('\u{202e}').to_string(), "a name may not have U+202E in it");
    }
}
