//! File handles. What touches a file runs on a worker; what is here only keeps order.
//!
//! Requests of one handle are done in order. A handle that has failed answers everything with that failure until it is
//! closed, so that requests sent in one go cannot pass over a failed one.

mod look;
pub mod paths;
mod pattern;
pub mod questions;
pub mod transfer;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::conversation::{Conversation, HEADROOM};
use crate::failure::{Code, Failure, Outcome};
use crate::frames::{BODY_LIMIT, Frame};
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

/// One request of a handle, reduced to what it says: what waits must not be larger than what was sent.
enum Step {
    OpenRead(String),
    OpenWrite(String, Option<u32>),
    Read(usize),
    Write(Frame),
    Commit,
    Close,
}

impl Step {
    fn parse(request: &mut Request) -> Outcome<Step> {
        Ok(match request.op.as_str() {
            "file.open_read" => Step::OpenRead(absolute(request)?),
            "file.open_write" => Step::OpenWrite(absolute(request)?, mode(request)?),
            "file.read" => Step::Read(request.integer("limit")?.clamp(1, BODY_LIMIT as u64) as usize),
            "file.write" => Step::Write(std::mem::take(&mut request.frame)),
            "file.commit" => Step::Commit,
            "file.close" => Step::Close,
            op => return Err(Failure::new(Code::UnknownOp, format!("there is no operation '{op}'"))),
        })
    }

    fn weight(&self) -> usize {
        match self {
            Step::Write(frame) => frame.weight(),
            _ => 0,
        }
    }

    /// Bytes its answer may bring.
    fn brings(&self) -> usize {
        match self {
            Step::Read(limit) => *limit,
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Handle {
    /// `None` while a worker has it.
    state: Option<State>,
    queue: VecDeque<(u64, Step)>,
    /// A request of it was refused: none after it may be done.
    refused: Option<Failure>,
}

impl Handle {
    fn refuse(&mut self, failure: Failure) -> Failure {
        self.refused.get_or_insert(failure).clone()
    }
}

pub enum Answer {
    Value(Outcome<Value>),
    /// A header, and a buffer whose body lies between the headroom and an end.
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
        Done::of(conversation, id, Answer::Value(outcome))
    }

    fn of(conversation: u64, id: u64, answer: Answer) -> Done {
        Done {
            conversation,
            id,
            answer,
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
    fn accept(&mut self, mut request: Request) -> Outcome<Option<u64>> {
        let number = request.integer("h")?;
        let step = Step::parse(&mut request);
        if matches!(step, Ok(Step::OpenRead(_) | Step::OpenWrite(..))) {
            self.make(number)?;
        }
        let Some(handle) = self.handles.get_mut(&number) else {
            // Closing is what one does after any mishap: it is never one itself.
            let closing = matches!(step, Ok(Step::Close));
            step?;
            let failure = Failure::new(Code::NotFound, format!("there is no file handle {number}"));
            return if closing { Ok(None) } else { Err(failure) };
        };
        let step = match step {
            Ok(step) if self.queued + step.weight() <= QUEUE_LIMIT => step,
            Ok(_) => return Err(handle.refuse(Failure::new(Code::Busy, "too many bytes wait to be written to files"))),
            Err(failure) => return Err(handle.refuse(failure)),
        };
        if let Some(failure) = handle.refused.as_ref().filter(|_| !matches!(step, Step::Close)) {
            return Err(failure.clone());
        }
        self.queued += step.weight();
        handle.queue.push_back((request.id, step));
        Ok(Some(number))
    }

    fn make(&mut self, number: u64) -> Outcome<()> {
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
        Ok(())
    }

    /// Give the handle's next request to a worker, if it has one and none is under way.
    fn advance(&mut self, number: u64, conversation: &mut Conversation, workers: &Workers<Done>) {
        let Some(handle) = self.handles.get_mut(&number) else {
            return;
        };
        let Some((_, step)) = handle.queue.front() else { return };
        if handle.state.is_none() {
            return;
        }
        let reserved = step.brings();
        if reserved > 0 && !conversation.has_room_for(self.reserved) {
            self.held.insert(number);
            return;
        }
        let (Some(state), Some((id, step))) = (handle.state.take(), handle.queue.pop_front()) else {
            return;
        };
        self.queued -= step.weight();
        self.reserved += reserved;
        let spare = if reserved > 0 { conversation.spare() } else { Vec::new() };
        let conversation = conversation.number;
        workers.submit(move || {
            let (state, answer, spare) = perform(state, step, spare);
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
        Done::of(0, 0, Answer::None)
    });
}

fn respond(id: u64, answer: Answer, conversation: &mut Conversation) {
    match answer {
        Answer::Value(outcome) => conversation.answer(id, outcome),
        Answer::Body(value, buffer, count) => conversation.answer_buffer(id, value, buffer, count),
        Answer::None => {}
    }
}

pub fn absolute(request: &Request) -> Outcome<String> {
    absolute_path(request, "path")
}

fn absolute_path(request: &Request, name: &str) -> Outcome<String> {
    let path = request.text(name)?;
    if path.starts_with('/') {
        Ok(path.to_owned())
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

/// Do one step on a handle's state: the state after it, the answer, and a buffer to be used again.
fn perform(state: State, step: Step, spare: Vec<u8>) -> (State, Answer, Option<Vec<u8>>) {
    let nothing = || Answer::Value(Ok(json!({})));
    let (outcome, used) = match (step, state) {
        (Step::Close, _) => (Ok((State::Over, nothing())), None),
        (_, State::Failed(failure)) => (Err(failure), None),
        (Step::OpenRead(path), State::Over) => (open_read(&path), None),
        (Step::OpenWrite(path, mode), State::Over) => (
            Writing::open(&path, mode).map(|writing| (State::Writing(writing), nothing())),
            None,
        ),
        (Step::Read(limit), State::Reading(reading)) => (read(reading, limit, spare), None),
        (Step::Write(frame), State::Writing(mut writing)) => {
            let outcome = writing.write(frame.body());
            (
                outcome.map(|()| (State::Writing(writing), nothing())),
                Some(frame.into_buffer()),
            )
        }
        (Step::Commit, State::Writing(writing)) => (writing.commit().map(|()| (State::Over, nothing())), None),
        _ => (
            Err(Failure::invalid(
                "the operation does not fit what the file handle was opened for",
            )),
            None,
        ),
    };
    match outcome {
        Ok((state, answer)) => (state, answer, used),
        Err(failure) => (State::Failed(failure.clone()), Answer::Value(Err(failure)), used),
    }
}

fn open_read(path: &str) -> Outcome<(State, Answer)> {
    let (reading, found) = Reading::open(path)?;
    let answer = json!({"stat": paths::describe(path, &found, None)});
    Ok((State::Reading(reading), Answer::Value(Ok(answer))))
}

fn read(mut reading: Reading, limit: usize, mut buffer: Vec<u8>) -> Outcome<(State, Answer)> {
    let (count, eof) = reading.read(&mut buffer, limit)?;
    Ok((
        State::Reading(reading),
        Answer::Body(json!({"eof": eof}), buffer, HEADROOM + count),
    ))
}
