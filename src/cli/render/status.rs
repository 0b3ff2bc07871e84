//! The table of `agentctl status`: one line per credential, what failed and its fix below it.
//!
//! A table as long as it fits; else clock times are dropped, first the next step's, then all; on a really narrow
//! terminal each credential becomes a small block. Nothing is ever cut off.

use super::credential::{Times, ends, failure, failure_paint, next, state};
use super::page::Page;
use super::text::{Paint, clean, pad, width};
use super::{View, span};
use crate::api::v1::StatusDocument;
use crate::core::status::Setting;
use crate::core::status::{Kept, Pause, ProfileStatus, SessionStatus, State, Status};

/// A clock offset up to this many milliseconds is not worth a line.
const QUIET_OFFSET_MS: u64 = 30_000;
/// Blanks between columns.
const GAP: usize = 2;
/// Blanks before what belongs to a row.
const INDENT: usize = 4;

/// The whole text, ending with a newline.
#[must_use]
pub fn render(document: &StatusDocument, view: &View<'_>) -> String {
    let times = Times::new(view, document.status.clock_offset_ms);
    let mut page = Page::new(view);
    page.line(Paint::Bold, &headline(document, view));
    pause(&mut page, &times, &document.status);
    clock(&mut page, &document.status);
    page.gap();
    let (profiles, sessions) = (profile_rows(&document.status, &times), session_rows(&document.status, &times));
    if profiles.is_empty() && sessions.is_empty() {
        page.line(Paint::Plain, "nothing is kept yet: a profile appears here once it was asked for");
        page.line(Paint::Plain, "try: agentctl refresh --profile NAME");
    }
    table(&mut page, &profiles, &sessions);
    findings(&mut page, &document.status);
    network(&mut page, document);
    page.text()
}

fn headline(document: &StatusDocument, view: &View<'_>) -> String {
    let agent = &document.agent;
    let up = span(view.now.since(agent.started_at));
    format!("agentd {}, pid {}, up {up}", clean(&agent.version), agent.pid)
}

fn pause(page: &mut Page<'_>, times: &Times<'_>, status: &Status) {
    let Some(pause) = &status.paused else { return };
    let how_long = pause.until.map_or_else(String::new, |at| {
        format!(" for another {}{}", span(at.since(times.now())), times.on_the_wall(at))
    });
    page.line(Paint::Yellow, &format!("paused{how_long}: nothing is renewed; to end it: agentctl resume"));
}

fn clock(page: &mut Page<'_>, status: &Status) {
    let offset = status.clock_offset_ms.unwrap_or(0);
    // Further off it is a finding.
    if status.findings.iter().any(|f| f.name == "clock-skew") {
        return;
    }
    if offset.unsigned_abs() > QUIET_OFFSET_MS {
        let side = if offset > 0 { "behind" } else { "ahead of" };
        let by = span(std::time::Duration::from_secs(offset.unsigned_abs() / 1000));
        page.line(
            Paint::Yellow,
            &format!("this machine's clock is {by} {side} AWS's; switch on its time synchronization"),
        );
    }
}

/// One credential: the cells with all, fewer and no clock times, and the paragraphs below.
struct Row {
    name: String,
    state: (&'static str, Paint),
    ends: [String; 2],
    next: [String; 2],
    notes: Vec<(Paint, String)>,
}

fn profile_rows(status: &Status, times: &Times<'_>) -> Vec<Row> {
    let paused = status.paused.as_ref();
    status.profiles.iter().enumerate().map(|(i, p)| profile_row(p, &status.profiles[..i], paused, times)).collect()
}

fn profile_row(p: &ProfileStatus, above: &[ProfileStatus], paused: Option<&Pause>, times: &Times<'_>) -> Row {
    let mut notes = Vec::new();
    if let Some(file) = &p.config_file {
        notes.push((Paint::Dim, format!("of {}", clean(file))));
    }
    if let Some(f) = &p.last_failure {
        // An outage hits all profiles of a portal alike: it is told in full once.
        let told = |o: &&ProfileStatus| o.last_failure.as_ref().is_some_and(|o| o.failure == f.failure);
        match above.iter().find(told) {
            Some(other) => {
                notes.push((failure_paint(p.state), format!("{}, as {}", f.failure.class, clean(&other.name))));
            }
            None => notes.extend(failure(times, p.state, f).into_iter().map(|text| (failure_paint(p.state), text))),
        }
    }
    let kept = (p.state != State::Unusable).then_some(p.kept);
    Row {
        name: clean(&p.name),
        state: state(p.state, p.last_failure.as_ref()),
        ends: [true, false].map(|wall| ends(times, p.expires_at, wall)),
        next: [true, false].map(|wall| next(times, p.next.as_ref(), paused, kept, wall)),
        notes,
    }
}

fn session_rows(status: &Status, times: &Times<'_>) -> Vec<Row> {
    status.sessions.iter().map(|s| session_row(s, status, times)).collect()
}

fn session_row(s: &SessionStatus, status: &Status, times: &Times<'_>) -> Row {
    let mut notes = Vec::new();
    if let Some(file) = &s.config_file {
        notes.push((Paint::Dim, format!("of {}", clean(file))));
    }
    if let Some(login) = &s.login {
        let code = login.user_code.as_ref().map_or_else(String::new, |code| format!(", code {}", clean(code)));
        let until = times.on_the_wall(login.expires_at);
        notes.push((Paint::Yellow, format!("a login waits{until}{code}: {}", clean(&login.url))));
    }
    if let Some(pause) = &s.login_pause {
        let again = |at| format!(", again {}{}", times.relative(at), times.on_the_wall(at));
        let until = pause.until.map_or_else(String::new, again);
        notes.push((Paint::Yellow, format!("logins are paused{until}: {}", clean(&pause.failure.message))));
        notes.push((Paint::Dim, format!("fix: {}", clean(&pause.failure.fix))));
    }
    if !s.renewable && matches!(s.state, State::Valid | State::Failing) {
        notes.push((Paint::Yellow, "cannot be renewed: a login is needed when it ends".to_owned()));
    }
    // What a profile above tells already is not told twice.
    let told = |f: &_| status.profiles.iter().any(|p| p.last_failure.as_ref().is_some_and(|l| l.failure == *f));
    if let Some(f) = s.last_failure.as_ref().filter(|f| !told(&f.failure)) {
        notes.extend(failure(times, s.state, f).into_iter().map(|text| (failure_paint(s.state), text)));
    }
    Row {
        name: clean(&s.id),
        state: state(s.state, s.last_failure.as_ref()),
        ends: [true, false].map(|wall| ends(times, s.expires_at, wall)),
        next: [true, false]
            .map(|wall| next(times, s.next.as_ref(), status.paused.as_ref(), s.renewable.then_some(Kept::No), wall)),
        notes,
    }
}

/// Which of a row's texts a layout takes, and how wide the columns get.
#[derive(Clone, Copy)]
struct Layout {
    ends: usize,
    next: usize,
    columns: [usize; 3],
}

/// Both tables share their columns, so that they stand in line.
fn table(page: &mut Page<'_>, profiles: &[Row], sessions: &[Row]) {
    let fits = |l: &Layout| page.view().width.is_none_or(|w| l.width(profiles, sessions) <= w);
    let layout = [(0, 0), (0, 1), (1, 1)]
        .map(|(ends, next)| Layout::measure(ends, next, profiles, sessions))
        .into_iter()
        .find(fits);
    for (heading, rows) in [("PROFILE", profiles), ("SESSION", sessions)] {
        if rows.is_empty() {
            continue;
        }
        match &layout {
            Some(layout) => {
                let head = layout.line([heading, "STATE", "ENDS", "NEXT"], Paint::Plain, false);
                page.raw(Paint::Dim.on(head.trim_end(), page.view().colour));
                for row in rows {
                    let cells = [row.name.as_str(), row.state.0, &row.ends[layout.ends], &row.next[layout.next]];
                    page.raw(layout.line(cells, row.state.1, page.view().colour));
                    notes(page, row);
                }
            }
            None => blocks(page, heading, rows),
        }
        page.gap();
    }
}

impl Layout {
    fn measure(ends: usize, next: usize, profiles: &[Row], sessions: &[Row]) -> Self {
        let rows = || profiles.iter().chain(sessions);
        let widest =
            |heading: &str, cell: &dyn Fn(&Row) -> usize| rows().map(cell).max().unwrap_or(0).max(heading.len());
        let columns = [
            widest("PROFILE", &|r| width(&r.name)),
            widest("STATE", &|r| width(r.state.0)),
            widest("ENDS", &|r| width(&r.ends[ends])),
        ];
        Self { ends, next, columns }
    }

    fn width(&self, profiles: &[Row], sessions: &[Row]) -> usize {
        let last = profiles.iter().chain(sessions).map(|r| width(&r.next[self.next])).max().unwrap_or(0);
        self.columns.iter().sum::<usize>() + 3 * GAP + last
    }

    fn line(&self, cells: [&str; 4], paint: Paint, colour: bool) -> String {
        let gap = " ".repeat(GAP);
        let [name, state, ends, next] = cells;
        let fill = " ".repeat(self.columns[1].saturating_sub(width(state)));
        let state = paint.on(state, colour);
        let (name, ends) = (pad(name, self.columns[0]), pad(ends, self.columns[2]));
        format!("{name}{gap}{state}{fill}{gap}{ends}{gap}{next}")
    }
}

/// For narrow terminals: a block per credential.
fn blocks(page: &mut Page<'_>, heading: &str, rows: &[Row]) {
    page.line(Paint::Dim, heading);
    for row in rows {
        page.wrapped(Paint::Bold, &row.name, 0, 0);
        let (ends, next) = (&row.ends[0], &row.next[0]);
        let mut parts = vec![row.state.0.to_owned()];
        match ends.as_str() {
            "-" => {}
            past if past.starts_with("ended") => parts.push(past.to_owned()),
            _ => parts.push(format!("ends {ends}")),
        }
        parts.extend((next != "-").then(|| next.clone()));
        page.wrapped(row.state.1, &parts.join(", "), 2, 0);
        notes(page, row);
    }
}

fn notes(page: &mut Page<'_>, row: &Row) {
    for (paint, text) in &row.notes {
        let hang = if text.starts_with("fix: ") { 5 } else { 2 };
        page.wrapped(*paint, text, INDENT, hang);
    }
}

fn findings(page: &mut Page<'_>, status: &Status) {
    for finding in &status.findings {
        page.wrapped(Paint::Yellow, &format!("{}: {}", clean(&finding.name), clean(&finding.message)), 0, INDENT);
        if !finding.fix.is_empty() {
            page.wrapped(Paint::Yellow, &format!("fix: {}", clean(&finding.fix)), INDENT, 5);
        }
    }
    page.gap();
}

fn network(page: &mut Page<'_>, document: &StatusDocument) {
    if !document.agent.network.is_empty() {
        page.line(Paint::Dim, "network settings in force");
    }
    // One line for all that say the same: a company's CA stands in five variables.
    let mut groups: Vec<(Vec<String>, &Setting)> = Vec::new();
    for setting in &document.agent.network {
        let name = clean(&setting.name);
        match groups.iter_mut().find(|(_, s)| (&s.value, &s.origin) == (&setting.value, &setting.origin)) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], setting)),
        }
    }
    for (names, Setting { value, origin, .. }) in groups {
        let text = format!("{}={} ({})", names.join(", "), clean(value), clean(origin));
        page.wrapped(Paint::Dim, &text, INDENT, 2);
    }
}

#[cfg(test)]
pub(super) mod tests;
