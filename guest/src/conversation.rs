//! One host's conversation: bytes in, requests out; answers in, bytes out. Knows no operation and opens nothing.
//!
//! The host may be slow, hostile or gone. What is kept for it is bounded: no request is read while more than `OUT_LIMIT`
//! bytes of answers wait, and at most 256 requests are open.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsRawFd;

use serde_json::{Value, json};

use crate::failure::{Code, Failure, Outcome};
use crate::frames::{self, Decoder, Event, SYNC};
use crate::request::Request;
use crate::sys;

pub const VERSION: u64 = 1;
const OPEN_LIMIT: usize = 256;
/// Bytes of answers that may wait; above it nothing more is read or begun.
const OUT_LIMIT: usize = 4 << 20;
/// Room before a body for lengths and header, so that a body read from a file is sent from where it lies.
pub const HEADROOM: usize = 256;
/// Buffers of sent bodies kept for the next ones.
const SPARES: usize = 4;
/// Small answers are put together up to this size, so that one write carries them.
const JOIN: usize = 16 << 10;

#[derive(PartialEq, Eq)]
enum Stage {
    /// Waiting for a sync.
    Silent,
    /// The sync was seen; only a `hello` may follow.
    Greeting,
    Open,
}

/// What the host sent.
pub enum Heard {
    Request(Request),
    /// A new conversation has begun: all that belonged to the former one is to be dropped.
    Anew,
}

pub struct Conversation {
    /// Changes with every conversation, so that answers to a former one are recognised and dropped.
    pub number: u64,
    decoder: Decoder,
    stage: Stage,
    open: BTreeSet<u64>,
    /// Whether anything was asked after `hello`: the host has then had its answer.
    underway: bool,
    /// Bytes, and where in them what is to be sent begins.
    out: VecDeque<(Vec<u8>, usize)>,
    out_bytes: usize,
    spares: Vec<Vec<u8>>,
}

impl Conversation {
    pub fn new() -> Conversation {
        Conversation {
            number: 1,
            decoder: Decoder::new(),
            stage: Stage::Silent,
            open: BTreeSet::new(),
            underway: false,
            out: VecDeque::new(),
            out_bytes: 0,
            spares: Vec::new(),
        }
    }

    /// Whether a port that says that nobody is there is to be believed.
    ///
    /// What a new host sends may be here before the news that it has come, or even that the former one has left. As long
    /// as it waits for its hello to be answered, such news is old; and while nothing but a hello was said, nothing is lost by
    /// not believing it: the next sync begins anew all the same.
    pub fn believes_end(&self) -> bool {
        self.stage == Stage::Open && (self.underway || !self.decoder.is_empty())
    }

    /// The host is gone: forget everything half said.
    pub fn end(&mut self) {
        self.decoder.reset();
        self.forget();
        self.stage = Stage::Silent;
    }

    fn forget(&mut self) {
        self.number += 1;
        self.open.clear();
        self.out = VecDeque::new();
        self.out_bytes = 0;
        self.rest();
    }

    /// Whether there is memory to let go of when nothing happens.
    pub fn is_warm(&self) -> bool {
        !self.spares.is_empty() || self.decoder.is_warm()
    }

    /// Nothing happens: let go of the memory that made large bodies fast.
    pub fn rest(&mut self) {
        self.spares = Vec::new();
        self.decoder.rest();
    }

    /// Whether there is room for more answers.
    pub fn has_room(&self) -> bool {
        self.has_room_for(0)
    }

    /// The same, if so many bytes are on their way already.
    pub fn has_room_for(&self, coming: usize) -> bool {
        self.out_bytes + coming <= OUT_LIMIT
    }

    /// A buffer for a body, with whatever was in it.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.decoder.recycle(buffer);
    }

    /// Read once from the host: the bytes read, 0 if it is gone, `None` if there is nothing now.
    pub fn read(&mut self, port: &impl AsRawFd) -> io::Result<Option<usize>> {
        let count = sys::read(port, self.decoder.space())?;
        self.decoder.filled(count.unwrap_or(0));
        Ok(count)
    }

    /// The next thing the host has said, of what was read.
    pub fn hear(&mut self) -> Option<Heard> {
        loop {
            match self.decoder.next() {
                Ok(None) => return None,
                Ok(Some(Event::Sync)) => {
                    self.forget();
                    self.stage = Stage::Greeting;
                    return Some(Heard::Anew);
                }
                Ok(Some(Event::Frame(frame))) => match Request::parse(frame) {
                    Err(reason) => self.refuse(reason),
                    Ok(request) => {
                        if let Some(request) = self.admit(request) {
                            return Some(Heard::Request(request));
                        }
                    }
                },
                Err(malformed) => self.refuse(malformed.0),
            }
        }
    }

    fn admit(&mut self, request: Request) -> Option<Request> {
        match self.stage {
            Stage::Silent => return None,
            Stage::Greeting if request.op != "hello" => {
                self.refuse("a request came before hello");
                return None;
            }
            Stage::Greeting => {
                self.stage = Stage::Open;
                self.underway = false;
                if let Ok(Some(seal)) = request.optional_integer("seal") {
                    self.decoder.expect_seal(seal as u32);
                }
                self.push(SYNC.to_vec());
            }
            Stage::Open => self.underway = true,
        }
        if self.open.len() >= OPEN_LIMIT {
            let busy = Failure::new(Code::Busy, format!("more than {OPEN_LIMIT} requests are open"));
            self.emit(&error(request.id, &busy), &[]);
            return None;
        }
        if !self.open.insert(request.id) {
            self.refuse("a request has the id of an open one");
            return None;
        }
        Some(request)
    }

    /// End the conversation because of what the host sent. Open requests are not answered any more.
    pub fn refuse(&mut self, reason: &str) {
        self.emit(&error(0, &Failure::new(Code::Protocol, reason)), &[]);
        self.decoder.rescan();
        self.open.clear();
        self.number += 1;
        self.stage = Stage::Silent;
    }

    pub fn answer(&mut self, id: u64, outcome: Outcome<Value>) {
        match outcome {
            Ok(value) => self.answer_body(id, value, &[]),
            Err(failure) => {
                if self.open.remove(&id) {
                    self.emit(&error(id, &failure), &[]);
                }
            }
        }
    }

    /// Answer with a body, given in parts.
    pub fn answer_body(&mut self, id: u64, value: Value, body: &[&[u8]]) {
        if self.open.remove(&id) {
            self.emit(&json!({"id": id, "ok": value}), body);
        }
    }

    /// Answer with the body that lies in `buffer` from `HEADROOM` to `end`.
    pub fn answer_buffer(&mut self, id: u64, value: Value, mut buffer: Vec<u8>, end: usize) {
        if !self.open.remove(&id) {
            return;
        }
        let mut head = Vec::with_capacity(HEADROOM);
        frames::encode_head(
            &mut head,
            json!({"id": id, "ok": value}).to_string().as_bytes(),
            end - HEADROOM,
        );
        let start = HEADROOM - head.len();
        buffer[start..HEADROOM].copy_from_slice(&head);
        buffer.truncate(end);
        self.out_bytes += end - start;
        self.out.push_back((buffer, start));
    }

    fn emit(&mut self, header: &Value, body: &[&[u8]]) {
        let header = header.to_string();
        let size = header.len() + body.iter().map(|part| part.len()).sum::<usize>();
        if let Some((last, _)) = self.out.back_mut().filter(|(last, _)| last.len() + size < JOIN) {
            let before = last.len();
            frames::encode(last, header.as_bytes(), body);
            self.out_bytes += last.len() - before;
        } else {
            let mut bytes = if size < JOIN { Vec::new() } else { self.spare() };
            bytes.clear();
            frames::encode(&mut bytes, header.as_bytes(), body);
            self.push(bytes);
        }
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.out_bytes += bytes.len();
        self.out.push_back((bytes, 0));
    }

    /// Write what waits, as far as the host takes it. True if all of it is written.
    pub fn flush(&mut self, port: &impl AsRawFd) -> io::Result<bool> {
        while let Some((bytes, at)) = self.out.front_mut() {
            let Some(count) = sys::write(port, &bytes[*at..])? else {
                return Ok(false);
            };
            *at += count;
            self.out_bytes -= count;
            if *at == bytes.len() {
                let sent = self.out.pop_front();
                self.spares
                    .extend(sent.map(|(bytes, _)| bytes).filter(|bytes| bytes.len() > JOIN));
                self.spares.truncate(SPARES);
            }
        }
        Ok(true)
    }
}

fn error(id: u64, failure: &Failure) -> Value {
    json!({"id": id, "error": {"code": failure.code.name(), "message": failure.message}})
}
