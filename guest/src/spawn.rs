//! Start a program: everything is laid out beforehand, then a vfork'd child sets itself up and executes it.
//!
//! vfork (CLONE_VM | CLONE_VFORK) copies no page tables and causes no copy-on-write faults in the agent, and the child's
//! failure is simply a value in shared memory. The price: the child may only make plain system calls, and none through
//! glibc's wrappers for set*id, which would signal the agent's threads.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use crate::failure::{Code, Failure, Outcome, words};
use crate::users::User;

/// What is to be executed, and as what.
pub struct Program<'a> {
    pub argv: &'a [String],
    pub environment: Vec<CString>,
    /// The `PATH` in which a bare name is looked up: that of the new process.
    pub path: &'a str,
    pub cwd: &'a str,
    pub user: &'a User,
}

/// The three descriptors a child begins with. With a terminal all three are it, and it becomes the controlling one.
pub struct Standard {
    pub stdin: RawFd,
    pub stdout: RawFd,
    pub stderr: RawFd,
    pub tty: bool,
}

/// What is the same for every child.
pub struct Spawner {
    stack: Vec<u8>,
    /// Soft and hard number of open files a child begins with; the agent has raised its own.
    files: Option<libc::rlimit>,
    privileged: bool,
}

const STACK: usize = 64 << 10;

impl Spawner {
    pub fn new() -> Spawner {
        // SAFETY: geteuid cannot fail.
        let privileged = unsafe { libc::geteuid() } == 0;
        Spawner {
            stack: vec![0; STACK],
            files: raise_files(),
            privileged,
        }
    }

    /// The new process's pid. It leads a session and a process group of its own.
    pub fn spawn(&mut self, program: &Program, standard: &Standard) -> Outcome<i32> {
        let name = &program.argv[0];
        let candidates = candidates(name, program.path)?;
        let argv = c_strings(program.argv)?;
        let argv = pointers(&argv);
        let environment = pointers(&program.environment);
        let candidates: Vec<*const c_char> = pointers(&candidates);
        let cwd = CString::new(program.cwd).map_err(|_| Failure::invalid("cwd has a zero byte"))?;
        let mut plan = Plan {
            candidates: candidates.as_ptr(),
            argv: argv.as_ptr(),
            environment: environment.as_ptr(),
            cwd: cwd.as_ptr(),
            standard,
            user: program.user,
            files: self.files,
            privileged: self.privileged,
            failed: Step::None,
            errno: 0,
        };
        let pid = self
            .vfork(&mut plan)
            .map_err(|error| Failure::of_io("a new process", &error))?;
        if let Step::None = plan.failed {
            return Ok(pid);
        }
        // SAFETY: the child has ended; this reaps it.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        Err(explain(plan.failed, plan.errno, name, program))
    }

    fn vfork(&mut self, plan: &mut Plan) -> io::Result<i32> {
        let top = (self.stack.as_mut_ptr() as usize + STACK) & !15;
        // SAFETY: the child runs `child` on a stack of its own while this thread waits; `plan` and all it points to live
        // until then. Signals are blocked so that no handler of ours runs in the child.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            let pid = libc::clone(child, top as *mut c_void, flags, (plan as *mut Plan).cast());
            let error = io::Error::last_os_error();
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
            if pid < 0 { Err(error) } else { Ok(pid) }
        }
    }
}

/// The agent may hold many pipes; its children begin with what is usual.
fn raise_files() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives through the calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return None;
        }
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        (libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0).then_some(limit)
    }
}

fn c_strings(texts: &[String]) -> Outcome<Vec<CString>> {
    texts
        .iter()
        .map(|text| CString::new(text.as_str()).map_err(|_| Failure::invalid("argv has a zero byte")))
        .collect()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Where the program may lie: itself if it has a slash, else below every directory of PATH.
fn candidates(name: &str, path: &str) -> Outcome<Vec<CString>> {
    let place = |directory: &str| match directory {
        "" => name.to_owned(),
        _ => format!("{directory}/{name}"),
    };
    let places: Vec<String> = match name {
        "" => Vec::new(),
        _ if name.contains('/') => vec![name.to_owned()],
        _ => path.split(':').map(place).collect(),
    };
    c_strings(&places)
}

#[derive(Clone, Copy)]
enum Step {
    None,
    Setup(&'static str),
    User,
    Directory,
    Execute,
}

struct Plan<'a> {
    candidates: *const *const c_char,
    argv: *const *const c_char,
    environment: *const *const c_char,
    cwd: *const c_char,
    standard: &'a Standard,
    user: &'a User,
    files: Option<libc::rlimit>,
    privileged: bool,
    failed: Step,
    errno: c_int,
}

extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: the parent passed its `Plan` and waits until this child has executed or ended.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    let failed = match prepare(plan) {
        Ok(()) => execute(plan),
        Err(failed) => failed,
    };
    // SAFETY: plain calls; _exit runs nothing of the parent's.
    unsafe {
        if plan.errno == 0 {
            plan.errno = *libc::__errno_location();
        }
        plan.failed = failed;
        libc::_exit(127)
    }
}

fn prepare(plan: &Plan) -> Result<(), Step> {
    let done = |result: c_int, step: Step| if result < 0 { Err(step) } else { Ok(()) };
    let standard = plan.standard;
    // SAFETY: plain system calls on memory the parent keeps alive; see the module's words on glibc's wrappers.
    unsafe {
        done(libc::setsid(), Step::Setup("setsid"))?;
        done(libc::dup2(standard.stdin, 0), Step::Setup("stdin"))?;
        done(libc::dup2(standard.stdout, 1), Step::Setup("stdout"))?;
        done(libc::dup2(standard.stderr, 2), Step::Setup("stderr"))?;
        if standard.tty {
            done(libc::ioctl(0, libc::TIOCSCTTY, 0), Step::Setup("controlling terminal"))?;
        }
        if let Some(files) = &plan.files {
            libc::setrlimit(libc::RLIMIT_NOFILE, files);
        }
        if plan.privileged {
            reset_oom_score();
            become_user(plan.user)?;
        }
        done(libc::chdir(plan.cwd), Step::Directory)?;
        // All that the agent itself ignores: a program inherits what is ignored.
        for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        // The raw call has no thread library in it; 8 is the size of the kernel's set.
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &none,
            ptr::null::<c_void>(),
            8usize,
        );
    }
    Ok(())
}

/// The agent is not to be killed for want of memory; its children may be.
unsafe fn reset_oom_score() {
    // SAFETY: plain system calls.
    unsafe {
        let fd = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, c"0".as_ptr().cast(), 1);
            libc::close(fd);
        }
    }
}

fn become_user(user: &User) -> Result<(), Step> {
    // Root in its own group is what the agent is already, supplementary groups aside.
    // SAFETY: raw calls change this child only.
    unsafe {
        let done = |result: libc::c_long| if result < 0 { Err(Step::User) } else { Ok(()) };
        done(libc::syscall(
            libc::SYS_setgroups,
            user.groups.len(),
            user.groups.as_ptr(),
        ))?;
        if user.gid != 0 {
            done(libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid))?;
        }
        if user.uid != 0 {
            done(libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid))?;
        }
    }
    Ok(())
}

/// Try every candidate; a place where it must not be executed is told in preference to places where it is not.
fn execute(plan: &mut Plan) -> Step {
    let mut at = plan.candidates;
    let mut told = libc::ENOENT;
    // SAFETY: the lists end with a null pointer and live in the waiting parent.
    unsafe {
        while !(*at).is_null() {
            libc::execve(*at, plan.argv, plan.environment);
            match *libc::__errno_location() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => told = libc::EACCES,
                other => {
                    told = other;
                    break;
                }
            }
            at = at.add(1);
        }
    }
    plan.errno = told;
    Step::Execute
}

fn explain(step: Step, errno: i32, name: &str, program: &Program) -> Failure {
    match step {
        Step::Execute if errno == libc::ENOENT => Failure::new(
            Code::ExecFailed,
            format!("executable file '{name}' not found in $PATH: {}", words(errno)),
        ),
        Step::Execute => Failure::new(Code::ExecFailed, format!("executable file '{name}': {}", words(errno))),
        Step::Directory => Failure::of_errno(&format!("working directory '{}'", program.cwd), errno),
        Step::User => Failure::of_errno(&format!("becoming user '{}'", program.user.name), errno),
        Step::Setup(what) => Failure::of_errno(what, errno),
        Step::None => Failure::new(Code::Io, "the process did not start"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(name: &str, path: &str) -> Vec<String> {
        candidates(name, path)
            .unwrap()
            .into_iter()
            .map(|place| place.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_bare_name_is_looked_up_in_the_path_and_one_with_a_slash_is_not() {
        assert_eq!(places("ls", "/bin:/usr/bin"), ["/bin/ls", "/usr/bin/ls"]);
        assert_eq!(places("ls", ":/bin"), ["ls", "/bin/ls"]);
        assert_eq!(places("./ls", "/bin"), ["./ls"]);
        assert!(places("", "/bin").is_empty());
    }
}
