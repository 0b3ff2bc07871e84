//! The Windows half of becoming a daemon: a child that gets the handles it needs and no other, and other files in the
//! place of this process's standard handles.
//!
//! `std::process::Command` lets a child have every inheritable handle of this process. Those that our own caller passed
//! on are among them, whether we know of them or not (a shell keeps its own output open while it redirects ours), and
//! who reads such a pipe to its end would wait for the daemon's. A list of handles is Windows' way out of that, and std
//! has no stable door to it.

#![expect(unsafe_code, reason = "a list of inherited handles and the standard handles have no safe wrapper")]

use std::ffi::{OsStr, c_void};
use std::fs::File;
use std::io::{self, PipeReader};
use std::iter::repeat_n;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, OwnedHandle, RawHandle};
use std::os::windows::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{
    CloseHandle, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle,
};
use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, CREATE_UNICODE_ENVIRONMENT, CreateProcessW, DETACHED_PROCESS,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, GetExitCodeProcess, InitializeProcThreadAttributeList,
    PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW,
    UpdateProcThreadAttribute, WaitForSingleObject,
};

/// No console, and no Ctrl-C that is meant for the parent's.
const FLAGS: u32 =
    DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;

/// A process that was started.
#[derive(Debug)]
pub(super) struct Child(OwnedHandle);

impl Child {
    /// How it ended; `None` while it runs.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        let process = self.0.as_raw_handle();
        // SAFETY: the handle is open; a wait of no time only looks.
        if unsafe { WaitForSingleObject(process, 0) } != WAIT_OBJECT_0 {
            return None;
        }
        let mut code = 0;
        // SAFETY: the handle is open and `code` is a place for the code.
        let known = unsafe { GetExitCodeProcess(process, &raw mut code) };
        (known != 0).then(|| ExitStatus::from_raw(code))
    }
}

/// Starts a program with the arguments and variables that the command names and nothing else of this process: stdout
/// is the pipe that is returned, stdin and stderr are nowhere.
pub(super) fn spawn(command: &Command) -> io::Result<(PipeReader, Child)> {
    let (reader, writer) = io::pipe()?;
    let nowhere = nowhere()?;
    let given = [nowhere.as_raw_handle(), writer.as_raw_handle()];
    for handle in given {
        // SAFETY: both handles are open until the end of this function.
        checked(unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) })?;
    }
    let mut list = HandleList::new(&given)?;
    let mut startup = STARTUPINFOEXW::default();
    startup.StartupInfo.cb = u32::try_from(size_of::<STARTUPINFOEXW>()).map_err(io::Error::other)?;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = given[0];
    startup.StartupInfo.hStdOutput = given[1];
    startup.StartupInfo.hStdError = given[0];
    startup.lpAttributeList = list.as_mut_ptr();
    // A client's job may end all of its processes with it. Where it does not let anybody out, it is joined.
    let child =
        create(command, FLAGS | CREATE_BREAKAWAY_FROM_JOB, &startup).or_else(|_| create(command, FLAGS, &startup))?;
    Ok((reader, child))
}

fn create(command: &Command, flags: u32, startup: &STARTUPINFOEXW) -> io::Result<Child> {
    let program = terminated(command.get_program())?;
    let mut line = command_line(command)?;
    let variables = block(command)?;
    let mut started = PROCESS_INFORMATION::default();
    // SAFETY: the texts end with NUL (the block with two) and live across the call, `line` may be written to, `startup`
    // is as large as it says and points to a list that its owner keeps, and `started` is a place for the answer.
    checked(unsafe {
        CreateProcessW(
            program.as_ptr(),
            line.as_mut_ptr(),
            null(),
            null(),
            1,
            flags,
            variables.as_ptr().cast(),
            null(),
            (&raw const *startup).cast(),
            &raw mut started,
        )
    })?;
    // SAFETY: both handles are open and ours to close.
    let (process, _thread) =
        unsafe { (OwnedHandle::from_raw_handle(started.hProcess), OwnedHandle::from_raw_handle(started.hThread)) };
    Ok(Child(process))
}

/// The handles that a child inherits; it borrows them for as long as it lives.
struct HandleList<'a> {
    /// Aligned for the pointers inside.
    memory: Vec<usize>,
    _handles: &'a [RawHandle],
}

impl<'a> HandleList<'a> {
    fn new(handles: &'a [RawHandle]) -> io::Result<Self> {
        let mut size = 0;
        // SAFETY: without a list the call only says how large one is (and fails, as documented).
        unsafe { InitializeProcThreadAttributeList(null_mut(), 1, 0, &raw mut size) };
        let mut memory = vec![0; size.div_ceil(size_of::<usize>())];
        // SAFETY: the memory is as large as was asked for.
        checked(unsafe { InitializeProcThreadAttributeList(memory.as_mut_ptr().cast(), 1, 0, &raw mut size) })?;
        let mut list = Self { memory, _handles: handles };
        // SAFETY: the list is made for one attribute, and the handles outlive it: it borrows them.
        checked(unsafe {
            UpdateProcThreadAttribute(
                list.as_mut_ptr(),
                0,
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST as usize,
                handles.as_ptr().cast(),
                size_of_val(handles),
                null_mut(),
                null(),
            )
        })?;
        Ok(list)
    }

    fn as_mut_ptr(&mut self) -> *mut c_void {
        self.memory.as_mut_ptr().cast()
    }
}

impl Drop for HandleList<'_> {
    fn drop(&mut self) {
        // SAFETY: the list was made by `new` and is not used again.
        unsafe { DeleteProcThreadAttributeList(self.as_mut_ptr()) };
    }
}

/// Program and arguments, each in quotes as CommandLineToArgvW reads them.
fn command_line(command: &Command) -> io::Result<Vec<u16>> {
    let mut line = Vec::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        quote(&mut line, word);
        line.push(u16::from(b' '));
    }
    line.pop();
    without_nul(&line)?;
    line.push(0);
    Ok(line)
}

/// Backslashes count double before a quotation mark, and only there.
fn quote(line: &mut Vec<u16>, word: &OsStr) {
    const MARK: u16 = b'"' as u16;
    const BACKSLASH: u16 = b'\\' as u16;
    line.push(MARK);
    let mut backslashes = 0;
    for unit in word.encode_wide() {
        if unit == MARK {
            line.extend(repeat_n(BACKSLASH, backslashes + 1));
        }
        backslashes = if unit == BACKSLASH { backslashes + 1 } else { 0 };
        line.push(unit);
    }
    line.extend(repeat_n(BACKSLASH, backslashes));
    line.push(MARK);
}

/// The command's variables, `NAME=VALUE` each with its NUL, and one NUL more; in the order in which std keeps them, which
/// is the one that Windows asks for.
fn block(command: &Command) -> io::Result<Vec<u16>> {
    let mut block = Vec::new();
    for (name, value) in command.get_envs() {
        let Some(value) = value else { continue };
        let mut line: Vec<u16> = name.encode_wide().collect();
        line.push(u16::from(b'='));
        line.extend(value.encode_wide());
        without_nul(&line)?;
        block.extend(line);
        block.push(0);
    }
    // An empty one has two as well.
    block.extend(repeat_n(0, if block.is_empty() { 2 } else { 1 }));
    Ok(block)
}

fn terminated(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.encode_wide().collect();
    without_nul(&wide)?;
    wide.push(0);
    Ok(wide)
}

fn without_nul(text: &[u16]) -> io::Result<()> {
    if text.contains(&0) { Err(io::Error::new(io::ErrorKind::InvalidInput, "a NUL in a command")) } else { Ok(()) }
}

fn checked(done: i32) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// stdin from nowhere, and stderr to this file.
pub(super) fn take_stdin_and_stderr(log: File) -> io::Result<()> {
    replace(STD_INPUT_HANDLE, nowhere()?)?;
    replace(STD_ERROR_HANDLE, log)
}

/// stdout to nowhere: whoever reads it sees its end.
pub(super) fn release_stdout() -> io::Result<()> {
    replace(STD_OUTPUT_HANDLE, nowhere()?)
}

/// std asks for the standard handles anew each time that it uses one, so this is what its streams write to from now on.
fn replace(which: STD_HANDLE, file: File) -> io::Result<()> {
    // SAFETY: asks for a number.
    let standard = |which| unsafe { GetStdHandle(which) };
    let old = standard(which);
    // SAFETY: the handle is open, and stays so: nobody owns it from here on.
    checked(unsafe { SetStdHandle(which, file.into_raw_handle()) })?;
    let still_used = [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE].map(standard).contains(&old);
    if !still_used && !old.is_null() && old != INVALID_HANDLE_VALUE {
        // SAFETY: it was a standard handle of this process and is none any more, so nobody here uses it.
        unsafe { CloseHandle(old) };
    }
    Ok(())
}

fn nowhere() -> io::Result<File> {
    File::options().read(true).write(true).open("NUL")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::platform::clock::Deadline;
    use crate::platform::process;

    fn line(words: &[&str]) -> String {
        let mut command = Command::new("p q");
        command.args(words);
        String::from_utf16(&command_line(&command).unwrap()).unwrap()
    }

    #[test]
    fn words_are_quoted_as_windows_reads_them() {
        assert_eq!(line(&["--socket", r"\\.\pipe\x"]), "\"p q\" \"--socket\" \"\\\\.\\pipe\\x\"\0");
        assert_eq!(line(&["", r#"a"b"#, r"c\"]), "\"p q\" \"\" \"a\\\"b\" \"c\\\\\"\0");
        assert_eq!(line(&[r#"d\"e"#]), "\"p q\" \"d\\\\\\\"e\"\0");
        assert!(command_line(Command::new("p").arg("a\0b")).is_err());
    }

    #[test]
    fn the_variables_end_with_two_nuls() {
        let text = |command: &mut Command| String::from_utf16(&block(command).unwrap()).unwrap();
        assert_eq!(text(Command::new("p").env("b", "2").env("A", "1")), "A=1\0b=2\0\0");
        assert_eq!(text(&mut Command::new("p")), "\0\0");
        assert!(block(Command::new("p").env("A", "a\0b")).is_err());
    }

    /// Runs in a child of the test below, because it changes the process that it runs in.
    #[test]
    #[ignore = "only for the test that starts it"]
    fn become_a_daemon() {
        process::detach(std::env::var("TEST_LOG").unwrap().as_ref()).unwrap();
        let here = std::env::current_dir().unwrap();
        let stdin = io::read_to_string(io::stdin()).unwrap();
        let names: Vec<String> = std::env::vars().map(|(name, _)| name.to_uppercase()).collect();
        eprintln!("{} / {stdin:?} / {}", here.display(), names.contains(&"PATH".to_owned()));
        println!("ready");
        process::release_stdout().unwrap();
        println!("to nobody");
        std::process::exit(3);
    }

    #[test]
    fn a_daemon_is_detached_and_logs_to_its_file() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        std::fs::write(&log, "before\n").unwrap();
        let program = process::executable().unwrap();
        let mut command = Command::new(&program);
        command.args(["--exact", "platform::detached::tests::become_a_daemon", "--ignored", "--nocapture"]);
        command.env_clear().env("TEST_LOG", &log).env("SYSTEMROOT", std::env::var_os("SYSTEMROOT").unwrap_or_default());
        let (stdout, mut child) = process::start_detached(&mut command).unwrap();
        let said = io::read_to_string(stdout).unwrap();
        assert!(said.contains("ready\n") && !said.contains("to nobody"), "{said}");
        let logged = std::fs::read_to_string(&log).unwrap();
        let wanted = format!("before\n{} / \"\" / false\n", program.parent().unwrap().display());
        assert!(logged.starts_with(&wanted), "{logged}");
        let limit = Deadline::after(Duration::from_secs(30));
        let ended = loop {
            match child.ended() {
                None if limit.remaining().is_some() => std::thread::yield_now(),
                ended => break ended,
            }
        };
        assert_eq!(ended.and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let mut command = Command::new(r"C:\no\such\agentd.exe");
        assert_eq!(process::start_detached(command.env_clear()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
