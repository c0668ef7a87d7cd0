//! Standard input, read by a thread of its own, since such a read cannot be called off.

use std::io::{self, BufRead};
use std::thread;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::terminal::chat::Input;

/// A line's length, in bytes, beyond which it is not kept: 250 times what can be sent.
const LINE: usize = 1 << 20;
/// Lines read ahead: what is typed faster than it can be queued waits in the pipe.
const AHEAD: usize = 256;

/// Starts reading; the end of input closes the channel.
pub(super) fn start() -> io::Result<Receiver<Input>> {
    let (to, lines) = channel(AHEAD);
    thread::Builder::new().name("input".into()).spawn(move || read(io::stdin().lock(), to))?;
    Ok(lines)
}

fn read(mut from: impl BufRead, to: Sender<Input>) {
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let chunk = match from.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                tracing::warn!(%error, "standard input");
                &[]
            }
        };
        let end = chunk.is_empty();
        let (rest, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&chunk[..at], true),
            None => (chunk, end),
        };
        too_long |= line.len() + rest.len() > LINE;
        if too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(rest);
        }
        let taken = rest.len() + usize::from(ended && !end);
        from.consume(taken);
        // A last line without a break counts; an empty one is the end and no line.
        if ended && !(end && line.is_empty() && !too_long) {
            let input = if too_long { Input::TooLong } else { whole(&line) };
            (line, too_long) = (Vec::new(), false);
            if to.blocking_send(input).is_err() {
                return;
            }
        }
        if end {
            return;
        }
    }
}

fn whole(line: &[u8]) -> Input {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match str::from_utf8(line) {
        Ok(text) => Input::Line { text: text.to_owned(), repaired: false },
        Err(_) => Input::Line { text: String::from_utf8_lossy(line).into_owned(), repaired: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Input> {
        let (to, mut from) = channel(1000);
        // A small buffer, so that lines lie across its ends.
        read(io::BufReader::with_capacity(7, bytes), to);
        std::iter::from_fn(|| from.try_recv().ok()).collect()
    }

    fn line(text: &str) -> Input {
        Input::Line { text: text.into(), repaired: false }
    }

    #[test]
    fn lines_are_cut_at_line_breaks() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"a"), [line("a")]);
        assert_eq!(lines(b"a\n"), [line("a")]);
        assert_eq!(lines(b"\n"), [line("")]);
        assert_eq!(lines(b"a\r\n\r\nb"), [line("a"), line(""), line("b")]);
        assert_eq!(lines("été à la plage\nnoël".as_bytes()), [line("été à la plage"), line("noël")]);
        assert_eq!(lines(b"a\xff\n"), [Input::Line { text: "a\u{fffd}".into(), repaired: true }]);
    }

    #[test]
    fn a_line_too_long_is_refused_and_the_next_one_taken() {
        let mut bytes = vec![b'x'; LINE];
        bytes.extend(b"\ny\n");
        assert_eq!(lines(&bytes)[1], line("y"));
        bytes.insert(0, b'x');
        assert_eq!(lines(&bytes), [Input::TooLong, line("y")]);
        assert_eq!(lines(&vec![b'x'; 3 * LINE]), [Input::TooLong]);
    }
}
