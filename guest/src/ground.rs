//! What the agent stands on: a guest it may change, or (in development) a host it must leave alone.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::failure::{Failure, Outcome};
use crate::sys;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A machine of ours.
    Guest,
    /// A host. With a directory, files that would be changed are changed below it; without, nothing is.
    Host(Option<PathBuf>),
}

impl Ground {
    pub fn is_guest(&self) -> bool {
        *self == Ground::Guest
    }

    /// Refuse what would change a host.
    pub fn allow(&self, op: &str) -> Outcome<()> {
        match self {
            Ground::Host(None) => Err(Failure::invalid(format!(
                "{op} would change the host the agent runs on"
            ))),
            _ => Ok(()),
        }
    }

    /// Where a file of the machine is.
    pub fn path(&self, path: &str) -> PathBuf {
        match self {
            Ground::Host(Some(root)) => root.join(path.trim_start_matches('/')),
            _ => PathBuf::from(path),
        }
    }

    /// Make a file say this, also where it is a dangling link. Untouched if it says so already.
    ///
    /// A file that is there is written in place: making and renaming another costs a restored machine 40 ms of kernel code
    /// that was never translated before, and a file that something is mounted on cannot be replaced. A page is written whole.
    pub fn write(&self, path: &str, text: &str, mode: u32) -> Outcome<()> {
        self.put(path, text, mode).map_err(|error| Failure::of_io(path, &error))
    }

    fn put(&self, path: &str, text: &str, mode: u32) -> io::Result<()> {
        let path = self.path(path);
        match sys::open(&path, libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0) {
            Ok(fd) => return overwrite(fs::File::from(fd), text),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => fs::remove_file(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory)?;
                }
            }
            Err(error) => return Err(error),
        }
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        fs::File::from(sys::open(&path, flags, mode)?).write_all(text.as_bytes())
    }
}

fn overwrite(file: fs::File, text: &str) -> io::Result<()> {
    let mut before = Vec::new();
    (&file).take(text.len() as u64 + 1).read_to_end(&mut before)?;
    if before == text.as_bytes() {
        return Ok(());
    }
    file.write_all_at(text.as_bytes(), 0)?;
    if before.len() > text.len() {
        file.set_len(text.len() as u64)
    } else {
        Ok(())
    }
}
