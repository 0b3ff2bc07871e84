//! Identity Center, for who has no profile yet: an `[sso-session]`, a login, an account and a role of those that it opens,
//! and a profile for them.
//!
//! Accounts and roles are known only after the login, and nobody can sign in to a session that no config names. So where they
//! are not named by flags the login is made in a world of its own ([`Aside`]), whose config file lies in the state folder:
//! the user's is written in the end, at once, and who gives up before that finds it as it was.

use std::path::PathBuf;

use super::aws::{self, NewProfile, NewSession};
use super::plan::{Plan, cannot_write};
use super::{ask, choose};
use crate::api::v1::{self, AccountsDocument, KnownProfile, RolesDocument};
use crate::cli::args::{Login, Setup};
use crate::cli::call;
use crate::cli::context::Context;
use crate::cli::login;
use crate::cli::outcome::Problem;
use crate::cli::output::Output;
use crate::cli::render::clean;
use crate::core::failure::{Failure, FailureClass};
use crate::core::source::World;
use crate::files::setup;

/// What a session is called where nobody says.
pub(super) const SESSION: &str = "corp";
/// And a profile.
const PROFILE: &str = "dev";

/// Adds session and profile to the plan; where account or role are not named, somebody signs in first.
///
/// # Errors
/// As [`super::run`].
pub(super) fn plan(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    plan: &mut Plan,
) -> Result<(KnownProfile, Option<Aside>), Problem> {
    let session = session(ctx, args)?;
    // Before anybody signs in it is known whether the file can take it.
    aws::plan_session(ctx, &session, plan)?;
    let aside = if ctx.asker.is_some() && !args.dry_run { Some(Aside::new(ctx)?) } else { None };
    let (account, role) = match (&args.account, &args.role, &aside) {
        (Some(account), Some(role), _) => (account.clone(), role.clone()),
        (_, _, Some(aside)) => {
            aside.hold(&session, None)?;
            choose_role(&aside.context(ctx), out, args, &session.name)?
        }
        _ => {
            let what = "setup needs the account and the role".to_owned();
            return Err(Problem::Usage(what, "name them: --account 111122223333 --role Developer".to_owned()));
        }
    };
    let (known, new) = profile(ctx, args, &session, account, role)?;
    aws::plan_profile(ctx, &new, plan)?;
    if let Some(aside) = &aside {
        aside.hold(&session, Some(&new))?;
    }
    Ok((known, aside))
}

/// A world with a config of its own (the new session and profile, or the file as it will be), whose token cache is the user's.
/// Its file goes with it.
pub(super) struct Aside {
    config_file: PathBuf,
    world: Result<World, Failure>,
}

impl Aside {
    pub(super) fn new(ctx: &Context<'_>) -> Result<Self, Problem> {
        let config_file = ctx.vars.state_folder()?.join("setup/aws-config");
        let world = World { config_file: config_file.clone(), ..ctx.world.as_ref().map_err(Clone::clone)?.clone() };
        Ok(Self { config_file, world: Ok(world) })
    }

    fn hold(&self, session: &NewSession, profile: Option<&NewProfile>) -> Result<(), Problem> {
        self.hold_text(&aws::alone(session, profile).map_err(|refused| refused.failure(&self.config_file))?)
    }

    /// Gives it this config.
    pub(super) fn hold_text(&self, text: &[u8]) -> Result<(), Problem> {
        setup::write(&self.config_file, text).map_err(|e| cannot_write(&self.config_file, &e))
    }

    /// The same surroundings in this world.
    pub(super) fn context<'a>(&'a self, ctx: &Context<'a>) -> Context<'a> {
        Context { world: &self.world, ..*ctx }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // One that stays harms nobody.
        let _ = std::fs::remove_file(&self.config_file);
    }
}

fn session(ctx: &Context<'_>, args: &Setup) -> Result<NewSession, Problem> {
    let answer = |given: &Option<String>, question: &str, default: &str, flag: &str| match (given, ctx.asker) {
        (Some(given), _) => Ok(given.clone()),
        (None, Some(asker)) => asker.text(question, default).map(|text| text.trim().to_owned()),
        (None, None) => Err(choose::missing("a session of Identity Center", flag)),
    };
    let start_url =
        answer(&args.start_url, "Start URL of Identity Center?", "", "--start-url https://corp.awsapps.com/start")?;
    if !start_url.starts_with("https://") || start_url.chars().any(char::is_whitespace) {
        return Err(choose::missing(
            &format!("a start URL ('{}' is none)", clean(&start_url)),
            "--start-url https://corp.awsapps.com/start",
        ));
    }
    let question = "In which region does Identity Center live (not Bedrock)?";
    let region = answer(&args.sso_region, question, "us-east-1", "--sso-region eu-west-1")?;
    let name = match (&args.sso_session, ctx.asker) {
        (Some(name), _) => name.clone(),
        (None, Some(asker)) => asker.text("What is the session to be called?", SESSION)?.trim().to_owned(),
        (None, None) => SESSION.to_owned(),
    };
    Ok(NewSession { name, start_url, region })
}

/// Signs in, and lets the person choose.
fn choose_role(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    args: &Setup,
    session: &str,
) -> Result<(String, String), Problem> {
    let asker = ctx.asker.ok_or_else(ask::given_up)?;
    login::run(ctx, out, &Login { sso_session: Some(session.to_owned()), ..Login::default() })?;
    let target = format!("/v1/sessions/{}", v1::encode_segment(session));
    let reply = call::ask_for_long(ctx, out, &format!("{target}/accounts"))?;
    let accounts = call::read::<AccountsDocument>(&reply)?.accounts;
    let account = match (&args.account, accounts.as_slice()) {
        (Some(account), _) => account.clone(),
        (None, []) => return Err(nothing("no account is assigned to you")),
        (None, [only]) => only.id.clone(),
        (None, several) => {
            let options: Vec<_> = several.iter().map(|a| format!("{}  {}", clean(&a.id), clean(&a.name))).collect();
            several[asker.choose("Which account?", &options, 0)?].id.clone()
        }
    };
    let reply = call::ask_for_long(ctx, out, &format!("{target}/roles?account={}", v1::encode_segment(&account)))?;
    let roles = call::read::<RolesDocument>(&reply)?.roles;
    let role = match (&args.role, roles.as_slice()) {
        (Some(role), _) => role.clone(),
        (None, []) => return Err(nothing(&format!("no role in {account} is assigned to you"))),
        (None, [only]) => only.clone(),
        (None, several) => {
            let options: Vec<_> = several.iter().map(|role| clean(role)).collect();
            several[asker.choose("Which role?", &options, 0)?].clone()
        }
    };
    Ok((account, role))
}

fn nothing(what: &str) -> Problem {
    Problem::failed(FailureClass::AccessDenied, what, "ask who runs Identity Center")
}

fn profile(
    ctx: &Context<'_>,
    args: &Setup,
    session: &NewSession,
    account: String,
    role: String,
) -> Result<(KnownProfile, NewProfile), Problem> {
    let name = match (ctx.named, ctx.asker) {
        (Some(name), _) => name.to_owned(),
        (None, Some(asker)) => asker.text("What is the profile to be called?", PROFILE)?,
        (None, None) => PROFILE.to_owned(),
    };
    let mut known = KnownProfile {
        name,
        region: None,
        session: Some(session.name.clone()),
        account: Some(account.clone()),
        role: Some(role.clone()),
        legacy: None,
        problem: None,
    };
    let region = choose::region(ctx, args, Some(&session.region), &known)?;
    known.region = Some(region.clone());
    let new = NewProfile { name: known.name.clone(), session: session.name.clone(), account, role, region };
    Ok((known, new))
}
