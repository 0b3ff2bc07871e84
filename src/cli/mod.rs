//! `agentctl`: the thin client. One file per verb; blocking, without async runtime and without the AWS SDK.
//!
//! It asks the agent and tells the answer; it decides nothing about credentials. stdout carries the document and
//! nothing else; everything that a person is told goes to stderr as one line, `agentctl: <cause>; <fix>`; the exit code
//! is the class ([`crate::core::failure::FailureClass::exit_code`]), or 2 for a wrong command line.
//!
//! | question | file |
//! |---|---|
//! | what can be typed? | [`args`], its cheap half [`shortcut`] |
//! | how long is the agent waited for, and what do its errors become? | [`call`] |
//! | when and how is an agent started? | [`autostart`]; done without: [`one_shot`]; replaced: [`upgrade`] |
//! | what does a verb print? | the verb's file; tables and texts in [`render`] |
//! | what is wrong? | [`doctor`], one file per check |
//! | how do tools come to use it? | [`setup`] |
//! | what does it need of the outside? | [`agent`]: fakes go there in tests, the real things in [`wiring`] |
//!
//! Absent on purpose: reading stdin (but for the answers of a person, and to drain it for the status line), reading AWS's files, any network but the local socket, and a
//! read of the environment or of a clock below [`wiring`].

pub mod agent;
pub mod args;
pub mod audit;
pub mod autostart;
pub mod call;
pub mod child;
pub mod context;
pub mod credential_process;
pub mod credentials;
pub mod daemon;
pub mod doctor;
pub mod document;
pub mod environment;
pub mod export;
#[cfg(test)]
mod fake;
pub mod login;
pub mod logout;
pub mod models;
pub mod one_shot;
pub mod outcome;
pub mod output;
pub mod pause;
pub mod quote;
pub mod refresh;
pub mod render;
pub mod reset;
pub mod resume;
pub mod service;
pub mod setup;
pub mod shortcut;
pub mod snapshot;
pub mod status;
pub mod statusline;
pub mod upgrade;
pub mod watch;
pub mod why;
pub mod wiring;

use std::ffi::OsString;

use args::{Cli, Request, Verb};
use context::Context;
use outcome::Problem;
use output::Output;

/// Reads the command line, lets `act` run the verb, tells what went wrong, and returns the exit code. `act` is not
/// called for help and mistakes.
pub fn run(
    args: &[OsString],
    out: &mut Output<'_>,
    act: impl FnOnce(&Cli, &mut Output<'_>) -> Result<(), Problem>,
) -> u8 {
    let result = match args::parse(args, out.screen.colour) {
        Ok(Request::Show(text)) => out.document(text.as_bytes()),
        Ok(Request::Run(cli)) => {
            (out.quiet, out.verbose) = (cli.quiet, cli.verbose);
            act(&cli, out)
        }
        Err(problem) => Err(problem),
    };
    let Err(problem) = result else { return 0 };
    if let Some(line) = problem.line() {
        out.line(&line);
    }
    problem.exit_code()
}

/// Runs one verb.
///
/// # Errors
/// The verb's own.
pub fn dispatch(ctx: &Context<'_>, out: &mut Output<'_>, verb: &Verb) -> Result<(), Problem> {
    match verb {
        Verb::CredentialProcess(args) => credential_process::run(ctx, out, args),
        Verb::Export(args) => export::run(ctx, out, args),
        Verb::Status(args) => status::run(ctx, out, args),
        Verb::Statusline(args) => statusline::run(ctx, out, args),
        Verb::Why => why::run(ctx, out),
        Verb::Audit(args) => audit::run(ctx, out, args),
        Verb::Refresh(args) => refresh::run(ctx, out, args),
        Verb::Pause(args) => pause::run(ctx, out, args),
        Verb::Resume => resume::run(ctx, out),
        Verb::Login(args) => login::run(ctx, out, args),
        Verb::Logout(args) => logout::run(ctx, out, args),
        Verb::Reset(args) => reset::run(ctx, out, args),
        Verb::Models(args) => models::run(ctx, out, args),
        Verb::Doctor(args) => doctor::run(ctx, out, args),
        Verb::Setup(args) => setup::run(ctx, out, args),
        Verb::Completions { shell } => out.document(&args::completions(*shell)),
        Verb::Service { verb } => service::run(ctx, out, *verb),
        Verb::Daemon { verb } => daemon::run(ctx, out, *verb),
    }
}
