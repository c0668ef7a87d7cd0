//! Who may know whom: holds the layers of the crate by reading the paths in `src`.
//!
//! A module may name only the modules beneath it, and only the drivers (`net`, `cmd`, and `store` for its
//! files) may name the operating system. That is what lets the same cores run in the product, in the simulator and in
//! the fuzzer. The test reads text, not types: it takes every path outside of comments, strings and `#[cfg(test)]`
//! items, so that a fully qualified `std::fs::read` counts as much as a `use`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What one module of the crate may name.
struct Layer {
    name: &'static str,
    /// Modules of the crate, beside itself.
    modules: &'static [&'static str],
    /// What is outside of the crate and would be refused otherwise.
    outside: &'static [&'static str],
}

const CORE: &[&str] = &["id", "now", "record", "text", "wire", "proto"];

/// From the ground up. A module that is missing here fails the test: say where it belongs.
const LAYERS: &[Layer] = &[
    Layer { name: "id", modules: &[], outside: &[] },
    Layer { name: "now", modules: &[], outside: &[] },
    Layer { name: "record", modules: &["id", "now"], outside: &[] },
    Layer { name: "text", modules: &["id", "now"], outside: &[] },
    Layer { name: "wire", modules: &["id", "now", "record", "text"], outside: &[] },
    Layer { name: "proto", modules: &["id", "now", "record", "text", "wire"], outside: &[] },
    Layer { name: "server", modules: CORE, outside: &[] },
    Layer { name: "client", modules: CORE, outside: &[] },
    Layer { name: "store", modules: &["id", "now", "record"], outside: &["std::fs", "std::os", "std::thread"] },
    Layer { name: "impair", modules: &["now"], outside: &[] },
    Layer {
        name: "net",
        modules: &["id", "now", "record", "text", "wire", "proto", "server", "client", "store", "impair"],
        outside: SYSTEM,
    },
    Layer {
        name: "sim",
        modules: &["id", "now", "record", "text", "wire", "proto", "server", "client", "impair"],
        outside: &[],
    },
    // What is typed and shown, as values; its exit codes are the process's.
    Layer {
        name: "terminal",
        modules: &["id", "now", "record", "text", "wire", "proto", "client"],
        outside: &["std::process"],
    },
    Layer {
        name: "cmd",
        modules: &[
            "id", "now", "record", "text", "wire", "proto", "server", "client", "store", "impair", "net", "sim",
            "terminal",
        ],
        outside: SYSTEM,
    },
    Layer { name: "main", modules: &["cmd"], outside: SYSTEM },
];

/// Paths that know the operating system, the time or a global source of randomness.
const SYSTEM: &[&str] = &[
    "tokio",
    "socket2",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "rand::thread_rng",
    "rand::random",
    "rand::rngs::OsRng",
    "rand::rngs::ThreadRng",
];

#[test]
fn modules_name_only_what_lies_beneath_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in product_files(&src) {
        let within: Vec<String> = module_path(path.strip_prefix(&src).expect("listed under src"));
        if let Some(top) = within.first() {
            seen.insert(top.clone());
        }
        for fault in faults_of(&within, &text) {
            faults.push(format!("{}: {fault}", path.display()));
        }
    }
    assert!(seen.contains("wire") && seen.contains("proto"), "src was not read: {seen:?}");
    assert!(faults.is_empty(), "{} paths cross the layers:\n{}", faults.len(), faults.join("\n"));
}

/// Every file of the product, with its text bared of comments, strings and tests. Sorted.
fn product_files(src: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![src.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.insert(path.clone(), bared(&fs::read_to_string(&path).expect("sources are UTF-8")));
            }
        }
    }
    let mut tests = Vec::new();
    for (path, text) in &mut files {
        let (without, names) = without_tests(text);
        *text = without;
        let beside = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") | None => path.with_file_name(""),
            Some(_) => path.with_extension(""),
        };
        tests.extend(names.iter().map(|name| beside.join(name)));
    }
    let is_test = |path: &Path| tests.iter().any(|test| path.with_extension("") == *test || path.starts_with(test));
    files.into_iter().filter(|(path, _)| !is_test(path)).collect()
}

/// `proto/rtt.rs` is `["proto", "rtt"]`, `proto/mod.rs` is `["proto"]`, `lib.rs` is empty.
fn module_path(file: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| name == "mod" || (names.len() == 1 && name == "lib")) {
        names.pop();
    }
    names
}

/// What is wrong in the bared text of the module at `within`.
fn faults_of(within: &[String], text: &str) -> Vec<String> {
    let Some(top) = within.first() else { return Vec::new() };
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == top) else {
        return vec![format!("the module `{top}` has no place in tests/layers.rs")];
    };
    let mut faults = Vec::new();
    for Named { line, segments, imported } in paths(text) {
        let path = segments.join("::");
        let climbs = segments.iter().take_while(|segment| *segment == "super").count();
        let names_module = match segments[0].as_str() {
            "crate" | "preau" => segments.get(1),
            "super" if climbs >= within.len() => segments.get(climbs),
            _ => None,
        };
        if let Some(module) = names_module {
            let allowed = module == top || layer.modules.contains(&module.as_str());
            if !allowed && LAYERS.iter().any(|layer| layer.name == module) || module == "*" {
                faults.push(format!("line {line}: `{top}` may not name `{module}` ({path})"));
            }
            continue;
        }
        for refused in SYSTEM.iter().filter(|refused| !layer.outside.contains(refused)) {
            let whole = path.trim_end_matches("::*");
            let opens = imported && (refused.starts_with(&format!("{whole}::")));
            if whole == *refused || whole.starts_with(&format!("{refused}::")) || opens {
                faults.push(format!("line {line}: `{top}` may not name `{refused}` ({path})"));
            }
        }
    }
    faults
}

/// A path as it stands in the text, with its `{…}` multiplied out.
struct Named {
    line: usize,
    segments: Vec<String>,
    /// It ends a `use`, so that what lies beneath it can be named without it.
    imported: bool,
}

/// All paths of two or more segments, and all that is imported, in a bared text.
fn paths(text: &str) -> Vec<Named> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = (tokens[at].0, tokens[at].1.as_str());
        if token == "use" {
            at = use_tree(&tokens, at + 1, &[], &mut found);
        } else if is_name(token) {
            let mut segments = vec![token.to_owned()];
            at += 1;
            while at + 1 < tokens.len() && tokens[at].1 == "::" && is_name(&tokens[at + 1].1) {
                segments.push(tokens[at + 1].1.clone());
                at += 2;
            }
            if segments.len() > 1 {
                found.push(Named { line, segments, imported: false });
            }
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use` from `at`; gives where it ends.
fn use_tree(tokens: &[(usize, String)], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let mut segments = before.to_vec();
    while at < tokens.len() {
        let (line, token) = (tokens[at].0, tokens[at].1.as_str());
        match token {
            "::" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at].1 != "}" {
                    at = use_tree(tokens, at, &segments, found);
                    at += usize::from(at < tokens.len() && tokens[at].1 != "}"); // the comma
                }
                return at + 1;
            }
            "self" if !segments.is_empty() => at += 1,
            "as" => at += 2,
            "*" => {
                segments.push("*".into());
                at += 1;
            }
            name if is_name(name) => {
                segments.push(name.to_owned());
                at += 1;
            }
            // The end of this tree; or no `use` of names at all, but the `use<…>` of an `impl` type.
            _ => {
                if !segments.is_empty() {
                    found.push(Named { line, segments, imported: true });
                }
                return at;
            }
        }
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single signs, each with its line.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((index + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// The text with comments, strings and character literals blanked out; lines stay where they are.
fn bared(text: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    let mut bare = String::with_capacity(text.len());
    let mut at = 0;
    while at < signs.len() {
        let length = skipped(&signs[at..], at.checked_sub(1).map(|before| signs[before]));
        if length == 0 {
            bare.push(signs[at]);
            at += 1;
        } else {
            bare.extend(signs[at..at + length].iter().map(|sign| if *sign == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    bare
}

/// How many signs a comment or literal takes that starts here; 0: none does.
fn skipped(signs: &[char], before: Option<char>) -> usize {
    let next = |at: usize| signs.get(at).copied().unwrap_or('\0');
    let until = |from: usize, ends: &dyn Fn(usize) -> usize| {
        (from..signs.len()).find_map(|at| Some(ends(at)).filter(|end| *end > 0)).unwrap_or(signs.len())
    };
    match (signs[0], next(1)) {
        ('/', '/') => until(2, &|at| if signs[at] == '\n' { at } else { 0 }),
        ('/', '*') => {
            let (mut depth, mut at) = (0, 0);
            while at < signs.len() {
                match (signs[at], next(at + 1)) {
                    ('/', '*') => (depth, at) = (depth + 1, at + 2),
                    ('*', '/') => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
                if depth == 0 {
                    break;
                }
            }
            at.min(signs.len())
        }
        ('r', '"' | '#') if !before.is_some_and(|sign| (sign.is_alphanumeric() && sign != 'b') || sign == '_') => {
            let hashes = signs[1..].iter().take_while(|sign| **sign == '#').count();
            let closes = |at: usize| (1..=hashes).all(|more| next(at + more) == '#');
            match next(1 + hashes) {
                '"' => until(2 + hashes, &|at| if signs[at] == '"' && closes(at) { at + 1 + hashes } else { 0 }),
                _ => 0,
            }
        }
        ('"', _) => {
            let mut at = 1;
            while at < signs.len() && signs[at] != '"' {
                at += if signs[at] == '\\' { 2 } else { 1 };
            }
            (at + 1).min(signs.len())
        }
        ('\'', '\\') => until(3, &|at| if signs[at] == '\'' { at + 1 } else { 0 }),
        ('\'', _) if next(2) == '\'' => 3,
        _ => 0,
    }
}

/// The bared text without its `#[cfg(test)]` items, and the names of test modules that lie in files of their own.
fn without_tests(text: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut names, mut rest) = (String::new(), Vec::new(), text);
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let length = item_length(item, MARK.len());
        let words: Vec<String> = tokens(&item[MARK.len()..length]).into_iter().map(|(_, word)| word).collect();
        if let [.., key, name, end] = words.as_slice()
            && key == "mod"
            && end == ";"
        {
            names.push(name.clone());
        }
        kept.extend(item[..length].chars().filter(|sign| *sign == '\n'));
        rest = &item[length..];
    }
    kept.push_str(rest);
    (kept, names)
}

/// Where the item ends that starts at `from`: at its `;`, or at the `}` that closes its first `{`.
fn item_length(item: &str, from: usize) -> usize {
    let (mut depth, mut opened) = (0, false);
    for (at, sign) in item.char_indices().skip_while(|(at, _)| *at < from) {
        match sign {
            '{' => (depth, opened) = (depth + 1, true),
            '}' => depth -= 1,
            ';' if !opened => return at + 1,
            _ => {}
        }
        if opened && depth == 0 {
            return at + 1;
        }
    }
    item.len()
}

fn faults(module: &str, text: &str) -> Vec<String> {
    let within: Vec<String> = module.split("::").map(str::to_owned).collect();
    faults_of(&within, &without_tests(&bared(text)).0)
}

#[test]
fn a_crossing_is_found_however_it_is_written() {
    for (module, text) in [
        ("wire", "use crate::proto::rtt::Rtt;"),
        ("wire::header", "use super::super::client;"),
        ("proto", "use crate::{id::Seq, server::Server};"),
        ("server", "fn f() { let x = crate::client::Client::new(); }"),
        ("client", "use crate::*;"),
        ("store", "use crate::wire::frame::Frame;"),
        ("net", "use crate::cmd::serve;"),
        ("id", "use crate::now::Now;"),
        ("server", "use std::time::{Duration, Instant};"),
        ("server", "use std::time;"),
        ("client", "use std::{collections::BTreeMap, net::{self, SocketAddr}};"),
        ("client", "fn f() { std::thread::sleep(d) }"),
        ("proto", "use tokio::select;"),
        ("proto", "use rand::rngs::*;"),
        ("sim", "fn f() { std::fs::read(p) }"),
        ("text", "use std::env as e;"),
        ("novel", "fn f() {}"),
    ] {
        assert_eq!(faults(module, text).len().min(1), 1, "not found in {module}: {text}");
    }
}

#[test]
fn what_is_allowed_stays_quiet() {
    for (module, text) in [
        ("proto", "use crate::wire::{frame::{Frame, Tip}, header};\nuse super::rtt::Rtt;"),
        ("proto::rtt", "use super::ranges::Ranges;\nuse std::time::Duration;"),
        ("client", "use std::net::SocketAddr;\n// use tokio::time;\n/* crate::server /* nested */ */"),
        (
            "client",
            "const A: &str = \"crate::server\"; const B: &str = r#\"std::fs::\"read\"#; fn f<'a>(c: &'a char) {}",
        ),
        (
            "client",
            "fn f() -> char { '\"' }\nfn g() -> char { '\\'' }\n#[cfg(test)]\nmod tests { use crate::server::Server; fn h() { {} } }",
        ),
        ("store", "use std::fs::File;\nuse crate::record::Batch;"),
        ("net", "use tokio::net::UdpSocket;\nuse crate::client::Client;"),
        ("cmd", "use crate::{client, server};\nuse std::env;"),
        ("wire::frame", "impl X for super::super::id::Seq {}"),
        ("proto", "fn f<'a>(x: &'a X) -> impl Iterator + use<'a> { x }\nuse crate::{id::Seq, now::{Now, WallMs,},};"),
    ] {
        assert_eq!(faults(module, text), Vec::<String>::new(), "in {module}: {text}");
    }
}

#[test]
fn what_follows_a_test_is_read_again() {
    let text = "#[cfg(test)]\nmod tests { use crate::cmd; }\nfn f() { crate::cmd::x() }";
    assert_eq!(faults("client", text), ["line 3: `client` may not name `cmd` (crate::cmd::x)"]);
    assert_eq!(without_tests("#[cfg(test)]\npub(crate) mod fixtures;\nfn f() {}").1, ["fixtures"]);
}
