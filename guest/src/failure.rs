//! What an operation answers when it cannot be done: a code of the protocol and words that name the subject.

use std::ffi::CStr;
use std::io;

/// The protocol's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Protocol,
    Busy,
    UnknownOp,
    Invalid,
    NotFound,
    Exists,
    IsDirectory,
    NotDirectory,
    NotEmpty,
    Permission,
    NoSpace,
    NotRegular,
    TooMany,
    UnknownUser,
    ExecFailed,
    Ended,
    Io,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Code::Protocol => "protocol",
            Code::Busy => "busy",
            Code::UnknownOp => "unknown_op",
            Code::Invalid => "invalid",
            Code::NotFound => "not_found",
            Code::Exists => "exists",
            Code::IsDirectory => "is_directory",
            Code::NotDirectory => "not_directory",
            Code::NotEmpty => "not_empty",
            Code::Permission => "permission",
            Code::NoSpace => "no_space",
            Code::NotRegular => "not_regular",
            Code::TooMany => "too_many",
            Code::UnknownUser => "unknown_user",
            Code::ExecFailed => "exec_failed",
            Code::Ended => "ended",
            Code::Io => "io",
        }
    }

    fn of_errno(errno: i32) -> Code {
        match errno {
            libc::ENOENT => Code::NotFound,
            libc::EEXIST => Code::Exists,
            libc::EISDIR => Code::IsDirectory,
            libc::ENOTDIR => Code::NotDirectory,
            libc::ENOTEMPTY => Code::NotEmpty,
            libc::EACCES | libc::EPERM => Code::Permission,
            libc::ENOSPC | libc::EDQUOT => Code::NoSpace,
            libc::EMFILE | libc::ENFILE => Code::TooMany,
            libc::ENAMETOOLONG => Code::Invalid,
            _ => Code::Io,
        }
    }
}

/// The longest message an answer carries; a path of 4 KiB and the kernel's words fit.
const MESSAGE_LIMIT: usize = 8 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        let mut message = message.into();
        if message.len() > MESSAGE_LIMIT {
            let end = (0..=MESSAGE_LIMIT)
                .rev()
                .find(|&at| message.is_char_boundary(at))
                .unwrap_or(0);
            message.truncate(end);
        }
        Failure { code, message }
    }

    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(Code::Invalid, message)
    }

    /// What the kernel said about `subject` (a path, a process, a device).
    pub fn of_errno(subject: &str, errno: i32) -> Failure {
        Failure::new(Code::of_errno(errno), format!("{subject}: {}", words(errno)))
    }

    pub fn of_io(subject: &str, error: &io::Error) -> Failure {
        match error.raw_os_error() {
            Some(errno) => Failure::of_errno(subject, errno),
            None => Failure::new(Code::Io, format!("{subject}: {error}")),
        }
    }
}

/// The kernel's words for an error number, without Rust's "(os error 2)".
pub fn words(errno: i32) -> String {
    let mut text = [0 as libc::c_char; 128];
    // SAFETY: the buffer and its length belong together; strerror_r ends the text with a zero byte.
    unsafe {
        libc::strerror_r(errno, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_subject_and_carries_the_kernels_words() {
        let failure = Failure::of_errno("/nope", libc::ENOENT);
        assert_eq!(failure.code, Code::NotFound);
        assert_eq!(failure.message, "/nope: No such file or directory");
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        let failure = Failure::invalid("é".repeat(MESSAGE_LIMIT));
        assert!(failure.message.len() <= MESSAGE_LIMIT);
        assert!(failure.message.ends_with('é'));
    }
}
