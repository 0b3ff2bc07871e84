//! What a child prints, within bounds of time and length: for every program that is run to be read.

use std::io::Read;
use std::process::Command;
use std::sync::mpsc;

use zeroize::Zeroizing;

/// A command line as the system's shell runs it.
#[must_use]
pub fn shell(line: &str) -> Command {
    let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("/bin/sh", "-c") };
    let mut command = Command::new(shell);
    command.args([option, line]);
    command
}

/// Reads a stream beside, to its end or to `longest` bytes; who waits for it says how long.
pub fn collect(stream: impl Read + Send + 'static, longest: usize) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        // It never grows, which would leave a copy behind.
        let mut said = Zeroizing::new(Vec::with_capacity(longest + 1));
        let _ = stream.take(longest as u64).read_to_end(&mut said);
        let _ = send.send(said);
    });
    receive
}
