//! What a member feels and what a server costs, with the real program on loopback: `cargo bench --bench loopback`.
//!
//! Prints the time from a line typed to the line shown at another member (fsync included), the server's CPU for a
//! sign-in, and what server and client cost while nobody says anything. Figures are of this machine and this moment;
//! nothing passes or fails by them.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

const PREAU: &str = env!("CARGO_BIN_EXE_preau");
const PASSWORD: &str = "a password for measuring";
const MESSAGES: usize = 1000;
const SIGN_INS: usize = 50;
const IDLE_MEMBERS: usize = 30;
const IDLE: Duration = Duration::from_secs(60);

/// A process that speaks JSON, one object a line.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, Value)>,
}

impl Program {
    fn start(args: &[&str]) -> Program {
        let mut child = Command::new(PREAU)
            .args(args)
            .env("PREAU_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let at = Instant::now();
                if let Ok(value) = serde_json::from_str(&line) {
                    let _ = sender.send((at, value));
                }
            }
        });
        Program { stdin: child.stdin.take(), child, lines }
    }

    /// Waits for the first object that is as wanted.
    fn wait(&self, wanted: impl Fn(&Value) -> bool) -> (Instant, Value) {
        loop {
            let (at, value) = self.lines.recv_timeout(Duration::from_secs(30)).expect("an answer within 30 s");
            if wanted(&value) {
                return (at, value);
            }
        }
    }

    fn wait_event(&self, event: &str) -> Value {
        self.wait(|value| value["event"] == event).1
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// User and system CPU so far, in clock ticks of 10 ms (Linux).
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(data: &Path) -> (Program, String) {
    let program = Program::start(&[
        "serve",
        "--bind",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
        "--name",
        "Bench",
        "--no-discovery",
        "--rate",
        "0",
        "--json",
    ]);
    let address = program.wait_event("listening")["address"].as_str().unwrap().to_owned();
    (program, address)
}

fn member(dir: &Path, address: &str, name: &str) -> Program {
    let profile = dir.join(name);
    let profile = profile.to_str().unwrap();
    let common = ["--server", address, "--user", name, "--profile", profile, "--trust", "first-use", "--json"];
    let register = [&["account", "register", "--first-name", "A", "--last-name", "B"], &common[..]].concat();
    Program::start(&register).wait_event("registered");
    let chat = Program::start(&[&["chat"], &common[..]].concat());
    chat.wait_event("welcome");
    chat
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn delivery(dir: &Path, address: &str) {
    let (mut zoe, bob) = (member(dir, address, "zoe"), member(dir, address, "bob"));
    let mut times = Vec::new();
    for n in 0..MESSAGES {
        let text = format!("message {n}");
        let typed = Instant::now();
        zoe.type_line(&text);
        let (shown, _) = bob.wait(|value| value["event"] == "message" && value["text"] == text.as_str());
        times.push(shown - typed);
    }
    times.sort_unstable();
    let of = |share| quantile(&times, share);
    println!(
        "delivery, one at a time, {MESSAGES} messages: median {:?}, p99 {:?}, p99.9 {:?}",
        of(0.5),
        of(0.99),
        of(0.999)
    );
}

fn sign_ins(dir: &Path, address: &str, server: &Program) {
    drop(member(dir, address, "amina"));
    let profile = dir.join("amina");
    let before = server.ticks();
    for _ in 0..SIGN_INS {
        let args = ["chat", "--server", address, "--user", "amina", "--profile", profile.to_str().unwrap(), "--json"];
        let chat = Program::start(&args);
        chat.wait_event("welcome");
    }
    let cpu = Duration::from_millis((server.ticks() - before) * 10);
    println!("sign-in by password, {SIGN_INS} of them: {:?} of server CPU each", cpu / SIGN_INS as u32);
}

fn idle(dir: &Path, address: &str, server: &Program) {
    let members: Vec<Program> = (0..IDLE_MEMBERS).map(|n| member(dir, address, &format!("idle{n}"))).collect();
    std::thread::sleep(Duration::from_secs(3));
    let before = (server.ticks(), members[0].ticks());
    std::thread::sleep(IDLE);
    let share = |ticks: u64| ticks as f64 * 10.0 / IDLE.as_millis() as f64 * 100.0;
    println!(
        "idle for {IDLE:?}: server with {IDLE_MEMBERS} members {:.2} % of a core, a client {:.2} %",
        share(server.ticks() - before.0),
        share(members[0].ticks() - before.1)
    );
}

fn main() {
    let dir: PathBuf = std::env::temp_dir().join(format!("preau-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (server, address) = server(&dir.join("room"));
    delivery(&dir, &address);
    sign_ins(&dir, &address, &server);
    idle(&dir, &address, &server);
    drop(server);
    let _ = std::fs::remove_dir_all(&dir);
}
