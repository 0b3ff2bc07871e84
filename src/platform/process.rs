//! This process: hardening, becoming a daemon, who it is, and which process asked.
//!
//! Hardening is best effort: a limit that the system does not let us set is no reason not to start.

use std::io::{self, PipeReader};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Stdio;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// This process's id.
#[must_use]
pub fn pid() -> u32 {
    std::process::id()
}

/// The effective user id.
#[cfg(unix)]
#[must_use]
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The file that this process runs.
///
/// # Errors
/// Whatever the operating system says, for example when `/proc` is not mounted.
pub fn executable() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// The file that another process runs; `None` where the system does not tell or the process is gone.
#[must_use]
pub fn executable_of(pid: u32) -> Option<PathBuf> {
    if cfg!(target_os = "linux") { std::fs::read_link(format!("/proc/{pid}/exe")).ok() } else { None }
}

/// Tells another process of our program to look at its files and its name (SIGHUP). Nothing happens where the system
/// does not say that it is our program: another one might end of it.
pub fn tell_to_look(pid: u32) {
    #[cfg(target_os = "linux")]
    if pid != self::pid()
        && Ancestor::of(pid).zip(Ancestor::of(self::pid())).is_some_and(|(other, own)| other.command == own.command)
        && let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
    {
        // One that has ended in the meantime needs no word.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::HUP);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pid;
}

/// The process that started another one; `None` where the system does not tell, or where that cannot be seen from here.
#[must_use]
pub fn parent_of(pid: u32) -> Option<u32> {
    #[cfg(target_os = "linux")]
    return Ancestor::of(pid).map(|process| process.parent).filter(|parent| *parent != 0);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// The process that started this one; `None` where the system does not tell.
#[must_use]
pub fn parent() -> Option<u32> {
    #[cfg(unix)]
    return Some(std::os::unix::process::parent_id());
    #[cfg(not(unix))]
    return None;
}

/// Hardens this process, for `agentd`: umask 0077, no core dumps, not dumpable (so that other processes of the same
/// user cannot attach to it or read its memory without privileges: prctl(2), ptrace(2)), memory kept out of the swap where
/// that can be had.
pub fn harden() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit, umask};

        umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(target_os = "linux")]
    lock_memory();
}

/// How many descriptors this process may have open, after asking for `wanted` of them.
#[must_use]
pub fn descriptors(wanted: u64) -> u64 {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let possible = limit.maximum.unwrap_or(u64::MAX).min(wanted);
        if limit.current.is_some_and(|current| current < possible) {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(possible), ..limit });
        }
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }
    #[cfg(not(unix))]
    wanted
}

/// Only where no limit stands in the way: with one, some later allocation would fail and end the process. (Under systemd
/// the unit forbids swapping instead.)
#[cfg(target_os = "linux")]
fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Memlock);
    if limit.maximum.is_none() && setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_ok() {
        // What is touched is locked, not what is merely reserved.
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    }
}

/// A process that was started to outlive this one.
#[derive(Debug)]
pub struct Detached {
    #[cfg(unix)]
    child: std::process::Child,
    #[cfg(windows)]
    child: super::detached::Child,
}

impl Detached {
    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        #[cfg(unix)]
        return self.child.try_wait().ok().flatten();
        #[cfg(windows)]
        return self.child.ended();
    }
}

/// The parent's half of starting a daemon: a process that outlives the terminal and has no descriptor of ours but the
/// pipe that is its stdout, whose other end is returned. The child's half is [`detach`].
///
/// Of the command only program, arguments and variables count. Clear the environment first: on Windows the child has
/// the variables that the command names, and no other.
///
/// # Errors
/// The program cannot be started.
pub fn start_detached(command: &mut Command) -> io::Result<(PipeReader, Detached)> {
    #[cfg(unix)]
    {
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).current_dir("/");
        let child = command.spawn();
        // Our copy of the pipe's other end, without which its end would never be seen.
        command.stdout(Stdio::null());
        Ok((reader, Detached { child: child? }))
    }
    #[cfg(windows)]
    {
        let (reader, child) = super::detached::spawn(command)?;
        Ok((reader, Detached { child }))
    }
}

/// The child's half of starting a daemon: own session, a current folder that is in nobody's way (`/`; on Windows that of
/// the program, which cannot be removed while it runs anyway), stdin from nowhere, stderr to the end of `log` (made
/// 0600). stdout stays, so that the start can be acknowledged on it; then call [`release_stdout`].
///
/// # Errors
/// The log or `/dev/null` cannot be opened. Being a session leader already is no error.
pub fn detach(log: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        close_inherited();
        let log = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
        let nowhere = std::fs::File::open("/dev/null")?;
        // Fails only for a leader of a process group (started by hand from an interactive shell): then the group is our
        // own already, and what matters (no signal meant for somebody else's group) holds.
        let _ = rustix::process::setsid();
        rustix::process::chdir("/")?;
        rustix::stdio::dup2_stdin(&nowhere)?;
        rustix::stdio::dup2_stderr(&log)?;
    }
    #[cfg(windows)]
    {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
        super::detached::take_stdin_and_stderr(log)?;
        if let Some(folder) = executable()?.parent() {
            std::env::set_current_dir(folder)?;
        }
    }
    Ok(())
}

/// Closes what the starting client had inherited itself and passed on without knowing: a hook runner that waits for the
/// end of such a pipe would wait for our end.
#[cfg(unix)]
#[expect(unsafe_code, reason = "these descriptors are nobody's in this process: it has just started and opened none")]
fn close_inherited() {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let numbers: Vec<i32> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    // The listing's own descriptor stood in it and is closed by now.
    let open = |n: &i32| std::fs::symlink_metadata(format!("{folder}/{n}")).is_ok();
    for number in numbers.into_iter().filter(|n| *n > 2).filter(open) {
        // SAFETY: called first thing in a process of one thread, which has opened nothing: nobody here owns the number.
        unsafe { rustix::io::close(number) };
    }
}

/// Ends the use of stdout, so that whoever waits for its end is let go.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub fn release_stdout() -> io::Result<()> {
    #[cfg(unix)]
    {
        let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&nowhere)?;
        Ok(())
    }
    #[cfg(windows)]
    super::detached::release_stdout()
}

/// Programs that only run another one: they are not who asked.
#[cfg(any(target_os = "linux", test))]
const GO_BETWEENS: [&str; 20] = [
    "sh", "dash", "bash", "zsh", "fish", "ksh", "mksh", "ash", "busybox", "env", "timeout", "nice", "ionice", "nohup",
    "setsid", "stdbuf", "time", "xargs", "sudo", "doas",
];

/// How far up the ancestry is followed.
#[cfg(any(target_os = "linux", test))]
const MAX_ANCESTORS: usize = 16;

/// The stable identity of the process that asked, the same in each run of a hook: the nearest ancestor that is not a
/// shell or another go-between.
///
/// Linux: `PID:STARTTIME` (field 22 of `/proc/PID/stat`, proc(5): unique although pids are reused). Elsewhere on Unix:
/// the parent's pid (there `sh -c` of macOS is a bash that replaces itself by its last command, so the parent is the
/// client). Windows: `None`.
#[must_use]
pub fn parent_consumer() -> Option<String> {
    #[cfg(target_os = "linux")]
    return consumer_above(std::os::unix::process::parent_id(), Ancestor::of);
    #[cfg(all(unix, not(target_os = "linux")))]
    return Some(std::os::unix::process::parent_id().to_string());
    #[cfg(not(unix))]
    return None;
}

/// What `/proc/PID/stat` says about one process.
#[cfg(any(target_os = "linux", test))]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ancestor {
    command: String,
    parent: u32,
    start_time: u64,
}

#[cfg(any(target_os = "linux", test))]
impl Ancestor {
    /// One read: the kernel gives the whole line at once to whoever has room for it.
    #[cfg(target_os = "linux")]
    fn of(pid: u32) -> Option<Self> {
        use std::io::Read;

        let mut line = [0; 2048];
        let length = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
        Self::parse(line.get(..length)?)
    }

    /// `pid (comm) state ppid ... starttime ...`; the command may hold blanks and parentheses, so its end is the last
    /// parenthesis.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (start, end) = (line.find('(')?, line.rfind(')')?);
        let command = line.get(start + 1..end)?.to_owned();
        let mut fields = line.get(end + 1..)?.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        // Field 22; after the command come field 3 and on, of which two are gone.
        let start_time = fields.nth(17)?.parse().ok()?;
        Some(Self { command, parent, start_time })
    }

    fn is_go_between(&self) -> bool {
        // A login shell is called `-bash` by some.
        GO_BETWEENS.contains(&self.command.trim_start_matches('-'))
    }
}

#[cfg(any(target_os = "linux", test))]
fn consumer_above(parent: u32, look: impl Fn(u32) -> Option<Ancestor>) -> Option<String> {
    let mut pid = parent;
    for _ in 0..MAX_ANCESTORS {
        let ancestor = look(pid)?;
        if !ancestor.is_go_between() {
            return Some(format!("{pid}:{}", ancestor.start_time));
        }
        pid = ancestor.parent;
    }
    None
}

/// Waits for a child: whether it ended well within `limit`.
///
/// # Errors
/// It failed, in a few words; or the operating system's.
pub fn ended_well_within(child: &mut Child, limit: Duration) -> io::Result<bool> {
    const STEP: Duration = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    while waited < limit {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(true),
            Some(status) => return Err(io::Error::other(status.to_string())),
            None => std::thread::sleep(STEP),
        }
        waited += STEP;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ancestor(command: &str, parent: u32, start_time: u64) -> Ancestor {
        Ancestor { command: command.to_owned(), parent, start_time }
    }

    #[test]
    fn a_stat_line_with_a_nasty_name_is_read() {
        let line = b"4242 (my (odd) sh) S 17 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2000 18\n";
        assert_eq!(Ancestor::parse(line), Some(ancestor("my (odd) sh", 17, 987_654)));
        for bad in [&b""[..], b"1 (x", b"1 (x) S", b"1 (x) S y", b")("] {
            assert_eq!(Ancestor::parse(bad), None);
        }
    }

    #[test]
    fn shells_between_are_skipped() {
        let look = |pid| match pid {
            30 => Some(ancestor("sh", 29, 3)),
            29 => Some(ancestor("timeout", 28, 2)),
            28 => Some(ancestor("claude", 1, 77)),
            _ => None,
        };
        assert_eq!(consumer_above(30, look), Some("28:77".to_owned()));
        assert_eq!(consumer_above(28, look), Some("28:77".to_owned()));
        assert_eq!(consumer_above(5, look), None);
        assert_eq!(consumer_above(9, |_| Some(ancestor("-zsh", 9, 1))), None);
    }

    /// Runs in a child of the test below, because it changes the process that it runs in.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "only for the test that starts it"]
    fn become_a_daemon() {
        use rustix::process::{Resource, dumpable_behavior, getpid, getrlimit, getsid};

        harden();
        detach(Path::new(&std::env::var("TEST_LOG").unwrap())).unwrap();
        let made = std::env::var("TEST_LOG").unwrap() + ".made";
        std::fs::write(&made, "").unwrap();
        let leads = getsid(None).unwrap() == getpid();
        let here = std::env::current_dir().unwrap();
        let core = getrlimit(Resource::Core).maximum;
        let stdin = std::io::read_to_string(std::io::stdin()).unwrap();
        eprintln!("{leads} {} {core:?} {:?} {stdin:?}", here.display(), dumpable_behavior().unwrap());
        println!("ready");
        release_stdout().unwrap();
        println!("to nobody");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_daemon_is_detached_and_hardened() {
        use std::os::unix::fs::MetadataExt;

        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        let mut command = Command::new(executable().unwrap());
        command.args(["--exact", "platform::process::tests::become_a_daemon", "--ignored", "--nocapture"]);
        command.env("TEST_LOG", &log);
        let (stdout, _child) = start_detached(&mut command).unwrap();
        let said = io::read_to_string(stdout).unwrap();
        assert!(said.contains("ready\n") && !said.contains("to nobody"), "{said}");
        let logged = std::fs::read_to_string(&log).unwrap();
        assert!(logged.contains("true / Some(0) NotDumpable \"\""), "{logged}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&log), mode(&root.path().join("log.made"))), (0o600, 0o600));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_a_consumer_and_an_executable() {
        let consumer = parent_consumer().unwrap();
        assert_eq!(consumer, parent_consumer().unwrap());
        assert!(consumer.split_once(':').is_some_and(|(p, s)| p.parse::<u32>().is_ok() && s.parse::<u64>().is_ok()));
        assert_eq!(executable_of(pid()), executable().ok());
        assert_eq!(parent_of(pid()), parent());
        assert_eq!((parent_of(1), parent_of(u32::MAX)), (None, None), "nobody started the first process");
    }
}
