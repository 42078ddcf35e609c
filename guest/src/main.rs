//! The process inside every Hutch machine.
//!
//! As process 1 of the initramfs it boots the machine: drivers, disk, root, then the image's own systemd, or itself as
//! init where there is none. Besides runs a second one of it, the agent proper, which serves the host as PROTOCOL.md says.
//! On a host, `--listen PATH [--root DIR]` serves the same on a unix socket, for tests.

mod agent;
mod boot;
mod conversation;
mod disk;
mod environment;
mod failure;
mod files;
mod frames;
mod ground;
mod identity;
mod mounts;
mod network;
mod port;
mod power;
mod processes;
mod pty;
mod request;
mod spawn;
mod stats;
mod stream;
mod supervisor;
mod sys;
mod users;
mod watches;
mod workers;

use std::path::{Path, PathBuf};

use agent::{Agent, Init};
use ground::Ground;

fn main() {
    if std::process::id() == 1 {
        boot();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["supervise", "systemd"] => supervisor::supervise(Init::Systemd),
        ["serve", "systemd"] => serve(Init::Systemd),
        ["serve", "agent"] => serve(Init::Agent),
        ["--listen", path] => listen(Path::new(path), None),
        ["--listen", path, "--root", root] => listen(Path::new(path), Some(PathBuf::from(root))),
        ["--version"] => println!("hutch-agent {}", env!("CARGO_PKG_VERSION")),
        _ => {
            eprintln!("usage: hutch-agent --listen PATH [--root DIR]");
            std::process::exit(2);
        }
    }
}

fn boot() -> ! {
    let init = boot::prepare().unwrap_or_else(|reason| boot::fail(&reason));
    if init == Init::Agent {
        supervisor::reign();
    }
    if let Err(error) = supervisor::start("supervise", init) {
        boot::fail(&format!("starting the agent: {error}"));
    }
    boot::fail(&boot::become_systemd())
}

/// The agent proper. An error ends it; its supervisor starts another.
fn serve(init: Init) {
    sys::stand_apart();
    match Agent::guest(init) {
        Ok(mut agent) => agent.run(),
        Err(error) => eprintln!("hutch-agent: {error}"),
    }
}

fn listen(socket: &Path, root: Option<PathBuf>) {
    match Agent::host(socket, Ground::Host(root)) {
        Ok(mut agent) => agent.run(),
        Err(error) => {
            eprintln!("hutch-agent: {}: {error}", socket.display());
            std::process::exit(1);
        }
    }
}
