//! `agentctl status --watch`: the snapshot for as long as somebody looks at it.
//!
//! On a terminal it is redrawn in place, at least once a second for the countdowns; in a pipe, or as JSON, each revision
//! is written once. It ends with Ctrl-C or when its reader is gone, never because the agent went away for a while.
//! Revisions start anew with each agent: a question after a lost connection names none.

use std::time::Duration;

use super::agent::Reply;
use super::call;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::{snapshot, status};
use crate::api::v1::StatusDocument;

/// On a terminal the agent is asked to hold the question so long at most: the pace of the countdowns.
const FRAME: Duration = Duration::from_secs(1);
/// In a pipe it may hold it longer; also a sign of life.
const QUIET: Duration = Duration::from_secs(25);
/// Two questions are at least this far apart.
const SPACING: Duration = Duration::from_millis(100);

/// Runs the verb; returns only with a problem.
///
/// # Errors
/// As [`call::ask`] for the first snapshot; [`Problem::Closed`] when the reader is gone.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, profile: Option<&str>, json: bool) -> Result<(), Problem> {
    let live = out.screen.stdout_is_terminal && !json;
    let mut watch = Watch { profile, json, live, revision: None, document: None, lost: None, drawn: false };
    let first = call::ask(ctx, out, "GET", "/v1/status", &[])?;
    if let Some(name) = profile {
        snapshot::must_know(&call::read::<StatusDocument>(&first)?.status, name)?;
    }
    watch.take(ctx, out, &first)?;
    loop {
        let asked = ctx.clock.tick();
        let news = watch.poll(ctx, out)?;
        let pace = if news { SPACING } else { FRAME };
        ctx.clock.sleep(pace.saturating_sub(ctx.clock.tick().since(asked)));
    }
}

struct Watch<'a> {
    profile: Option<&'a str>,
    json: bool,
    live: bool,
    /// The last revision that was shown; `None` after the agent was lost.
    revision: Option<u64>,
    /// The last snapshot.
    document: Option<StatusDocument>,
    /// Why the agent cannot be asked at the moment.
    lost: Option<String>,
    /// Whether a frame was drawn.
    drawn: bool,
}

impl Watch<'_> {
    /// Waits for news and shows them; whether there were any.
    fn poll(&mut self, ctx: &Context<'_>, out: &mut Output<'_>) -> Result<bool, Problem> {
        let hold = if self.live { FRAME } else { QUIET };
        let after = self.revision.map_or_else(String::new, |n| format!("&after={n}"));
        let target = format!("/v1/status?wait={}{after}", hold.as_millis());
        let problem = match call::exchange(ctx, out, "GET", &target, &[], hold + call::ANSWER) {
            Ok(reply) if reply.status == 200 => return self.take(ctx, out, &reply),
            Ok(reply) if reply.status < 400 => return self.redraw(ctx, out).map(|()| false),
            Ok(reply) => Problem::Failed(call::failure_of(&reply)),
            Err(e) => call::unreachable(ctx, &e),
        };
        let line = problem.line().unwrap_or_default();
        if self.lost.is_none() && !self.live {
            out.line(&format!("{line} (waiting for it)"));
        }
        (self.revision, self.lost) = (None, Some(line));
        self.redraw(ctx, out).map(|()| false)
    }

    /// Shows a snapshot, unless it is the one already shown.
    fn take(&mut self, ctx: &Context<'_>, out: &mut Output<'_>, reply: &Reply) -> Result<bool, Problem> {
        let document: StatusDocument = call::read(reply)?;
        let news = self.revision != Some(document.status.revision);
        let first = self.document.is_none();
        (self.revision, self.lost) = (Some(document.status.revision), None);
        self.document = Some(document);
        if self.live {
            self.redraw(ctx, out)?;
        } else if news {
            let block = self.block(ctx, out, reply, first)?;
            out.document(block.as_bytes())?;
        }
        Ok(news)
    }

    fn block(&self, ctx: &Context<'_>, out: &Output<'_>, reply: &Reply, first: bool) -> Result<String, Problem> {
        if self.json {
            return Ok(format!("{}\n", status::json(reply, self.profile)?));
        }
        let gap = if first { "" } else { "\n" };
        Ok(format!("{gap}{}", self.table(ctx, out)))
    }

    fn redraw(&mut self, ctx: &Context<'_>, out: &mut Output<'_>) -> Result<(), Problem> {
        if !self.live {
            return Ok(());
        }
        out.screen.measure();
        let notice = self.lost.as_ref().map(|line| format!("{line}\nbefore that it said:\n\n")).unwrap_or_default();
        let text = format!("{notice}{}", self.table(ctx, out));
        let frame = frame(&text, out.screen.lines);
        // What stands on the screen already moves up, out of the way.
        let room = if std::mem::replace(&mut self.drawn, true) { 0 } else { out.screen.lines.unwrap_or(0) };
        out.document(format!("{}{frame}", "\n".repeat(room)).as_bytes())
    }

    fn table(&self, ctx: &Context<'_>, out: &Output<'_>) -> String {
        self.document.clone().map(|d| status::table(ctx, out, d, self.profile)).unwrap_or_default()
    }
}

/// The text drawn over what was there before: from the top, each line cleared behind its end, the rest of the screen
/// cleared. What does not fit is counted, so that nothing scrolls.
fn frame(text: &str, lines: Option<usize>) -> String {
    const HOME: &str = "\x1b[H";
    const CLEAR_LINE: &str = "\x1b[K";
    const CLEAR_BELOW: &str = "\x1b[J";
    let all: Vec<&str> = text.lines().collect();
    let room = lines.map_or(all.len(), |l| l.saturating_sub(2).max(1));
    let mut drawn = HOME.to_owned();
    for line in all.iter().take(room) {
        drawn.push_str(&format!("{line}{CLEAR_LINE}\n"));
    }
    if all.len() > room {
        drawn.push_str(&format!("... and {} lines more{CLEAR_LINE}\n", all.len() - room));
    }
    drawn + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::super::agent::AgentError;
    use super::super::args::{self, Request, Verb};
    use super::super::fake::Fake;
    use super::super::output::Screen;
    use super::super::status::tests::DOCUMENT;
    use super::*;

    /// A reader that goes away after some writes.
    struct Reader {
        seen: Vec<String>,
        writes: usize,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.seen.len() == self.writes {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.seen.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn watched(fake: &Fake, line: &str, writes: usize) -> (Vec<String>, String) {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        let Ok(Request::Run(cli)) = args::parse(&words, false) else { panic!() };
        let Verb::Status(status) = &cli.verb else { panic!() };
        let (mut reader, mut stderr) = (Reader { seen: Vec::new(), writes }, Vec::new());
        let mut out = Output {
            stdout: &mut reader,
            stderr: &mut stderr,
            screen: fake.screen,
            quiet: false,
            verbose: false,
            in_progress: false,
        };
        let end = super::super::status::run(&fake.context(), &mut out, status);
        assert_eq!(end, Err(Problem::Closed));
        (reader.seen, String::from_utf8(stderr).unwrap())
    }

    fn revision(n: u64) -> String {
        DOCUMENT.replace("\"revision\":7", &format!("\"revision\":{n}"))
    }

    #[test]
    fn in_a_pipe_each_revision_is_written_once() {
        let mut fake = Fake::new();
        fake.answers(200, &revision(7)).answers(200, &revision(7)).answers(200, &revision(8));
        fake.forever(200, &revision(9), Duration::from_secs(25));
        let (seen, stderr) = watched(&fake, "agentctl status --watch", 2);
        assert!(seen[0].starts_with("agentd ") && seen[1].starts_with("\nagentd "), "{seen:?}");
        assert_eq!((seen.len(), stderr.as_str()), (2, ""));
        assert_eq!(
            fake.targets()[..3],
            ["GET /v1/status", "GET /v1/status?wait=25000&after=7", "GET /v1/status?wait=25000&after=7"]
        );
    }

    #[test]
    fn json_is_a_line_per_revision() {
        let mut fake = Fake::new();
        fake.answers(200, &revision(7)).answers(200, &revision(8));
        fake.forever(200, &revision(9), Duration::ZERO);
        let (seen, _) = watched(&fake, "agentctl status --watch --json", 2);
        for (i, line) in seen.iter().enumerate() {
            assert_eq!(line.matches('\n').count(), 1);
            assert!(line.contains(&format!("\"revision\":{}", 7 + i)));
        }
    }

    #[test]
    fn a_restarted_agent_is_found_again() {
        let mut fake = Fake::new();
        fake.answers(200, &revision(700)).error(AgentError::Protocol("cut".into()));
        fake.error(AgentError::Absent).error(AgentError::Absent).answers(200, &revision(1));
        fake.forever(200, &revision(2), Duration::ZERO);
        let (seen, stderr) = watched(&fake, "agentctl status --watch", 2);
        assert_eq!(seen.len(), 2);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.ends_with(" (waiting for it)\n"), "{stderr}");
        assert_eq!(fake.targets()[2], "GET /v1/status?wait=25000");
        assert!(fake.elapsed() >= Duration::from_secs(3));
    }

    #[test]
    fn on_a_terminal_the_countdown_goes_on_without_news() {
        let mut fake = Fake::new();
        fake.screen = Screen { stdout_is_terminal: true, columns: Some(80), fixed: true, ..Screen::default() };
        fake.answers(200, DOCUMENT);
        fake.forever(200, DOCUMENT, Duration::from_secs(1));
        let (seen, _) = watched(&fake, "agentctl status --watch", 4);
        assert!(seen.iter().all(|f| f.starts_with("\x1b[Hagentd ") && f.ends_with("\x1b[J")));
        assert!(seen[0].contains("up 2 min\x1b[K") && seen[3].contains("up 2 min 3 s\x1b[K"), "{seen:?}");
    }

    #[test]
    fn a_lost_agent_is_told_above_the_last_snapshot() {
        let mut fake = Fake::new();
        fake.screen = Screen { stdout_is_terminal: true, columns: Some(80), fixed: true, ..Screen::default() };
        fake.answers(200, DOCUMENT);
        fake.absent_forever();
        let (seen, stderr) = watched(&fake, "agentctl status --watch", 3);
        assert!(seen[2].starts_with("\x1b[Hagentctl: agentd is not running; "), "{seen:?}");
        assert!(seen[2].contains("PROFILE") && stderr.is_empty());
    }

    #[test]
    fn a_frame_never_scrolls() {
        let frame = frame("a\nb\nc\nd\n", Some(4));
        assert_eq!(frame, "\x1b[Ha\x1b[K\nb\x1b[K\n... and 2 lines more\x1b[K\n\x1b[J");
    }
}
