//! The kept end of one output stream of a process, addressed by offsets from its beginning.

use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Nothing unread is lost: the process waits, as on a full pipe.
    Block,
    /// The process never waits: the oldest goes.
    Drop,
}

#[derive(Debug, Default)]
pub struct Kept {
    bytes: VecDeque<u8>,
    /// Offset of the oldest byte kept.
    start: u64,
    /// All below this offset has been read by the host.
    read: u64,
}

impl Kept {
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes may come now, if at most `limit` may be kept.
    pub fn room(&self, limit: usize, overflow: Overflow) -> usize {
        let lost = match overflow {
            Overflow::Drop => self.bytes.len(),
            Overflow::Block => (self.read - self.start) as usize,
        };
        (limit + lost).saturating_sub(self.bytes.len()).min(limit)
    }

    /// Keep new bytes; the oldest go so that at most `limit` remain.
    pub fn push(&mut self, new: &[u8], limit: usize) {
        self.trim((self.bytes.len() + new.len()).saturating_sub(limit));
        self.bytes.extend(new);
    }

    /// Let go of the oldest bytes.
    fn trim(&mut self, count: usize) {
        let count = count.min(self.bytes.len());
        self.bytes.drain(..count);
        self.start += count as u64;
        self.read = self.read.max(self.start);
    }

    /// Everything below `offset` has been received.
    pub fn acknowledge(&mut self, offset: u64) {
        self.read = self.read.max(offset.min(self.end()));
    }

    /// Let go of what has been read: how much that was.
    pub fn release(&mut self) -> usize {
        let count = (self.read - self.start) as usize;
        self.trim(count);
        self.bytes.shrink_to_fit();
        count
    }

    /// Bytes from `offset` on, at most `limit`: where they really begin, and the two parts they lie in.
    pub fn from(&self, offset: u64, limit: usize) -> (u64, [&[u8]; 2]) {
        let at = offset.clamp(self.start, self.end());
        let skip = (at - self.start) as usize;
        let (first, second) = self.bytes.as_slices();
        let first_part = &first[skip.min(first.len())..];
        let first_part = &first_part[..first_part.len().min(limit)];
        let second_part = &second[skip.saturating_sub(first.len())..];
        let second_part = &second_part[..second_part.len().min(limit - first_part.len())];
        (at, [first_part, second_part])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(kept: &Kept, offset: u64, limit: usize) -> (u64, Vec<u8>) {
        let (at, parts) = kept.from(offset, limit);
        (at, parts.concat())
    }

    #[test]
    fn bytes_are_found_at_their_offsets() {
        let mut kept = Kept::default();
        kept.push(b"hello ", 100);
        kept.push(b"world", 100);
        assert_eq!(all(&kept, 0, 100), (0, b"hello world".to_vec()));
        assert_eq!(all(&kept, 6, 3), (6, b"wor".to_vec()));
        assert_eq!(all(&kept, 99, 3), (11, vec![]));
    }

    #[test]
    fn what_was_read_goes_first_and_the_unread_blocks() {
        let mut kept = Kept::default();
        assert_eq!(kept.room(10, Overflow::Block), 10);
        kept.push(b"0123456789", 10);
        assert_eq!(kept.room(10, Overflow::Block), 0);
        kept.acknowledge(4);
        assert_eq!(kept.room(10, Overflow::Block), 4);
        assert_eq!(
            all(&kept, 0, 100).1.len(),
            10,
            "what was read is kept while there is room"
        );
        kept.push(b"abcd", 10);
        assert_eq!(all(&kept, 0, 100), (4, b"456789abcd".to_vec()));
        assert_eq!(kept.room(10, Overflow::Block), 0);
    }

    #[test]
    fn with_drop_the_oldest_goes() {
        let mut kept = Kept::default();
        for round in 0..100u8 {
            assert_eq!(kept.room(10, Overflow::Drop), 10);
            kept.push(&[round; 4], 10);
        }
        assert_eq!(all(&kept, 0, 100), (390, vec![97, 97, 98, 98, 98, 98, 99, 99, 99, 99]));
        assert_eq!((kept.end(), kept.len()), (400, 10));
    }

    #[test]
    fn a_shrunken_limit_is_kept_to() {
        let mut kept = Kept::default();
        kept.push(&[1; 100], 100);
        assert_eq!(kept.room(10, Overflow::Block), 0);
        kept.acknowledge(95);
        assert_eq!(kept.room(10, Overflow::Block), 5);
        kept.push(&[2; 5], 10);
        assert_eq!(kept.len(), 10);
    }

    #[test]
    fn an_acknowledgement_beyond_the_end_counts_only_to_the_end() {
        let mut kept = Kept::default();
        kept.push(b"abc", 10);
        kept.acknowledge(1000);
        kept.push(b"def", 10);
        assert_eq!(kept.room(6, Overflow::Block), 3);
    }
}
