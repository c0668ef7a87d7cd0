//! What a typed line means: to whom, and which text (proto.md, section 11).
//!
//! The rule that everything here serves: a line that was meant for somebody is never sent to everybody. An `@` that
//! names nobody is an error to be shown, and `@@` is how a plain `@` is written.

use unicode_normalization::UnicodeNormalization;

use super::name::Username;
use crate::id::UserId;

/// Bytes of UTF-8 in one text.
pub const TEXT_BYTES: usize = 4096;
/// Recipients of a private message.
pub const RECIPIENTS: usize = 32;

/// A line understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// To whom, as first named, each once; empty: to everybody.
    pub to: Vec<UserId>,
    /// Their names as typed, in the order of `to`.
    pub names: Vec<String>,
    /// What is sent: at least one byte, at most 4,096.
    pub text: String,
}

impl std::fmt::Debug for Composed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Composed(to {:?}, {} bytes)", self.to, self.text.len())
    }
}

/// Why a line is not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// There is no text, or nothing but spaces.
    #[error("there is no text to send")]
    Empty,
    /// The text is longer than 4,096 bytes.
    #[error("the text is too long: {bytes} bytes of at most {TEXT_BYTES}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// What follows an `@` is nobody's name.
    #[error("there is no member “{name}”: nothing was sent (write @@ for a plain @)")]
    NoSuchMember {
        /// As typed, without spaces around it; empty if nothing follows the `@`.
        name: String,
    },
    /// More than 32 members are named.
    #[error("a private message goes to at most {RECIPIENTS} members")]
    TooManyRecipients,
}

/// Reads a line as a person typed it. `lookup` gives the member of a name; it should compare by
/// [`name_key`](super::name::name_key), so that `Text@BOB` reaches bob.
///
/// Of a run of `@` each pair is one plain `@`, and one left over at its end names who follows: `a@@@bob` sends `a@` to
/// bob. The full-width `＠` of an East Asian keyboard counts as an `@`.
///
/// # Errors
/// See [`ComposeError`]; of several faults, a wrong name is told first.
pub fn compose(line: &str, lookup: &dyn Fn(&str) -> Option<UserId>) -> Result<Composed, ComposeError> {
    let mut pieces = pieces(line);
    let mut named = Vec::new();
    while pieces.len() > 1 {
        let name = pieces[pieces.len() - 1].text.trim().nfc().collect::<String>();
        match lookup(&name) {
            Some(user) => named.push((user, name)),
            // Once somebody is named, an `@` further left may be text ("10 @ 2€, ok? @bob"), unless it too names.
            None if !named.is_empty() && Username::parse(&name).is_err() => break,
            None => return Err(ComposeError::NoSuchMember { name }),
        }
        pieces.pop();
    }
    let mut composed = Composed { to: Vec::new(), names: Vec::new(), text: text_of(&pieces) };
    for (user, name) in named.into_iter().rev() {
        if !composed.to.contains(&user) {
            composed.to.push(user);
            composed.names.push(name);
        }
        if composed.to.len() > RECIPIENTS {
            return Err(ComposeError::TooManyRecipients);
        }
    }
    match composed.text.len() {
        0 => Err(ComposeError::Empty),
        bytes if bytes > TEXT_BYTES => Err(ComposeError::TooLong { bytes }),
        _ => Ok(composed),
    }
}

/// A stretch of the line between two `@` that name.
#[derive(Default)]
struct Piece {
    /// The `@` it followed, None for the first.
    at: Option<char>,
    /// Without escapes.
    text: String,
}

/// Cuts the line at each `@` that is not one of a pair.
fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut piece = Piece::default();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        // Of a pair the second is taken here, so that the first stands for both.
        if !is_at(c) || chars.next_if(|&next| is_at(next)).is_some() {
            piece.text.push(c);
        } else {
            pieces.push(std::mem::replace(&mut piece, Piece { at: Some(c), text: String::new() }));
        }
    }
    pieces.push(piece);
    pieces
}

/// Puts pieces that turned out to be text together again.
fn text_of(pieces: &[Piece]) -> String {
    let whole: String = pieces.iter().flat_map(|piece| piece.at.into_iter().chain(piece.text.chars())).collect();
    whole.trim().to_owned()
}

/// `@`, or its full-width or small form.
fn is_at(c: char) -> bool {
    matches!(c, '@' | '＠' | '﹫')
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::ComposeError::{Empty, TooManyRecipients};
    use super::*;
    use crate::text::name::name_key;

    const MEMBERS: [&str; 5] = ["bob", "amina", "zoé", "jean-luc", "m.k"];

    fn member(name: &str) -> Option<UserId> {
        let place = MEMBERS.iter().position(|member| name_key(member) == name_key(name))?;
        Some(UserId(place as u32 + 1))
    }

    /// To whom and which text, or why not.
    type Meaning = Result<(&'static [u32], &'static str), ComposeError>;

    fn nobody(name: &str) -> Meaning {
        Err(ComposeError::NoSuchMember { name: name.into() })
    }

    #[test]
    fn lines_mean_what_they_say() {
        let cases: &[(&str, Meaning)] = &[
            // To everybody.
            ("salut", Ok((&[], "salut"))),
            ("  salut  ", Ok((&[], "salut"))),
            ("salut\r\n", Ok((&[], "salut"))),
            ("deux\nlignes", Ok((&[], "deux\nlignes"))),
            ("a@@b", Ok((&[], "a@b"))),
            ("@@bob", Ok((&[], "@bob"))),
            ("text@@bob", Ok((&[], "text@bob"))),
            ("@@", Ok((&[], "@"))),
            ("@@@@", Ok((&[], "@@"))),
            ("", Err(Empty)),
            (" \t\u{3000}\n", Err(Empty)),
            // To one.
            ("text@bob", Ok((&[1], "text"))),
            ("text @bob", Ok((&[1], "text"))),
            ("text@ bob ", Ok((&[1], "text"))),
            ("  text @ bob\n", Ok((&[1], "text"))),
            ("text@BOB", Ok((&[1], "text"))),
            ("text@zoe\u{301}", Ok((&[3], "text"))),
            ("text@jean-luc", Ok((&[4], "text"))),
            ("text@m.k", Ok((&[5], "text"))),
            ("text＠bob", Ok((&[1], "text"))),
            ("text﹫bob", Ok((&[1], "text"))),
            ("text@@@bob", Ok((&[1], "text@"))),
            ("text@@ @bob", Ok((&[1], "text@"))),
            ("@@@bob", Ok((&[1], "@"))),
            ("a@@b@bob", Ok((&[1], "a@b"))),
            ("x@@bob@amina", Ok((&[2], "x@bob"))),
            // To several.
            ("text@bob@amina", Ok((&[1, 2], "text"))),
            ("text @amina @bob", Ok((&[2, 1], "text"))),
            ("text@bob@bob", Ok((&[1], "text"))),
            ("text@bob@amina@BOB", Ok((&[1, 2], "text"))),
            // No text.
            ("@bob", Err(Empty)),
            (" @bob ", Err(Empty)),
            ("@bob@amina", Err(Empty)),
            // Nobody: nothing goes anywhere.
            ("text@nobody", nobody("nobody")),
            ("text@", nobody("")),
            ("text @ ", nobody("")),
            ("@", nobody("")),
            ("@@@", nobody("")),
            ("@nobody", nobody("nobody")),
            ("bob@example.com", nobody("example.com")),
            ("write to bob@example.com please", nobody("example.com please")),
            ("text@bob@", nobody("")),
            ("text@bob.", nobody("bob.")),
            ("text@bob, ça va ?", nobody("bob, ça va ?")),
            ("text@bo@@b", nobody("bo@b")),
            ("text@bob@@", nobody("bob@")),
            ("text@amina@@bob", nobody("amina@bob")),
            ("text@bob@nobody", nobody("nobody")),
            ("text@nobody@bob", nobody("nobody")),
            ("text@amina@nobody@bob", nobody("nobody")),
            ("bob@example.com @amina", nobody("example.com")),
            // An `@` left of the names that cannot be meant as a name is text.
            ("10 @ 2€, ok? @bob", Ok((&[1], "10 @ 2€, ok?"))),
            ("a@b @bob", Ok((&[1], "a@b"))),
            ("text@ @bob", Ok((&[1], "text@"))),
            ("x@amina@b, ok @bob", Ok((&[1], "x@amina@b, ok"))),
            ("10＠2€, ok? ＠bob", Ok((&[1], "10＠2€, ok?"))),
        ];
        for (line, meaning) in cases {
            let composed = compose(line, &member);
            match (&composed, meaning) {
                (Ok(composed), Ok((to, text))) => {
                    let ids: Vec<u32> = composed.to.iter().map(|user| user.0).collect();
                    assert_eq!((ids.as_slice(), composed.text.as_str()), (*to, *text), "{line:?}");
                }
                (Err(error), Err(expected)) => assert_eq!(error, expected, "{line:?}"),
                _ => panic!("{line:?} gave {composed:?}, expected {meaning:?}"),
            }
        }
    }

    #[test]
    fn names_are_given_as_typed_in_the_order_of_their_ids() {
        let composed = compose("hé @Amina @zoé @AMINA", &member).unwrap();
        assert_eq!(composed.to, [UserId(2), UserId(3)]);
        assert_eq!(composed.names, ["Amina", "zoé"]);
    }

    #[test]
    fn a_text_is_measured_as_it_is_sent() {
        let full = "é".repeat(TEXT_BYTES / 2);
        assert_eq!(compose(&format!(" {full} @bob"), &member).unwrap().text, full);
        assert_eq!(compose(&format!("{full}x"), &member), Err(ComposeError::TooLong { bytes: 4097 }));
        assert_eq!(compose(&"@@".repeat(4096), &member).unwrap().text.len(), 4096);
        assert!(matches!(compose(&format!("{full}x@nobody"), &member), Err(ComposeError::NoSuchMember { .. })));
    }

    #[test]
    fn thirty_two_different_recipients_are_the_most() {
        let by_number = |name: &str| name.strip_prefix("u").and_then(|n| n.parse().ok()).map(UserId);
        let to = |n: u32| (1..=n).map(|i| format!("@u{i}")).collect::<String>();
        assert_eq!(compose(&format!("x{}", to(32)), &by_number).unwrap().to.len(), 32);
        assert_eq!(compose(&format!("x{}{}", to(32), to(32)), &by_number).unwrap().to.len(), 32);
        assert_eq!(compose(&format!("x{}", to(33)), &by_number), Err(TooManyRecipients));
    }

    /// The last `@` that is not one of a pair, counted here in another way than `pieces` does.
    fn after_last_naming_at(line: &str) -> Option<String> {
        let folded = line.replace(['＠', '﹫'], "@").replace("@@", "\u{fdd0}");
        folded.rsplit_once('@').map(|(_, name)| name.replace('\u{fdd0}', "@"))
    }

    #[test]
    fn a_line_for_somebody_never_goes_to_everybody() {
        let alphabet =
            ["@", "@", "@", "@@", "bob", "amina", "zo", "é", " ", "x", ".", "\n", "＠", "\u{202e}", "🎒", "\u{301}"];
        let mut rng = ChaCha8Rng::seed_from_u64(0x70_72_65_61_75);
        let (mut private, mut public) = (0, 0);
        for _ in 0..50_000 {
            let pieces = rng.next_u32() % 10;
            let line: String = (0..pieces).map(|_| alphabet[rng.next_u32() as usize % alphabet.len()]).collect();
            let composed = compose(&line, &member);
            match after_last_naming_at(&line) {
                Some(name) if member(name.trim()).is_none() => {
                    assert!(matches!(composed, Err(ComposeError::NoSuchMember { .. })), "{line:?}");
                }
                Some(name) => {
                    if let Ok(composed) = composed {
                        assert!(composed.to.contains(&member(name.trim()).unwrap()), "{line:?}");
                        private += 1;
                    }
                }
                None => {
                    if let Ok(composed) = composed {
                        assert!(composed.to.is_empty(), "{line:?}");
                        assert!(!composed.text.is_empty(), "{line:?}");
                        public += 1;
                    }
                }
            }
        }
        assert!(private > 500 && public > 500, "the lines drawn show something: {private} private, {public} public");
    }
}
