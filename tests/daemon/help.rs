//! `--help` of every command, as a transcript of 80 columns. The commands are those of the program itself.

use std::fmt::Write as _;
use std::process::Command;

use aws_credential_agent::cli::args::Cli;
use clap::CommandFactory;

use crate::agent::{AGENTCTL, AGENTD, LIMIT};
use crate::screens::hold;
use crate::support::process::run;

const WIDTH: usize = 80;

fn help(program: &str, words: &[String]) -> String {
    let mut command = Command::new(program);
    command.args(words).arg("--help").env("COLUMNS", WIDTH.to_string());
    run(command, LIMIT).expect_success().stdout
}

/// Every command below this one, itself first.
fn paths(command: &clap::Command, path: &[String], all: &mut Vec<Vec<String>>) {
    all.push(path.to_vec());
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        paths(below, &[path, &[below.get_name().to_owned()]].concat(), all);
    }
}

#[test]
fn every_commands_help_looks_like_this() {
    let mut all = Vec::new();
    paths(&Cli::command(), &[], &mut all);
    let mut text = "Help as a person sees it, in 80 columns.\n".to_owned();
    for path in all {
        let shown = help(AGENTCTL, &path);
        let line = ["agentctl"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        assert!(shown.contains("\nExamples:\n") || path.len() > 1, "{line} has no example");
        writeln!(text, "\n$ {line} --help\n{}", shown.trim_end()).unwrap();
    }
    let agentd = help(AGENTD, &[]);
    writeln!(text, "\n$ agentd --help\n{}", agentd.trim_end()).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "wider than a terminal: {line}");
        assert!(!line.contains('\u{1b}'), "in a pipe there are no colours: {line}");
    }
    hold(&text, "help.txt");
}
