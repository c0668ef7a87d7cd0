//! Text from others, made safe to show: control and bidi characters are shown, not obeyed (proto.md, section 11). What
//! is stored and sent stays as it was typed; this is for screens.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with control characters as pictures (`␛`) and other characters that are unseen or that change the order of
/// what follows as `‹U+202E›`. Line breaks (`\n`) and tabs stay. Joiners stay where a script or an emoji needs them.
pub fn visible(text: &str) -> Cow<'_, str> {
    show(text, false)
}

/// As [`visible`], for one line of a terminal: line breaks are `⏎`, tabs `␉`.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    show(text, true)
}

/// Is this one of Unicode's default-ignorable characters, or another that shows nothing of itself? (Not: spaces.)
pub fn is_invisible(c: char) -> bool {
    // DerivedCoreProperties.txt, Default_Ignorable_Code_Point; then line and paragraph separators and interlinear
    // annotation, which are unseen too.
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        | '\u{2028}'..='\u{2029}' | '\u{fff9}'..='\u{fffb}')
}

/// The first character that [`visible`] would not leave as it is.
pub(super) fn first_unshowable(text: &str) -> Option<char> {
    text.char_indices().find(|&(at, c)| !stays(text, at, c)).map(|(_, c)| c)
}

fn show(text: &str, one_line: bool) -> Cow<'_, str> {
    let plain = |at, c| stays(text, at, c) && !(one_line && matches!(c, '\n' | '\t'));
    let Some((first, _)) = text.char_indices().find(|&(at, c)| !plain(at, c)) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for (at, c) in text[first..].char_indices().map(|(at, c)| (first + at, c)) {
        let next = text[at + c.len_utf8()..].chars().next();
        match c {
            c if plain(at, c) => out.push(c),
            '\r' if next == Some('\n') => {} // The line break that follows says it.
            '\n' | '\u{2028}' | '\u{2029}' if one_line => out.push('⏎'),
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\x7f' => out.push('␡'),
            c => {
                let _ = write!(out, "‹U+{:04X}›", u32::from(c)); // A String takes anything.
            }
        }
    }
    Cow::Owned(out)
}

/// Is this character, at this place of the text, shown as it is?
fn stays(text: &str, at: usize, c: char) -> bool {
    if c.is_control() {
        return matches!(c, '\n' | '\t');
    }
    if !is_invisible(c) {
        return true;
    }
    let before = text[..at].chars().next_back();
    let after = text[at + c.len_utf8()..].chars().next();
    match c {
        // Variation selectors: colour or line drawing of an emoji; the form of an ideograph.
        '\u{fe0e}' | '\u{fe0f}' => before.is_some_and(takes_emoji_style),
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => before.is_some_and(is_ideograph),
        '\u{180b}'..='\u{180d}' | '\u{180f}' => before.is_some_and(|c| ('\u{1820}'..='\u{18aa}').contains(&c)),
        '\u{200c}' | '\u{200d}' if before.is_some_and(joins) => true,
        '\u{200d}' => before.is_some_and(|c| is_emoji(c) || c == '\u{fe0f}') && after.is_some_and(is_emoji),
        '\u{e0020}'..='\u{e007f}' => in_flag(text, at),
        _ => false,
    }
}

/// Scripts whose words need joiners and non-joiners: Arabic to Myanmar, Khmer and Mongolian, and the further Indic ones.
fn joins(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{1900}'..='\u{1cff}' | '\u{a800}'..='\u{abff}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{11000}'..='\u{11fff}')
        && !is_invisible(c)
}

fn takes_emoji_style(c: char) -> bool {
    is_emoji(c) || matches!(c, '#' | '*' | '0'..='9')
}

/// Blocks that hold emoji, taken whole: what else is in them is visible too.
fn is_emoji(c: char) -> bool {
    matches!(c, '©' | '®' | '‼' | '⁉' | '™' | 'ℹ' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | 'Ⓜ'
        | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '〰' | '〽' | '㊗' | '㊙'
        | '\u{1f000}'..='\u{1faff}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Is the tag character at `at` part of a flag such as Scotland's: a black flag, up to 6 tag letters, the end tag?
fn in_flag(text: &str, at: usize) -> bool {
    let is_tag = |c: &char| ('\u{e0020}'..='\u{e007e}').contains(c);
    let before = text[..at].chars().rev().take_while(is_tag).count();
    let flag = text[..at].chars().rev().nth(before) == Some('🏴');
    let from_here = text[at..].chars().take_while(is_tag).count();
    let ended = text[at..].chars().nth(from_here) == Some('\u{e007f}');
    flag && ended && (1..=6).contains(&(before + from_here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_change_is_not_copied() {
        for text in ["", "bonjour", "été 山田 🎒", "deux\nlignes\tet tab", "می\u{200c}خواهم", "क्\u{200d}ष"]
        {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn controls_are_pictures() {
        assert_eq!(visible("\x1b[31mrouge\x07\0\x7f"), "␛[31mrouge␇␀␡");
        assert_eq!(visible("a\u{9b}2Jb\u{85}"), "a‹U+009B›2Jb‹U+0085›");
        assert_eq!(visible("a\r\nb\rc"), "a\nb␍c");
    }

    #[test]
    fn bidi_and_unseen_characters_are_named() {
        for c in "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}\u{200b}\u{feff}\u{ad}\u{3164}\u{2028}".chars()
        {
            assert_eq!(visible(&format!("a{c}b")), format!("a‹U+{:04X}›b", u32::from(c)));
        }
        assert_eq!(visible("a\u{e0041}"), "a‹U+E0041›");
        assert_eq!(visible("a\u{200d}b\u{fe0f}"), "a‹U+200D›b‹U+FE0F›");
        assert_eq!(visible("\u{200d}"), "‹U+200D›");
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(visible_line("a\nb\r\nc\td\u{2028}e\rf"), "a⏎b⏎c␉d⏎e␍f");
        assert!(matches!(visible_line("rien à changer"), Cow::Borrowed(_)));
    }

    #[test]
    fn emoji_sequences_stay_whole() {
        for text in ["👨‍👩‍👧", "❤️", "1️⃣", "🏳️‍🌈", "👩🏽‍🔬", "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}"]
        {
            assert_eq!(visible(text), text);
        }
        let endless = format!("🏴{}\u{e007f}", "\u{e0061}".repeat(7));
        assert!(visible(&endless).starts_with("🏴‹U+E0061›"));
    }

    #[test]
    fn nothing_shown_needs_to_be_shown_again() {
        for c in '\0'..=char::MAX {
            for text in [format!("{c}"), format!("🎒{c}🎒"), format!("ن{c}ن"), format!("山{c}")] {
                let shown = visible(&text);
                assert_eq!(visible(&shown), shown, "U+{:04X}", u32::from(c));
                assert!(!visible_line(&text).chars().any(char::is_control), "U+{:04X}", u32::from(c));
            }
        }
    }
}
