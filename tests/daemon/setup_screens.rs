//! `agentctl setup` in a terminal of 80 columns and 24 rows, question by question: what it looks like, and that whoever ends
//! it at any question finds everything as it was, the terminal too.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::agent::{AGENTCTL, Agent, LIMIT, has_script};
use crate::doctor_settings::claude_of_today;
use crate::screens::{Transcript, hold};
use crate::support::clock::eventually;
use crate::support::fake_aws::{Offered, Person};
use crate::support::process::Running;

/// A question: what is drawn last of it, and what is typed.
type Question = (&'static str, &'static str);

const CTRL_C: &str = "\u{3}";

/// A program in a terminal.
struct Terminal {
    running: Running,
    /// The end of the screen that was shown before.
    seen: Vec<String>,
}

impl Terminal {
    fn start(agent: &Agent, line: &str) -> Self {
        let mut command = agent.home.command("script");
        // What it leaves the terminal like is printed in the end.
        let line = format!("stty cols 80 rows 24; '{AGENTCTL}' {line}; code=$?; stty -a; exit $code");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm");
        Self { running: Running::start_with_input(command), seen: Vec::new() }
    }

    /// As many rows as ever: nothing scrolls away.
    fn screen(&self) -> vt100::Parser {
        let mut parser = vt100::Parser::new(400, 80, 0);
        parser.process(self.running.stdout().as_bytes());
        parser
    }

    fn until(&self, shown: &str) {
        let there = || self.screen().screen().contents().contains(shown);
        let came = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(shown, LIMIT, || there().then_some(()))
        }));
        assert!(came.is_ok(), "waited for '{shown}', and saw:\n{}", self.screen().screen().contents());
    }

    /// What came since the last look.
    fn news(&mut self) -> String {
        let now: Vec<String> = self.screen().screen().contents().lines().map(str::to_owned).collect();
        let same = now.iter().zip(&self.seen).take_while(|(now, seen)| now == seen).count();
        let news = now[same..].iter().map(|line| format!("{}\n", line.trim_end())).collect();
        self.seen = now;
        news
    }
}

/// A home in which nothing is set up but a status line and a login of others'.
fn fresh() -> Agent {
    let mut agent = Agent::with(|session| {
        *session = session.clone().allow("222233334444", "Auditor").allow("222233334444", "Builder");
    });
    claude_of_today(&mut agent);
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    fs::write(agent.home.aws_config(), "# mine\n").unwrap();
    let folder = agent.home.path().join(".claude");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("settings.json"), SETTINGS).unwrap();
    agent.fake.set_person(Person::Approves);
    let browser = agent.home.script("browser", "#!/bin/sh\nexit 0\n");
    agent.home.set("BROWSER", browser);
    let offer =
        |id: &str| Offered { region: "eu-west-1", kind: "SYSTEM_DEFINED", id: id.into(), model: "anthropic.claude" };
    agent.fake.offer(
        ["eu.anthropic.claude-haiku-4-5-20251001-v1:0", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"]
            .map(offer)
            .into(),
    );
    agent
}

const SETTINGS: &str = r#"{
  // what every session may do
  "permissions": { "allow": ["Bash(git status)"] },
  "statusLine": { "type": "command", "command": "~/bin/my-line", "padding": 0 },
  "awsAuthRefresh": "aws sso login --profile work",
}
"#;

const QUESTIONS: [Question; 11] = [
    ("Start URL of Identity Center", "https://corp.awsapps.com/start\r"),
    ("does Identity Center live (not Bedrock)? [us-east-1] ", "eu-west-1\r"),
    ("the session to be called? [corp] ", "\r"),
    ("  222233334444", "\u{1b}[B\r"),
    ("  Builder", "\u{1b}[B\r"),
    ("the profile to be called? [dev] ", "\r"),
    ("(not where Identity Center lives)? [eu-west-1] ", "\r"),
    ("  another, by its id", "\u{1b}[B\u{1b}[B\r"),
    ("  the newest here: sonnet-4-5, haiku-4-5", "\u{1b}[B\r"),
    ("  no", "\r"),
    ("Write this?", "y"),
];

/// Everything that setup may touch.
fn files(agent: &Agent) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = [".aws", ".claude"].map(|folder| agent.home.path().join(folder));
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    files
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn setup_looks_like_this() {
    if !has_script() {
        return;
    }
    let agent = fresh();
    let mut t = Transcript { agent: &agent, text: "Setup as a person sees it, in 80 columns.\n".to_owned() };
    let mut terminal = Terminal::start(&agent, "setup");
    for (shown, keys) in QUESTIONS {
        terminal.until(shown);
        t.note("asked");
        let news = terminal.news();
        t.text += &t.plain(&news);
        terminal.running.type_keys(keys);
    }
    terminal.until("speed ");
    t.note("done");
    let news = terminal.news();
    t.text += &t.plain(news.split("speed ").next().unwrap_or_default());
    let ended = terminal.running.finish(LIMIT);
    agent.note(&["setup"], &ended);
    assert_eq!(ended.code(), 0, "{}", ended.stdout);

    t.note("once more, in a pipe");
    t.piped("agentctl setup --profile dev --region eu-west-1 --yes");
    t.piped("agentctl setup --profile dev --region eu-west-1 --status-line replace --dry-run");
    t.piped("agentctl setup --profile dev --region eu-central-1 --dry-run");
    t.piped("agentctl setup aws --profile dev --dry-run");
    t.piped("agentctl setup aws --profile dev");
    t.piped("agentctl setup --profile nobody --yes");
    t.piped("agentctl setup --undo");
    t.piped("agentctl setup --undo");
    hold(&t.text, "setup.txt");
}

#[test]
fn whoever_ends_it_at_a_question_finds_everything_as_it_was() {
    if !has_script() {
        return;
    }
    let agent = fresh();
    let before = files(&agent);
    for (given_up, (question, _)) in QUESTIONS.iter().enumerate() {
        let mut terminal = Terminal::start(&agent, "setup");
        for (at, (shown, keys)) in QUESTIONS.iter().enumerate().take(given_up + 1) {
            terminal.until(shown);
            terminal.running.type_keys(if at == given_up { CTRL_C } else { keys });
        }
        terminal.until("speed ");
        let shown = terminal.screen();
        assert!(!shown.screen().hide_cursor(), "the cursor is there again: {question}");
        let ended = terminal.running.finish(LIMIT);
        agent.note(&["setup"], &ended);
        assert_eq!(ended.code(), 130, "{question}: {}", ended.stdout);
        let echoes = ended.stdout.split_whitespace().any(|word| word.trim_end_matches(';') == "echo");
        assert!(echoes && !ended.stdout.contains("-icanon"), "the terminal is as it was: {question}: {}", ended.stdout);
        assert_eq!(files(&agent), before, "{question}");
    }
}
