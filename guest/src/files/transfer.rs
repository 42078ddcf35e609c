//! A file being read, or being written beside its place until it is whole.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::conversation::HEADROOM;
use crate::failure::{Code, Failure, Outcome};
use crate::files::paths;
use crate::sys;

/// How the names begin that files have until they are whole.
pub const PASSING: &str = ".hutch-upload-";

pub struct Reading {
    file: File,
    path: String,
}

impl Reading {
    /// Only regular files are opened: opening a device can do things, and a FIFO waits for somebody.
    pub fn open(path: &str) -> Outcome<(Reading, Metadata)> {
        let failure = |error: io::Error| Failure::of_io(path, &error);
        regular(path, &fs::metadata(path).map_err(failure)?)?;
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failure)?;
        let found = file.metadata().map_err(failure)?;
        regular(path, &found)?;
        Ok((
            Reading {
                file,
                path: path.to_owned(),
            },
            found,
        ))
    }

    /// Fill `buffer` behind its headroom with up to `limit` bytes: how many came, and whether that was the end.
    pub fn read(&mut self, buffer: &mut Vec<u8>, limit: usize) -> Outcome<(usize, bool)> {
        if buffer.len() < HEADROOM + limit {
            buffer.resize(HEADROOM + limit, 0);
        }
        let mut count = 0;
        while count < limit {
            match self.file.read(&mut buffer[HEADROOM + count..HEADROOM + limit]) {
                Ok(0) => return Ok((count, true)),
                Ok(more) => count += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::of_io(&self.path, &error)),
            }
        }
        Ok((count, false))
    }
}

fn regular(path: &str, found: &Metadata) -> Outcome<()> {
    if found.is_dir() {
        return Err(Failure::new(Code::IsDirectory, format!("{path}: Is a directory")));
    }
    if !found.is_file() {
        return Err(Failure::new(Code::NotRegular, format!("{path}: not a regular file")));
    }
    Ok(())
}

/// Where the bytes are until the commit.
enum Place {
    /// A file without a name: gone with its descriptor, whatever ends us.
    Nameless,
    /// For file systems that have no nameless files; removed if it is never committed.
    Named(PathBuf),
    Committed,
}

pub struct Writing {
    file: File,
    place: Place,
    target: PathBuf,
    path: String,
}

impl Writing {
    /// `mode` `None` keeps the mode of the file it replaces, else 0644. Owner and group are kept either way.
    pub fn open(path: &str, mode: Option<u32>) -> Outcome<Writing> {
        let failure = |error: io::Error| Failure::of_io(path, &error);
        let target = follow(Path::new(path)).map_err(failure)?;
        let replaced = match fs::metadata(&target) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failure(error)),
        };
        if let Some(found) = &replaced {
            regular(path, found)?;
        }
        if path.ends_with('/') || target.file_name().is_none() {
            return Err(Failure::new(Code::IsDirectory, format!("{path}: Is a directory")));
        }
        let directory = target.parent().unwrap_or(Path::new("/"));
        if replaced.is_none() {
            paths::make_directories(directory, 0o755).map_err(failure)?;
        }
        let (file, place) = create(directory).map_err(failure)?;
        if let Some(found) = &replaced {
            // Only root may; anybody else's file simply becomes his own.
            let _ = fchown(&file, Some(found.uid()), Some(found.gid()));
        }
        let kept = replaced.map_or(0o644, |found| found.mode());
        file.set_permissions(Permissions::from_mode(mode.unwrap_or(kept) & 0o7777))
            .map_err(failure)?;
        Ok(Writing {
            file,
            place,
            target,
            path: path.to_owned(),
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| Failure::of_io(&self.path, &error))
    }

    pub fn commit(mut self) -> Outcome<()> {
        self.put_in_place()
            .map_err(|error| Failure::of_io(&self.path, &error))?;
        self.place = Place::Committed;
        Ok(())
    }

    fn put_in_place(&mut self) -> io::Result<()> {
        // What is new appears under its own name only: whoever watches sees one file made.
        if matches!(self.place, Place::Nameless) {
            match self.link(&self.target) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                result => return result,
            }
        }
        let name = self.name()?;
        fs::rename(&name, &self.target)
    }

    /// A nameless file cannot replace a named one: it gets a passing name first.
    fn name(&mut self) -> io::Result<PathBuf> {
        if let Place::Named(name) = &self.place {
            return Ok(name.clone());
        }
        let directory = self.target.parent().unwrap_or(Path::new("/"));
        loop {
            let name = directory.join(passing_name()?);
            match self.link(&name) {
                Ok(()) => {
                    self.place = Place::Named(name.clone());
                    return Ok(name);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Give the nameless file a name that nothing has.
    fn link(&self, name: &Path) -> io::Result<()> {
        let source = sys::path(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        let target = sys::path(name)?;
        // SAFETY: both paths end with a zero byte.
        let linked = unsafe {
            libc::linkat(
                libc::AT_FDCWD,
                source.as_ptr(),
                libc::AT_FDCWD,
                target.as_ptr(),
                libc::AT_SYMLINK_FOLLOW,
            )
        };
        sys::check(linked).map(|_| ())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Place::Named(name) = &self.place {
            let _ = fs::remove_file(name);
        }
    }
}

/// The file a path means: writing to a link writes to what it points to, also when that is not there yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => return Ok(path),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

fn create(directory: &Path) -> io::Result<(File, Place)> {
    match sys::open(directory, libc::O_TMPFILE | libc::O_WRONLY, 0o600) {
        Ok(fd) => return Ok((File::from(fd), Place::Nameless)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
            ) => {}
        Err(error) => return Err(error),
    }
    loop {
        let name = directory.join(passing_name()?);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        match sys::open(&name, flags, 0o600) {
            Ok(fd) => return Ok((File::from(fd), Place::Named(name))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Random, because a forked machine's agent would count on where its parent's did.
fn passing_name() -> io::Result<String> {
    let mut random = [0u8; 8];
    // SAFETY: pointer and length are those of `random`.
    sys::check(unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) } as i32)?;
    Ok(format!("{PASSING}{:016x}", u64::from_ne_bytes(random)))
}
