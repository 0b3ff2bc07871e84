//! `agentctl why`: the reasons of the last decision about one profile, a topic per line.

use super::View;
use super::credential::{Times, ends, failure, state};
use super::text::{Paint, clean, pad, width, wrap};
use crate::core::status::{ProfileStatus, Status};

/// The whole text, ending with a newline.
#[must_use]
pub fn render(profile: &ProfileStatus, status: &Status, view: &View<'_>) -> String {
    let times = Times::new(view, status.clock_offset_ms);
    let (word, paint) = state(profile.state, profile.last_failure.as_ref());
    let name = Paint::Bold.on(&clean(&profile.name), view.colour);
    let until = match ends(&times, profile.expires_at, true).as_str() {
        "-" => String::new(),
        past if past.starts_with("ended") => format!(", {past}"),
        future => format!(", ends {future}"),
    };
    let mut text = format!("{name}: {}{until}\n", paint.on(word, view.colour));
    let topics = topics(profile, status, &times);
    let column = topics.iter().map(|(topic, _)| width(topic)).max().unwrap_or(0);
    for (topic, reason) in topics {
        let indent = 2 + column + 2;
        let line = format!("{}{}", pad("", indent), reason);
        for (i, part) in hanging(&line, view.width, indent).into_iter().enumerate() {
            let label = if i == 0 { Paint::Dim.on(&pad(&topic, column), view.colour) } else { pad("", column) };
            text.push_str(format!("  {label}  {part}").trim_end());
            text.push('\n');
        }
    }
    text
}

/// The broker's reasons; what they leave out of file and failure is added.
fn topics(profile: &ProfileStatus, status: &Status, times: &Times<'_>) -> Vec<(String, String)> {
    let mut topics: Vec<(String, String)> = Vec::new();
    if let Some(file) = &profile.config_file {
        topics.push(("config".to_owned(), clean(file)));
    }
    topics.extend(profile.why.iter().map(|r| (clean(&r.topic), clean(&r.text))));
    let told = |what: &str| profile.why.iter().any(|r| r.text.contains(what));
    if let Some(f) = profile.last_failure.as_ref().filter(|f| !told(&f.failure.message)) {
        for paragraph in failure(times, profile.state, f) {
            match paragraph.strip_prefix("fix: ") {
                Some(fix) => topics.push(("fix".to_owned(), fix.to_owned())),
                None => topics.push(("failure".to_owned(), paragraph)),
            }
        }
    }
    if let Some(session) = &profile.session {
        let quoted = format!("'{session}'");
        let loops = status.findings.iter().filter(|f| f.is_login_loop() && f.message.contains(&quoted));
        topics.extend(loops.map(|f| (clean(&f.name), clean(&format!("{}; {}", f.message, f.fix)))));
    }
    topics
}

/// The lines of a text whose first `indent` columns are taken.
fn hanging(line: &str, width: Option<usize>, indent: usize) -> Vec<String> {
    wrap(line.trim_start(), width.map(|w| w.saturating_sub(indent).max(10)), 0)
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{failing, local, profile, snapshot, view};
    use super::*;
    use crate::core::status::Reason;

    fn reasoned() -> ProfileStatus {
        let mut p = profile("dev", 2_520);
        let reasons = [
            ("source", "sso-session corp > role Dev in 111122223333, of the config file's profile 'dev'"),
            ("window", "an hour of life: renewing starts with 25 min left, and 1 min 12 s of jitter"),
            ("kept", "asked for 3 min ago"),
        ];
        p.why = reasons.map(|(topic, text)| Reason { topic: topic.into(), text: text.into() }).into();
        p
    }

    #[test]
    fn topics_stand_in_a_column() {
        let text = render(&reasoned(), &snapshot(vec![]).status, &view(None));
        assert_eq!(
            text,
            "\
dev: valid, ends in 42 min
  source  sso-session corp > role Dev in 111122223333, of the config file's profile 'dev'
  window  an hour of life: renewing starts with 25 min left, and 1 min 12 s of jitter
  kept    asked for 3 min ago
"
        );
    }

    #[test]
    fn long_reasons_hang() {
        let text =
            render(&reasoned(), &snapshot(vec![]).status, &super::View { local: Some(&local), ..view(Some(50)) });
        assert_eq!(
            text,
            "\
dev: valid, ends in 42 min (10:44)
  source  sso-session corp > role Dev in
          111122223333, of the config file's
          profile 'dev'
  window  an hour of life: renewing starts with 25
          min left, and 1 min 12 s of jitter
  kept    asked for 3 min ago
"
        );
    }

    #[test]
    fn a_failure_that_the_reasons_leave_out_is_added() {
        let text = render(&failing("ops"), &snapshot(vec![]).status, &view(None));
        assert_eq!(
            text,
            "\
ops: failing, ends in 8 min
  failure  transient, 3 times, 12 s ago: portal.sso.eu-west-1.amazonaws.com answered 503
  fix      nothing to do; it is tried again
"
        );
    }
}
