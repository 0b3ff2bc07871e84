//! What a service manager is told: that we serve, and that we are about to end (sd_notify(3)). Nobody listens unless
//! systemd started us with `Type=notify`; launchd asks for nothing of the kind.

/// The agent answers from now on.
pub fn ready() {
    #[cfg(target_os = "linux")]
    tell(&sd_notify::NotifyState::Ready);
}

/// The agent has begun to end.
pub fn stopping() {
    #[cfg(target_os = "linux")]
    tell(&sd_notify::NotifyState::Stopping);
}

#[cfg(target_os = "linux")]
fn tell(state: &sd_notify::NotifyState<'_>) {
    // Without a service manager there is nobody to tell; one that went away needs nothing.
    let _ = sd_notify::notify(std::slice::from_ref(state));
}
