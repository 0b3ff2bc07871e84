//! The report for a person: what is wrong first, worst first, each with what to do; what is well in one paragraph.

use super::{Finding, Report, Severity};
use crate::cli::render::View;
use crate::cli::render::page::Page;
use crate::cli::render::text::{Paint, clean};

/// The whole text.
pub(super) fn render(report: &Report, view: &View<'_>) -> String {
    let mut page = Page::new(view);
    let of = |severity| report.checks.iter().filter(move |f| f.severity == severity);
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        for finding in of(severity) {
            block(&mut page, finding);
        }
    }
    if report.first.is_none() {
        page.line(Paint::Green, "nothing is wrong");
        page.gap();
    }
    let names = |severity| of(severity).map(|f| f.name).collect::<Vec<_>>().join(", ");
    let (fine, skipped) = (names(Severity::Ok), names(Severity::Skipped));
    if !fine.is_empty() {
        page.line(Paint::Plain, &format!("ok: {fine}"));
    }
    if !skipped.is_empty() {
        page.line(Paint::Dim, &format!("not looked at: {skipped}"));
    }
    page.text()
}

fn block(page: &mut Page<'_>, finding: &Finding) {
    let (word, paint) = match finding.severity {
        Severity::Error => ("error", Paint::Red),
        Severity::Warning => ("warning", Paint::Yellow),
        _ => ("note", Paint::Plain),
    };
    page.line(paint, &clean(&format!("{word}: {}: {}", finding.name, finding.message)));
    if !finding.fix.is_empty() {
        page.wrapped(Paint::Bold, &clean(&format!("fix: {}", finding.fix)), 2, 5);
    }
    for line in &finding.evidence {
        page.wrapped(Paint::Dim, &clean(line), 2, 2);
    }
    page.gap();
}
