//! What differs between operating systems: clocks, the process itself, the user's folders.
//!
//! This room leans on nobody but the value types of [`crate::core`]. It decides nothing: it reads what is there
//! (clocks, environment, `/proc`) and hands it on as values, so that everywhere else time and environment are
//! parameters.
//!
//! | question | file |
//! |---|---|
//! | what time is it, and how long is left? | [`clock`] |
//! | where do files of ours and of the AWS tools live? | [`home`] |
//! | is this folder only ours? | [`folder`] |
//! | who am I, who asked, how do I become a daemon? | [`process`] (`detached` on Windows) |
//! | what does the service manager want to know? | [`service`] |

pub mod browser;
pub mod clock;
#[cfg(windows)]
mod detached;
pub mod folder;
pub mod home;
pub mod notification;
pub mod process;
pub mod random;
pub mod service;
