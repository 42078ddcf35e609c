//! Single questions about paths, each answered by a worker.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::conversation::{Conversation, HEADROOM};
use crate::failure::{Code, Failure, Outcome};
use crate::files::{Answer, Done, absolute, absolute_path, look, mode, paths};
use crate::request::Request;
use crate::users::{self, Ownership};
use crate::workers::Workers;

/// Trees gone through at once: their answers are large.
const WALKS: usize = 4;

static WALKING: AtomicUsize = AtomicUsize::new(0);

/// Leave to go through a tree, given back when dropped.
struct Walk;

impl Walk {
    fn begin() -> Outcome<Walk> {
        if WALKING.fetch_add(1, Ordering::Relaxed) < WALKS {
            return Ok(Walk);
        }
        WALKING.fetch_sub(1, Ordering::Relaxed);
        Err(Failure::new(
            Code::Busy,
            format!("{WALKS} directories are being searched already"),
        ))
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        WALKING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A question about a path, reduced to what it says.
enum Question {
    Stat,
    List(String, Option<u64>),
    MakeDirectory(u32),
    Remove(bool),
    Rename(String),
    Change(Option<u32>, Option<Ownership>),
    Find(String, usize, Walk),
    Search(String, usize, Walk),
}

/// Ask a worker about a path.
pub fn ask(request: &Request, conversation: &mut Conversation, workers: &Workers<Done>) {
    let (number, id) = (conversation.number, request.id);
    match question(request) {
        Ok((path, question)) => workers.submit(move || Done::of(number, id, reply(&path, question))),
        Err(failure) => conversation.answer(id, Err(failure)),
    }
}

fn question(request: &Request) -> Outcome<(String, Question)> {
    let path = absolute(request)?;
    let question = match request.op.as_str() {
        "file.stat" => Question::Stat,
        "file.list" => {
            let after = request.optional_text("after")?.unwrap_or("").to_owned();
            Question::List(after, request.optional_integer("limit")?)
        }
        "file.mkdir" => Question::MakeDirectory(mode(request)?.unwrap_or(0o755)),
        "file.remove" => Question::Remove(request.flag("recursive")?),
        "file.rename" => Question::Rename(absolute_path(request, "to")?),
        "file.change" => change(request)?,
        "file.find" => Question::Find(pattern(request)?, limit(request)?, Walk::begin()?),
        "file.search" => Question::Search(text(request)?, limit(request)?, Walk::begin()?),
        op => return Err(Failure::new(Code::UnknownOp, format!("there is no operation '{op}'"))),
    };
    Ok((path, question))
}

fn change(request: &Request) -> Outcome<Question> {
    let mode = mode(request)?;
    let owner = request.optional_text("owner")?.map(users::ownership).transpose()?;
    if mode.is_none() && owner.is_none() {
        return Err(Failure::invalid("either mode or owner must be given"));
    }
    Ok(Question::Change(mode, owner))
}

fn limit(request: &Request) -> Outcome<usize> {
    let asked = request.optional_integer("limit")?.unwrap_or(look::RESULTS as u64);
    Ok(asked.clamp(1, look::RESULTS as u64) as usize)
}

fn pattern(request: &Request) -> Outcome<String> {
    let pattern = request.text("pattern")?;
    if pattern.len() > look::TEXT_LIMIT {
        return Err(Failure::invalid("pattern must have at most 4096 bytes"));
    }
    Ok(pattern.to_owned())
}

fn text(request: &Request) -> Outcome<String> {
    let text = request.text("text")?;
    if text.is_empty() || text.contains('\n') || text.len() > look::TEXT_LIMIT {
        return Err(Failure::invalid("text must be a part of a line, of 1 to 4096 bytes"));
    }
    Ok(text.to_owned())
}

fn reply(path: &str, question: Question) -> Answer {
    Answer::Value(match question {
        Question::Stat => paths::stat(path),
        Question::List(after, limit) => paths::list(path, &after, limit),
        Question::MakeDirectory(mode) => paths::make_directory(path, mode),
        Question::Remove(recursive) => paths::remove(path, recursive),
        Question::Rename(to) => paths::rename(path, &to),
        Question::Change(mode, owner) => paths::change(path, mode, owner),
        Question::Find(pattern, limit, _walk) => return results(look::find(path, &pattern, limit)),
        Question::Search(text, limit, _walk) => return results(look::search(path, &text, limit)),
    })
}

/// Results are too large for a header: they are the body, as JSON.
fn results(found: Outcome<(Value, Vec<u8>)>) -> Answer {
    match found {
        Err(failure) => Answer::Value(Err(failure)),
        Ok((told, list)) => {
            let mut buffer = vec![0; HEADROOM];
            buffer.extend_from_slice(&list);
            let end = buffer.len();
            Answer::Body(told, buffer, end)
        }
    }
}
