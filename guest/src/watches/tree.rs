//! One watched directory, with all below it if that is wanted, on a thread of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::failure::{Code, Failure, Outcome};
use crate::files::transfer::PASSING;
use crate::watches::notify::{Event, Notify};
use crate::watches::{Change, Shared};

/// Directories of one watch, and bytes of their paths.
const DIRECTORIES: usize = 4096;
const PATHS: usize = 512 << 10;

pub struct Tree<'a> {
    shared: &'a Shared,
    notify: Notify,
    root: PathBuf,
    recursive: bool,
    skip: &'a [String],
    directories: BTreeMap<i32, PathBuf>,
    bytes: usize,
    /// The cookie of the last file that left its passing name: it is whole now.
    finished: u32,
}

impl Tree<'_> {
    /// Note what happens until told to end; an error when there is nothing to watch any more. What is in the
    /// directories of `skip` is not looked at.
    pub fn watch(path: &str, recursive: bool, skip: &[String], shared: &Shared) -> Outcome<()> {
        let failure = |error: io::Error| Failure::of_io(path, &error);
        let mut tree = Tree {
            shared,
            notify: Notify::new().map_err(failure)?,
            root: PathBuf::from(path),
            recursive,
            skip,
            directories: BTreeMap::new(),
            bytes: 0,
            finished: 0,
        };
        let top = tree.notify.add(&tree.root, true).map_err(failure)?;
        tree.directories.insert(top, tree.root.clone());
        if recursive {
            tree.descend(tree.root.clone(), false)?;
        }
        shared.queue().open = true;
        shared.ring();
        while tree.notify.wait(&shared.end) {
            for event in tree.notify.read().map_err(failure)? {
                let is_top = event.wd == top;
                if is_top && event.mask & (libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_IGNORED) != 0 {
                    return Err(Failure::of_errno(path, libc::ENOENT));
                }
                tree.note(&event)?;
            }
            shared.ring();
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) -> Outcome<()> {
        if event.mask & libc::IN_Q_OVERFLOW != 0 {
            self.shared.queue().lost = true;
            return Ok(());
        }
        if event.mask & libc::IN_IGNORED != 0 {
            self.forget(event.wd);
            return Ok(());
        }
        let Some(directory) = self.directories.get(&event.wd).filter(|_| !event.name.is_empty()) else {
            return Ok(());
        };
        let path = directory.join(OsStr::from_bytes(&event.name));
        let is_directory = event.mask & libc::IN_ISDIR != 0;
        if event.name.starts_with(PASSING.as_bytes()) {
            if event.mask & libc::IN_MOVED_FROM != 0 {
                self.finished = event.cookie;
            }
            return Ok(());
        }
        if is_nameless(&event.name) && fs::symlink_metadata(&path).is_err() {
            return Ok(());
        }
        let kind = match event.mask & libc::IN_ALL_EVENTS {
            libc::IN_CREATE => "created",
            libc::IN_MODIFY => "written",
            libc::IN_DELETE => "removed",
            libc::IN_MOVED_TO if event.cookie == self.finished && self.finished != 0 => "written",
            libc::IN_MOVED_FROM | libc::IN_MOVED_TO => "renamed",
            libc::IN_ATTRIB => "changed",
            _ => return Ok(()),
        };
        self.tell(kind, &path, is_directory);
        if self.recursive && is_directory {
            match event.mask & libc::IN_ALL_EVENTS {
                libc::IN_CREATE => self.enter(path, true)?,
                libc::IN_MOVED_TO => self.enter(path, false)?,
                libc::IN_MOVED_FROM => self.leave(&path),
                _ => {}
            }
        }
        Ok(())
    }

    fn tell(&self, kind: &'static str, path: &Path, directory: bool) {
        let path = path.to_string_lossy().into_owned();
        self.shared.queue().add(Change { kind, path, directory });
    }

    /// Watch a directory and all below it; what a new one holds already was made in it before we looked.
    fn enter(&mut self, path: PathBuf, is_new: bool) -> Outcome<()> {
        if self.add(&path)? {
            self.descend(path, is_new)?;
        }
        Ok(())
    }

    /// False if it has gone, cannot be read, or is not to be looked at.
    fn add(&mut self, path: &Path) -> Outcome<bool> {
        if self.skip.iter().any(|skipped| path == Path::new(skipped)) {
            return Ok(false);
        }
        let weight = path.as_os_str().len();
        if self.directories.len() >= DIRECTORIES || self.bytes + weight > PATHS {
            return Err(self.too_many());
        }
        match self.notify.add(path, false) {
            Ok(wd) => {
                self.forget(wd);
                self.bytes += weight;
                self.directories.insert(wd, path.to_owned());
                Ok(true)
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Err(self.too_many()),
            Err(_) => Ok(false),
        }
    }

    fn too_many(&self) -> Failure {
        let text = format!("{}: too many directories to watch", self.root.display());
        Failure::new(Code::TooMany, text)
    }

    fn descend(&mut self, start: PathBuf, is_new: bool) -> Outcome<()> {
        let mut waiting = vec![start];
        while let Some(directory) = waiting.pop() {
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                if is_new {
                    self.tell("created", &entry.path(), kind.is_dir());
                }
                // Added before it is read, so that every one that waits has been counted.
                if kind.is_dir() && self.add(&entry.path())? {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self, path: &Path) {
        let gone: Vec<i32> = self
            .directories
            .iter()
            .filter(|(_, directory)| directory.starts_with(path))
            .map(|(&wd, _)| wd)
            .collect();
        for wd in gone {
            self.notify.remove(wd);
            self.forget(wd);
        }
    }

    fn forget(&mut self, wd: i32) {
        if let Some(path) = self.directories.remove(&wd) {
            self.bytes = self.bytes.saturating_sub(path.as_os_str().len());
        }
    }
}

/// What the kernel reports a file without a name as: `#` and the inode's number.
fn is_nameless(name: &[u8]) -> bool {
    matches!(name, [b'#', rest @ ..] if rest.iter().all(u8::is_ascii_digit))
}
