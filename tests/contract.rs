//! The command line's contract, with the real program and nothing else: what a script may rely on.
//!
//! Every wait is for an event, with a deadline that only a fault reaches.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to say what is wrong, and waits in real time"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn preau() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_preau"));
    command.env_remove("PREAU_PASSWORD").env_remove("PREAU_NEW_PASSWORD").env("LC_ALL", "C");
    command
}

/// A directory of one test, gone when the test passes.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("contract-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A running program whose lines of JSON are read as they come.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<Value>,
    /// How much of `seen` was waited for.
    passed: usize,
    name: String,
}

impl Running {
    fn start(name: &str, mut command: Command) -> Running {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        let stdin = child.stdin.take();
        Running { child, stdin, lines, seen: Vec::new(), passed: 0, name: name.into() }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for the next object that `wanted` accepts; those before it are passed over, but stay in `seen`.
    fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            while self.passed < self.seen.len() {
                self.passed += 1;
                if wanted(&self.seen[self.passed - 1]) {
                    return self.seen[self.passed - 1].clone();
                }
            }
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))),
                Err(error) => {
                    let ended = error == RecvTimeoutError::Disconnected;
                    let mut said = String::new();
                    if ended {
                        let _ = self.child.stderr.take().unwrap().read_to_string(&mut said);
                    }
                    panic!("{}: no {what} (ended: {ended}): {said}\n{:#?}", self.name, self.seen);
                }
            }
        }
    }

    fn event(&mut self, kind: &str) -> Value {
        self.until(kind, |value| value["event"] == kind)
    }

    /// As `until`, but among what was passed over too: of two logs, or two messages, either's may come first.
    fn anywhere(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let passed = std::mem::take(&mut self.passed);
        let found = self.until(what, wanted);
        self.passed = self.passed.max(passed);
        found
    }

    fn message(&mut self, text: &str) -> Value {
        self.anywhere(text, |value| value["event"] == "message" && value["text"] == text && value["history"].is_null())
    }

    fn state(&mut self, line: u64, state: &str) -> Value {
        self.anywhere(state, |value| value["event"] == "state" && value["line"] == line && value["state"] == state)
    }

    fn notice(&mut self, code: &str) -> Value {
        self.until(code, |value| value["event"] == "notice" && value["code"] == code)
    }

    fn connection(&mut self, state: &str) -> Value {
        self.until(state, |value| value["event"] == "connection" && value["state"] == state)
    }

    /// The messages shown until the next `end`.
    fn found(&mut self) -> Vec<Value> {
        let from = self.passed;
        self.event("end");
        self.seen[from..self.passed].iter().filter(|value| value["history"] == true).cloned().collect()
    }

    /// Closes the input and waits for the end.
    fn ends(&mut self) -> i32 {
        self.stdin = None;
        self.ended()
    }

    fn ended(&mut self) -> i32 {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let rest: Vec<String> = self.lines.iter().collect();
                self.seen.extend(rest.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()));
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "{} does not end: {:#?}", self.name, self.seen);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn texts(&self, log: &str) -> Vec<&str> {
        let of_log = |value: &&Value| value["event"] == "message" && value["log"] == log && value["history"].is_null();
        self.seen.iter().filter(of_log).map(|value| value["text"].as_str().unwrap()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Server {
    running: Running,
    address: String,
    words: String,
}

impl Server {
    fn start(place: &Place, bind: &str) -> Server {
        let mut command = preau();
        command.args(["serve", "--bind", bind, "--data", &place.path("room"), "--name", "Salle 12"]);
        command.args(["--no-discovery", "--json"]);
        let mut running = Running::start("serve", command);
        let listening = running.event("listening");
        let words: Vec<&str> =
            listening["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(words.len(), 6);
        Server { address: listening["address"].as_str().unwrap().into(), words: words.join(" "), running }
    }

    /// As `kill -9` does.
    fn kill(mut self) -> String {
        self.running.child.kill().unwrap();
        self.running.child.wait().unwrap();
        self.address.clone()
    }

    fn terminate(&mut self) -> i32 {
        let pid = self.running.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.running.ended()
    }
}

/// A member and where they keep things.
struct Person<'a> {
    place: &'a Place,
    server: String,
    user: &'static str,
    password: String,
}

impl Person<'_> {
    fn account(&self, action: &str, more: &[&str]) -> Output {
        let mut command = preau();
        command.args(["account", action, "--server", &self.server, "--user", self.user, "--json"]);
        command.args(["--profile", &self.place.path(&format!("profile-{}", self.user))]);
        command.args(more).stdin(Stdio::null()).output().unwrap()
    }

    fn registers(&self, trust: &str) -> String {
        let more = ["--first-name", self.user, "--last-name", "Test", "--trust", trust];
        let output = self.account("register", &[&more[..], &["--password-file", &self.password]].concat());
        let registered = outcome(&output, 0);
        assert_eq!((&registered["event"], &registered["user"]), (&json!("registered"), &json!(self.user)));
        registered["recovery_code"].as_str().unwrap().into()
    }

    fn chat_as(&self, profile: &str, more: &[&str]) -> Running {
        let mut command = preau();
        command.args(["chat", "--server", &self.server, "--user", self.user, "--json"]);
        command.args(["--profile", &self.place.path(profile)]).args(more);
        Running::start(self.user, command)
    }

    /// With the password.
    fn chat(&self, more: &[&str]) -> Running {
        let more = [&["--password-file", &self.password], more].concat();
        self.chat_as(&format!("profile-{}", self.user), &more)
    }
}

/// The one object an `account` command prints.
fn outcome(output: &Output, code: i32) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let text = str::from_utf8(&output.stdout).unwrap();
    serde_json::from_str(text).unwrap_or_else(|_| panic!("one object, not {text:?}: {said}"))
}

fn person<'a>(place: &'a Place, server: &Server, user: &'static str) -> Person<'a> {
    let password = place.file(&format!("password-{user}"), &format!("le secret de {user}\n"));
    Person { place, server: server.address.clone(), user, password }
}

#[test]
fn three_members_tell_a_story_that_survives_the_server() {
    let place = Place::new("story");
    let server = Server::start(&place, "127.0.0.1:0");
    let [amina, bob, zoe] = ["amina", "bob", "zoe"].map(|user| person(&place, &server, user));
    amina.registers(&server.words);
    bob.registers("first-use");
    let code = zoe.registers("first-use");
    let again = person(&place, &server, "AMINA");
    let taken = again.account(
        "register",
        &["--first-name", "A", "--last-name", "B", "--password-file", &again.password, "--trust", "first-use"],
    );
    assert_eq!(outcome(&taken, 3)["code"], "name-taken");

    // Two are here and chat.
    let (mut a, mut b) = (amina.chat(&[]), bob.chat(&[]));
    let welcome = a.event("welcome");
    assert_eq!((&welcome["user"], &welcome["room"]), (&json!("amina"), &json!("Salle 12")));
    b.event("welcome");
    a.until("bob", |value| value["event"] == "presence" && value["user"] == "bob" && value["online"] == true);
    a.types("bonjour");
    let queued = a.state(1, "queued");
    assert_eq!(a.state(1, "sent")["id"], queued["id"]);
    let stored = a.state(1, "stored");
    assert_eq!((&stored["of"], &stored["submission"]), (&json!(1), &queued["id"]));
    let received = a.state(1, "received");
    assert_eq!((&received["received"], &received["of"], &received["id"]), (&json!(1), &json!(1), &stored["id"]));
    let heard = b.message("bonjour");
    assert_eq!((&heard["id"], &heard["from"], &heard["to"]), (&stored["id"], &json!("amina"), &Value::Null));
    assert_eq!((&heard["log"], &heard["seq"]), (&json!("room"), &stored["seq"]));
    let time = heard["time"].as_str().unwrap();
    let shape: String = time.chars().take(19).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!((shape.as_str(), time.ends_with('Z')), ("9999-99-99T99:99:99", true), "RFC 3339: {time}");

    // Privately: to one who is here, to one who is not, to nobody.
    a.types("psst@bob");
    let whisper = b.message("psst");
    assert_eq!((&whisper["log"], &whisper["to"]), (&json!("inbox"), &json!(["bob"])));
    a.types("une lettre @zoe @bob");
    let absent = a.notice("absent");
    assert_eq!(absent["line"], 3);
    assert!(absent["text"].as_str().unwrap().contains("zoe"));
    assert_eq!(b.message("une lettre")["to"], json!(["bob", "zoe"]));
    a.types("secret@nobody");
    assert_eq!(a.notice("no-such-member")["line"], 4);

    // Lists, and a new name that everybody sees at once.
    a.types("/online");
    let names = |value: &Value| -> Vec<String> {
        value["members"].as_array().unwrap().iter().map(|member| member["user"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&a.event("members")), ["amina", "bob"]);
    b.types("/name robert");
    let renamed = a.event("renamed");
    assert_eq!((&renamed["from"], &renamed["to"]), (&json!("bob"), &json!("robert")));
    b.event("renamed");
    b.types("/name zoe");
    assert_eq!(b.notice("name-taken")["line"], 2);
    a.types("/members");
    assert_eq!(names(&a.event("members")), ["amina", "robert", "zoe"]);

    // The third comes: her letter is there, what she was not sent is not.
    let mut z = zoe.chat(&[]);
    assert_eq!(z.message("une lettre")["to"], json!(["robert", "zoe"]));
    z.types("/history");
    assert_eq!(z.found().iter().map(|found| &found["text"]).collect::<Vec<_>>(), ["bonjour"]);
    z.types("/search psst");
    assert!(z.found().is_empty());
    a.until("zoe here", |value| value["event"] == "presence" && value["user"] == "zoe" && value["online"] == true);
    z.types("/quit");
    assert_eq!(z.ended(), 0);
    assert!(z.texts("room").is_empty(), "a fresh profile starts at the newest entry");
    a.until("zoe gone", |value| value["event"] == "presence" && value["user"] == "zoe" && value["online"] == false);

    // She forgot her password; her code sets a new one, once.
    let new = place.file("new-password", "un autre secret");
    let recovered = outcome(&zoe.account("recover", &["--code", &code, "--new-password-file", &new]), 0);
    assert_eq!(recovered["event"], "recovered");
    assert_ne!(recovered["recovery_code"], json!(code));
    let used = zoe.account("recover", &["--code", &code, "--new-password-file", &new]);
    assert_eq!(outcome(&used, 3)["code"], "wrong-credentials");
    let mut old = zoe.chat(&[]);
    assert_eq!(old.ends(), 3);
    assert!(old.seen.iter().any(|value| value["code"] == "wrong-credentials"));
    let mut z = zoe.chat_as("profile-zoe", &["--password-file", &new]);
    z.event("welcome");

    // The server dies; what is typed meanwhile goes out when it is back, in order.
    let address = server.kill();
    for running in [&mut a, &mut b, &mut z] {
        running.connection("away");
    }
    a.types("pendant la panne");
    a.types("et encore");
    a.types("à toi @robert");
    a.state(9, "queued");
    let server = Server::start(&place, &address);
    for line in [7, 8, 9] {
        a.state(line, "stored");
    }
    b.message("à toi");
    for running in [&mut b, &mut z] {
        running.message("et encore");
    }
    z.types("reçu");
    a.message("reçu");

    // Everything is found again.
    a.types("/history 3");
    let texts = |found: Vec<Value>| -> Vec<String> {
        found.iter().map(|value| value["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(a.found()), ["pendant la panne", "et encore", "reçu"]);
    a.types("/history @robert");
    assert_eq!(texts(a.found()), ["psst", "une lettre", "à toi"]);
    a.types("/search PANNE");
    assert_eq!(texts(a.found()), ["pendant la panne"]);
    z.types("/search toi");
    assert!(z.found().is_empty(), "a letter to somebody else");

    for running in [&mut a, &mut b, &mut z] {
        assert_eq!(running.ends(), 0, "{}: {:#?}", running.name, running.seen);
    }
    let room = ["bonjour", "pendant la panne", "et encore", "reçu"];
    assert_eq!((a.texts("room"), b.texts("room")), (room.to_vec(), room.to_vec()));
    assert_eq!(a.texts("inbox"), ["psst", "une lettre", "à toi"]);
    assert_eq!(b.texts("inbox"), ["psst", "une lettre", "à toi"]);
    drop(server);
}

#[test]
fn a_closed_server_says_goodbye_and_unsent_messages_go_out_next_time() {
    let place = Place::new("unsent");
    let mut server = Server::start(&place, "127.0.0.1:0");
    let amina = person(&place, &server, "amina");
    amina.registers("first-use");
    let mut a = amina.chat(&["--wait", "1"]);
    a.types("un");
    a.state(1, "stored");
    assert_eq!(server.terminate(), 0);
    let data = Path::new(&place.path("room")).join("room.db-wal");
    assert!(fs::metadata(&data).map_or(0, |meta| meta.len()) == 0, "the database is left clean");
    a.connection("away");
    a.types("deux");
    a.types("trois");
    a.state(3, "queued");
    assert_eq!(a.ends(), 6);
    assert!(a.seen.iter().any(|value| value["code"] == "unsent"));

    // Without a password: the token serves, also at a restarted server.
    let _server = Server::start(&place, &server.address);
    let mut a = amina.chat_as("profile-amina", &[]);
    a.types("quatre");
    assert_eq!(a.ends(), 0, "{:#?}", a.seen);
    assert_eq!(a.texts("room"), ["deux", "trois", "quatre"]);
    let stored: Vec<&Value> =
        a.seen.iter().filter(|value| value["state"] == "stored").map(|value| &value["line"]).collect();
    assert_eq!(stored, [&Value::Null, &Value::Null, &json!(1)]);
}

#[test]
fn exit_codes_tell_why() {
    let place = Place::new("exits");
    let server = Server::start(&place, "127.0.0.1:0");
    let amina = person(&place, &server, "amina");
    amina.registers("first-use");

    let wrong = place.file("wrong", "pas le secret\n");
    let mut refused = amina.chat_as("profile-amina", &["--password-file", &wrong]);
    assert_eq!(refused.ends(), 3);
    let mut nobody = person(&place, &server, "nobody").chat(&["--trust", "first-use"]);
    assert_eq!(nobody.ends(), 3);
    let codes = |running: &Running| -> Vec<Value> {
        running.seen.iter().filter(|value| value["event"] == "notice").map(|value| value["code"].clone()).collect()
    };
    assert_eq!(codes(&refused), codes(&nobody), "a wrong name and a wrong password look the same");

    let mut unknown = amina.chat_as("profile-unknown", &["--password-file", &amina.password]);
    assert_eq!(unknown.ends(), 5);
    let others = "zoo zoo zoo zoo zoo zoo";
    let mut changed = amina.chat_as("profile-unknown", &["--password-file", &amina.password, "--trust", others]);
    assert_eq!(changed.ends(), 5);

    let mut first = amina.chat(&[]);
    first.event("welcome");
    let mut second = amina.chat(&[]);
    assert_eq!(second.ends(), 7);
    assert_eq!(first.ends(), 0);

    assert_eq!(amina.chat_as("profile-fresh", &["--trust", "first-use"]).ends(), 2, "no password, nobody to ask");
    assert_eq!(amina.chat(&["--wait", "soon"]).ends(), 2);
    assert_eq!(amina.account("recover", &["--code", "TOO-SHORT"]).status.code(), Some(2));

    // With another server's key at the known address.
    let address = server.kill();
    let elsewhere = Place::new("exits-elsewhere");
    let impostor = Server::start(&elsewhere, &address);
    let mut not_it = amina.chat(&[]);
    assert_eq!(not_it.ends(), 5);
    impostor.kill();

    let mut silent = amina.chat(&[]);
    silent.types("personne ?");
    assert_eq!(silent.ended(), 4, "in a pipe nobody waits for ever");
    let mut silent = amina.chat(&["--wait", "0.2"]);
    assert_eq!(silent.ends(), 4);
}

#[test]
fn account_commands_are_seen_by_nobody() {
    let place = Place::new("account");
    let server = Server::start(&place, "127.0.0.1:0");
    let [amina, bob] = ["amina", "bob"].map(|user| person(&place, &server, user));
    amina.registers("first-use");
    bob.registers("first-use");
    let mut a = amina.chat(&[]);
    a.event("welcome");

    let renamed = outcome(&bob.account("rename", &["--password-file", &bob.password, "--new-name", "robert"]), 0);
    assert_eq!((&renamed["from"], &renamed["to"]), (&json!("bob"), &json!("robert")));
    assert_eq!(a.event("renamed")["to"], "robert");
    let new = place.file("new-password", "un autre secret");
    let old = ["--password-file", &bob.password, "--new-password-file", &new];
    assert_eq!(outcome(&bob.account("password", &old), 3)["code"], "wrong-credentials", "bob is robert now");
    let robert = Person { user: "robert", ..person(&place, &server, "bob") };
    let changed = outcome(&robert.account("password", &[&old[..], &["--trust", "first-use"]].concat()), 0);
    assert_eq!(changed["event"], "password");

    // No token was left: without a password one does not come in.
    assert_eq!(robert.chat_as("profile-bob", &[]).ends(), 2);
    let mut r = robert.chat_as("profile-bob", &["--password-file", &new]);
    r.event("welcome");
    a.until("robert", |value| value["event"] == "presence");
    let seen = a.seen.iter().filter(|value| value["event"] == "presence").count();
    assert_eq!(seen, 1, "the first presence of bob's is the chat's: {:#?}", a.seen);
    assert_eq!(r.ends(), 0);
    assert_eq!(a.ends(), 0);
}

#[test]
fn the_admin_works_beside_the_server() {
    let place = Place::new("admin");
    let server = Server::start(&place, "127.0.0.1:0");
    let zoe = person(&place, &server, "zoe");
    zoe.registers("first-use");
    let admin = |data: &str, more: &[&str]| -> (i32, String) {
        let output = preau().args(["admin", "--data", &place.path(data)]).args(more).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, users) = admin("room", &["users"]);
    assert_eq!((code, users.as_str()), (0, "1\tzoe\tzoe\tTest\tmember\n"));
    assert_eq!(admin("room", &["teacher", "zoe"]).0, 0);
    assert!(admin("room", &["users"]).1.contains("teacher"));
    assert_eq!(admin("room", &["teacher", "nobody"]).0, 2);
    assert_eq!(admin("nowhere", &["users"]).0, 2);

    // A reset code serves once the server has noticed it, within a second or two.
    let (_, said) = admin("room", &["reset-code", "zoe"]);
    let reset = said.trim().rsplit(' ').next().unwrap();
    let new = place.file("new-password", "un autre secret");
    let end = Instant::now() + DEADLINE;
    while zoe.account("recover", &["--code", reset, "--new-password-file", &new]).status.code() != Some(0) {
        assert!(Instant::now() < end, "{said}");
        thread::sleep(Duration::from_millis(300));
    }

    // Revoked, a member is thrown out; removed, they do not come in again.
    let mut z = zoe.chat_as("profile-zoe", &["--password-file", &new]);
    z.types("avant");
    z.state(1, "stored");
    assert_eq!(admin("room", &["revoke", "zoe"]).0, 0);
    z.notice("revoked");
    assert_eq!(z.ended(), 3);

    let backup = place.path("backup");
    assert_eq!(admin("room", &["backup", &backup]).0, 0);
    assert_eq!(admin("room", &["backup", &backup]).0, 2, "a backup is never overwritten");
    assert_eq!(admin("room", &["check"]).0, 0);
    assert_eq!(admin("room", &["remove", "zoe"]).0, 0);
    let end = Instant::now() + DEADLINE;
    while zoe.chat_as("profile-zoe", &["--password-file", &new]).ends() != 3 {
        assert!(Instant::now() < end, "the server never noticed");
    }

    // The backup is the room as it was then, under the same key.
    let address = server.kill();
    assert_eq!(admin("room", &["restore", &backup]).0, 2, "not over what is there");
    fs::remove_dir_all(place.path("room")).unwrap();
    assert_eq!(admin("room", &["restore", &backup]).0, 0);
    let _server = Server::start(&place, &address);
    let mut z = zoe.chat_as("profile-zoe", &["--password-file", &new]);
    z.types("/history");
    assert_eq!(z.found().iter().map(|found| &found["text"]).collect::<Vec<_>>(), ["avant"]);
    assert_eq!(z.ends(), 0);
}

#[test]
fn an_impaired_network_says_so_and_loses_nothing() {
    let place = Place::new("impaired");
    let server = Server::start(&place, "127.0.0.1:0");
    let [amina, bob] = ["amina", "bob"].map(|user| person(&place, &server, user));
    amina.registers("first-use");
    bob.registers("first-use");
    let mut b = bob.chat(&[]);
    b.event("welcome");
    let bad = ["--loss", "30", "--delay", "5", "--jitter", "5", "--duplicate", "10", "--reorder", "20"];
    let mut a = amina.chat(&[&bad[..], &["--impairment-seed", "7", "--wait", "600"]].concat());
    assert!(a.notice("impaired")["text"].as_str().unwrap().contains("30"));
    let texts: Vec<String> = (1..=60).map(|n| format!("message {n}")).collect();
    for text in &texts {
        a.types(text);
    }
    assert_eq!(a.ends(), 0, "{:#?}", a.seen);
    b.message("message 60");
    assert_eq!(b.ends(), 0);
    assert_eq!(a.texts("room"), texts);
    assert_eq!(b.texts("room"), texts);
}
