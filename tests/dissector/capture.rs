//! Captures made by hand: datagrams of the protocol in a classic pcap file, and tshark run over them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use preau::id::SessionIndex;
use preau::wire::frame::Frame;
use preau::wire::header::{Header, Type};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// An address and a port.
pub type End = (Ipv4Addr, u16);

/// The keys of one session, as a key log has them, and where it has come to. It stands in for the program's own
/// session, so that what the dissector reads is not made by the code that it is to explain.
pub struct Session {
    pub index: u32,
    pub client: End,
    pub server: End,
    up: [u8; 32],
    down: [u8; 32],
    counter: u64,
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

impl Session {
    pub fn new(index: u32, client: End, server: End) -> Session {
        let key = |salt: u8| std::array::from_fn(|i| salt ^ (index as u8).wrapping_mul(7) ^ (i as u8));
        Session { index, client, server, up: key(0x51), down: key(0xa7), counter: 0 }
    }

    /// Its line of the key log.
    pub fn key_log(&self) -> String {
        format!("SESSION {:08x} {} {}\n", self.index, hex(&self.up), hex(&self.down))
    }

    /// A readable or sealed datagram of these frames.
    pub fn datagram(&mut self, from: From, kind: Type, frames: &[Frame]) -> Vec<u8> {
        let mut body = Vec::new();
        frames.iter().for_each(|frame| frame.put(&mut body));
        self.protect(from, kind, &body)
    }

    /// The same, of any bytes.
    pub fn protect(&mut self, from: From, kind: Type, body: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let header = Header { kind, session: SessionIndex(self.index), counter: self.counter }.to_bytes();
        let key = if from == From::Client { &self.up } else { &self.down };
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        let mut datagram = header.to_vec();
        if kind == Type::Readable {
            datagram.extend_from_slice(body);
            let tag = seal(key, nonce, &datagram, &[]);
            datagram.extend(tag);
        } else {
            datagram.extend(seal(key, nonce, &header, body));
        }
        datagram
    }
}

/// ChaCha20-Poly1305: ciphertext and tag.
pub fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a key"));
    let mut sealed = text.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
        .expect("a datagram is short enough");
    sealed
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A capture in the making: a millisecond passes from one frame to the next.
pub struct Capture {
    dir: PathBuf,
    bytes: Vec<u8>,
    frames: u32,
    datagrams: Vec<Vec<u8>>,
    bodies: Vec<(From, Type, Vec<u8>)>,
    pub key_log: String,
}

impl Capture {
    /// Begins one, which will be written to a directory of its own.
    pub fn new(name: &str) -> Capture {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed); // Tests run side by side, some with the same name.
        let dir = std::env::temp_dir().join(format!("preau-dissector-{}-{number}-{name}", std::process::id()));
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
            bytes.extend_from_slice(&word.to_le_bytes()); // Magic, version 2.4, zone, accuracy, longest, Ethernet.
        }
        Capture { dir, bytes, frames: 0, datagrams: Vec::new(), bodies: Vec::new(), key_log: String::new() }
    }

    /// Adds a frame with one UDP datagram, and gives its number.
    pub fn add(&mut self, src: End, dst: End, payload: &[u8]) -> u32 {
        let mut frame = vec![2, 0, 0, 0, 0, dst.0.octets()[3], 2, 0, 0, 0, 0, src.0.octets()[3], 8, 0];
        let length = |more: usize| ((payload.len() + more) as u16).to_be_bytes();
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&length(28));
        frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend_from_slice(&src.0.octets());
        frame.extend_from_slice(&dst.0.octets());
        frame.extend_from_slice(&src.1.to_be_bytes());
        frame.extend_from_slice(&dst.1.to_be_bytes());
        frame.extend_from_slice(&length(8));
        frame.extend_from_slice(&[0, 0]); // No checksum.
        frame.extend_from_slice(payload);
        self.frames += 1;
        let (seconds, micros) = (1_760_000_000 + self.frames / 1000, self.frames % 1000 * 1000);
        for word in [seconds, micros, frame.len() as u32, frame.len() as u32] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.bytes.extend_from_slice(&frame);
        self.datagrams.push(payload.to_vec());
        self.frames
    }

    /// Adds a session's datagram and gives its frame's number.
    pub fn say(&mut self, session: &mut Session, from: From, kind: Type, frames: &[Frame]) -> u32 {
        let mut body = Vec::new();
        frames.iter().for_each(|frame| frame.put(&mut body));
        let datagram = session.protect(from, kind, &body);
        self.bodies.push((from, kind, body));
        self.carry(session, from, &datagram)
    }

    /// All datagrams added so far.
    pub fn datagrams(&self) -> &[Vec<u8>] {
        &self.datagrams
    }

    /// The bodies of those made by [`Capture::say`], as they were before they were protected.
    pub fn bodies(&self) -> &[(From, Type, Vec<u8>)] {
        &self.bodies
    }

    /// Adds bytes as a datagram between the ends of a session.
    pub fn carry(&mut self, session: &Session, from: From, datagram: &[u8]) -> u32 {
        match from {
            From::Client => self.add(session.client, session.server, datagram),
            From::Server => self.add(session.server, session.client, datagram),
        }
    }

    /// Writes the capture and the key log, to be read by tshark.
    pub fn finish(self) -> Reader {
        fs::create_dir_all(&self.dir).expect("the temporary directory takes files");
        fs::write(self.dir.join("capture.pcap"), &self.bytes).expect("the temporary directory takes files");
        fs::write(self.dir.join("keys.log"), &self.key_log).expect("the temporary directory takes files");
        Reader { dir: self.dir, frames: self.frames as usize }
    }
}

/// A capture on disk; removed at the end.
pub struct Reader {
    dir: PathBuf,
    pub frames: usize,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if std::env::var_os("PREAU_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir); // What is left in a temporary directory harms nobody.
        }
    }
}

impl Reader {
    /// Runs tshark with the dissector, with the key log or without, and sees that nothing failed in it.
    pub fn tshark(&self, keys: bool, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/wireshark/preau.lua");
        let mut tshark = Command::new("tshark");
        // A home of its own: neither the plugins nor the preferences of whoever runs the tests.
        tshark.env("HOME", &self.dir).env("XDG_CONFIG_HOME", &self.dir).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        tshark.arg("-X").arg(format!("lua_script:{}", script.display()));
        if keys {
            tshark.arg("-o").arg(format!("preau.key_log:{}", self.dir.join("keys.log").display()));
        }
        tshark.arg("-r").arg(self.dir.join("capture.pcap")).args(arguments);
        let output = tshark.output().unwrap_or_else(|error| {
            panic!("tshark cannot be run ({error}): these tests need it (Debian and Ubuntu: apt install tshark)")
        });
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "tshark {arguments:?} failed:\n{errors}");
        for line in errors.lines().chain(text.lines()) {
            let failed = ["Lua Error", "lua:", "preau.lua:", "dissector failed", "OOPS"];
            assert!(!failed.iter().any(|word| line.contains(word)), "the dissector failed: {line}");
        }
        text.into_owned()
    }

    /// The Info column, a line a frame.
    pub fn infos(&self, keys: bool) -> Vec<String> {
        let lines = self.tshark(keys, &["-o", r#"gui.column.format:"Info","%i""#]);
        lines.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// These fields of the frames that a display filter lets through; several values of a field are joined by commas.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut arguments = vec!["-Y", filter, "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"];
        fields.iter().for_each(|field| arguments.extend(["-e", field]));
        let lines = self.tshark(true, &arguments);
        lines.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    /// How many frames a display filter lets through, with the key log.
    pub fn count(&self, filter: &str) -> usize {
        self.fields(filter, &["frame.number"]).len()
    }
}
