//! The line to the host: the virtio port in a guest, a unix socket in development.
//!
//! While no host is connected, a virtio port polls as readable and hung up for ever and reads 0 bytes. The driver
//! wakes its pollers when the host connects, leaves, or sends. So the port is watched edge-triggered: every change wakes
//! us at once, and between changes nothing does. No timer, no SIGIO. The one thing an edge cannot tell is a host that left and
//! came back before we ran; its sync between two frames tells it, and in the middle of a frame its patience: it connects
//! again when its hello is not answered.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::sys::{self, EDGE, Poller, READABLE, WRITABLE};

pub const NAME: &str = "hutch.agent";
const PORTS: &str = "/sys/class/virtio-ports";

pub struct Port {
    line: Option<OwnedFd>,
    /// In development: where hosts connect, one at a time.
    listener: Option<UnixListener>,
}

impl Port {
    /// Wait for the virtio port and open it; it can be opened once only.
    pub fn virtio(poller: &Poller, token: u64) -> Port {
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(line) = find().and_then(|path| sys::open(path, libc::O_RDWR | libc::O_NONBLOCK, 0).ok()) {
                let _ = poller.add(&line, READABLE | WRITABLE | EDGE, token);
                return Port {
                    line: Some(line),
                    listener: None,
                };
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    pub fn listening(path: &Path, poller: &Poller, token: u64) -> io::Result<Port> {
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        poller.add(&listener, READABLE, token)?;
        Ok(Port {
            line: None,
            listener: Some(listener),
        })
    }

    pub fn line(&self) -> Option<&OwnedFd> {
        self.line.as_ref()
    }

    /// Whether it stays open when its host leaves: its news of that come on another way than the bytes, and may be late.
    pub fn is_lasting(&self) -> bool {
        self.listener.is_none()
    }

    /// Take the host that is waiting. Others wait until it leaves, as QEMU has it.
    pub fn accept(&mut self, poller: &Poller, token: u64) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.line.is_none()) else {
            return;
        };
        let Ok((stream, _)) = listener.accept() else { return };
        let _ = stream.set_nonblocking(true);
        let line = OwnedFd::from(stream);
        if poller.add(&line, READABLE | WRITABLE | EDGE, token).is_ok() {
            poller.remove(listener);
            self.line = Some(line);
        }
    }

    /// The host is gone. A virtio port stays open for the next.
    pub fn hang_up(&mut self, poller: &Poller, listen_token: u64) {
        if let Some(listener) = &self.listener {
            self.line = None;
            let _ = poller.add(listener, READABLE, listen_token);
        }
    }
}

fn find() -> Option<PathBuf> {
    let ports = fs::read_dir(PORTS).ok()?;
    let port = ports
        .flatten()
        .find(|port| fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim_end() == NAME))?;
    Some(Path::new("/dev").join(port.file_name()))
}
