//! The daemon's life on Windows: both programs over the named pipe, a first client that ends before its agent, an agent
//! that was killed, and servers on the pipe that are not ours.
//!
//! Run under wine too, which enforces no access lists: what an outsider may not do is not shown here, only what the
//! client checks by itself.

use std::io::Read;
use std::os::windows::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use aws_credential_agent::ipc::address::Address;
use aws_credential_agent::platform::home::Environment;
use interprocess::local_socket::traits::{Listener as _, Stream as _, StreamCommon};
use interprocess::local_socket::{GenericFilePath, ListenerOptions, Name, Stream, ToFsName};
use interprocess::os::windows::local_socket::ListenerOptionsExt;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use widestring::U16CString;

use crate::agent::{AGENTCTL, AGENTD, Agent, LIMIT};
use crate::support::clock::{eventually, instant};
use crate::support::process::{self, Finished, Running};

const MISCONFIGURED: i32 = 12;
const AGENT_UNREACHABLE: i32 = 19;
const ASK: [&str; 3] = ["credential-process", "--profile", "dev-sso"];

/// The pipe's name, as both programs find it.
fn pipe(agent: &Agent) -> PathBuf {
    let text = |word: &std::ffi::OsString| word.to_str().unwrap().to_owned();
    let environment: Environment = agent.home.env().iter().map(|(name, value)| (text(name), text(value))).collect();
    Address::resolve(&environment, None).unwrap().socket().to_owned()
}

/// The same, for those who are no agents.
fn name(agent: &Agent) -> Name<'static> {
    pipe(agent).to_fs_name::<GenericFilePath>().unwrap()
}

/// The process id that `daemon status` names.
fn pid(agent: &Agent) -> u32 {
    let status = agent.ctl(&["daemon", "status"]).expect_success().stdout;
    let line = status.lines().find_map(|l| l.trim().strip_prefix("pid")).unwrap_or_else(|| panic!("no pid: {status}"));
    line.trim().parse().unwrap()
}

/// A failure on one line without a document.
#[track_caller]
fn refused(finished: &Finished, code: i32, words: &[&str]) {
    let line = &finished.stderr;
    assert_eq!((finished.code(), finished.stdout.as_str(), line.lines().count()), (code, "", 1), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

/// Runs a command as its callers do, who read what it prints to the end; fails the test if that end does not come.
#[track_caller]
fn read_to_the_end(mut command: Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    receive.recv_timeout(LIMIT).expect("its output has no end").unwrap()
}

#[test]
fn two_clients_at_once_share_one_call_to_aws() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    let clients = [(); 2].map(|()| Running::start(agent.command(&ASK)));
    let [one, other] = clients.map(|client| client.finish(LIMIT).expect_success().stdout);
    assert!(one == other && one.contains(&agent.fake.keys()[0].access_key_id), "{one}");
    assert_eq!(agent.roles(), 1);
    assert_eq!(pid(&agent), daemon.pid());
    let status = agent.status();
    assert_eq!((&status["schema"], &status["profiles"][0]["name"]), (&1.into(), &"dev-sso".into()));
    assert_eq!(agent.profile("dev-sso")["state"], "valid");
    let stream = Stream::connect(name(&agent)).unwrap();
    assert_eq!(stream.peer_creds().unwrap().pid(), Some(daemon.pid()), "the pipe is the agent's own");
}

#[test]
fn a_second_agentd_refuses_and_harms_nothing() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    let second = process::run(agent.home.command(AGENTD), LIMIT);
    let words = ["agentd: another agentd already serves", r"\\.\pipe\agentctl-S-1-", "agentctl daemon status"];
    refused(&second, MISCONFIGURED, &words);
    assert_eq!(pid(&agent), daemon.pid());
    agent.credentials("dev-sso");
}

#[test]
fn stop_ends_it_cleanly() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    assert_eq!(agent.ctl(&["daemon", "stop"]).expect_success().stderr, "agentd has ended\n");
    let ended = daemon.finish(LIMIT);
    assert!(ended.status.success() && ended.stderr.contains("a client asks for it"), "{}", ended.stderr);
    assert_eq!(agent.ctl(&["daemon", "stop"]).expect_success().stderr, "agentd is not running\n");
    refused(&agent.ctl(&["status"]), AGENT_UNREACHABLE, &["not running"]);
}

#[test]
fn a_killed_agentd_is_in_nobodys_way() {
    let agent = Agent::new();
    drop(agent.start_daemon()); // TerminateProcess
    refused(&agent.ctl(&["status"]), AGENT_UNREACHABLE, &["not running"]);
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    let old = daemon.pid();
    drop(daemon);
    agent.credentials("dev-sso");
    assert_ne!(pid(&agent), old, "the client started another");
    let new = pid(&agent);
    agent.ctl(&["daemon", "restart"]).expect_success();
    assert_ne!(pid(&agent), new);
    agent.credentials("dev-sso");
}

#[test]
fn eight_clients_at_once_start_one_agent() {
    let agent = Agent::new();
    let clients = [(); 8].map(|()| Running::start(agent.command(&ASK)));
    for client in clients {
        let ended = client.finish(LIMIT).expect_success();
        assert!(ended.stdout.contains(&agent.fake.keys()[0].access_key_id) && ended.stderr.is_empty(), "{ended:?}");
    }
    assert_eq!(agent.roles(), 1);
}

#[test]
fn the_first_clients_output_ends_although_its_agent_goes_on() {
    let agent = Agent::new();
    let first = read_to_the_end(agent.command(&ASK));
    assert!(first.status.success() && first.stderr.is_empty(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(String::from_utf8_lossy(&first.stdout).contains(&agent.fake.keys()[0].access_key_id));
    let log = std::fs::read_to_string(agent.home.state_dir().join("agentd.log")).unwrap();
    assert!(log.contains("serving") && log.contains(&format!("pid={}", pid(&agent))), "{log}");
}

#[test]
fn a_pipe_that_the_first_client_does_not_know_of_ends_too() {
    let agent = Agent::new();
    // The shell's stderr is a pipe that it keeps while it runs agentctl, whose own stderr is nowhere.
    let program = std::path::absolute(AGENTCTL).unwrap();
    let mut shell = agent.home.command("cmd.exe");
    shell.raw_arg(format!("/c {} {} 2>nul", program.display(), ASK.join(" ")));
    let ran = read_to_the_end(shell);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8_lossy(&ran.stdout).contains(&agent.fake.keys()[0].access_key_id));
    agent.ctl(&["daemon", "status"]).expect_success();
}

#[test]
fn an_edited_config_is_noticed_though_nobody_asks() {
    let agent = Agent::new();
    let _daemon = agent.start_daemon();
    agent.write_settings("keep = [\"dev-sso\"]\n");
    eventually("it is kept", Duration::from_secs(15), || (agent.roles() == 1).then_some(()));
}

#[test]
fn a_server_of_another_user_gets_nothing() {
    let agent = Agent::new();
    let system = U16CString::from_str("O:SYD:(A;;GA;;;WD)").unwrap();
    let options = ListenerOptions::new().name(name(&agent));
    let options = options.security_descriptor(SecurityDescriptor::deserialize(&system).unwrap());
    // Windows lets us make nothing in the system's name (ERROR_INVALID_OWNER); wine does.
    let listener = match options.create_sync() {
        Err(e) if e.raw_os_error() == Some(1307) => return,
        made => made.unwrap(),
    };
    let server = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = listener.accept().unwrap().read_to_end(&mut said);
        (listener, said)
    });
    refused(&agent.ctl(&ASK), AGENT_UNREACHABLE, &["is served by S-1-5-18, not by you"]);
    let (_listener, said) = server.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&said), "");
    refused(&process::run(agent.home.command(AGENTD), LIMIT), MISCONFIGURED, &["another agentd already serves"]);
}

#[test]
fn a_server_that_lets_nobody_in_holds_up_nobody() {
    let agent = Agent::new();
    let _listener = ListenerOptions::new().name(name(&agent)).create_sync().unwrap();
    let _taken = Stream::connect(name(&agent)).unwrap();
    let began = instant();
    refused(&agent.ctl(&["status"]), AGENT_UNREACHABLE, &["agentd does not answer (waited 2 s)"]);
    let took = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
    refused(&process::run(agent.home.command(AGENTD), LIMIT), MISCONFIGURED, &["another agentd already serves"]);
}
