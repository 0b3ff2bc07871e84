//! A fake agent, clock and launcher for the verbs' tests: answers are data, time passes only by waiting.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agent::{Agent, AgentError, Clock, Reply};
use super::autostart::Launcher;
use super::context::Context;
use super::environment::Environment;
use super::one_shot::Question;
use super::output::{Output, Screen};
use crate::api::process_json::union_document;
use crate::api::v1::{ErrorBody, http_status};
use crate::api::version::Version;
use crate::core::credential::RoleCredentials;
use crate::core::failure::{Failure, FailureClass};
use crate::core::source::World;
use crate::core::time::{Tick, Timestamp};

use zeroize::Zeroizing;

/// 2020-06-17T10:02:08Z.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_592_388_128);

type Answer = (Result<(u16, String), AgentError>, Duration);

/// The surroundings of a verb under test.
pub(super) struct Fake {
    /// The environment.
    pub(super) vars: Environment,
    /// The client's world.
    pub(super) world: Result<World, Failure>,
    /// The client's consumer.
    pub(super) consumer: Option<&'static str>,
    /// What the streams are.
    pub(super) screen: Screen,
    /// How each launch ends.
    pub(super) launch: Result<(), Failure>,
    /// How long each launch takes.
    pub(super) launch_takes: Duration,
    /// What a child that resolves once prints.
    pub(super) resolved: Result<String, Failure>,
    /// What such children were asked.
    pub(super) questions: RefCell<Vec<String>>,
    /// The version that the agent says it has.
    pub(super) agent_version: Option<Version>,
    /// Launches so far.
    pub(super) launches: Cell<usize>,
    /// Commands of the service manager that were run.
    pub(super) commands: RefCell<Vec<String>>,
    /// Pages that were opened.
    pub(super) opened: RefCell<Vec<String>>,
    /// Why none can be.
    pub(super) no_browser: Option<&'static str>,
    /// What each of them says when it fails.
    pub(super) command_fails: Option<&'static str>,
    /// Headers of the last request.
    pub(super) headers: RefCell<Vec<(String, String)>>,
    /// Bodies of all requests.
    pub(super) bodies: RefCell<Vec<String>>,
    requests: RefCell<Vec<String>>,
    answers: RefCell<VecDeque<Answer>>,
    then: Option<Answer>,
    elapsed: Cell<Duration>,
}

/// How a run ended.
pub(super) struct End {
    /// Exit code.
    pub(super) code: u8,
    /// Everything on stdout.
    pub(super) stdout: String,
    /// Everything on stderr.
    pub(super) stderr: String,
}

impl Fake {
    /// An agent that has nothing to say yet.
    pub(super) fn new() -> Self {
        Self {
            vars: Environment::default(),
            world: Ok(World {
                config_file: "/home/a b/.aws/config".into(),
                credentials_file: "/home/a b/.aws/credentials".into(),
                sso_cache: "/home/a b/.aws/sso/cache".into(),
            }),
            consumer: None,
            screen: Screen::default(),
            launch: Ok(()),
            launch_takes: Duration::ZERO,
            resolved: Ok(String::new()),
            questions: RefCell::default(),
            agent_version: None,
            launches: Cell::new(0),
            commands: RefCell::default(),
            opened: RefCell::default(),
            no_browser: None,
            command_fails: None,
            headers: RefCell::default(),
            bodies: RefCell::default(),
            requests: RefCell::default(),
            answers: RefCell::default(),
            then: None,
            elapsed: Cell::default(),
        }
    }

    /// The next request is answered so.
    pub(super) fn answers(&mut self, status: u16, body: &str) -> &mut Self {
        self.answers.get_mut().push_back((Ok((status, body.to_owned())), Duration::ZERO));
        self
    }

    /// The next request fails at the agent.
    pub(super) fn fails(&mut self, class: FailureClass, message: &str, fix: &str) -> &mut Self {
        let body = ErrorBody::from(&Failure::new(class, message, fix));
        self.answers(http_status(class), &serde_json::to_string(&body).unwrap())
    }

    /// The next request gets no answer; a time-out takes its time.
    pub(super) fn error(&mut self, error: AgentError) -> &mut Self {
        let takes = if error == AgentError::TimedOut { Duration::MAX } else { Duration::ZERO };
        self.answers.get_mut().push_back((Err(error), takes));
        self
    }

    /// Every request after those planned is answered so, after this long.
    pub(super) fn forever(&mut self, status: u16, body: &str, takes: Duration) {
        self.then = Some((Ok((status, body.to_owned())), takes));
    }

    /// Nobody ever listens.
    pub(super) fn absent_forever(&mut self) {
        self.then = Some((Err(AgentError::Absent), Duration::ZERO));
    }

    /// Time that has passed.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    /// Method and target of each request so far.
    pub(super) fn targets(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// What a verb is given.
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            agent: self,
            clock: self,
            launcher: self,
            vars: &self.vars,
            world: &self.world,
            named: None,
            socket: Path::new("/run/agent.sock"),
            asker: None,
            consumer: self.consumer,
        }
    }

    /// Runs `agentctl` with these words.
    pub(super) fn run(&self, line: &str) -> End {
        let args: Vec<&str> = std::iter::once("agentctl").chain(line.split_whitespace()).collect();
        self.run_args(&args)
    }

    /// Runs with exactly these arguments.
    pub(super) fn run_args(&self, args: &[&str]) -> End {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
            screen: self.screen,
            quiet: false,
            verbose: false,
            in_progress: false,
        };
        let code = super::run(&args, &mut out, |cli, out| {
            super::dispatch(&Context { named: cli.profile.as_deref(), ..self.context() }, out, &cli.verb)
        });
        End { code, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() }
    }

    fn pass(&self, span: Duration) {
        self.elapsed.set(self.elapsed.get() + span);
    }
}

impl Agent for Fake {
    fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        within: Duration,
    ) -> Result<Reply, AgentError> {
        assert!(within > Duration::ZERO);
        self.requests.borrow_mut().push(format!("{method} {target}"));
        self.bodies.borrow_mut().push(String::from_utf8(body.to_vec()).unwrap());
        *self.headers.borrow_mut() = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let planned = self.answers.borrow_mut().pop_front().or_else(|| self.then.clone());
        let (answer, takes) = planned.unwrap_or_else(|| panic!("nothing planned for {method} {target}"));
        self.pass(takes.min(within));
        let (status, body) = if takes > within { Err(AgentError::TimedOut) } else { answer }?;
        Ok(Reply { status, agent: self.agent_version, body: body.into_bytes().into() })
    }
}

impl Clock for Fake {
    fn wall(&self) -> Timestamp {
        NOW.plus(self.elapsed.get())
    }

    fn tick(&self) -> Tick {
        Tick::default().plus(self.elapsed.get())
    }

    fn sleep(&self, span: Duration) {
        self.pass(span);
    }
}

impl Launcher for Fake {
    fn launch(&self, within: Duration) -> Result<(), Failure> {
        self.pass(self.launch_takes.min(within));
        self.launches.set(self.launches.get() + 1);
        self.launch.clone()
    }

    fn program(&self) -> Result<PathBuf, Failure> {
        Ok("/opt/agentd".into())
    }

    fn browse(&self, url: &str) -> Result<(), String> {
        self.opened.borrow_mut().push(url.to_owned());
        self.no_browser.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn shell(&self, command: &str, _: Duration) -> Option<String> {
        self.commands.borrow_mut().push(command.to_owned());
        self.command_fails.is_none().then(|| "theirs\nmore\n".to_owned())
    }

    fn hook(&self, command: &str, _: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
        self.commands.borrow_mut().push(command.to_owned());
        Ok(union().into_bytes().into())
    }

    fn run(&self, command: &[String]) -> Result<String, Failure> {
        self.commands.borrow_mut().push(command.join(" "));
        match self.command_fails {
            Some(why) => Err(Failure::new(FailureClass::Transient, why, "")),
            None => Ok(String::new()),
        }
    }

    fn ask(&self, question: Question) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.questions.borrow_mut().push(question.arguments.join(" "));
        self.resolved.clone().map(|document| document.into_bytes().into())
    }
}

/// A union document with secrets.
pub(super) fn union() -> String {
    let keys = RoleCredentials {
        access_key_id: "ASIAEXAMPLE".to_owned(),
        secret_access_key: "s/e+cret".into(),
        session_token: "tok/en".into(),
        expires_at: NOW.plus(Duration::from_secs(3600)),
    };
    union_document(&keys).to_string()
}
