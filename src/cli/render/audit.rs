//! The table of `agentctl audit`: one line per grant, the newest last.
//!
//! A table as long as it fits; else without the parents' pids; on a narrow terminal each grant becomes a small block.
//! Nothing is ever cut off. Times are those of the clock on the wall on a terminal, and UTC in a pipe.

use super::page::Page;
use super::text::{Paint, clean, pad, width};
use super::{View, clock_time_with_seconds};
use crate::api::v1::AuditDocument;
use crate::core::audit::Grant;
use crate::core::time::Timestamp;

const HEADINGS: [&str; COLUMNS] = ["TIME", "PROFILE", "KEY", "PID", "PROGRAM", "PARENT"];
const COLUMNS: usize = 6;
/// Blanks between columns.
const GAP: usize = 2;
/// Blanks before what belongs to a row.
const INDENT: usize = 4;
/// What the system did not tell.
const UNKNOWN: &str = "-";

/// The whole text, ending with a newline. `nothing` is said where there are no grants.
#[must_use]
pub fn render(document: &AuditDocument, view: &View<'_>, nothing: &str) -> String {
    let mut page = Page::new(view);
    if document.more {
        page.line(Paint::Dim, &format!("the newest {}; older ones are left out", document.entries.len()));
    }
    if document.entries.is_empty() {
        page.line(Paint::Plain, nothing);
    } else {
        grants(&mut page, &document.entries);
    }
    if document.lost > 0 {
        let text = format!("{} more could not be written down; see: agentctl status", document.lost);
        page.line(Paint::Yellow, &text);
    }
    page.text()
}

fn grants(page: &mut Page<'_>, grants: &[Grant]) {
    let view = page.view();
    let tables = [true, false].map(|with_pid| {
        let rows: Vec<_> = grants.iter().map(|g| cells(g, view, with_pid)).collect();
        let columns: [usize; COLUMNS] = std::array::from_fn(|i| {
            let heading = HEADINGS[i].len();
            rows.iter().map(|row| width(&row[i])).max().unwrap_or(0).max(heading)
        });
        (rows, columns)
    });
    let fits = |columns: &[usize; COLUMNS]| {
        let all = columns.iter().sum::<usize>() + GAP * (COLUMNS - 1);
        view.width.is_none_or(|width| all <= width)
    };
    match tables.into_iter().find(|(_, columns)| fits(columns)) {
        Some((rows, columns)) => {
            page.raw(Paint::Dim.on(line(&HEADINGS, &columns).trim_end(), view.colour));
            for (grant, row) in grants.iter().zip(&rows) {
                page.raw(line(row, &columns));
                note(page, grant);
            }
        }
        None => grants.iter().for_each(|grant| block(page, grant)),
    }
}

fn cells(grant: &Grant, view: &View<'_>, with_pid: bool) -> [String; COLUMNS] {
    let asker = &grant.asker;
    let parent = asker.parent.as_ref().map(|parent| {
        let name = program(parent.executable.as_deref());
        if with_pid { format!("{name} ({})", parent.pid) } else { name }
    });
    [
        time(grant.at, view),
        clean(&grant.profile),
        key(grant),
        asker.pid.map_or_else(|| UNKNOWN.to_owned(), |pid| pid.to_string()),
        program(asker.executable.as_deref()),
        parent.unwrap_or_else(|| UNKNOWN.to_owned()),
    ]
}

fn line(cells: &[impl AsRef<str>; COLUMNS], columns: &[usize; COLUMNS]) -> String {
    let cells: Vec<String> = cells.iter().zip(columns).map(|(cell, columns)| pad(cell.as_ref(), *columns)).collect();
    cells.join(&" ".repeat(GAP))
}

/// For narrow terminals.
fn block(page: &mut Page<'_>, grant: &Grant) {
    let [time, profile, key, pid, program, parent] = cells(grant, page.view(), true);
    page.wrapped(Paint::Plain, &format!("{time} {profile}, key {key}"), 0, INDENT);
    page.wrapped(Paint::Plain, &format!("to {program} (pid {pid}), started by {parent}"), INDENT, 2);
    note(page, grant);
}

/// Another world's profile may have the same name.
fn note(page: &mut Page<'_>, grant: &Grant) {
    if let Some(file) = &grant.config_file {
        page.wrapped(Paint::Dim, &format!("of {}", clean(file)), INDENT, 2);
    }
}

fn time(at: Timestamp, view: &View<'_>) -> String {
    view.local.map_or_else(|| at.to_string(), |local| clock_time_with_seconds(local(at), local(view.now)))
}

fn key(grant: &Grant) -> String {
    format!("...{}", clean(&grant.key_suffix))
}

/// A program's file name.
fn program(executable: Option<&str>) -> String {
    let name = executable.map(|path| path.rsplit(std::path::is_separator).next().unwrap_or(path));
    name.filter(|name| !name.is_empty()).map_or_else(|| UNKNOWN.to_owned(), clean)
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{local, view};
    use super::*;
    use crate::core::audit::{Asker, Parent};

    fn grant(at: i64, profile: &str) -> Grant {
        Grant {
            at: Timestamp::from_secs(at),
            profile: profile.to_owned(),
            config_file: None,
            key_suffix: "MPLE".to_owned(),
            expires_at: Timestamp::from_secs(at + 3600),
            asker: Asker {
                pid: Some(4_194_301),
                uid: Some(1000),
                executable: Some("/usr/local/bin/agentctl".to_owned()),
                parent: Some(Parent { pid: 812, executable: Some("/opt/claude".to_owned()) }),
            },
        }
    }

    fn document() -> AuditDocument {
        let mut unknown = grant(1_592_388_128, "a\u{1b}[31mb");
        unknown.asker = Asker::default();
        let mut other = grant(1_592_301_728, "dev-sso");
        other.config_file = Some("/home/b/.aws/config".to_owned());
        other.asker.parent = Some(Parent { pid: 7, executable: None });
        let entries = vec![grant(1_580_000_000, "dev-sso"), other, unknown];
        AuditDocument { schema: 1, entries, lost: 0, more: false }
    }

    #[test]
    fn a_table_in_a_pipe() {
        assert_eq!(
            render(&document(), &view(None), ""),
            "\
TIME                  PROFILE  KEY      PID      PROGRAM   PARENT
2020-01-26T00:53:20Z  dev-sso  ...MPLE  4194301  agentctl  claude (812)
2020-06-16T10:02:08Z  dev-sso  ...MPLE  4194301  agentctl  - (7)
    of /home/b/.aws/config
2020-06-17T10:02:08Z  a?[31mb  ...MPLE  -        -         -
"
        );
    }

    #[test]
    fn on_a_terminal_by_the_clock_on_the_wall() {
        let view = View { local: Some(&local), ..view(Some(80)) };
        let text = render(&document(), &view, "");
        let times: Vec<&str> = text.lines().filter_map(|l| l.split_once("  ")).map(|(time, _)| time.trim()).collect();
        assert_eq!(times, ["TIME", "2020-01-26 00:53:20", "Tue 10:02:08", "", "10:02:08"]);
        assert!(text.lines().all(|l| width(l) <= 80), "{text}");
    }

    #[test]
    fn a_narrow_terminal_gets_less_and_then_blocks() {
        let wide = width(render(&document(), &view(None), "").lines().nth(1).unwrap());
        assert!(!render(&document(), &view(Some(wide - 1)), "").contains("(812)"));
        let narrow = render(&document(), &view(Some(40)), "");
        assert!(
            narrow.starts_with(
                "2020-01-26T00:53:20Z dev-sso, key\n    ...MPLE\n    to agentctl (pid 4194301), started\n"
            ),
            "{narrow}"
        );
        assert!(narrow.lines().all(|l| width(l) <= 40), "{narrow}");
    }

    #[test]
    fn what_is_missing_is_told() {
        let cut = AuditDocument { lost: 2, more: true, ..document() };
        let text = render(&cut, &view(None), "");
        assert!(text.starts_with("the newest 3; older ones are left out\nTIME "), "{text}");
        assert!(text.ends_with("\n2 more could not be written down; see: agentctl status\n"), "{text}");
        let none = AuditDocument { entries: Vec::new(), ..document() };
        assert_eq!(render(&none, &view(None), "nobody asked"), "nobody asked\n");
    }
}
