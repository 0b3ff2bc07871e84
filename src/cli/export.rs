//! `agentctl export`: credentials for Claude Code, a shell or a program.
//!
//! It asks for [`MIN_TTL`]: with less than six minutes Claude Code would keep the key for an hour
//! (measured). Only for Claude Code it says who asks: a client that caches by expiry and comes back early was refused by AWS.

use std::time::Duration;

use super::agent::Reply;
use super::args::{Export, Format};
use super::context::Context;
use super::credentials::{self, Wish};
use super::document;
use super::outcome::Problem;
use super::output::Output;
use super::quote;
use super::upgrade;
use crate::core::failure::{Failure, FailureClass, shell_word};

/// While a login is waited for.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The life that is asked for, seconds.
const MIN_TTL: u64 = 390;

/// Runs the verb.
///
/// # Errors
/// [`Problem::Usage`] on a terminal without `--yes`; else as [`credentials::obtain`], and when the answer is no whole
/// document.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Export) -> Result<(), Problem> {
    let profile = ctx.profile()?;
    may_show_secrets(out.screen.stdout_is_terminal, args.yes, ctx.named)?;
    let names_consumer = args.format == Format::Claude && !out.screen.stdout_is_terminal;
    let consumer = ctx.consumer.filter(|_| names_consumer);
    let wish = Wish { min_ttl: Some(MIN_TTL), consumer, awaits_login: args.wait.is_some() };
    let reply = match credentials::obtain(ctx, out, &profile, wish, &args.ask) {
        Err(Problem::Failed(failure)) if failure.class == FailureClass::NeedsLogin => match args.wait {
            Some(wait) => after_login(ctx, out, &profile, wish, args, (failure, wait))?,
            None => return Err(failure.into()),
        },
        obtained => obtained?,
    };
    let keys = document::parse(&reply.body)?;
    match args.format {
        Format::Claude | Format::Process => out.document(&credentials::with_newline(&reply.body)),
        Format::Env => out.document(quote::posix(&keys).as_bytes()),
        Format::Fish => out.document(quote::fish(&keys).as_bytes()),
        Format::Powershell => out.document(quote::powershell(&keys).as_bytes()),
        Format::Json => out.document(quote::flat_json(&keys).as_bytes()),
    }?;
    upgrade::after(ctx, out, &reply, !args.ask.fetch.no_autostart);
    Ok(())
}

/// Waits until somebody has logged in, by whatever tool. It opens nothing: the status line says who must do what.
fn after_login(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    wish: Wish<'_>,
    args: &Export,
    (mut failure, wait): (Failure, Duration),
) -> Result<Reply, Problem> {
    let began = ctx.clock.tick();
    out.tell(&format!("waiting for a login: agentctl login --profile {}", shell_word(profile)));
    while ctx.clock.tick().since(began) < wait {
        ctx.clock.sleep(ASK_AGAIN.min(wait));
        match credentials::obtain(ctx, out, profile, wish, &args.ask) {
            Err(Problem::Failed(f)) if f.class == FailureClass::NeedsLogin => failure = f,
            obtained => return obtained,
        }
    }
    Err(failure.into())
}

fn may_show_secrets(stdout_is_terminal: bool, yes: bool, named: Option<&str>) -> Result<(), Problem> {
    if yes || !stdout_is_terminal {
        return Ok(());
    }
    let profile = named.map_or_else(String::new, |name| format!(" --profile {}", shell_word(name)));
    Err(Problem::Usage(
        "this would show secret keys on your terminal, where they stay in the scrollback".to_owned(),
        format!("to use them: eval \"$(agentctl export --format env{profile})\"; to see them all the same: add --yes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, union};
    use super::*;

    #[test]
    fn secrets_reach_a_terminal_only_with_yes() {
        assert!(may_show_secrets(true, true, None).is_ok());
        assert!(may_show_secrets(false, false, None).is_ok());
        let problem = may_show_secrets(true, false, Some("a b")).unwrap_err();
        assert_eq!(problem.exit_code(), 2);
        assert!(problem.line().unwrap().contains("--format env --profile 'a b')"), "{problem:?}");
    }

    #[test]
    fn a_login_is_waited_for_and_nothing_is_opened() {
        let mut fake = Fake::new();
        for _ in 0..3 {
            fake.fails(FailureClass::NeedsLogin, "it has ended", "agentctl login");
        }
        fake.answers(200, &union());
        let end = fake.run("export --wait 300 --profile dev");
        assert_eq!((end.code, end.stderr.as_str()), (0, "waiting for a login: agentctl login --profile dev\n"));
        assert!(end.stdout.starts_with('{') && fake.opened.borrow().is_empty());
        assert!(fake.elapsed() < Duration::from_secs(2), "{:?}", fake.elapsed());
        fake.fails(FailureClass::NeedsLogin, "it has ended", "agentctl login");
        fake.fails(FailureClass::NeedsLogin, "it has ended", "agentctl login");
        let end = fake.run("export --wait 500ms");
        assert_eq!((end.code, end.stdout.as_str()), (10, ""));
        // Anything else is told at once.
        fake.fails(FailureClass::Offline, "no route", "");
        assert_eq!(fake.run("export --wait 300").code, 14);
    }

    #[test]
    fn a_terminal_is_refused_before_anything_is_asked() {
        let mut fake = Fake::new();
        fake.screen.stdout_is_terminal = true;
        let end = fake.run("export");
        assert_eq!((end.code, end.stdout.as_str()), (2, ""));
        assert!(end.stderr.contains("add --yes"), "{}", end.stderr);
        assert_eq!(fake.targets().len(), 0);
    }

    #[test]
    fn claude_names_its_consumer_in_a_pipe_only() {
        let asked = |line: &str, tty: bool| {
            let mut fake = Fake::new();
            fake.consumer = Some("28:77");
            fake.screen.stdout_is_terminal = tty;
            fake.answers(200, &union());
            assert_eq!(fake.run(line).code, 0);
            fake.targets()[0].clone()
        };
        let with = "GET /v1/profiles/default/credentials?wait=1500&min_ttl=390&consumer=28%3A77";
        let without = "GET /v1/profiles/default/credentials?wait=1500&min_ttl=390";
        assert_eq!(asked("export", false), with);
        assert_eq!(asked("export --format claude", false), with);
        assert_eq!(asked("export --yes", true), without);
        for format in ["process", "env", "fish", "powershell", "json"] {
            assert_eq!(asked(&format!("export --format {format}"), false), without);
        }
    }

    #[test]
    fn claude_and_process_are_the_union_document() {
        for line in ["export", "export --format process"] {
            let mut fake = Fake::new();
            fake.answers(200, &union());
            assert_eq!(fake.run(line).stdout, format!("{}\n", union()));
        }
    }

    #[test]
    fn a_failure_prints_no_document() {
        let mut fake = Fake::new();
        fake.fails(FailureClass::NeedsLogin, "the session 'corp' has ended", "agentctl login --profile dev");
        let end = fake.run("export --format env");
        assert_eq!((end.code, end.stdout.as_str()), (10, ""));
        assert_eq!(end.stderr, "agentctl: the session 'corp' has ended; agentctl login --profile dev\n");
    }
}
