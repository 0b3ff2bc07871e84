//! The Windows half: a named pipe that only our own user can open, and the question whose pipe it is.
//!
//! The pipe's security descriptor names our SID as its owner and as the only one with access. The client reads the
//! owner back before it sends a byte: without that, somebody else could have made a pipe of that name first. Such a
//! server learns who we are by our connecting, but cannot act in our name.

#![expect(unsafe_code, reason = "the token's SID and the pipe's owner have no safe wrapper")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::null_mut;
use std::time::Duration;

use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use widestring::{U16CStr, U16CString};
use windows_sys::Win32::Foundation::{ERROR_PIPE_BUSY, LocalFree};
use windows_sys::Win32::Security::Authorization::{ConvertSidToStringSidW, GetSecurityInfo, SE_KERNEL_OBJECT};
use windows_sys::Win32::Security::{
    GetTokenInformation, OWNER_SECURITY_INFORMATION, PSID, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::client::ClientError;
use super::exchange::Connection;
use crate::platform::clock::Deadline;

/// Between two tries while every instance of the pipe is taken.
const STEP: Duration = Duration::from_millis(5);

/// A connection to an agent of our own user.
pub(super) struct Conversation(File);

impl Conversation {
    /// Connects, trying until the deadline while every instance of the pipe is taken, and checks whose pipe it is.
    pub(super) fn open(path: &Path, deadline: Deadline) -> Result<Self, ClientError> {
        let refused = |e: io::Error| ClientError::Refused { why: format!("{}: {e}", path.display()) };
        let pipe = loop {
            match connect(path) {
                Ok(pipe) => break pipe,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ClientError::Absent),
                Err(e) if is_busy(&e) && deadline.remaining().is_none() => return Err(ClientError::TimedOut),
                Err(e) if is_busy(&e) => std::thread::sleep(STEP),
                Err(e) => return Err(refused(e)),
            }
        };
        let owner = owner_of(pipe.as_raw_handle()).map_err(refused)?;
        if owner != own_sid().map_err(refused)? {
            return Err(ClientError::Refused { why: format!("{} is served by {owner}, not by you", path.display()) });
        }
        Ok(Self(pipe))
    }
}

impl Connection for Conversation {
    /// Named pipes know no timeouts; the client bounds the whole exchange.
    fn limit(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Conversation {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Conversation {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether anybody listens there. Never waits: a pipe that is busy has somebody behind it.
pub(super) fn is_alive(path: &Path) -> bool {
    !matches!(connect(path), Err(e) if e.kind() == io::ErrorKind::NotFound)
}

fn connect(path: &Path) -> io::Result<File> {
    // SECURITY_IDENTIFICATION (winbase.h): by default the server could impersonate us.
    File::options().read(true).write(true).security_qos_flags(0x0001_0000).open(path)
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error().and_then(|code| u32::try_from(code).ok()) == Some(ERROR_PIPE_BUSY)
}

/// Whether this names a pipe of this machine. Anything else would be a file, or a pipe of another machine.
pub(super) fn is_local_pipe(path: &Path) -> bool {
    let name = path.as_os_str().to_string_lossy().to_lowercase();
    name.strip_prefix(r"\\.\pipe\").is_some_and(|name| !name.is_empty())
}

/// A security descriptor with our own user as owner and as the only one with access; nothing is inherited.
pub(super) fn only_own_user() -> io::Result<SecurityDescriptor> {
    let sid = own_sid()?;
    let text = U16CString::from_str(format!("O:{sid}D:P(A;;GA;;;{sid})")).map_err(io::Error::other)?;
    SecurityDescriptor::deserialize(&text)
}

/// The SID of this process's user, as text (`S-1-5-21-...`).
pub(super) fn own_sid() -> io::Result<String> {
    let mut token = null_mut();
    // SAFETY: the pseudo handle is always valid, and `token` is a place for one handle.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the handle is open and ours to close.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // A TOKEN_USER and the longest SID (68 bytes) after it, aligned for the pointer inside.
    let mut buffer = [0_u64; 32];
    let mut length = 0;
    let size = u32::try_from(size_of_val(&buffer)).map_err(io::Error::other)?;
    // SAFETY: the buffer is writable for `size` bytes and aligned for TOKEN_USER.
    let done = unsafe {
        GetTokenInformation(token.as_raw_handle(), TokenUser, buffer.as_mut_ptr().cast(), size, &raw mut length)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call filled the buffer with a TOKEN_USER, whose SID points into the same, still living buffer.
    unsafe { sid_text((*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// The SID of the owner of a kernel object, as text.
fn owner_of(handle: *mut c_void) -> io::Result<String> {
    let (mut owner, mut descriptor): (PSID, *mut c_void) = (null_mut(), null_mut());
    // SAFETY: the handle is open; the places for owner and descriptor are valid; the others may be null.
    let error = unsafe {
        GetSecurityInfo(
            handle,
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            null_mut(),
            null_mut(),
            null_mut(),
            &raw mut descriptor,
        )
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(error).unwrap_or_default()));
    }
    // SAFETY: `owner` points into `descriptor`, which lives until it is freed below.
    let text = unsafe { sid_text(owner) };
    // SAFETY: GetSecurityInfo allocated it on the local heap for us to free.
    unsafe { LocalFree(descriptor) };
    text
}

/// # Safety
/// `sid` is null or points to a valid SID.
unsafe fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: the caller's promise; the function itself refuses null.
    if sid.is_null() || unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so `text` ends with a NUL.
    let copy = unsafe { U16CStr::from_ptr_str(text) }.to_string_lossy();
    // SAFETY: the function allocated it on the local heap for us to free.
    unsafe { LocalFree(text.cast()) };
    Ok(copy)
}
