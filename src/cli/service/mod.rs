//! `agentctl service install|uninstall|status`: the agent as a service of the user's own service manager, which holds the
//! socket: the first connection starts the agent, and a restart loses no request.
//!
//! What is installed are the files of `systemd/` and `launchd/`, with the places of this machine ([`mod@unit`]). Files that do
//! not begin as ours do are never overwritten or removed. Nothing here needs or asks for more rights than the user has.

pub mod unit;

use std::fs;
use std::io::Write;
use std::path::Path;

use super::args::ServiceVerb;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::render;
use crate::core::failure::FailureClass;
use unit::{Installation, UnitFile};

/// Runs the verb.
///
/// # Errors
/// Class `misconfigured`: no service manager, or a file in the way that is not ours; `transient`: the service manager says
/// no.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, verb: ServiceVerb) -> Result<(), Problem> {
    let installation = Installation::plan(ctx.vars, ctx.socket, ctx.launcher.program()?.as_path())?;
    match verb {
        ServiceVerb::Install => install(ctx, out, &installation),
        ServiceVerb::Uninstall => uninstall(ctx, out, &installation),
        ServiceVerb::Status => status(ctx, out, &installation),
    }
}

fn install(ctx: &Context<'_>, out: &mut Output<'_>, installation: &Installation) -> Result<(), Problem> {
    installation.files.iter().try_for_each(refuse_foreign)?;
    for file in &installation.files {
        write(file).map_err(|e| cannot("write", &file.path, &e))?;
        out.confirm(&format!("wrote {}", file.path.display()));
    }
    for command in &installation.enable {
        ctx.launcher.run(command)?;
    }
    out.tell(&format!("the service is installed: the first connection to {} starts agentd", ctx.socket.display()));
    Ok(())
}

fn uninstall(ctx: &Context<'_>, out: &mut Output<'_>, installation: &Installation) -> Result<(), Problem> {
    if !installation.is_installed() {
        out.tell("the service is not installed");
        return Ok(());
    }
    installation.files.iter().try_for_each(refuse_foreign)?;
    // One that does not run, or is not known, is as good as one that was stopped.
    let _ = ctx.launcher.run(&installation.disable);
    for file in installation.files.iter().filter(|file| file.path.exists()) {
        fs::remove_file(&file.path).map_err(|e| cannot("remove", &file.path, &e))?;
        out.confirm(&format!("removed {}", file.path.display()));
    }
    for command in &installation.forget {
        ctx.launcher.run(command)?;
    }
    out.tell("the service is gone; agentctl starts agentd by itself again");
    Ok(())
}

fn status(ctx: &Context<'_>, out: &mut Output<'_>, installation: &Installation) -> Result<(), Problem> {
    if !installation.is_installed() {
        return out.document(b"the service is not installed; to install it: agentctl service install\n");
    }
    let mut text = String::new();
    for file in &installation.files {
        let state = match fs::read_to_string(&file.path) {
            Ok(found) if found == file.text => "as installed",
            Ok(_) => "changed: agentctl service install writes it anew",
            Err(_) => "missing: agentctl service install writes it",
        };
        text.push_str(&format!("{}  {state}\n", file.path.display()));
    }
    let said = ctx.launcher.run(&installation.ask).unwrap_or_else(|problem| problem.message);
    text.push_str(&format!("{}: {}\n", installation.ask.join(" "), render::clean(said.trim()).replace('\n', ", ")));
    out.document(text.as_bytes())
}

/// A file of that name that we did not make is somebody's work.
fn refuse_foreign(file: &UnitFile) -> Result<(), Problem> {
    match fs::read_to_string(&file.path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(text) if text.contains(unit::MARK) => Ok(()),
        _ => {
            let message = format!("{} is not a file of agentctl's", file.path.display());
            Err(Problem::failed(FailureClass::Misconfigured, message, "move it away"))
        }
    }
}

/// Replaced whole, and only for its user: it may name a proxy.
fn write(file: &UnitFile) -> std::io::Result<()> {
    let folder = file.path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    whole.write_all(file.text.as_bytes())?;
    whole.persist(&file.path)?;
    Ok(())
}

fn cannot(what: &str, path: &Path, e: &std::io::Error) -> Problem {
    let message = format!("cannot {what} {}: {e}", path.display());
    Problem::failed(
        FailureClass::Misconfigured,
        message,
        "see its folder's owner and mode, and whether the disk is full",
    )
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    fn fake(home: &Path) -> Fake {
        let mut fake = Fake::new();
        fake.vars = [("HOME", home.to_str().unwrap()), ("AWS_CONFIG_FILE", "/etc/aws config")].into_iter().collect();
        fake
    }

    #[test]
    fn install_writes_enables_and_tells() {
        let home = tempfile::tempdir().unwrap();
        let fake = fake(home.path());
        assert!(fake.run("service status").stdout.contains("not installed"));
        let end = fake.run("service install");
        assert_eq!(end.code, 0, "{}", end.stderr);
        assert!(end.stderr.ends_with("the first connection to /run/agent.sock starts agentd\n"), "{}", end.stderr);
        let units = home.path().join(".config/systemd/user");
        let service = fs::read_to_string(units.join("agentd.service")).unwrap();
        assert!(service.contains("\nExecStart=\"/opt/agentd\"\n"), "{service}");
        assert!(service.contains("\nEnvironment=\"AWS_CONFIG_FILE=/etc/aws config\"\n"), "{service}");
        let socket = fs::read_to_string(units.join("agentd.socket")).unwrap();
        assert!(socket.contains("\nListenStream=/run/agent.sock\n"), "{socket}");
        assert_eq!(
            *fake.commands.borrow(),
            ["systemctl --user daemon-reload", "systemctl --user enable --now agentd.socket"]
        );
        assert!(fake.run("service status").stdout.contains("agentd.socket  as installed\n"));
        fs::write(units.join("agentd.socket"), socket + "# mine\n").unwrap();
        assert!(fake.run("service status").stdout.contains("agentd.socket  changed"));

        let end = fake.run("service uninstall");
        assert_eq!((end.code, fs::read_dir(&units).unwrap().count()), (0, 0), "{}", end.stderr);
        assert!(
            fake.commands.borrow().contains(&"systemctl --user disable --now agentd.socket agentd.service".to_owned())
        );
        assert!(fake.run("service uninstall").stderr.contains("not installed"));
    }

    #[test]
    fn what_others_wrote_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let fake = fake(home.path());
        let units = home.path().join(".config/systemd/user");
        fs::create_dir_all(&units).unwrap();
        fs::write(units.join("agentd.socket"), "[Socket]\n").unwrap();
        for verb in ["service install", "service uninstall"] {
            let end = fake.run(verb);
            assert_eq!(end.code, 12);
            assert!(end.stderr.contains("is not a file of agentctl's; move it away"), "{}", end.stderr);
        }
        assert_eq!(fs::read_to_string(units.join("agentd.socket")).unwrap(), "[Socket]\n");
        assert!(!units.join("agentd.service").exists() && fake.commands.borrow().is_empty());
    }

    #[test]
    fn a_service_manager_that_says_no_is_told() {
        let home = tempfile::tempdir().unwrap();
        let mut fake = fake(home.path());
        fake.command_fails = Some("Failed to connect to bus");
        let end = fake.run("service install");
        assert_eq!(end.code, 17);
        assert!(end.stderr.lines().last().unwrap().contains("Failed to connect to bus"), "{}", end.stderr);
    }
}
