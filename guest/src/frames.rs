//! Bytes to frames and back: the framing of PROTOCOL.md, without any I/O.
//!
//! Large frames are read straight into the buffer that later is written to a file: a body is never copied. Such buffers
//! are used again, because under emulation fresh pages cost more than the copy they save.

use std::ops::Range;

/// What begins a conversation, both ways. As a length it would be far too large, so it is unmistakable between frames.
pub const SYNC: [u8; 16] = *b"\0\0HUTCH-SYNC-1\r\n";
pub const BODY_LIMIT: usize = 1 << 20;
pub const REQUEST_HEADER_LIMIT: usize = 1 << 20;
/// Of all that follows the first length.
pub const FRAME_LIMIT: usize = (1 << 20) + (64 << 10);
/// An answer's header may have 64 KiB; what fills it up (lists) stops earlier, to leave room for the rest.
pub const LIST_LIMIT: usize = 60 << 10;

/// Bytes of a seal.
const SEAL: usize = 4;

/// Frames up to this size, prefix included, are copied out of the buffer that collects small reads.
const SMALL: usize = 16 << 10;
const COLLECT: usize = 32 << 10;
/// Buffers kept for the next large frame.
const SPARES: usize = 4;

/// The bytes of one frame, in a buffer of its own.
#[derive(Debug, Default)]
pub struct Frame {
    buffer: Vec<u8>,
    header: Range<usize>,
    body: Range<usize>,
}

impl Frame {
    pub fn header(&self) -> &[u8] {
        &self.buffer[self.header.clone()]
    }

    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    /// Its bytes, for the bounds on what may wait.
    pub fn weight(&self) -> usize {
        self.body.end
    }

    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

#[derive(Debug)]
pub enum Event {
    /// The host begins a conversation.
    Sync,
    Frame(Frame),
}

/// The stream is no sequence of frames from here on; nothing after it is understood until the next sync.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A frame too large to be collected, being filled.
struct Large {
    buffer: Vec<u8>,
    filled: usize,
    total: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Discarding everything up to a sync.
    Scanning,
    /// After a sync: a small frame, or another sync in the midst of it, as a host cut off while greeting leaves it.
    Greeting,
    Frames,
}

pub struct Decoder {
    collected: Vec<u8>,
    start: usize,
    end: usize,
    large: Option<Large>,
    spares: Vec<Vec<u8>>,
    stage: Stage,
    /// What every frame of this conversation ends with, if the host said so.
    seal: Option<[u8; SEAL]>,
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder {
            collected: Vec::new(),
            start: 0,
            end: 0,
            large: None,
            spares: Vec::new(),
            stage: Stage::Scanning,
            seal: None,
        }
    }

    /// From the next frame on, expect this at each one's end.
    pub fn expect_seal(&mut self, seal: u32) {
        self.seal = Some(seal.to_le_bytes());
    }

    /// Forget everything half read, and discard all until the next sync.
    pub fn reset(&mut self) {
        self.rescan();
        self.start = 0;
        self.end = 0;
        self.rest();
    }

    pub fn is_warm(&self) -> bool {
        !self.spares.is_empty()
    }

    /// Let go of buffers kept for the next large frame.
    pub fn rest(&mut self) {
        self.spares = Vec::new();
    }

    /// Discard all that comes, including what was read already, until the next sync.
    pub fn rescan(&mut self) {
        self.large = None;
        self.stage = Stage::Scanning;
    }

    /// Where the next read goes; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if let Some(large) = &mut self.large {
            return &mut large.buffer[large.filled..large.total];
        }
        if self.collected.is_empty() {
            self.collected.resize(COLLECT, 0);
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if COLLECT - self.end < SMALL {
            self.collected.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.collected[self.end..]
    }

    /// Say how many bytes were read into `space`.
    pub fn filled(&mut self, count: usize) {
        match &mut self.large {
            Some(large) => large.filled += count,
            None => self.end += count,
        }
    }

    /// Take back a large frame's buffer for the next one.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.len() > SMALL && self.spares.len() < SPARES {
            self.spares.push(buffer);
        }
    }

    /// The next whole thing in what was read, if there is one.
    pub fn next(&mut self) -> Result<Option<Event>, Malformed> {
        match self.stage {
            Stage::Scanning => return Ok(self.scan()),
            Stage::Greeting if self.find_sync().is_some() => return Ok(self.scan()),
            Stage::Greeting | Stage::Frames => {}
        }
        if self.large.is_some() {
            return self.next_large();
        }
        let bytes = &self.collected[self.start..self.end];
        let Some(prefix) = bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        if *prefix == SYNC[..4] {
            return self.sync();
        }
        let length = u32::from_le_bytes(*prefix) as usize;
        if !(4..=FRAME_LIMIT).contains(&length) {
            return Err(Malformed("a frame's length is out of bounds"));
        }
        let total = 4 + length;
        if bytes.len() >= total {
            // A frame that was cut off is not taken: what followed it may hold a sync.
            let seal = self.check_seal(&bytes[4..total])?;
            let buffer = bytes[..total].to_vec();
            self.start += total;
            self.stage = Stage::Frames;
            return frame(buffer, total - seal).map(Some);
        }
        if total > SMALL {
            if self.stage == Stage::Greeting {
                return Err(Malformed("a conversation does not begin with a frame like this"));
            }
            self.begin_large(total);
        }
        Ok(None)
    }

    fn next_large(&mut self) -> Result<Option<Event>, Malformed> {
        let Some(large) = self.large.take_if(|large| large.filled == large.total) else {
            return Ok(None);
        };
        match self.check_seal(&large.buffer[4..large.total]) {
            Ok(seal) => frame(large.buffer, large.total - seal).map(Some),
            Err(malformed) => {
                let tail = &large.buffer[large.total - SMALL..large.total];
                self.collected[..SMALL].copy_from_slice(tail);
                self.start = 0;
                self.end = SMALL;
                Err(malformed)
            }
        }
    }

    /// How many bytes at a frame's end are its seal.
    fn check_seal(&self, frame: &[u8]) -> Result<usize, Malformed> {
        match &self.seal {
            None => Ok(0),
            Some(seal) if frame.len() >= 4 + SEAL && frame.ends_with(seal) => Ok(SEAL),
            Some(_) => Err(Malformed("a frame does not end with the conversation's seal")),
        }
    }

    /// A sync between two frames: the host has begun anew without our having seen it leave.
    fn sync(&mut self) -> Result<Option<Event>, Malformed> {
        let bytes = &self.collected[self.start..self.end];
        let known = bytes.len().min(SYNC.len());
        if bytes[..known] != SYNC[..known] {
            return Err(Malformed("a frame's length is out of bounds"));
        }
        if known < SYNC.len() {
            return Ok(None);
        }
        Ok(self.scan())
    }

    fn scan(&mut self) -> Option<Event> {
        if let Some(at) = self.find_sync() {
            self.start += at + SYNC.len();
            self.stage = Stage::Greeting;
            self.seal = None;
            return Some(Event::Sync);
        }
        // The beginning of a sync may be the last thing that was read.
        self.start += (self.end - self.start).saturating_sub(SYNC.len() - 1);
        None
    }

    fn find_sync(&self) -> Option<usize> {
        let bytes = &self.collected[self.start..self.end];
        bytes.windows(SYNC.len()).position(|window| window == SYNC)
    }

    /// Whether nothing is half read.
    pub fn is_empty(&self) -> bool {
        self.large.is_none() && self.start == self.end
    }

    fn begin_large(&mut self, total: usize) {
        let mut buffer = self.spares.pop().unwrap_or_default();
        if buffer.len() < total {
            buffer.resize(total, 0);
        }
        let filled = self.end - self.start;
        buffer[..filled].copy_from_slice(&self.collected[self.start..self.end]);
        self.start = 0;
        self.end = 0;
        self.large = Some(Large { buffer, filled, total });
    }
}

fn frame(buffer: Vec<u8>, total: usize) -> Result<Event, Malformed> {
    let Some(prefix) = buffer[4..total].first_chunk::<4>() else {
        return Err(Malformed("a frame's length is out of bounds"));
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > REQUEST_HEADER_LIMIT || length > total - 8 {
        return Err(Malformed("a header's length is out of bounds"));
    }
    let header = 8..8 + length;
    let body = header.end..total;
    if body.len() > BODY_LIMIT {
        return Err(Malformed("a body is longer than 1 MiB"));
    }
    Ok(Event::Frame(Frame { buffer, header, body }))
}

/// Append a frame to `out`. Header and body are within the protocol's bounds; the caller saw to it.
pub fn encode(out: &mut Vec<u8>, header: &[u8], body: &[&[u8]]) {
    let length = body.iter().map(|part| part.len()).sum::<usize>();
    out.reserve(8 + header.len() + length);
    encode_head(out, header, length);
    for part in body {
        out.extend_from_slice(part);
    }
}

/// Append all of a frame that comes before its body.
pub fn encode_head(out: &mut Vec<u8>, header: &[u8], body_length: usize) {
    let length = 4 + header.len() + body_length;
    debug_assert!(length <= FRAME_LIMIT);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(header);
}

#[cfg(test)]
mod tests;
