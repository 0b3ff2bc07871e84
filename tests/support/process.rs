//! Children with deadlines: started in a process group of their own, their output collected, the whole group killed
//! when they are dropped. A daemon that leaves its group (a session of its own) is not reached: whoever starts one
//! ends it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{eventually, within};

/// A child under way.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
}

/// A child that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

/// Runs a command to its end, without input; fails the test if it takes longer than `limit`.
#[track_caller]
pub fn run(command: Command, limit: Duration) -> Finished {
    Running::start(command).finish(limit)
}

impl Finished {
    /// The exit code; -1 for a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Fails the test, showing the output, unless it exited with 0.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr);
        self
    }
}

impl Running {
    /// Starts a command without input.
    pub fn start(command: Command) -> Self {
        Self::spawn(command, Stdio::null())
    }

    /// Starts a command that is fed by [`Running::send`].
    pub fn start_with_input(command: Command) -> Self {
        Self::spawn(command, Stdio::piped())
    }

    fn spawn(mut command: Command, stdin: Stdio) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let (stdout, stderr) = (Collected::from(child.stdout.take()), Collected::from(child.stderr.take()));
        Self { name, stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to its input; an input that is closed by the child is ignored.
    pub fn send(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(format!("{line}\n").as_bytes());
            let _ = stdin.flush();
        }
    }

    /// Writes to its input as a person types: no newline is added.
    pub fn type_keys(&mut self, keys: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(keys.as_bytes());
            let _ = stdin.flush();
        }
    }

    /// Ends its input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Its stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it still runs.
    #[cfg(unix)]
    pub fn is_running(&mut self) -> bool {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

        // Not waited for yet: the number of its group, which is killed at the end, must not be another's by then.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }

    /// Whether it still runs.
    #[cfg(not(unix))]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end (SIGTERM); [`Running::finish`] waits for that.
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Waits for its end; fails the test, showing its output, if that takes longer than `limit`.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Finished {
        self.close_input();
        let Some(status) = within(limit, || self.child.try_wait().ok().flatten()) else {
            panic!("{} did not end within {limit:?}\nstdout: {}\nstderr: {}", self.name, self.stdout(), self.stderr())
        };
        // A grandchild may hold the pipes open: what it says after this second is not waited for.
        within(Duration::from_secs(1), || (self.stdout.ended() && self.stderr.ended()).then_some(()));
        Finished { status, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Waits until `found` gives something for its stdout so far.
    #[track_caller]
    pub fn until_stdout<T>(&self, what: &str, limit: Duration, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let what = format!("{what} (from {})", self.name);
        eventually(&what, limit, || found(&self.stdout()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a thread has read from a pipe.
#[derive(Clone, Debug, Default)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Arc<AtomicBool>,
}

impl Collected {
    fn from(pipe: Option<impl Read + Send + 'static>) -> Self {
        let collected = Self::default();
        let Some(mut pipe) = pipe else { return collected };
        let writer = collected.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                writer.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            }
            writer.ended.store(true, Ordering::Release);
        });
        collected
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}
