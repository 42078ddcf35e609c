//! Looking for files by their names, and for text in them.

use std::fs::{self, File, Metadata};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::files::paths;
use crate::files::pattern;
use crate::files::walk::{self, Limit, Step};
use crate::frames::BODY_LIMIT;
use crate::sys;

/// Results of one answer.
pub const RESULTS: usize = 10_000;
pub const TEXT_LIMIT: usize = 4096;
/// Larger files are not searched.
const FILE_LIMIT: u64 = 16 << 20;
/// So much of a line is searched.
const LINE_LIMIT: u64 = 64 << 10;
/// Characters of a line that are told.
const SHOWN: usize = 4096;
/// A zero byte among the first so many makes a file binary.
const HEAD: usize = 8 << 10;

/// JSON texts for the body of one answer, by path.
struct Results {
    entries: Vec<(String, u64, String)>,
    limit: usize,
    size: usize,
    more: bool,
}

impl Results {
    fn new(limit: usize) -> Results {
        Results {
            entries: Vec::new(),
            limit,
            size: 2,
            more: false,
        }
    }

    fn add(&mut self, path: &str, line: u64, entry: &Value) -> Step {
        let text = entry.to_string();
        self.size += text.len() + 1;
        if self.entries.len() == self.limit || self.size > BODY_LIMIT {
            self.more = true;
            return Step::Enough;
        }
        self.entries.push((path.to_owned(), line, text));
        Step::On
    }

    fn finish(mut self) -> (Value, Vec<u8>) {
        self.entries.sort_unstable();
        let texts: Vec<String> = self.entries.into_iter().map(|(_, _, text)| text).collect();
        (
            json!({"more": self.more}),
            format!("[{}]", texts.join(",")).into_bytes(),
        )
    }
}

/// What lies below a directory under a name that matches.
pub fn find(path: &str, wanted: &str, limit: usize) -> Outcome<(Value, Vec<u8>)> {
    let mut results = Results::new(limit);
    walk::below(Path::new(path), &mut Limit::new(path), &mut |found, metadata, _| {
        let name = found.file_name().unwrap_or_default().to_string_lossy();
        if !pattern::matches(wanted, &name) {
            return Ok(Step::On);
        }
        let target = if metadata.is_symlink() {
            fs::read_link(found).ok()
        } else {
            None
        };
        let shown = found.to_string_lossy();
        let entry = paths::describe(&shown, metadata, target.as_deref());
        Ok(results.add(&shown, 0, &entry))
    })?;
    Ok(results.finish())
}

/// The lines of text files at or below a path that hold `text`.
pub fn search(path: &str, text: &str, limit: usize) -> Outcome<(Value, Vec<u8>)> {
    let (start, mut results, mut bounds) = (Path::new(path), Results::new(limit), Limit::new(path));
    let found = fs::metadata(path).map_err(|error| Failure::of_io(path, &error))?;
    if found.is_dir() {
        walk::below(start, &mut bounds, &mut |file, metadata, limit| {
            scan(file, metadata, text, limit, &mut results)
        })?;
    } else {
        let file = sys::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0);
        drop(file.map_err(|error| Failure::of_io(path, &error))?);
        scan(start, &found, text, &bounds, &mut results)?;
    }
    Ok(results.finish())
}

/// One file; what cannot be read, is no regular file, too large or no text is passed over.
fn scan(path: &Path, found: &Metadata, text: &str, limit: &Limit, results: &mut Results) -> Outcome<Step> {
    if !found.is_file() || found.len() > FILE_LIMIT {
        return Ok(Step::On);
    }
    let Some(file) = open(path) else { return Ok(Step::On) };
    let mut reader = BufReader::with_capacity(HEAD, file.take(FILE_LIMIT));
    match reader.fill_buf() {
        Ok(head) if !head.contains(&0) => {}
        _ => return Ok(Step::On),
    }
    let shown = path.to_string_lossy();
    let (mut line, mut number, mut unchecked) = (Vec::new(), 0, 0);
    loop {
        unchecked += line.len();
        line.clear();
        number += 1;
        if unchecked as u64 > LINE_LIMIT {
            unchecked = 0;
            limit.check()?;
        }
        match reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => return Ok(Step::On),
        }
        let is_whole = line.last() == Some(&b'\n');
        if holds(&line, text.as_bytes()) {
            let words = String::from_utf8_lossy(&line);
            let words: String = words.trim_end_matches(['\n', '\r']).chars().take(SHOWN).collect();
            let entry = json!({"path": shown, "line": number, "text": words});
            if results.add(&shown, number, &entry) == Step::Enough {
                return Ok(Step::Enough);
            }
        }
        if !is_whole && !matches!(reader.skip_until(b'\n'), Ok(1..)) {
            return Ok(Step::On);
        }
    }
}

/// Only regular files; a link or a FIFO that has taken its place meanwhile is not waited for.
fn open(path: &Path) -> Option<File> {
    let fd: OwnedFd = sys::open(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0).ok()?;
    let file = File::from(fd);
    file.metadata().ok()?.is_file().then_some(file)
}

fn holds(line: &[u8], text: &[u8]) -> bool {
    let Some((&first, _)) = text.split_first() else {
        return true;
    };
    let mut rest = line;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::paths::tests::Scratch;

    fn told(outcome: Outcome<(Value, Vec<u8>)>) -> (bool, Vec<Value>) {
        let (head, body) = outcome.unwrap();
        (head["more"].as_bool().unwrap(), serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn names_are_found_below_and_links_are_not_followed() {
        let scratch = Scratch::new("find");
        fs::create_dir_all(scratch.path("a/b")).unwrap();
        for name in ["x.py", "a/y.py", "a/b/z.py", "a/b/z.txt"] {
            fs::write(scratch.path(name), "").unwrap();
        }
        std::os::unix::fs::symlink("..", scratch.path("a/up.py")).unwrap();
        let (more, found) = told(find(&scratch.path(""), "*.py", 100));
        let paths: Vec<&str> = found.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
        let wanted = ["a/b/z.py", "a/up.py", "a/y.py", "x.py"].map(|name| scratch.path(name));
        assert_eq!((more, paths), (false, wanted.iter().map(String::as_str).collect()));
        assert!(told(find(&scratch.path(""), "*", 3)).0);
        assert!(find(&scratch.path("x.py"), "*", 3).is_err());
    }

    #[test]
    fn a_search_tells_lines_and_passes_over_what_is_no_text() {
        let scratch = Scratch::new("search");
        fs::write(scratch.path("text"), "one\r\nneedle two\nthree\nthe needle").unwrap();
        fs::write(scratch.path("binary"), b"\0needle").unwrap();
        fs::write(scratch.path("long"), format!("{}needle\nneedle\n", "x".repeat(70_000))).unwrap();
        let large = File::create(scratch.path("large")).unwrap();
        large.set_len(FILE_LIMIT + 1).unwrap();
        let (more, found) = told(search(&scratch.path(""), "needle", 100));
        let lines: Vec<(u64, &str)> = found
            .iter()
            .map(|entry| (entry["line"].as_u64().unwrap(), entry["text"].as_str().unwrap()))
            .collect();
        assert_eq!(
            (more, lines),
            (false, vec![(2, "needle"), (2, "needle two"), (4, "the needle")])
        );
        assert_eq!(told(search(&scratch.path("text"), "needle", 1)).1.len(), 1);
        assert!(search(&scratch.path("missing"), "x", 1).is_err());
    }

    #[test]
    fn an_answer_is_bounded() {
        let scratch = Scratch::new("bounded");
        fs::write(scratch.path("many"), format!("{}\n", "y".repeat(1000)).repeat(5000)).unwrap();
        let (more, found) = told(search(&scratch.path("many"), "y", RESULTS));
        assert!(more && found.len() > 500);
        assert!(serde_json::to_vec(&found).unwrap().len() <= BODY_LIMIT);
    }
}
