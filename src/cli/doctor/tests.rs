use super::*;
use crate::api::v1::{AgentStatus, StatusDocument};
use crate::core::status::Status;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A world in which everything is unknown, for checks that look at none of it.
fn facts() -> Facts {
    let unknown = || Failure::new(FailureClass::Transient, "nobody looked", "");
    Facts {
        now: NOW,
        probe: Err(unknown()),
        agent: None,
        agents_probe: None,
        socket: "/run/agent.sock".into(),
        sandbox: false,
        service: None,
        agentctl: None,
        profile: "dev".to_owned(),
        inspection: Err(unknown()),
        ambient: Vec::new(),
        role: None,
        bedrock: None,
        claude_version: None,
        aws_cli: false,
        claude: facts::ClaudeFacts {
            path: "/home/me/.claude/settings.json".into(),
            settings: Ok(None),
            ignored_from: None,
            hook: None,
            ran: None,
            overriding: Vec::new(),
            shell: Vec::new(),
        },
    }
}

fn ok(_: &Facts) -> Verdict {
    Verdict::ok("fine")
}

fn note(_: &Facts) -> Verdict {
    Verdict::new(Severity::Note, "worth knowing")
}

fn warning(_: &Facts) -> Verdict {
    Verdict::new(Severity::Warning, "odd").fixed_by("mend it")
}

fn denied(_: &Facts) -> Verdict {
    Verdict::of(Severity::Error, &Failure::new(FailureClass::AccessDenied, "no", "ask"))
}

fn misconfigured(_: &Facts) -> Verdict {
    Verdict::of(Severity::Error, &Failure::new(FailureClass::Misconfigured, "wrong", "correct it"))
}

fn check(name: &'static str, depends_on: &'static [&'static str], run: fn(&Facts) -> Verdict) -> Check {
    Check { name, family: "test", depends_on, run }
}

fn report(checks: &[Check]) -> Report {
    examine(&checks.iter().collect::<Vec<_>>(), &facts(), NOW)
}

fn severities(report: &Report) -> Vec<(&str, Severity)> {
    report.checks.iter().map(|f| (f.name, f.severity)).collect()
}

#[test]
fn what_builds_on_an_error_is_silent_to_the_last_child() {
    let report = report(&[
        check("ground", &[], denied),
        check("house", &["ground"], misconfigured),
        check("roof", &["house"], misconfigured),
        check("garden", &[], ok),
    ]);
    assert_eq!(
        severities(&report),
        [
            ("ground", Severity::Error),
            ("house", Severity::Skipped),
            ("roof", Severity::Skipped),
            ("garden", Severity::Ok)
        ]
    );
    assert_eq!(report.checks[1].message, "first: ground");
    assert_eq!(report.checks[2].message, "first: house");
    assert_eq!((report.first, report.error()), (Some("ground"), Some(FailureClass::AccessDenied)));
}

#[test]
fn a_warning_or_a_note_silences_nobody() {
    let report = report(&[
        check("ground", &[], warning),
        check("house", &["ground"], note),
        check("roof", &["house"], misconfigured),
    ]);
    assert_eq!(report.checks[2].severity, Severity::Error);
    assert_eq!((report.first, report.error()), (Some("roof"), Some(FailureClass::Misconfigured)));
}

#[test]
fn the_worst_leads_and_the_first_among_equals() {
    let checks = [check("a", &[], warning), check("b", &[], warning), check("c", &[], note)];
    assert_eq!(report(&checks).first, Some("a"));
    let checks = [check("a", &[], warning), check("b", &[], misconfigured), check("c", &[], denied)];
    let found = report(&checks);
    assert_eq!((found.first, found.error()), (Some("b"), Some(FailureClass::Misconfigured)));
    let checks = [check("a", &[], note), check("b", &[], ok), check("c", &[], |_| Verdict::skipped("unknown"))];
    let well = report(&checks);
    assert_eq!((well.first, well.error()), (None, None));
}

#[test]
fn each_check_comes_after_what_it_builds_on() {
    for (at, check) in CHECKS.iter().enumerate() {
        for on in check.depends_on {
            assert!(CHECKS[..at].iter().any(|before| before.name == *on), "{} before {on}", check.name);
        }
        assert_eq!(CHECKS.iter().filter(|other| other.name == check.name).count(), 1, "{} is there twice", check.name);
    }
}

#[test]
fn a_check_brings_its_ground_along_and_nothing_else() {
    let names = |words: &[&str]| -> Vec<&str> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        choose(&words).unwrap().iter().map(|check| check.name).collect()
    };
    assert_eq!(names(&["registration"]), ["config", "profile", "sso-session", "token", "registration"]);
    assert_eq!(names(&["claude-model"]), ["claude-settings", "claude-region", "claude-model"]);
    assert!(names(&["claude"]).contains(&"role"), "what the hook prints depends on it");
    assert_eq!(names(&[]).len(), CHECKS.len());
    assert!(choose(&["tokn".to_owned()]).is_err());
}

/// No check may need what is not known; this is what a sandbox or a broken installation leaves.
#[test]
fn every_check_has_an_answer_when_nothing_is_known() {
    let facts = facts();
    for check in CHECKS {
        let verdict = (check.run)(&facts);
        assert!(!verdict.message.is_empty(), "{}", check.name);
        assert_eq!(verdict.class.is_some(), verdict.severity == Severity::Error, "{}", check.name);
    }
}

/// An agent of another version makes room by itself; one that is newer than its client means two installations.
#[test]
fn versions_that_differ_are_worth_knowing() {
    let beside = |version: &str| {
        let status = Status {
            schema: 1,
            revision: 1,
            now: NOW,
            clock_offset_ms: None,
            paused: None,
            profiles: Vec::new(),
            sessions: Vec::new(),
            findings: Vec::new(),
        };
        let (version, config_file, network) = (version.to_owned(), String::new(), Vec::new());
        let agent = AgentStatus { version, pid: 7, started_at: NOW, config_file, network };
        (agent::VERSION.run)(&Facts { agent: Some(Ok(StatusDocument { status, agent })), ..facts() })
    };
    let older = beside("0.0.1");
    assert_eq!((older.severity, older.fix.as_str()), (Severity::Note, "agentctl daemon restart"));
    let newer = beside("999.0.0");
    assert_eq!((newer.severity, newer.fix.as_str()), (Severity::Note, "run the newer agentctl"));
    assert_eq!(beside(env!("CARGO_PKG_VERSION")).severity, Severity::Ok);
}

#[test]
fn the_help_names_every_check() {
    let help = crate::cli::fake::Fake::new().run("doctor --help").stdout;
    for check in CHECKS {
        let words = || help.split(|c: char| !c.is_alphanumeric() && c != '-');
        assert!(words().any(|word| word == check.name), "{} is not in {help}", check.name);
    }
}
