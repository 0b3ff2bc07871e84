//! Waking up in time, at one wake-up a time.
//!
//! The runtime's own timers go through wheels: a sleep of half a minute wakes the process three times. An idle agent
//! should cost next to nothing, so on Linux the event loop sleeps on a timer of the kernel's. That one also counts
//! suspend, so what became due meanwhile is seen at once after a resume. Elsewhere, and when the kernel gives no timer,
//! the runtime's own is used.

use std::time::Duration;

/// The event loop's one timer.
#[derive(Debug)]
pub struct Alarm {
    #[cfg(target_os = "linux")]
    timer: Option<linux::Timer>,
}

impl Alarm {
    /// Must be made within a tokio runtime with I/O enabled.
    #[must_use]
    pub fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            timer: linux::Timer::new().ok(),
        }
    }

    /// Waits for `span`. Given up half-way it is as if it had never been asked for.
    pub async fn after(&self, span: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(timer) = &self.timer
            && timer.wait(span).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(span).await;
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A timer of the kernel's that counts suspend (timerfd_create(2)).
    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        #[expect(
            deprecated,
            reason = "its successor is unsafe for foreign descriptors; an OwnedFd stays open as long as it lives"
        )]
        pub(super) fn new() -> io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC.union(TimerfdFlags::NONBLOCK))?;
            Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
        }

        pub(super) async fn wait(&self, span: Duration) -> io::Result<()> {
            // Setting it anew also forgets that an earlier wait, since given up, had ended.
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once_after(span))?;
            let mut expirations = [0; 8];
            loop {
                let mut ready = self.0.readable().await?;
                match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)) {
                    Ok(read) => return read.map(drop),
                    // The readiness was that of an earlier wait.
                    Err(_would_block) => {}
                }
            }
        }
    }

    fn once_after(span: Duration) -> Itimerspec {
        // A zero would stop the timer.
        let span = span.max(Duration::from_nanos(1));
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let value = Timespec { tv_sec: seconds, tv_nsec: span.subsec_nanos().into() };
        Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::platform::clock::Clock;

    const SOON: Duration = Duration::from_millis(30);
    const NEVER: Duration = Duration::from_secs(u64::MAX);

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    /// Whether the wait is over when it is looked at once.
    async fn is_over(wait: impl Future<Output = ()>) -> bool {
        let mut wait = pin!(wait);
        std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await
    }

    #[test]
    fn it_ends_after_the_span_and_not_before() {
        run(async {
            let alarm = Alarm::new();
            for span in [Duration::ZERO, SOON] {
                let began = Clock.now().tick;
                alarm.after(span).await;
                assert!(Clock.now().tick.since(began) >= span);
            }
        });
    }

    #[test]
    fn a_wait_that_was_given_up_leaves_nothing_behind() {
        run(async {
            let (alarm, other) = (Alarm::new(), Alarm::new());
            assert!(!is_over(alarm.after(Duration::from_nanos(1))).await);
            other.after(SOON).await;
            assert!(!is_over(alarm.after(NEVER)).await, "the end of the first wait counts no more");
            alarm.after(SOON).await;
        });
    }
}
