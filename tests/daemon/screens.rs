//! What a person sees of logins and of doctor, as transcripts: real programs in a real terminal of 80 columns (`script`, util-linux) and
//! in pipes. `UPDATE_SCREENS=1 cargo test --test daemon screens` writes it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::agent::{AGENTCTL, Agent, LIMIT, has_script};
use crate::behind::Behind;
use crate::doctor_settings::claude_of_today;
use crate::support::clock::eventually;
use crate::support::fake_aws::{Fault, Operation};
use crate::support::process::{Finished, Running};
use crate::support::proxy::Behaviour;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/screens");

/// The transcript so far, and what is different in every run.
pub(crate) struct Transcript<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) text: String,
}

impl Transcript<'_> {
    pub(crate) fn note(&mut self, what: &str) {
        writeln!(self.text, "\n# {what}").unwrap();
    }

    pub(crate) fn say(&mut self, line: &str, said: &str, code: i32) {
        writeln!(self.text, "$ {line}").unwrap();
        self.text.push_str(&self.plain(said));
        if code != 0 {
            writeln!(self.text, "[exit {code}]").unwrap();
        }
    }

    /// Without what is different in every run.
    pub(crate) fn plain(&self, said: &str) -> String {
        // What a terminal shows in the end of a line that was written over.
        let lines = said.split('\n').map(|line| line.rsplit("\r\u{1b}[K").next().unwrap_or_default());
        let mut text = codes(&lines.collect::<Vec<_>>().join("\n").replace('\r', ""));
        text = masked(&text, "127.0.0.1:", |c| c.is_ascii_digit(), "PORT");
        text = masked(&text, "/authorize?", |c| !c.is_whitespace(), "...");
        text = masked(&text, "key ...", |c| c.is_ascii_alphanumeric(), "WXYZ");
        text = masked(&text, ", pid ", |c| c.is_ascii_digit(), "PID");
        // A slow machine takes longer.
        text = masked(&text, ", up ", |c| c != '\n', "9 s");
        text = masked(&text, "needs-login, ", |c| c != ':', "9 s ago");
        text = masked(&text, "(next try in ", |c| c != ')', "9 min");
        text = masked(&text, "again in ", |c| c != ':', "9 min");
        text = milliseconds(&times(&text));
        text = text.replace(AGENTCTL, "/opt/bin/agentctl");
        text.replace(&self.agent.home.path().display().to_string(), "~")
    }

    /// In pipes, to its end.
    pub(crate) fn piped(&mut self, line: &str) -> Finished {
        let words: Vec<_> = line.split(' ').skip(1).collect();
        let finished = self.agent.ctl(&words);
        let code = finished.code();
        self.say(line, &format!("{}{}", finished.stdout, finished.stderr), code);
        finished
    }

    /// In a terminal, begun.
    fn begin(&self, line: &str) -> Running {
        let words = line.split(' ').skip(1).collect::<Vec<_>>().join(" ");
        let mut command = self.agent.home.command("script");
        command.args(["-qec", &format!("stty cols 80 rows 24; exec '{AGENTCTL}' {words}"), "/dev/null"]);
        Running::start(command)
    }

    fn end(&mut self, line: &str, running: Running) {
        let finished = running.finish(LIMIT);
        self.agent.note(&["login"], &finished);
        let code = finished.code();
        self.say(line, &finished.stdout, code);
    }

    pub(crate) fn in_terminal(&mut self, line: &str) {
        let running = self.begin(line);
        self.end(line, running);
    }

    /// The login that now waits for a person.
    fn answer(&self, yes: bool) {
        let pending = eventually("a login is pending", LIMIT, || self.agent.fake.pending_logins().pop());
        eventually("it is shown", LIMIT, || (!self.agent.status()["sessions"][0]["login"].is_null()).then_some(()));
        assert!(self.agent.fake.answer_login(&pending.code, yes));
    }
}

/// What follows each `mark`, as long as it is `part` of it, becomes `word`.
fn masked(text: &str, mark: &str, part: impl Fn(char) -> bool, word: &str) -> String {
    let mut parts = text.split(mark);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        masked += mark;
        masked += word;
        masked += rest.trim_start_matches(&part);
    }
    masked
}

/// How long something took.
fn milliseconds(text: &str) -> String {
    let mut parts = text.split(" ms").peekable();
    let mut masked = String::new();
    while let Some(part) = parts.next() {
        match parts.peek() {
            Some(_) => masked += &format!("{}9 ms", part.trim_end_matches(|c: char| c.is_ascii_digit())),
            None => masked += part,
        }
    }
    masked
}

/// Codes to compare.
fn codes(text: &str) -> String {
    let is_code = |candidate: &str| {
        let mut halves = candidate.split('-');
        let half = |half: Option<&str>| {
            half.is_some_and(|h| h.len() == 4 && h.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()))
        };
        half(halves.next()) && half(halves.next()) && halves.next().is_none()
    };
    let mut text = text.to_owned();
    for at in 0..text.len().saturating_sub(8) {
        if text.get(at..at + 9).is_some_and(is_code) {
            text.replace_range(at..at + 9, "ABCD-EFGH");
        }
    }
    text
}

/// Times of the day, spans and dates.
fn times(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        if line.starts_with("aws dev-sso: ") && line.ends_with(" left\n") {
            return "aws dev-sso: 59 min left\n".to_owned();
        }
        let words = line.split_inclusive([' ', '\n']).map(|word| {
            let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let digits = core.chars().filter(char::is_ascii_digit).count();
            match core.len() {
                5 if digits == 4 && core.as_bytes()[2] == b':' => word.replace(core, "12:00"),
                20 if core.ends_with('Z') && core.contains('T') => word.replace(core, "2026-01-31T12:00:00Z"),
                1..3 if digits == core.len() && !line.contains("of 6") => word.replace(core, "9"),
                _ => word.to_owned(),
            }
        });
        words.collect::<String>()
    });
    lines.collect()
}

#[test]
fn logins_look_like_this() {
    if !has_script() {
        return;
    }
    let mut agent = Agent::new();
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    agent.fake.revoke_access_tokens(agent.session);
    let browser = agent.home.script("browser", "#!/bin/sh\nexit 0\n");
    agent.home.set("BROWSER", browser);
    let mut t = Transcript { agent: &agent, text: "Logins as a person sees them, in 80 columns.\n".to_owned() };

    t.note("nobody is signed in");
    t.piped("agentctl statusline --profile dev-sso");
    t.piped("agentctl credential-process --profile dev-sso");
    t.piped("agentctl statusline --profile dev-sso");

    t.note("at a terminal, answered");
    let line = "agentctl login --device --profile dev-sso";
    let running = t.begin(line);
    t.answer(true);
    t.end(line, running);
    t.in_terminal("agentctl login --profile dev-sso");
    t.piped("agentctl statusline --profile dev-sso");

    t.note("signed out again");
    t.in_terminal("agentctl logout --profile dev-sso");
    t.in_terminal("agentctl logout --profile dev-sso");

    t.note("in a browser of this machine");
    let line = "agentctl login --pkce --no-browser --sso-session corp --timeout 3";
    t.in_terminal(line);
    t.in_terminal("agentctl reset --sso-session corp");
    agent.ctl(&["daemon", "restart"]).expect_success();
    t.in_terminal("agentctl reset --sso-session corp");

    t.note("as a hook, in a pipe: begun by one, joined by another, resumed by a third");
    let line = "agentctl login --device --profile dev-sso --timeout 3";
    t.piped(line);
    t.piped(line);
    t.piped("agentctl statusline --profile dev-sso");
    t.answer(false);
    eventually("it is denied", LIMIT, || agent.status()["sessions"][0]["login"].is_null().then_some(()));

    t.note("where no browser can be opened");
    let mut command = agent.home.command(AGENTCTL);
    let words = ["login", "--device", "--profile", "dev-sso"];
    command.args(words).env("BROWSER", "/nowhere/browser");
    let running = Running::start(command);
    t.answer(false);
    let finished = running.finish(LIMIT);
    agent.note(&words, &finished);
    t.say("agentctl login --device --profile dev-sso", &finished.stderr, finished.code());

    t.note("nobody answers; then nobody is asked again, but a person at a terminal is");
    agent.fake.set_login_life(Duration::from_secs(2));
    t.piped("agentctl login --device --profile dev-sso");
    t.piped("agentctl login --device --profile dev-sso");
    t.piped("agentctl statusline --profile dev-sso");
    t.in_terminal("agentctl login --device --profile dev-sso");
    agent.fake.set_login_life(Duration::from_secs(600));

    t.note("logins that come to nothing");
    let line = "agentctl login --device --profile dev-sso";
    let running = t.begin(line);
    t.answer(false);
    t.end(line, running);
    t.in_terminal("agentctl login --device --profile dev-sso");
    t.piped("agentctl statusline --profile dev-sso");
    t.piped("agentctl status");

    t.note("what a login does not help with");
    agent.home.seed_token("corp", &agent.fake.sign_in(agent.session));
    agent.fake.inject(Fault::access_denied().on(Operation::GetRoleCredentials));
    t.piped("agentctl login --profile dev-sso");
    agent.fake.clear_faults();
    agent.fake.inject(Fault::html().on(Operation::GetRoleCredentials));
    t.piped("agentctl refresh --profile dev-sso");

    hold(&t.text, "logins.txt");
}

#[test]
fn doctor_looks_like_this() {
    if !has_script() {
        return;
    }
    let mut behind = Behind::new();
    claude_of_today(&mut behind.agent);
    let agent = &behind.agent;
    let mut t = Transcript { agent, text: "Doctor as a person sees it, in 80 columns.\n".to_owned() };
    let line = "agentctl doctor network --profile dev-sso";

    t.note("a proxy opens TLS, and its CA is on no file of this machine");
    t.in_terminal(line);
    t.piped(line);

    t.note("its CA is where mitmproxy keeps it");
    let anchor = agent.home.path().join(".mitmproxy/mitmproxy-ca-cert.pem");
    fs::create_dir_all(anchor.parent().unwrap()).unwrap();
    behind.proxy.write_ca(&anchor);
    t.in_terminal(line);

    t.note("the agent is told of it; the tools are not");
    agent.write_settings(&format!("ca_bundle = {anchor:?}\n"));
    t.in_terminal(line);
    agent.ctl(&["credential-process", "--profile", "dev-sso"]).expect_success();
    t.in_terminal("agentctl doctor --profile dev-sso");

    t.note("the proxy wants a password");
    behind.proxy.set(Behaviour::AskCredentials { schemes: vec!["Basic realm=\"corp\"".into()], accepts: None });
    t.in_terminal(line);

    t.note("the network wants a sign-in");
    behind.proxy.set(Behaviour::redirect("https://portal.hotel.example/"));
    t.in_terminal(line);

    t.note("a check that there is none of");
    t.in_terminal("agentctl doctor netwrk");

    hold(&t.text, "doctor.txt");
}

#[test]
fn status_looks_like_this() {
    if !has_script() {
        return;
    }
    let mut agent = Agent::new();
    claude_of_today(&mut agent);
    let text = "Status and a doctor who finds nothing as a person sees them, in 80 columns.\n".to_owned();
    let mut t = Transcript { agent: &agent, text };
    let line = "agentctl status --profile dev-sso";

    t.note("no agent runs");
    t.in_terminal(line);
    t.piped(line);
    t.in_terminal("agentctl why --profile dev-sso");
    t.piped("agentctl statusline --profile dev-sso");

    t.note("all is well");
    agent.ctl(&["setup", "--profile", "dev-sso", "--region", "eu-west-1", "--yes"]).expect_success();
    agent.ctl(&["refresh", "--profile", "dev-sso"]).expect_success();
    t.in_terminal(line);
    t.piped(line);
    t.in_terminal("agentctl why --profile dev-sso");
    t.in_terminal("agentctl doctor --profile dev-sso");
    t.piped("agentctl doctor --profile dev-sso");

    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = agent.home.command("script");
        command.args([
            "-qec",
            &format!("stty cols 80 rows 24; exec '{AGENTCTL}' doctor role --profile dev-sso"),
            "/dev/null",
        ]);
        let shown = {
            command.env(name, value);
            Running::start(command)
        }
        .finish(LIMIT);
        // With NO_COLOR a line of progress is still written over.
        let plain = shown.stdout.replace("\u{1b}[K", if name == "NO_COLOR" { "" } else { "\u{1b}[K" });
        assert!(!plain.contains('\u{1b}'), "{name}={value}: {plain:?}");
    }

    hold(&t.text, "status.txt");
}

/// Those that are readable on light and on dark: the terminal's own red, green and yellow, bold and dim; no background, no
/// white and no black.
#[test]
fn colours_are_readable_on_light_and_dark() {
    let mut seen = std::collections::BTreeSet::new();
    for file in fs::read_dir(FOLDER).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for code in text.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m')) {
            seen.insert(code.0.to_owned());
        }
    }
    let readable = ["0", "1", "2", "31", "32", "33", "36"];
    assert!(!seen.is_empty() && seen.iter().all(|code| readable.contains(&code.as_str())), "{seen:?}");
}

/// Compares with the transcript on file, or writes that anew.
pub(crate) fn hold(text: &str, name: &str) {
    let file = Path::new(FOLDER).join(name);
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        fs::create_dir_all(FOLDER).unwrap();
        fs::write(&file, text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let differs = text.lines().zip(expected.lines()).find(|(now, before)| now != before);
    assert!(text == expected, "tests/daemon/screens/{name}: {differs:?} in\n{text}");
}
