//! Passwords and codes: from files, from the environment, or asked for, unseen.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::Stop;
use crate::terminal::words::{Language, Say};

/// The variable that serves where no `--password-file` is given.
pub(super) const PASSWORD: &str = "PREAU_PASSWORD";
/// The variable that serves where no `--new-password-file` is given.
pub(super) const NEW_PASSWORD: &str = "PREAU_NEW_PASSWORD";

/// Whether somebody sits there who can be asked.
pub(super) fn on_terminal() -> bool {
    io::stdin().is_terminal()
}

/// A password that was given by file or by variable.
pub(super) fn given(
    file: Option<&Path>,
    variable: &str,
    language: Language,
) -> Result<Option<Zeroizing<String>>, Stop> {
    let text = match file {
        Some(path) => {
            let told = |why: &dyn std::fmt::Display| Stop::usage(format!("{}: {why}", path.display()));
            let bytes = Zeroizing::new(std::fs::read(path).map_err(|error| told(&error))?);
            let text = std::str::from_utf8(&bytes).map_err(|error| told(&error))?;
            Some(Zeroizing::new(without_line_break(text).to_owned()))
        }
        None => match std::env::var(variable) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => return Err(Stop::usage(format!("{variable}: not UTF-8"))),
        },
    };
    match text {
        Some(text) if text.is_empty() => Err(Stop::usage(Say::EmptyPassword.text(language))),
        text => Ok(text),
    }
}

fn without_line_break(text: &str) -> &str {
    match text.strip_suffix('\n') {
        Some(text) => text.strip_suffix('\r').unwrap_or(text),
        None => text,
    }
}

/// Asks for a password, unseen; where nobody can be asked, says which option or variable is missing.
pub(super) fn ask_password(
    prompt: Say<'_>,
    option: &str,
    variable: &str,
    language: Language,
) -> Result<Zeroizing<String>, Stop> {
    if !on_terminal() {
        return Err(Stop::usage(Say::NoPassword(option, variable).text(language)));
    }
    let typed = Zeroizing::new(rpassword::prompt_password(prompt.text(language)).map_err(Stop::failed)?);
    if typed.is_empty() {
        return Err(Stop::usage(Say::EmptyPassword.text(language)));
    }
    Ok(typed)
}

/// Asks for a new password, twice.
pub(super) fn ask_new_password(
    user: &str,
    option: &str,
    variable: &str,
    language: Language,
) -> Result<Zeroizing<String>, Stop> {
    let first = ask_password(Say::NewPassword(user), option, variable, language)?;
    let second = ask_password(Say::Again, option, variable, language)?;
    if first == second { Ok(first) } else { Err(Stop::usage(Say::PasswordsDiffer.text(language))) }
}

/// Asks for a line, seen; the question goes to standard error, so that standard output stays exact.
pub(super) fn ask_line(prompt: &str) -> Result<String, Stop> {
    eprint!("{prompt} ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Stop::failed)?;
    Ok(answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_not_part_of_a_password() {
        for (file, password) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\r", "a\r")] {
            assert_eq!(without_line_break(file), password, "{file:?}");
        }
    }
}
