//! What happens to files, told as it happens. Pulled by the host, like all else; ended with the conversation.
//!
//! Every watch has a thread of its own: what it looks at may hang. It notes what it sees in a queue of bounded length; what
//! has no room there is lost, and that it was is told.

mod notify;
mod tree;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};

use crate::conversation::{Conversation, HEADROOM};
use crate::failure::{Code, Failure, Outcome};
use crate::files::absolute;
use crate::frames::BODY_LIMIT;
use crate::request::Request;
use crate::sys;
use tree::Tree;

const WATCHES: usize = 16;
const SKIPPED: usize = 64;
/// Changes that wait to be read, and what one takes of an answer's body besides its path.
const QUEUE: usize = 4096;
const ENTRY: usize = 64;
const WAIT_LIMIT: u64 = 60_000;
const STACK: usize = 128 << 10;

/// Threads there are, also of watches that were closed and are not gone yet.
static THREADS: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    kind: &'static str,
    path: String,
    directory: bool,
}

#[derive(Default)]
struct Queue {
    changes: VecDeque<Change>,
    bytes: usize,
    lost: bool,
    open: bool,
    over: Option<Failure>,
}

impl Queue {
    /// The same again says nothing new.
    fn add(&mut self, change: Change) {
        if self.changes.back() == Some(&change) || self.lost {
            return;
        }
        let weight = ENTRY + Value::from(change.path.as_str()).to_string().len();
        if self.changes.len() == QUEUE || self.bytes + weight > BODY_LIMIT {
            self.lost = true;
            return;
        }
        self.bytes += weight;
        self.changes.push_back(change);
    }

    fn is_telling(&self) -> bool {
        !self.changes.is_empty() || self.lost || self.over.is_some()
    }

    /// All there is; what was lost is told with what came before it.
    fn take(&mut self) -> Outcome<(Value, Value)> {
        if let Some(failure) = self.over.as_ref().filter(|_| self.changes.is_empty()) {
            return Err(failure.clone());
        }
        self.bytes = 0;
        let changes: Vec<Value> = std::mem::take(&mut self.changes)
            .into_iter()
            .map(|change| json!({"kind": change.kind, "path": change.path, "directory": change.directory}))
            .collect();
        let lost = std::mem::take(&mut self.lost);
        Ok((json!({"lost": lost}), Value::Array(changes)))
    }
}

/// What the loop and a watch's thread share.
struct Shared {
    queue: Mutex<Queue>,
    bell: Arc<OwnedFd>,
    /// Rung to end the thread.
    end: OwnedFd,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic aborts the process, so no lock is ever poisoned.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let _ = sys::write(&*self.bell, &1u64.to_ne_bytes());
    }
}

struct Watch {
    shared: Arc<Shared>,
    opening: Option<u64>,
    /// A read that waits, and until when.
    waiting: Option<(u64, u64)>,
}

pub struct Watches {
    bell: Arc<OwnedFd>,
    table: BTreeMap<u64, Watch>,
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is new and ours.
    unsafe {
        let fd = sys::check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

impl Watches {
    pub fn new() -> io::Result<Watches> {
        Ok(Watches {
            bell: Arc::new(eventfd()?),
            table: BTreeMap::new(),
        })
    }

    /// Readable when `hear` has something.
    pub fn bell(&self) -> &impl AsRawFd {
        &*self.bell
    }

    /// Answered when everything that is there is watched.
    pub fn open(&mut self, request: &Request, conversation: &mut Conversation) {
        if let Err(failure) = self.begin(request) {
            conversation.answer(request.id, Err(failure));
        }
    }

    fn begin(&mut self, request: &Request) -> Outcome<()> {
        let (number, path, recursive) = (request.integer("w")?, absolute(request)?, request.flag("recursive")?);
        let skip = request.texts("skip")?;
        if skip.len() > SKIPPED {
            return Err(Failure::invalid(format!("skip: more than {SKIPPED} directories")));
        }
        if self.table.contains_key(&number) {
            return Err(Failure::new(Code::Exists, format!("watch {number} is open already")));
        }
        let failure = |error: io::Error| Failure::of_io(&path, &error);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            bell: Arc::clone(&self.bell),
            end: eventfd().map_err(failure)?,
        });
        if THREADS.fetch_add(1, Ordering::Relaxed) >= WATCHES {
            THREADS.fetch_sub(1, Ordering::Relaxed);
            let text = format!("{WATCHES} directories are watched already");
            return Err(Failure::new(Code::TooMany, text));
        }
        let (theirs, subject) = (Arc::clone(&shared), path.clone());
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
            let over = Tree::watch(&subject, recursive, &skip, &theirs);
            theirs.queue().over = over.err();
            theirs.ring();
            THREADS.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = thread {
            THREADS.fetch_sub(1, Ordering::Relaxed);
            return Err(failure(error));
        }
        let watch = Watch {
            shared,
            opening: Some(request.id),
            waiting: None,
        };
        self.table.insert(number, watch);
        Ok(())
    }

    /// Answered when there is something to tell, or time is up. One read at a time.
    pub fn read(&mut self, request: &Request, conversation: &mut Conversation) {
        match self.wait(request) {
            Ok(watch) => settle(watch, conversation),
            Err(failure) => conversation.answer(request.id, Err(failure)),
        }
    }

    fn wait(&mut self, request: &Request) -> Outcome<&mut Watch> {
        let number = request.integer("w")?;
        let wait = request.optional_integer("wait_ms")?.unwrap_or(0).min(WAIT_LIMIT);
        let unknown = || Failure::new(Code::NotFound, format!("there is no watch {number}"));
        let watch = self.table.get_mut(&number).ok_or_else(unknown)?;
        if watch.waiting.is_some() || watch.opening.is_some() {
            return Err(Failure::new(Code::Busy, format!("watch {number} is being read")));
        }
        watch.waiting = Some((request.id, sys::now_ms() + wait));
        Ok(watch)
    }

    pub fn close(&mut self, request: &Request, conversation: &mut Conversation) -> Outcome<Value> {
        if let Some(watch) = self.table.remove(&request.integer("w")?) {
            end(&watch);
            let closed = || Failure::new(Code::NotFound, "the watch was closed");
            for id in watch.opening.into_iter().chain(watch.waiting.map(|(id, _)| id)) {
                conversation.answer(id, Err(closed()));
            }
        }
        Ok(json!({}))
    }

    /// A thread has something to tell.
    pub fn hear(&mut self, conversation: &mut Conversation) {
        let _ = sys::read(&*self.bell, &mut [0; 8]);
        let mut failed = Vec::new();
        for (&number, watch) in &mut self.table {
            let (open, over) = {
                let queue = watch.shared.queue();
                (queue.open, queue.over.clone())
            };
            match (watch.opening, over) {
                (Some(id), Some(failure)) if !open => {
                    conversation.answer(id, Err(failure));
                    failed.push(number);
                }
                (Some(id), _) if open => {
                    watch.opening = None;
                    conversation.answer(id, Ok(json!({})));
                }
                _ => settle(watch, conversation),
            }
        }
        for number in failed {
            self.table.remove(&number);
        }
    }

    /// When a read has waited long enough, in milliseconds of the loop's clock.
    pub fn next_timer(&self) -> Option<u64> {
        self.table
            .values()
            .filter_map(|watch| watch.waiting)
            .map(|(_, at)| at)
            .min()
    }

    pub fn tick(&mut self, conversation: &mut Conversation) {
        for watch in self.table.values_mut().filter(|watch| watch.waiting.is_some()) {
            settle(watch, conversation);
        }
    }

    /// The host is gone, and with it all its watches.
    pub fn clear(&mut self) {
        for watch in std::mem::take(&mut self.table).values() {
            end(watch);
        }
    }
}

fn end(watch: &Watch) {
    let _ = sys::write(&watch.shared.end, &1u64.to_ne_bytes());
}

fn settle(watch: &mut Watch, conversation: &mut Conversation) {
    let Some((id, at)) = watch.waiting else { return };
    let mut queue = watch.shared.queue();
    if !queue.is_telling() && sys::now_ms() < at {
        return;
    }
    watch.waiting = None;
    match queue.take() {
        Err(failure) => conversation.answer(id, Err(failure)),
        Ok((told, changes)) => {
            let mut buffer = vec![0; HEADROOM];
            buffer.extend_from_slice(changes.to_string().as_bytes());
            let end = buffer.len();
            conversation.answer_buffer(id, told, buffer, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str) -> Change {
        Change {
            kind: "written",
            path: path.to_owned(),
            directory: false,
        }
    }

    #[test]
    fn a_queue_is_bounded_and_says_what_it_lost() {
        let mut queue = Queue::default();
        for number in 0..QUEUE + 10 {
            queue.add(change(&number.to_string()));
        }
        let (told, changes) = queue.take().unwrap();
        assert_eq!(
            (told["lost"].as_bool(), changes.as_array().unwrap().len()),
            (Some(true), QUEUE)
        );
        for number in 0..QUEUE {
            queue.add(change(&format!("{}{number}", "\u{1}".repeat(4000))));
        }
        let (told, changes) = queue.take().unwrap();
        assert!(told["lost"] == true && changes.to_string().len() <= BODY_LIMIT);
        assert!(!queue.is_telling());
    }

    #[test]
    fn the_same_again_is_told_once() {
        let mut queue = Queue::default();
        for path in ["a", "a", "b", "a"] {
            queue.add(change(path));
        }
        assert_eq!(queue.take().unwrap().1.as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_was_seen_is_told_before_the_end() {
        let mut queue = Queue::default();
        queue.add(change("a"));
        queue.over = Some(Failure::invalid("over"));
        assert!(queue.take().is_ok() && queue.take().is_err());
    }
}
