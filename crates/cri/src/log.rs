//! The end of a container's log file, in the format that all CRI runtimes write:
//!
//! ```text
//! 2026-11-22T18:50:01.123456789Z stderr F I1122 18:50:01 server.go:1] starting
//! 2026-11-22T18:50:01.123456790Z stdout P the first part of a line that was too long and
//! 2026-11-22T18:50:01.123456791Z stdout F  its end
//! ```
//!
//! Only a bounded part of the file is read, from its end: logs may be large.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::CriError;

/// How much of a log is looked at, in bytes from its end.
const TAIL_BYTES: u64 = 256 << 10;
/// How long one joined line may get, in bytes: a program may write without any line end.
const LINE_BYTES: usize = 16 << 10;

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a container's log, its parts joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When the line's first part was written.
    pub time: Option<Timestamp>,
    /// Where it was written to.
    pub stream: Stream,
    /// What was written, without the line end.
    pub text: String,
}

/// The last `lines` lines of a container's log.
pub fn log_tail(path: &Path, lines: usize) -> Result<Vec<LogLine>, CriError> {
    let bytes =
        read_end(path, TAIL_BYTES).map_err(|source| CriError::Log { path: path.to_owned(), source })?;
    let mut parsed = parse(&String::from_utf8_lossy(&bytes));
    let surplus = parsed.len().saturating_sub(lines);
    parsed.drain(..surplus);
    Ok(parsed)
}

/// The last `lines` lines that say something. When none of them names an error, the newest one before
/// that does comes first: many programs follow their error by a page of usage.
pub(crate) fn telling_tail(path: &Path, lines: usize) -> Result<Vec<LogLine>, CriError> {
    let mut all = log_tail(path, usize::MAX)?;
    all.retain(|line| !line.text.trim().is_empty());
    let mut tail = all.split_off(all.len().saturating_sub(lines));
    if !tail.iter().any(LogLine::names_error)
        && let Some(error) = all.into_iter().rfind(LogLine::names_error)
        && let Some(first) = tail.first_mut()
    {
        *first = error;
    }
    Ok(tail)
}

impl LogLine {
    /// Whether this looks like the reason for an exit: what cobra, Go's flag package and runtime,
    /// klog (`E1122 …`, `F1122 …`) and zap write.
    fn names_error(&self) -> bool {
        const BEGINNINGS: [&str; 6] =
            ["Error:", "error:", "fatal", "panic:", "flag provided but not defined", "invalid value"];
        const LEVELS: [&str; 3] = [r#""level":"error""#, r#""level":"fatal""#, r#""level":"panic""#];
        let text = self.text.as_str();
        let klog = text.starts_with(['E', 'F']) && text[1..].chars().take(4).all(|c| c.is_ascii_digit());
        BEGINNINGS.iter().any(|b| text.starts_with(b))
            || LEVELS.iter().any(|l| text.contains(l))
            || (klog && text.len() > 5)
    }
}

/// The last `limit` bytes of a file, without the line that begins before them.
fn read_end(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(limit);
    // One byte more, to see whether a line begins right at the limit.
    file.seek(SeekFrom::Start(start.saturating_sub(1)))?;
    let mut bytes = Vec::new();
    // A bound here too: the file may grow faster than it is read.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if start > 0 {
        let cut = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.drain(..cut);
    }
    Ok(bytes)
}

/// Parses whole log lines and joins the parts of long ones. What is not in the format is left out:
/// a runtime that was killed may leave half a line.
fn parse(text: &str) -> Vec<LogLine> {
    let mut lines = Vec::new();
    // stdout and stderr are interleaved, so each has its own unfinished line.
    let mut open: [Option<LogLine>; 2] = [None, None];
    for raw in text.lines() {
        let Some((part, complete)) = parse_part(raw) else { continue };
        let slot = &mut open[part.stream as usize];
        match slot {
            Some(line) => {
                let room = LINE_BYTES.saturating_sub(line.text.len());
                line.text.push_str(&part.text[..part.text.floor_char_boundary(room)]);
            }
            None => *slot = Some(part),
        }
        if complete {
            lines.extend(slot.take());
        }
    }
    // A line whose end is not there yet is the most interesting one when the program has died.
    lines.extend(open.into_iter().flatten());
    lines
}

/// One line of the file: the part of a log line in it, and whether the log line ends with it.
fn parse_part(raw: &str) -> Option<(LogLine, bool)> {
    let (time, rest) = raw.split_once(' ')?;
    let (stream, rest) = rest.split_once(' ')?;
    // A part without text may have lost its last space.
    let (tags, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let stream = match stream {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; the first one says whether the line goes on.
    let complete = match tags.split(':').next() {
        Some("F") => true,
        Some("P") => false,
        _ => return None,
    };
    Some((LogLine { time: time.parse().ok(), stream, text: text.to_owned() }, complete))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|l| l.text.as_str()).collect()
    }

    #[test]
    fn reads_real_lines() {
        let log = file(concat!(
            "2026-11-22T18:50:01.123456789Z stderr F W1122 18:50:01.123381       1 registry.go:302] no such flag\n",
            "2026-11-22T18:50:02.5+01:00 stdout F \n",
            "2026-11-22T18:50:03.000000001Z stderr F Error: unknown flag: --nonsense\n",
        ));
        let lines = log_tail(log.path(), 10).unwrap();
        assert_eq!(
            texts(&lines),
            [
                "W1122 18:50:01.123381       1 registry.go:302] no such flag",
                "",
                "Error: unknown flag: --nonsense"
            ]
        );
        assert_eq!(lines[0].stream, Stream::Stderr);
        assert_eq!(lines[1].stream, Stream::Stdout);
        assert_eq!(lines[0].time.unwrap().to_string(), "2026-11-22T18:50:01.123456789Z");
        assert_eq!(texts(&log_tail(log.path(), 1).unwrap()), ["Error: unknown flag: --nonsense"]);
    }

    #[test]
    fn joins_parts_by_stream() {
        let log = file(concat!(
            "2026-11-22T18:50:01Z stdout P one \n",
            "2026-11-22T18:50:01Z stderr F between\n",
            "2026-11-22T18:50:02Z stdout P two \n",
            "2026-11-22T18:50:03Z stdout F three\n",
            "2026-11-22T18:50:04Z stderr P cut off by de",
        ));
        let lines = log_tail(log.path(), 10).unwrap();
        assert_eq!(texts(&lines), ["between", "one two three", "cut off by de"]);
        assert_eq!(lines[1].time.unwrap().to_string(), "2026-11-22T18:50:01Z");
    }

    #[test]
    fn leaves_out_what_is_no_log_line() {
        let log = file("garbage\n\n2026-11-22T18:50:01Z nowhere F x\n2026-11-22T18:50:01Z stdout F good\n");
        assert_eq!(texts(&log_tail(log.path(), 10).unwrap()), ["good"]);
    }

    #[test]
    fn reads_only_the_end_of_a_large_log() {
        use std::fmt::Write;
        let mut text = String::new();
        for n in 0..20_000 {
            writeln!(text, "2026-11-22T18:50:01Z stdout F line {n:06}").unwrap();
        }
        let log = file(&text);
        let lines = log_tail(log.path(), usize::MAX).unwrap();
        let line = "2026-11-22T18:50:01Z stdout F line 000000\n".len();
        assert_eq!(lines.len(), usize::try_from(TAIL_BYTES).unwrap() / line);
        assert_eq!(lines.last().unwrap().text, "line 019999");
        assert!(lines.iter().all(|l| l.text.len() == "line 000000".len()), "no half line");
    }

    #[test]
    fn an_endless_line_is_bounded() {
        let part = format!("2026-11-22T18:50:01Z stdout P {}\n", "é".repeat(4000));
        let lines = log_tail(file(&part.repeat(20)).path(), 10).unwrap();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].text.len() <= LINE_BYTES);
    }

    #[test]
    fn an_error_before_a_page_of_usage_is_kept() {
        let line = |text: &str| format!("2026-11-22T18:50:01Z stderr F {text}\n");
        let text =
            ["flag provided but not defined: -x", "Usage:", "", "  -a", "  -b", "  -c"].map(line).concat();
        let lines = telling_tail(file(&text).path(), 3).unwrap();
        assert_eq!(texts(&lines), ["flag provided but not defined: -x", "  -b", "  -c"]);

        let text = ["E1122 18:50:01.1 1 a.go:1] old", "Starting", "F1122 18:50:02.1 1 b.go:2] new"].map(line);
        let lines = telling_tail(file(&text.concat()).path(), 2).unwrap();
        assert_eq!(texts(&lines), ["Starting", "F1122 18:50:02.1 1 b.go:2] new"]);

        assert_eq!(texts(&telling_tail(file(&line("É starts here")).path(), 2).unwrap()), ["É starts here"]);
    }

    #[test]
    fn a_missing_log_is_named() {
        let error = log_tail(Path::new("/nonexistent/0.log"), 1).unwrap_err();
        assert_eq!(error.to_string(), "cannot read container log /nonexistent/0.log");
    }
}
