//! The one task that owns the broker: events in, actions out, and a wake-up in time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::alarm::Alarm;
use super::effects::Effects;
use crate::core::broker::{Action, Broker, Event, Identity, LogoutTarget, SignOut};
use crate::core::failure::Failure;
use crate::core::login::{LoginId, LoginView};
use crate::core::status::Status;
use crate::core::waiters::{Answer, ProfileRef, Refusal, WaiterId};
use crate::platform::clock::Clock;

/// Both clocks are looked at this often at least: timers stop while the machine sleeps. So are the files, with nothing
/// kept too: a changed `keep` begins to matter without anybody asking.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the loop is told.
pub enum Message {
    /// An event for the broker.
    Event(Event),
    /// An event for the broker that makes a waiter, and where its one answer goes.
    Request(WaiterId, Event, oneshot::Sender<Answer>),
    /// The snapshot is wanted.
    Status(oneshot::Sender<Status>),
    /// How a login stands is wanted.
    Login(LoginId, oneshot::Sender<Option<LoginView>>),
    /// The sessions that a client wants to be signed out of are wanted.
    SignOuts(LogoutTarget, oneshot::Sender<Result<Vec<SignOut>, Failure>>),
    /// Who a profile is is wanted.
    Identity(ProfileRef, oneshot::Sender<Result<Identity, Refusal>>),
    /// Files are to be looked at now, not when it is time.
    Look,
}

/// Where messages for the loop go in.
pub type Sender = mpsc::UnboundedSender<Message>;

/// The loop. It runs until its task is aborted: it holds senders to itself.
pub struct EventLoop {
    /// The broker.
    pub broker: Broker,
    /// The clocks.
    pub clock: Clock,
    /// Where messages come out.
    pub inbox: mpsc::UnboundedReceiver<Message>,
    /// What runs the actions.
    pub effects: Effects,
    /// The broker's revision, for those who wait for a change of the snapshot.
    pub revision: watch::Sender<u64>,
}

impl EventLoop {
    /// Runs until its task is aborted.
    pub async fn run(mut self) {
        let (mut replies, alarm) = (BTreeMap::new(), Alarm::new());
        let mut looked = self.clock.now().tick;
        loop {
            let now = self.clock.now();
            // Counted from the last look, not from the last message: who asks for the snapshot every second (`status
            // --watch`) must not keep us from looking.
            let look_at = looked.plus(LONGEST_SLEEP);
            let sleep = self.broker.next_wake().map_or(look_at, |planned| planned.min(look_at)).since(now.tick);
            if sleep.is_zero() {
                if now.tick >= look_at {
                    looked = now.tick;
                    self.effects.look_at_files();
                }
                self.step(Event::Tick, &mut replies);
                continue;
            }
            let message = tokio::select! {
                message = self.inbox.recv() => message,
                () = alarm.after(sleep) => continue,
            };
            match message {
                None => return,
                Some(Message::Event(event)) => self.step(event, &mut replies),
                Some(Message::Request(waiter, event, reply)) => {
                    replies.insert(waiter, reply);
                    self.step(event, &mut replies);
                }
                Some(Message::Status(reply)) => {
                    // A reader that is gone needs no snapshot.
                    let _ = reply.send(self.broker.status(self.clock.now()));
                }
                Some(Message::Login(login, reply)) => {
                    // The same.
                    let _ = reply.send(self.broker.login_view(login, self.clock.now()));
                }
                Some(Message::SignOuts(target, reply)) => {
                    // The same.
                    let _ = reply.send(self.broker.sign_outs(&target));
                }
                Some(Message::Identity(profile, reply)) => {
                    // The same.
                    let _ = reply.send(self.broker.identity(&profile, self.clock.now()));
                }
                Some(Message::Look) => self.effects.look_at_files(),
            }
        }
    }

    fn step(&mut self, event: Event, replies: &mut BTreeMap<WaiterId, oneshot::Sender<Answer>>) {
        if let Event::Leave(waiter) = &event {
            replies.remove(waiter);
        }
        let actions = self.broker.step(self.clock.now(), event);
        let revision = self.broker.revision();
        if self.revision.send_if_modified(|r| std::mem::replace(r, revision) != revision) {
            let sessions = self.broker.sessions().map(|(id, link, world)| (id, link.clone(), world.clone()));
            self.effects.watch_sessions(sessions);
        }
        for action in actions {
            match action {
                Action::Answer(waiter, answer) => {
                    if let Some(reply) = replies.remove(&waiter) {
                        // A client that has just gone gets nothing.
                        let _ = reply.send(answer);
                    }
                }
                Action::ReadToken { node, link, world } => self.effects.read_token(node, link, world),
                Action::Fetch(fetch) => self.effects.fetch(*fetch),
                Action::Login(call) => self.effects.login(*call),
                Action::AbandonLogin(attempt) => self.effects.abandon(attempt),
                Action::Verify(verify) => self.effects.verify(verify),
                Action::Probe(call) => self.effects.probe(call),
                Action::RememberLogins(session, history) => self.effects.remember_login(session, history),
                Action::Notify(notice) => self.effects.notify(&notice),
            }
        }
    }
}
