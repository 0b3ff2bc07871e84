//! Who is at the other end, as the kernel says, and whether that user may come in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::platform::process;

/// The process at the other end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its effective user id (Unix).
    pub uid: Option<u32>,
    /// Its process id; `Some(0)`: a process that cannot be seen from here (another container).
    pub pid: Option<u32>,
}

impl PeerIdentity {
    /// The file that it runs, for the audit log. Ask while it is connected: pids are reused.
    #[must_use]
    pub fn executable(&self) -> Option<PathBuf> {
        self.seen().and_then(process::executable_of)
    }

    /// The process that started it. Ask while it is connected.
    #[must_use]
    pub fn parent(&self) -> Option<u32> {
        self.seen().and_then(process::parent_of)
    }

    fn seen(&self) -> Option<u32> {
        self.pid.filter(|pid| *pid != 0)
    }
}

/// Who may use the socket: our own user, and those that the config names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    own: u32,
    allowed: BTreeSet<u32>,
}

/// What the kernel reports for a user that does not exist in our user namespace (`/proc/sys/kernel/overflowuid`): many
/// users at once, so it is nobody in particular.
const OVERFLOW_UID: u32 = 65_534;

impl Admission {
    /// Our own user and the `allow_uids` of the config.
    #[cfg(unix)]
    #[must_use]
    pub fn new(allow_uids: BTreeSet<u32>) -> Self {
        Self { own: process::uid(), allowed: allow_uids }
    }

    /// On Windows the pipe's access list has decided already.
    #[cfg(windows)]
    #[must_use]
    pub fn new(allow_uids: BTreeSet<u32>) -> Self {
        Self { own: 0, allowed: allow_uids }
    }

    #[cfg(test)]
    #[cfg(unix)]
    pub(super) fn of_user(own: u32) -> Self {
        Self { own, allowed: BTreeSet::new() }
    }

    /// Whether this peer may use the socket.
    ///
    /// # Errors
    /// Why not, for the log.
    pub fn judge(&self, peer: &PeerIdentity) -> Result<(), String> {
        if cfg!(windows) {
            return Ok(());
        }
        let uid = peer.uid.ok_or("the system does not say who it is")?;
        if self.allowed.contains(&uid) {
            return Ok(());
        }
        if uid != self.own {
            return Err(format!("uid {uid} is not the agent's user and is not in allow_uids"));
        }
        if uid == OVERFLOW_UID {
            return Err(format!("uid {uid} stands for every user that is unknown here and is not in allow_uids"));
        }
        if peer.pid == Some(0) {
            return Err(format!("it runs in another container (pid 0) and uid {uid} is not in allow_uids"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn peer(uid: u32, pid: u32) -> PeerIdentity {
        PeerIdentity { uid: Some(uid), pid: Some(pid) }
    }

    #[test]
    fn only_our_user_comes_in_unless_the_config_names_another() {
        let admission = Admission { own: 1000, allowed: BTreeSet::new() };
        assert_eq!(admission.judge(&peer(1000, 7)), Ok(()));
        assert_eq!(admission.judge(&PeerIdentity { uid: Some(1000), pid: None }), Ok(()));
        for stranger in [peer(1001, 7), peer(0, 7), peer(OVERFLOW_UID, 7), peer(1000, 0), PeerIdentity::default()] {
            assert!(admission.judge(&stranger).is_err(), "{stranger:?}");
        }
        let admission = Admission { own: 1000, allowed: BTreeSet::from([0, 1000]) };
        assert_eq!(admission.judge(&peer(0, 7)), Ok(()));
        assert_eq!(admission.judge(&peer(1000, 0)), Ok(()), "named, so unseen processes of it too");
        assert!(admission.judge(&peer(1001, 7)).is_err());
        let nobody = Admission { own: OVERFLOW_UID, allowed: BTreeSet::new() };
        assert!(nobody.judge(&peer(OVERFLOW_UID, 7)).is_err());
    }
}
