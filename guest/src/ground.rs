//! What the agent stands on: a guest it may change, or (in development) a host it must leave alone.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::failure::{Failure, Outcome};

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

    /// Replace a file by one with this text, also where it is a dangling link. Untouched if it says so already.
    pub fn write(&self, path: &str, text: &str) -> Outcome<()> {
        self.replace(path, text).map_err(|error| Failure::of_io(path, &error))
    }

    fn replace(&self, path: &str, text: &str) -> io::Result<()> {
        let path = self.path(path);
        let same = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if same && fs::read(&path).is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let beside = path.with_extension("hutch-new");
        fs::write(&beside, text)?;
        // A file that something is mounted on (as container images have it) cannot be renamed over.
        fs::rename(&beside, &path).or_else(|_| {
            let _ = fs::remove_file(&beside);
            fs::write(&path, text)
        })
    }
}
