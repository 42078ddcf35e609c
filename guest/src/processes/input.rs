//! From the host to a process's standard input.

use serde_json::json;

use super::process::{STDOUT, Write};
use super::{KINDS, Processes, STDIN};
use crate::conversation::Conversation;
use crate::failure::{Code, Failure, Outcome};
use crate::request::Request;
use crate::sys::WRITABLE;

const STDIN_LIMIT: usize = 8 << 20;

impl Processes {
    pub fn write(&mut self, request: Request, conversation: &mut Conversation) {
        let id = request.id;
        match self.accept_write(request, conversation.number) {
            Ok(number) => self.feed(number, conversation),
            Err(failure) => conversation.answer(id, Err(failure)),
        }
    }

    pub(super) fn accept_write(&mut self, request: Request, conversation: u64) -> Outcome<u64> {
        let number = self.find(&request)?;
        let end = request.flag("end")?;
        let process = self.process(number)?;
        if process.stdin.fd.is_none() {
            return Err(nobody_reads(&process.name));
        }
        let write = Write {
            conversation,
            id: request.id,
            frame: request.frame,
            at: 0,
            end,
        };
        let weight = write.frame.weight();
        if self.stdin_waiting + weight > STDIN_LIMIT {
            return Err(Failure::new(
                Code::Busy,
                "too much input is waiting to be read by processes",
            ));
        }
        self.stdin_waiting += weight;
        self.process(number)?.stdin.queue.push_back(write);
        Ok(number)
    }

    /// Write waiting input, and watch for room as long as there is some left.
    pub fn feed(&mut self, number: u64, conversation: &mut Conversation) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let (mut done, result) = process.stdin.push(process.tty);
        let failed = result.is_err();
        for write in done.drain(..) {
            self.stdin_waiting -= write.frame.weight();
            if write.conversation == conversation.number {
                conversation.answer(write.id, Ok(json!({})));
            }
            conversation.recycle(write.frame.into_buffer());
        }
        if failed {
            process.stdin.fd = None;
            let failure = nobody_reads(&process.name);
            for write in process.stdin.queue.drain(..) {
                self.stdin_waiting -= write.frame.weight();
                if write.conversation == conversation.number {
                    conversation.answer(write.id, Err(failure.clone()));
                }
            }
        }
        self.watch_input(number);
    }

    pub(super) fn watch_input(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let wanted = !process.stdin.queue.is_empty();
        if wanted == process.stdin.watched {
            return;
        }
        process.stdin.watched = wanted;
        if process.tty {
            let events = process.events(STDOUT);
            let source = &process.sources[STDOUT];
            if let Some(fd) = source.fd.as_ref().filter(|_| !source.paused) {
                let _ = self.poller.change(fd, events, number * KINDS + STDOUT as u64);
            }
        } else if let Some(fd) = &process.stdin.fd {
            if wanted {
                let _ = self.poller.add(fd, WRITABLE, number * KINDS + STDIN);
            } else {
                self.poller.remove(fd);
            }
        }
    }

    /// A process that is over, or whose terminal is gone, takes no more input.
    pub(super) fn close_input(&mut self, number: u64, conversation: &mut Conversation) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let hung_up = process.tty && process.sources[STDOUT].fd.is_none();
        if process.stdin.fd.is_some() && (hung_up || process.is_finished()) {
            process.stdin.fd = None;
            self.feed(number, conversation);
        }
    }
}

fn nobody_reads(name: &str) -> Failure {
    Failure::new(Code::Ended, format!("nobody reads the input of process '{name}'"))
}
