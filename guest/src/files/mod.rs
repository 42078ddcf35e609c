//! File handles and single questions about paths. What touches a file runs on a worker; what is here only keeps order.
//!
//! Requests of one handle are done in order. A handle that has failed answers everything with that failure until it is
//! closed, so that requests sent in one go cannot pass over a failed one.

pub mod paths;
pub mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::conversation::{Conversation, HEADROOM};
use crate::failure::{Code, Failure, Outcome};
use crate::frames::BODY_LIMIT;
use crate::request::Request;
use crate::workers::Workers;
use transfer::{Reading, Writing};

const HANDLE_LIMIT: usize = 64;
/// Bytes of files being written that may wait for their handle's turn, all handles together.
const QUEUE_LIMIT: usize = 16 << 20;

/// What a handle is, between its requests.
enum State {
    Reading(Reading),
    Writing(Writing),
    /// Closed, or committed.
    Over,
    Failed(Failure),
}

#[derive(Default)]
struct Handle {
    /// `None` while a worker has it.
    state: Option<State>,
    queue: VecDeque<Request>,
    /// A request of it was refused: none after it may be done.
    refused: Option<Failure>,
}

pub enum Answer {
    Value(Outcome<Value>),
    /// A header, and a buffer whose body lies behind the headroom.
    Body(Value, Vec<u8>, usize),
    /// Nothing to be said.
    None,
}

/// What a worker has done.
pub struct Done {
    pub conversation: u64,
    pub id: u64,
    pub answer: Answer,
    handle: Option<(u64, State)>,
    reserved: usize,
    spare: Option<Vec<u8>>,
}

impl Done {
    /// Of a job that has nothing to do with handles.
    pub fn plain(conversation: u64, id: u64, outcome: Outcome<Value>) -> Done {
        Done {
            conversation,
            id,
            answer: Answer::Value(outcome),
            handle: None,
            reserved: 0,
            spare: None,
        }
    }
}

#[derive(Default)]
pub struct Files {
    handles: BTreeMap<u64, Handle>,
    /// Handles whose next read waits for room in the conversation.
    held: BTreeSet<u64>,
    queued: usize,
    /// Bytes that reads under way may bring.
    reserved: usize,
}

impl Files {
    /// A request about a handle. Answered when its turn has come.
    pub fn handle(&mut self, request: Request, conversation: &mut Conversation, workers: &Workers<Done>) {
        let id = request.id;
        match self.accept(request) {
            Ok(Some(number)) => self.advance(number, conversation, workers),
            Ok(None) => conversation.answer(id, Ok(json!({}))),
            Err(failure) => conversation.answer(id, Err(failure)),
        }
    }

    /// Queue it: the handle's number, or `None` if there is nothing to be done.
    fn accept(&mut self, request: Request) -> Outcome<Option<u64>> {
        let number = request.integer("h")?;
        let opening = matches!(request.op.as_str(), "file.open_read" | "file.open_write");
        if opening {
            absolute(&request)?;
            if self.handles.contains_key(&number) {
                return Err(Failure::new(
                    Code::Exists,
                    format!("file handle {number} is open already"),
                ));
            }
            if self.handles.len() >= HANDLE_LIMIT {
                return Err(Failure::new(
                    Code::TooMany,
                    format!("{HANDLE_LIMIT} file handles are open already"),
                ));
            }
            self.handles.insert(
                number,
                Handle {
                    state: Some(State::Over),
                    ..Handle::default()
                },
            );
        }
        let closing = request.op == "file.close";
        let Some(handle) = self.handles.get_mut(&number) else {
            // Closing is what one does after any mishap: it is never one itself.
            let failure = Failure::new(Code::NotFound, format!("there is no file handle {number}"));
            return if closing { Ok(None) } else { Err(failure) };
        };
        if self.queued + request.frame.weight() > QUEUE_LIMIT && handle.refused.is_none() {
            handle.refused = Some(Failure::new(Code::Busy, "too many bytes wait to be written to files"));
        }
        if let Some(failure) = handle.refused.as_ref().filter(|_| !closing) {
            return Err(failure.clone());
        }
        self.queued += request.frame.weight();
        handle.queue.push_back(request);
        Ok(Some(number))
    }

    /// Give the handle's next request to a worker, if it has one and none is under way.
    fn advance(&mut self, number: u64, conversation: &mut Conversation, workers: &Workers<Done>) {
        let Some(handle) = self.handles.get_mut(&number) else {
            return;
        };
        let Some(request) = handle.queue.front() else { return };
        if handle.state.is_none() {
            return;
        }
        let reads = request.op == "file.read";
        if reads && !conversation.has_room_for(self.reserved) {
            self.held.insert(number);
            return;
        }
        let (Some(state), Some(request)) = (handle.state.take(), handle.queue.pop_front()) else {
            return;
        };
        self.queued -= request.frame.weight();
        let limit = request
            .integer("limit")
            .map_or(0, |limit| limit.min(BODY_LIMIT as u64) as usize);
        let reserved = if reads { limit } else { 0 };
        self.reserved += reserved;
        let spare = if reads { conversation.spare() } else { Vec::new() };
        let conversation = conversation.number;
        workers.submit(move || {
            let id = request.id;
            let (state, answer, spare) = perform(state, request, spare);
            Done {
                conversation,
                id,
                answer,
                handle: Some((number, state)),
                reserved,
                spare,
            }
        });
    }

    /// A worker is done: answer, and go on with the handle's next request.
    pub fn finish(&mut self, done: Done, conversation: &mut Conversation, workers: &Workers<Done>) {
        self.reserved -= done.reserved;
        if done.conversation != conversation.number {
            if let Some(handle) = done.handle {
                discard(handle, workers);
            }
            return;
        }
        respond(done.id, done.answer, conversation);
        let Some((number, state)) = done.handle else { return };
        self.put_back(number, state);
        if let Some(spare) = done.spare {
            conversation.recycle(spare);
        }
        self.advance(number, conversation, workers);
    }

    fn put_back(&mut self, number: u64, state: State) {
        let Some(handle) = self.handles.get_mut(&number) else {
            return;
        };
        if matches!(state, State::Over) && handle.queue.is_empty() {
            self.handles.remove(&number);
        } else {
            handle.state = Some(state);
        }
    }

    /// The conversation has room again.
    pub fn serve_held(&mut self, conversation: &mut Conversation, workers: &Workers<Done>) {
        while conversation.has_room_for(self.reserved) {
            let Some(number) = self.held.pop_first() else { return };
            self.advance(number, conversation, workers);
        }
    }

    /// The host is gone, and with it all its handles.
    pub fn drop_handles(&mut self, workers: &Workers<Done>) {
        self.held.clear();
        self.queued = 0;
        let handles = std::mem::take(&mut self.handles);
        if !handles.is_empty() {
            discard(handles, workers);
        }
    }
}

/// Drop something that holds files. Closing may block, so a worker does it.
fn discard(holder: impl Send + 'static, workers: &Workers<Done>) {
    workers.submit(move || {
        drop(holder);
        Done {
            conversation: 0,
            id: 0,
            answer: Answer::None,
            handle: None,
            reserved: 0,
            spare: None,
        }
    });
}

fn respond(id: u64, answer: Answer, conversation: &mut Conversation) {
    match answer {
        Answer::Value(outcome) => conversation.answer(id, outcome),
        Answer::Body(value, buffer, count) => conversation.answer_buffer(id, value, buffer, count),
        Answer::None => {}
    }
}

/// A question about a path; answered by a worker.
pub fn ask(request: Request, conversation: &mut Conversation, workers: &Workers<Done>) {
    let number = conversation.number;
    workers.submit(move || Done::plain(number, request.id, ask_path(&request)));
}

fn ask_path(request: &Request) -> Outcome<Value> {
    let path = absolute(request)?;
    match request.op.as_str() {
        "file.stat" => paths::stat(path),
        "file.list" => paths::list(
            path,
            request.optional_text("after")?.unwrap_or(""),
            request.optional_integer("limit")?,
        ),
        "file.mkdir" => paths::make_directory(path, mode(request)?.unwrap_or(0o755)),
        "file.remove" => paths::remove(path, request.flag("recursive")?),
        _ => Err(Failure::new(
            Code::UnknownOp,
            format!("there is no operation '{}'", request.op),
        )),
    }
}

fn absolute(request: &Request) -> Outcome<&str> {
    let path = request.text("path")?;
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(Failure::invalid(format!("'{path}' is not an absolute path")))
    }
}

fn mode(request: &Request) -> Outcome<Option<u32>> {
    match request.optional_integer("mode")? {
        Some(mode) if mode > 0o7777 => Err(Failure::invalid("mode must be permission bits, at most 07777")),
        mode => Ok(mode.map(|mode| mode as u32)),
    }
}

/// Do one request on a handle's state: the state after it, the answer, and a buffer to be used again.
fn perform(state: State, request: Request, spare: Vec<u8>) -> (State, Answer, Option<Vec<u8>>) {
    if request.op == "file.close" {
        return (State::Over, Answer::Value(Ok(json!({}))), None);
    }
    if let State::Failed(failure) = state {
        let answer = Answer::Value(Err(failure.clone()));
        return (State::Failed(failure), answer, None);
    }
    match act(state, &request, spare) {
        Ok((state, answer)) => (state, answer, Some(request.frame.into_buffer())),
        Err(failure) => (State::Failed(failure.clone()), Answer::Value(Err(failure)), None),
    }
}

fn act(state: State, request: &Request, mut spare: Vec<u8>) -> Outcome<(State, Answer)> {
    let nothing = || Answer::Value(Ok(json!({})));
    match (request.op.as_str(), state) {
        ("file.open_read", State::Over) => {
            let path = request.text("path")?;
            let (reading, found) = Reading::open(path)?;
            let answer = json!({"stat": paths::describe(path, &found, None)});
            Ok((State::Reading(reading), Answer::Value(Ok(answer))))
        }
        ("file.open_write", State::Over) => {
            let writing = Writing::open(request.text("path")?, mode(request)?)?;
            Ok((State::Writing(writing), nothing()))
        }
        ("file.read", State::Reading(mut reading)) => {
            let limit = request.integer("limit")?.clamp(1, BODY_LIMIT as u64) as usize;
            let (count, eof) = reading.read(&mut spare, limit)?;
            Ok((
                State::Reading(reading),
                Answer::Body(json!({"eof": eof}), spare, HEADROOM + count),
            ))
        }
        ("file.write", State::Writing(mut writing)) => {
            writing.write(request.body())?;
            Ok((State::Writing(writing), nothing()))
        }
        ("file.commit", State::Writing(writing)) => {
            writing.commit()?;
            Ok((State::Over, nothing()))
        }
        (op, _) => Err(Failure::invalid(format!(
            "{op} does not fit what the file handle was opened for"
        ))),
    }
}
