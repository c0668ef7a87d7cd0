//! Everything the command line says to people, in English and in French, in one place.
//!
//! What scripts read (events, codes) has one language and is in `shown`; [`Say::code`] ties the two together.

use crate::record::Role;
use crate::wire::entrance::Refusal;
use crate::wire::frame::{ByeReason, SubmitRefusal};

/// A language people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// French.
    French,
}

impl Language {
    /// The language of the locale's variables, as the first that is set gives it: `LC_ALL`, `LC_MESSAGES`, `LANG`.
    pub fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Language {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
        if locale.is_some_and(|locale| locale.to_lowercase().starts_with("fr")) {
            Language::French
        } else {
            Language::English
        }
    }
}

/// Something to say. Text from others in it must already be fit to show.
#[derive(Clone, Debug, PartialEq)]
pub enum Say<'a> {
    /// A name that nobody has: nothing was sent.
    NoSuchMember(&'a str),
    /// These get the message when they come back.
    Absent(&'a [String]),
    /// The server takes no more for a while.
    RateLimited(u32),
    /// More than 4,096 bytes.
    TooLong,
    /// Nothing to send.
    Empty,
    /// More than 32 recipients.
    TooManyRecipients,
    /// A line that was not UTF-8.
    NotUtf8,
    /// A line of more than a megabyte.
    LineTooLong,
    /// A slash and something unknown.
    UnknownCommand(&'a str),
    /// What one can type.
    Help,
    /// The server's disk is full or failing.
    NotStoring,
    /// It works again.
    Storing,
    /// The server's history was restored from an earlier state, up to this entry.
    HistoryRestored(u64),
    /// This process loses, delays, doubles or reorders datagrams on purpose.
    Impaired(&'a str),
    /// The server writes the session's keys to a file.
    ServerKeyLog,
    /// This process does.
    OwnKeyLog(&'a str),
    /// This disk does not take the outbox.
    ProfileFailed(&'a str),
    /// An answer to a call, or to coming in.
    Refused(Refusal, u32),
    /// The session ended for good.
    Ended(ByeReason),
    /// Submissions that were not decided in time; they stay in the profile.
    Unsent(usize),
    /// A line that was not sent: the members' names were never known.
    LineNotSent,
    /// A message refused by the server.
    Failed(SubmitRefusal),
    /// No server answered.
    NeverReached(&'a str),
    /// The key is unknown and nobody can be asked.
    KeyUnknown(&'a str),
    /// Another key than the one known.
    KeyChanged(&'a str),
    /// Another process has the profile.
    ProfileInUse,
    /// The profile belongs to somebody else.
    ProfileOfAnother(&'a str),

    /// Name and words of a room, to compare.
    RoomWords(&'a str, &'a str),
    /// The question that follows.
    ConfirmWords,
    /// One is in: the room's name, one's own.
    Welcome(&'a str, &'a str),
    /// Looking for the server.
    Connecting,
    /// In a session again.
    Connected,
    /// The server is silent.
    Away,
    /// Somebody came.
    Came(&'a str),
    /// Somebody went.
    Went(&'a str),
    /// Somebody has another name.
    Renamed(&'a str, &'a str),
    /// A message was not sent: its line's number if it has one, the reason.
    MessageFailed(Option<u64>, &'a str),
    /// History or search ended.
    EndOfHistory,

    /// A prompt.
    Password(&'a str),
    /// A prompt.
    NewPassword(&'a str),
    /// A prompt.
    Again,
    /// A prompt.
    Code,
    /// The two typed passwords differ.
    PasswordsDiffer,
    /// No password was given and nobody can be asked: the option, the variable.
    NoPassword(&'a str, &'a str),
    /// A password must not be empty.
    EmptyPassword,
    /// An option that this sub-command needs.
    Missing(&'a str),
    /// Neither a recovery nor a reset code.
    NotACode,
    /// The account exists now.
    AccountMade(&'a str),
    /// The password is another now.
    PasswordReplaced(&'a str),
    /// The new recovery code.
    RecoveryCode(&'a str),

    /// The server is ready: its name and address.
    Listening(&'a str, &'a str),
    /// Its six words.
    TheWords(&'a str),
    /// The server is ending.
    Closing,
    /// The server's disk failed.
    StoreFailed(&'a str),

    /// A reset code for a user, and the hours it lasts.
    ResetCode(&'a str, &'a str, u64),
    /// A role given or taken.
    RoleSet(&'a str, Role),
    /// A user's sessions and tokens are over.
    SessionsRevoked(&'a str),
    /// A user was removed.
    Removed(&'a str),
    /// A backup was written; it holds the keys too.
    BackedUp(&'a str),
    /// A backup was put back.
    Restored(&'a str),
    /// The check found nothing wrong.
    CheckedWell,
    /// A name that no account has.
    NoSuchAccount(&'a str),
    /// A server runs on the directory, or another command works on it.
    DataInUse(&'a str),
}

impl Say<'_> {
    /// The code of the `notice` that says it, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Say::NoSuchMember(_) => "no-such-member",
            Say::Absent(_) => "absent",
            Say::RateLimited(_) => "rate-limited",
            Say::TooLong | Say::LineTooLong => "too-long",
            Say::Empty => "empty",
            Say::TooManyRecipients => "too-many-recipients",
            Say::NotUtf8 => "not-utf8",
            Say::UnknownCommand(_) => "unknown-command",
            Say::Help => "help",
            Say::NotStoring => "not-storing",
            Say::Storing => "storing",
            Say::HistoryRestored(_) => "history-restored",
            Say::Impaired(_) => "impaired",
            Say::ServerKeyLog | Say::OwnKeyLog(_) => "key-log",
            Say::ProfileFailed(_) => "profile-failed",
            Say::Refused(refusal, _) => refusal_code(*refusal),
            Say::Ended(ByeReason::Left | ByeReason::Closing) => "ended",
            Say::Ended(ByeReason::Revoked) => "revoked",
            Say::Ended(ByeReason::Removed) => "removed",
            Say::Ended(ByeReason::TooMany) => "too-many-sessions",
            Say::Unsent(_) => "unsent",
            Say::LineNotSent => "not-sent",
            Say::Failed(refusal) => submit_code(*refusal),
            Say::NeverReached(_) => "never-reached",
            Say::KeyUnknown(_) | Say::RoomWords(..) | Say::ConfirmWords => "key-unknown",
            Say::KeyChanged(_) => "key-changed",
            Say::ProfileInUse => "profile-in-use",
            Say::ProfileOfAnother(_) => "profile-of-another",
            _ => "other",
        }
    }

    /// What people read.
    pub fn text(&self, language: Language) -> String {
        let (english, french) = self.both();
        match language {
            Language::English => english,
            Language::French => french,
        }
    }

    fn both(&self) -> (String, String) {
        match *self {
            Say::NoSuchMember("") => two(
                "nothing was sent: no name follows the @ (write @@ for a plain @)",
                "rien n’a été envoyé : aucun nom ne suit le @ (écrire @@ pour un simple @)",
            ),
            Say::NoSuchMember(name) => (
                format!("nothing was sent: there is no member “{name}” (write @@ for a plain @)"),
                format!("rien n’a été envoyé : aucun membre « {name} » (écrire @@ pour un simple @)"),
            ),
            Say::Absent(names) => {
                let list = names.join(", ");
                (
                    format!("{list}: absent now, will get it on return"),
                    format!("{list} : absent pour l’instant, le recevra à son retour"),
                )
            }
            Say::RateLimited(wait_ms) => (
                format!("too fast: the server takes more in {}; what waits goes out by itself", seconds(wait_ms)),
                format!("trop vite : le serveur reprend dans {} ; ce qui attend partira tout seul", seconds(wait_ms)),
            ),
            Say::TooLong => two(
                "nothing was sent: the text is longer than 4096 bytes",
                "rien n’a été envoyé : le texte dépasse 4096 octets",
            ),
            Say::Empty => two("nothing was sent: there is no text", "rien n’a été envoyé : il n’y a pas de texte"),
            Say::TooManyRecipients => two(
                "nothing was sent: a private message goes to at most 32 members",
                "rien n’a été envoyé : un message privé va à 32 membres au plus",
            ),
            Say::NotUtf8 => two(
                "the line was not UTF-8: what could not be read was replaced by �",
                "la ligne n’était pas en UTF-8 : ce qui était illisible a été remplacé par �",
            ),
            Say::LineTooLong => two(
                "nothing was sent: the line is longer than a megabyte",
                "rien n’a été envoyé : la ligne dépasse un mégaoctet",
            ),
            Say::UnknownCommand(typed) => (
                format!(
                    "nothing was sent: {typed} is not understood (/help tells the commands, // begins a text with a slash)"
                ),
                format!(
                    "rien n’a été envoyé : {typed} n’est pas compris (/help donne les commandes, // commence un texte par une barre)"
                ),
            ),
            Say::Help => two(
                "text: to everybody · text@name: to name alone · text@a@b: to several · @@: a plain @ · /online · /members · \
                 /history [n] [@name] · /search words · /name NEW · /quit · //text: a text that begins with a slash",
                "texte : à tous · texte@nom : à nom seul · texte@a@b : à plusieurs · @@ : un simple @ · /online · /members · \
                 /history [n] [@nom] · /search mots · /name NOUVEAU · /quit · //texte : un texte qui commence par une barre",
            ),
            Say::NotStoring => two(
                "the server’s disk is full or failing: messages wait until it works again",
                "le disque du serveur est plein ou défaillant : les messages attendent qu’il remarche",
            ),
            Say::Storing => two("the server stores messages again", "le serveur enregistre de nouveau les messages"),
            Say::HistoryRestored(since) => (
                format!(
                    "the server’s history was restored from an earlier state: what was shown after number {since} is gone there"
                ),
                format!(
                    "l’historique du serveur a été restauré d’un état antérieur : ce qui suivait le numéro {since} n’y est plus"
                ),
            ),
            Say::Impaired(how) => (
                format!("the network is made worse on purpose here: {how}"),
                format!("le réseau est dégradé exprès ici : {how}"),
            ),
            Say::ServerKeyLog => two(
                "this server writes the keys of every session to a file: captures of this room can be read",
                "ce serveur écrit les clés de chaque session dans un fichier : les captures de cette salle sont lisibles",
            ),
            Say::OwnKeyLog(file) => (
                format!("the keys of this session are written to {file}: captures of it can be read"),
                format!("les clés de cette session sont écrites dans {file} : ses captures sont lisibles"),
            ),
            Say::ProfileFailed(why) => (
                format!("the profile cannot be written, nothing more is sent until it can: {why}"),
                format!("le profil ne peut pas être écrit, rien d’autre ne part d’ici là : {why}"),
            ),
            Say::Refused(refusal, wait_ms) => refused(refusal, wait_ms),
            Say::Ended(reason) => ended(reason),
            Say::Unsent(count) => (
                format!(
                    "{count} of your messages did not go out in time; they stay in the profile and go out next time"
                ),
                format!(
                    "{count} de vos messages ne sont pas partis à temps ; ils restent dans le profil et partiront la prochaine fois"
                ),
            ),
            Say::LineNotSent => two("this line was not sent", "cette ligne n’a pas été envoyée"),
            Say::Failed(refusal) => failed(refusal),
            Say::NeverReached(server) => {
                (format!("no server answers at {server}"), format!("aucun serveur ne répond à {server}"))
            }
            Say::KeyUnknown(words) => (
                format!(
                    "this room’s key is not known yet: {words} (--trust \"the six words on the server’s screen\", or --trust first-use)"
                ),
                format!(
                    "la clé de cette salle n’est pas encore connue : {words} (--trust \"les six mots à l’écran du serveur\", ou --trust first-use)"
                ),
            ),
            Say::KeyChanged(words) => (
                format!("this is not the room you know: what answers has another key ({words})"),
                format!("ce n’est pas la salle que vous connaissez : ce qui répond a une autre clé ({words})"),
            ),
            Say::ProfileInUse => {
                two("the profile is in use by another program", "le profil est utilisé par un autre programme")
            }
            Say::ProfileOfAnother(user) => (
                format!("the profile belongs to {user}: give another one with --profile"),
                format!("le profil appartient à {user} : en donner un autre avec --profile"),
            ),
            _ => self.both_for_people(),
        }
    }

    /// What scripts never see.
    fn both_for_people(&self) -> (String, String) {
        match *self {
            Say::RoomWords(name, words) => (
                format!("First time in the room “{name}”. Its six words: {words}"),
                format!("Première fois dans la salle « {name} ». Ses six mots : {words}"),
            ),
            Say::ConfirmWords => two(
                "Do these six words stand on the server’s screen? [y/N]",
                "Ces six mots sont-ils à l’écran du serveur ? [o/N]",
            ),
            Say::Welcome(room, user) => (
                format!("You are in “{room}” as {user}. /help tells the commands."),
                format!("Vous êtes dans « {room} », sous le nom {user}. /help donne les commandes."),
            ),
            Say::Connecting => two("looking for the server…", "recherche du serveur…"),
            Say::Connected => two("connected", "connecté"),
            Say::Away => two(
                "the server does not answer; what you type is kept and goes out when it is back",
                "le serveur ne répond pas ; ce que vous tapez est gardé et partira à son retour",
            ),
            Say::Came(name) => (format!("{name} is here"), format!("{name} est là")),
            Say::Went(name) => (format!("{name} has left"), format!("{name} est parti")),
            Say::Renamed(from, to) => (format!("{from} is now {to}"), format!("{from} s’appelle maintenant {to}")),
            Say::MessageFailed(line, why) => {
                let at = |word: &str| line.map_or(String::new(), |line| format!(" ({word} {line})"));
                (format!("not sent{}: {why}", at("line")), format!("non envoyé{} : {why}", at("ligne")))
            }
            Say::EndOfHistory => two("—", "—"),
            Say::Password(user) => (format!("Password of {user}: "), format!("Mot de passe de {user} : ")),
            Say::NewPassword(user) => {
                (format!("New password of {user}: "), format!("Nouveau mot de passe de {user} : "))
            }
            Say::Again => two("Once more: ", "Encore une fois : "),
            Say::Code => two("Recovery or reset code: ", "Code de récupération ou de réinitialisation : "),
            Say::PasswordsDiffer => two("the two passwords differ", "les deux mots de passe diffèrent"),
            Say::NoPassword(option, variable) => (
                format!("no password: give {option} FILE or set {variable}, or start this in a terminal"),
                format!("pas de mot de passe : donner {option} FICHIER ou {variable}, ou lancer ceci dans un terminal"),
            ),
            Say::EmptyPassword => two("the password is empty", "le mot de passe est vide"),
            Say::Missing(option) => (format!("{option} is missing"), format!("il manque {option}")),
            Say::NotACode => two(
                "this is no code: a recovery code has 20 letters and digits, a reset code 10",
                "ce n’est pas un code : un code de récupération a 20 lettres et chiffres, un code de réinitialisation 10",
            ),
            Say::AccountMade(user) => {
                (format!("The account {user} is registered."), format!("Le compte {user} est créé."))
            }
            Say::PasswordReplaced(user) => {
                (format!("The password of {user} is replaced."), format!("Le mot de passe de {user} est remplacé."))
            }
            Say::RecoveryCode(code) => (
                format!("Write this recovery code down, it is shown only once: {code}"),
                format!("Notez ce code de récupération, il n’est montré qu’une fois : {code}"),
            ),
            Say::Listening(name, address) => (
                format!("The room “{name}” is open at {address}"),
                format!("La salle « {name} » est ouverte à {address}"),
            ),
            Say::TheWords(words) => (format!("Its six words: {words}"), format!("Ses six mots : {words}")),
            Say::Closing => two("The room closes.", "La salle ferme."),
            Say::StoreFailed(why) => (
                format!("messages cannot be stored: {why}"),
                format!("les messages ne peuvent pas être enregistrés : {why}"),
            ),
            _ => self.both_for_teachers(),
        }
    }

    /// What `preau admin` says.
    fn both_for_teachers(&self) -> (String, String) {
        match *self {
            Say::ResetCode(user, code, hours) => (
                format!("Reset code of {user}, for one use within {hours} hours: {code}"),
                format!("Code de réinitialisation de {user}, pour un usage sous {hours} heures : {code}"),
            ),
            Say::RoleSet(user, Role::Teacher) => {
                (format!("{user} is a teacher now."), format!("{user} est maintenant enseignant."))
            }
            Say::RoleSet(user, Role::Member) => {
                (format!("{user} is a teacher no more."), format!("{user} n’est plus enseignant."))
            }
            Say::SessionsRevoked(user) => {
                (format!("{user} must sign in again, everywhere."), format!("{user} doit se reconnecter, partout."))
            }
            Say::Removed(user) => (
                format!("{user} is removed: the account cannot sign in, its messages stay."),
                format!("{user} est retiré : le compte ne peut plus se connecter, ses messages restent."),
            ),
            Say::BackedUp(file) => (
                format!("Backed up to {file}. It holds the room’s keys and every private message: keep it safe."),
                format!(
                    "Sauvegardé dans {file}. Ce fichier contient les clés de la salle et tous les messages privés : le garder en lieu sûr."
                ),
            ),
            Say::Restored(file) => (format!("Restored from {file}."), format!("Restauré depuis {file}.")),
            Say::CheckedWell => two("Everything is in order.", "Tout est en ordre."),
            Say::NoSuchAccount(user) => {
                (format!("there is no account “{user}”"), format!("il n’y a pas de compte « {user} »"))
            }
            Say::DataInUse(dir) => (
                format!("{dir}: a server, or another command, is at work there"),
                format!("{dir} : un serveur, ou une autre commande, y travaille"),
            ),
            _ => unreachable!("both and both_for_people say everything else"),
        }
    }
}

fn two(english: &str, french: &str) -> (String, String) {
    (english.to_owned(), french.to_owned())
}

fn seconds(wait_ms: u32) -> String {
    let tenths = wait_ms.div_ceil(100);
    if tenths.is_multiple_of(10) { format!("{} s", tenths / 10) } else { format!("{}.{} s", tenths / 10, tenths % 10) }
}

/// A refusal, for scripts.
pub fn refusal_code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongCredentials => "wrong-credentials",
        Refusal::Throttled => "throttled",
        Refusal::RegistrationClosed => "registration-closed",
        Refusal::NameTaken => "name-taken",
        Refusal::NameNotAllowed => "name-not-allowed",
        Refusal::TokenInvalid => "token-invalid",
        Refusal::Busy => "busy",
        Refusal::StoreFailed => "store-failed",
        Refusal::PersonName => "person-name",
        Refusal::TooManySessions => "too-many-sessions",
        Refusal::NotUnderstood => "not-understood",
        Refusal::NotPermitted => "not-permitted",
    }
}

/// Why a submission failed, for scripts.
pub fn submit_code(refusal: SubmitRefusal) -> &'static str {
    match refusal {
        SubmitRefusal::Empty => "empty",
        SubmitRefusal::TooLong => "too-long",
        SubmitRefusal::NoSuchMember => "no-such-member",
        SubmitRefusal::NoSuchRoom => "no-such-room",
        SubmitRefusal::TooManyRecipients => "too-many-recipients",
        SubmitRefusal::Parts => "parts",
    }
}

fn refused(refusal: Refusal, wait_ms: u32) -> (String, String) {
    let (english, french) = match refusal {
        Refusal::WrongCredentials => two("wrong name, password or code", "nom, mot de passe ou code incorrect"),
        Refusal::Throttled => two("too many tries", "trop d’essais"),
        Refusal::RegistrationClosed => two("registration is closed", "les inscriptions sont closes"),
        Refusal::NameTaken => two("the name is taken", "le nom est pris"),
        Refusal::NameNotAllowed => two(
            "the name is not allowed: 2 to 32 letters, digits, dots, hyphens or underscores",
            "le nom n’est pas permis : 2 à 32 lettres, chiffres, points, tirets ou soulignés",
        ),
        Refusal::TokenInvalid => two("the password is needed again", "il faut redonner le mot de passe"),
        Refusal::Busy => two("the server is busy", "le serveur est occupé"),
        Refusal::StoreFailed => two("the server cannot store", "le serveur ne peut rien enregistrer"),
        Refusal::PersonName => {
            two("first and last name have 1 to 64 characters each", "le prénom et le nom ont chacun 1 à 64 caractères")
        }
        Refusal::TooManySessions => two("too many sessions of this account", "trop de sessions de ce compte"),
        Refusal::NotUnderstood => two("the server did not understand", "le serveur n’a pas compris"),
        Refusal::NotPermitted => two("not permitted", "non permis"),
    };
    match wait_ms {
        0 => (english, french),
        wait => (
            format!("{english}; try again in {}", seconds(wait)),
            format!("{french} ; réessayer dans {}", seconds(wait)),
        ),
    }
}

fn ended(reason: ByeReason) -> (String, String) {
    match reason {
        ByeReason::Left => two("the session ended", "la session est terminée"),
        ByeReason::Closing => two("the server closed", "le serveur a fermé"),
        ByeReason::Revoked => two(
            "this account’s sessions were ended: sign in again with the password",
            "les sessions de ce compte ont été closes : se reconnecter avec le mot de passe",
        ),
        ByeReason::Removed => two("this account was removed", "ce compte a été retiré"),
        ByeReason::TooMany => {
            two("this account is signed in on too many devices", "ce compte est ouvert sur trop d'appareils")
        }
    }
}

fn failed(refusal: SubmitRefusal) -> (String, String) {
    match refusal {
        SubmitRefusal::Empty => two("there is no text", "il n’y a pas de texte"),
        SubmitRefusal::TooLong => two("longer than 4096 bytes", "plus de 4096 octets"),
        SubmitRefusal::NoSuchMember => two("a recipient is not a member", "un destinataire n’est pas membre"),
        SubmitRefusal::NoSuchRoom => two("there is no such room", "cette salle n’existe pas"),
        SubmitRefusal::TooManyRecipients => two("more than 32 recipients", "plus de 32 destinataires"),
        SubmitRefusal::Parts => two("its parts did not fit together", "ses morceaux ne vont pas ensemble"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_chooses() {
        let locale = |pairs: &'static [(&str, &str)]| {
            Language::of_locale(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
        };
        assert_eq!(locale(&[]), Language::English);
        assert_eq!(locale(&[("LANG", "fr_FR.UTF-8")]), Language::French);
        assert_eq!(locale(&[("LANG", "fr_FR.UTF-8"), ("LC_ALL", "C")]), Language::English);
        assert_eq!(locale(&[("LANG", "C"), ("LC_ALL", "fr")]), Language::French);
        assert_eq!(locale(&[("LANG", "fr_CA"), ("LC_ALL", "")]), Language::French);
    }

    #[test]
    fn names_stand_in_what_is_said_in_both_languages() {
        let names = ["amina".to_owned(), "zoé".to_owned()];
        for language in [Language::English, Language::French] {
            let said = Say::Absent(&names).text(language);
            assert!(said.contains("amina, zoé"), "{said}");
            assert!(Say::NoSuchMember("bbo").text(language).contains("bbo"));
            assert!(Say::Refused(Refusal::Throttled, 2_500).text(language).contains("2.5 s"));
            assert!(Say::DataInUse("/d").text(language).contains("/d"));
        }
    }
}
