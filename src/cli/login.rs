//! `agentctl login`: signs in where that is needed. The agent decides and does it; this client shows the address, opens
//! the browser if it is the one to do so, and waits.
//!
//! A login outlives its client: whoever comes next joins it, sees the same address and opens nothing.

use std::time::Duration;

use super::args::Login;
use super::call::{self, Patience};
use super::context::Context;
use super::outcome::Problem;
use super::output::{Output, local_time};
use super::render;
use crate::api::v1::{self, LoginDocument, LoginRequest};
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::{BUDGET, FlowWish, LoginState};
use crate::core::time::Timestamp;
use crate::platform::browser;

/// Claude Code ends its hook after 180 s.
const LIMIT: Duration = Duration::from_secs(170);
/// A person at a terminal waits as long as AWS does.
const TERMINAL_LIMIT: Duration = Duration::from_secs(590);
/// The agent holds a question about a login this long.
const HOLD_MS: u64 = 1500;
/// It has this long to take one in.
const ASK: Duration = Duration::from_secs(25);
/// Between two questions at least.
const SPACING: Duration = Duration::from_millis(100);

/// Runs the verb.
///
/// # Errors
/// The class of whatever stands in the way; `needs-login` for a login that was denied, not answered or is still pending;
/// `login-paused` where none is begun.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Login) -> Result<(), Problem> {
    let asked = Asked::new(ctx, out, args)?;
    let body = serde_json::to_vec(&asked.request).unwrap_or_default();
    let limit = args.timeout.unwrap_or(if asked.request.terminal { TERMINAL_LIMIT } else { LIMIT });
    let patience = Patience { timeout: ASK.min(limit), autostart: !args.no_autostart };
    let reply = call::until_done_with(ctx, out, "POST", |_, _| asked.target.clone(), &body, patience)?;
    let mut login: LoginDocument = call::read(&reply)?;
    let began = ctx.clock.tick();
    let mut shown = false;
    loop {
        match login.state {
            LoginState::Done => return asked.done(ctx, out, &login, shown),
            LoginState::Failed | LoginState::Refused => return Err(asked.failure(ctx, login)),
            LoginState::Pending => {}
        }
        if let Some(url) = login.url.clone().filter(|_| !shown) {
            shown = true;
            asked.show(ctx, out, &login, &url, args.no_browser);
        }
        if shown {
            asked.wait_on(ctx, out, &login);
        }
        if ctx.clock.tick().since(began) >= limit {
            return Err(asked.still_pending(&login));
        }
        login = follow(ctx, out, &login)?;
    }
}

/// What is asked for, and how it is called.
struct Asked {
    /// `the profile 'dev'` or `the session 'corp'`, without the article.
    name: String,
    target: String,
    request: LoginRequest,
}

impl Asked {
    fn new(ctx: &Context<'_>, out: &Output<'_>, args: &Login) -> Result<Self, Problem> {
        let (name, target) = call::session_target(ctx, args.sso_session.as_deref(), "login")?;
        let flow = match (args.device, args.pkce) {
            (true, _) => FlowWish::Device,
            (_, true) => FlowWish::Pkce,
            _ => FlowWish::Auto,
        };
        let terminal = out.screen.stderr_is_terminal;
        if args.force && !terminal {
            let message = "--force is for a person at a terminal".to_owned();
            return Err(Problem::Usage(message, "leave it out: a login that is needed is begun".to_owned()));
        }
        let ci = ctx.vars.get("CI").is_some_and(|ci| ci != "false" && ci != "0");
        let display = browser::can_come_back(ctx.vars);
        Ok(Self { name, target, request: LoginRequest { flow, force: args.force, terminal, display, ci } })
    }

    /// What a person needs, before any browser opens: Claude Code shows it too.
    fn show(&self, ctx: &Context<'_>, out: &mut Output<'_>, login: &LoginDocument, url: &str, no_browser: bool) {
        let opens = login.open && !no_browser;
        out.line(&match (login.open, opens) {
            (true, true) => format!("Sign in for '{}' in your browser; should none open, go to:", self.name),
            (true, false) => format!("Sign in for '{}' in a browser:", self.name),
            (false, _) => format!("A login for '{}' is pending already; answer it in the browser:", self.name),
        });
        out.line(&format!("  {url}"));
        if let Some(code) = &login.user_code {
            out.line(&format!("and compare the code: {code}"));
        }
        if let Some(until) = login.expires_at {
            let until = render::clock_time(local_time(until), local_time(ctx.clock.wall()));
            let today = match login.openings_today {
                n if n > 0 && !self.request.terminal => format!(" (login {n} of {BUDGET} today)"),
                _ => String::new(),
            };
            out.line(&format!("AWS waits until {until}{today}."));
        }
        if opens && let Err(why) = ctx.launcher.browse(url) {
            out.line(&format!("No browser was opened ({why}): go to the address yourself."));
        }
    }

    fn wait_on(&self, ctx: &Context<'_>, out: &mut Output<'_>, login: &LoginDocument) {
        match login.expires_at.map(|end| end.since(ctx.clock.wall())) {
            Some(left) if login.url.is_some() => {
                out.progress(&format!("waiting for an answer in the browser, {} left", render::span(left)));
            }
            _ => out.progress("signed in; seeing whether it works"),
        }
    }

    fn done(&self, ctx: &Context<'_>, out: &mut Output<'_>, login: &LoginDocument, shown: bool) -> Result<(), Problem> {
        let until = |at: Timestamp| render::clock_time(local_time(at), local_time(ctx.clock.wall()));
        let until = login.expires_at.map_or_else(String::new, |at| format!(" until {}", until(at)));
        let how = if shown { "signed in" } else { "already signed in" };
        out.tell(&format!("{how}: '{}' has credentials{until}", self.name));
        Ok(())
    }

    fn failure(&self, ctx: &Context<'_>, login: LoginDocument) -> Problem {
        let class = login.code.unwrap_or(FailureClass::NeedsLogin);
        let mut message = login.message.unwrap_or_else(|| "the login failed".to_owned());
        if let Some(at) = login.retry_at {
            let at = render::clock_time(local_time(at), local_time(ctx.clock.wall()));
            message = format!("the login for '{}' is paused until {at}: {message}", self.name);
        }
        Failure::new(class, message, login.fix.unwrap_or_default()).into()
    }

    fn still_pending(&self, login: &LoginDocument) -> Problem {
        let message = format!("the login for '{}' is still pending", self.name);
        let fix = match &login.url {
            Some(url) => format!("answer it at {url} and run this again: it goes on"),
            None => "run this again: it goes on".to_owned(),
        };
        Problem::failed(FailureClass::NeedsLogin, message, fix)
    }
}

/// How the login stands after its next change, or after a while.
fn follow(ctx: &Context<'_>, out: &mut Output<'_>, login: &LoginDocument) -> Result<LoginDocument, Problem> {
    let asked = ctx.clock.tick();
    let target = format!("/v1/logins/{}?after={}&wait={HOLD_MS}", v1::encode_segment(&login.id), login.revision);
    let reply = call::exchange(ctx, out, "GET", &target, &[], call::ANSWER);
    ctx.clock.sleep(SPACING.saturating_sub(ctx.clock.tick().since(asked)));
    match reply {
        Ok(reply) if reply.status == 200 => call::read(&reply),
        Ok(reply) if reply.status == 202 => Ok(login.clone()),
        // Never a new tab without a word.
        _ => Err(Problem::failed(
            FailureClass::NeedsLogin,
            "the agent ended meanwhile, and the login with it",
            "run it again; a page that is still open leads nowhere",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn document(revision: u64, state: &str, more: &str) -> String {
        format!(
            r#"{{"id":"7","revision":{revision},"state":"{state}","url":null,"user_code":null,"expires_at":null,
            "code":null,"message":null,"fix":null{more}}}"#
        )
    }

    fn pending(open: bool) -> String {
        let text = document(2, "pending", &format!(r#","open":{open},"openings_today":1"#));
        text.replace(r#""url":null,"user_code":null,"expires_at":null"#, r#""url":"https://device.example/?c=ABCD-EFGH","user_code":"ABCD-EFGH","expires_at":"2020-06-17T10:12:08Z""#)
    }

    fn done(revision: u64) -> String {
        document(revision, "done", "").replace(r#""expires_at":null"#, r#""expires_at":"2020-06-17T11:02:08Z""#)
    }

    #[test]
    fn valid_credentials_open_nothing() {
        let mut fake = Fake::new();
        fake.answers(200, &done(1));
        let end = fake.run("login --profile dev");
        assert_eq!((end.code, end.stdout.as_str()), (0, ""));
        assert!(end.stderr.starts_with("already signed in: 'dev' has credentials until "), "{}", end.stderr);
        assert_eq!(fake.targets(), ["POST /v1/profiles/dev/login"]);
        assert!(fake.opened.borrow().is_empty());
    }

    #[test]
    fn the_one_that_begins_it_shows_first_and_opens_then() {
        let mut fake = Fake::new();
        fake.answers(200, &document(1, "pending", "")).answers(200, &pending(true)).answers(200, &done(3));
        let end = fake.run("login --profile dev");
        assert_eq!(end.code, 0, "{}", end.stderr);
        let lines: Vec<_> = end.stderr.lines().collect();
        assert_eq!(lines[0], "Sign in for 'dev' in your browser; should none open, go to:");
        assert_eq!(lines[1..3], ["  https://device.example/?c=ABCD-EFGH", "and compare the code: ABCD-EFGH"]);
        assert!(lines[3].starts_with("AWS waits until ") && lines[3].ends_with(" (login 1 of 6 today)."), "{lines:?}");
        assert!(lines[4].starts_with("signed in: 'dev' has credentials until "), "{lines:?}");
        assert_eq!(*fake.opened.borrow(), ["https://device.example/?c=ABCD-EFGH"]);
        assert_eq!(fake.targets()[1], "GET /v1/logins/7?after=1&wait=1500");
    }

    #[test]
    fn a_terminal_shows_how_long_is_left_and_then_the_end() {
        let mut fake = Fake::new();
        (fake.screen.stderr_is_terminal, fake.screen.progress) = (true, true);
        fake.answers(200, &pending(true)).answers(200, &pending(true)).answers(200, &document(3, "pending", ""));
        fake.answers(200, &done(4));
        let end = fake.run("login --profile dev");
        let over: Vec<_> = end.stderr.split("\r\x1b[K").collect();
        assert_eq!(over.len(), 5, "{over:?}");
        assert!(
            over[1].starts_with("waiting for an answer in the browser, ") && over[1].ends_with(" left"),
            "{over:?}"
        );
        assert_eq!(over[3], "signed in; seeing whether it works");
        assert!(over[4].starts_with("signed in: 'dev' has credentials until "), "{over:?}");
    }

    #[test]
    fn whoever_joins_shows_the_same_and_opens_nothing() {
        let mut fake = Fake::new();
        fake.answers(200, &pending(false)).answers(200, &done(3));
        let end = fake.run("login --sso-session corp");
        assert!(end.stderr.starts_with("A login for 'corp' is pending already; answer it in the browser:\n  https"));
        assert!(fake.opened.borrow().is_empty());
        assert_eq!(fake.targets()[0], "POST /v1/sessions/corp/login");
        fake.answers(200, &pending(true)).answers(200, &done(3));
        fake.run("login --no-browser");
        assert!(fake.opened.borrow().is_empty());
    }

    #[test]
    fn without_a_browser_the_address_is_enough() {
        let mut fake = Fake::new();
        fake.no_browser = Some("there is no browser here");
        fake.answers(200, &pending(true)).answers(200, &done(3));
        let end = fake.run("login");
        assert!(end.stderr.contains("No browser was opened (there is no browser here): go to the address yourself.\n"));
    }

    #[test]
    fn a_client_without_a_terminal_gives_up_in_time_and_the_login_goes_on() {
        let mut fake = Fake::new();
        fake.answers(200, &pending(true));
        fake.forever(200, &pending(true), Duration::from_millis(1500));
        let end = fake.run("login --profile dev");
        assert_eq!(end.code, 10);
        assert!(fake.elapsed() >= LIMIT && fake.elapsed() < LIMIT + Duration::from_secs(3), "{:?}", fake.elapsed());
        assert!(end.stderr.ends_with("run this again: it goes on\n"), "{}", end.stderr);
        assert_eq!(fake.opened.borrow().len(), 1);
    }

    #[test]
    fn the_limit_is_the_users_if_named() {
        let mut fake = Fake::new();
        fake.forever(200, &pending(true), Duration::from_millis(1500));
        assert_eq!(fake.run("login --timeout 10s").code, 10);
        assert!(fake.elapsed() < Duration::from_secs(13), "{:?}", fake.elapsed());
    }

    #[test]
    fn an_agent_that_ends_meanwhile_is_told_and_nothing_opens() {
        let mut fake = Fake::new();
        fake.answers(200, &document(1, "pending", "")).answers(404, "{}");
        let end = fake.run("login");
        assert_eq!(end.code, 10);
        assert!(
            end.stderr.contains("the agent ended meanwhile, and the login with it; run it again"),
            "{}",
            end.stderr
        );
    }

    #[test]
    fn a_refusal_is_its_class() {
        let mut fake = Fake::new();
        let refused = document(1, "refused", "").replace(
            r#""code":null,"message":null,"fix":null"#,
            r#""code":"login-paused","message":"6 of 6","fix":"wait""#,
        );
        fake.answers(200, &refused);
        let end = fake.run("login");
        assert_eq!((end.code, end.stderr.as_str()), (18, "agentctl: 6 of 6; wait\n"));
    }

    #[test]
    fn what_the_client_knows_of_its_place_goes_along() {
        let mut fake = Fake::new();
        fake.vars = [("CI", "true"), ("SSH_TTY", "/dev/pts/0")].into_iter().collect();
        fake.answers(200, &done(1));
        fake.run("login --device");
        let sent: LoginRequest = serde_json::from_str(&fake.bodies.borrow()[0]).unwrap();
        let expected = LoginRequest { flow: FlowWish::Device, force: false, terminal: false, display: false, ci: true };
        assert_eq!(sent, expected);
        assert_eq!(fake.run("login --force").code, 2, "nobody is there");
        assert_eq!(fake.run("login --device --pkce").code, 2);
    }
}
