//! Who is at the other end of the socket: clients that say nothing, nonsense or too much, and users that may not connect.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aws_credential_agent::ipc::client::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::agent::{AGENTCTL, AGENTD, Agent, LIMIT};
use crate::support::clock::{eventually, instant, within};
use crate::support::process::{self, Finished, Running};

/// Who runs neither these tests nor anything else here.
const STRANGER: u32 = 12_345;
const HEALTH: &[u8] = b"GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn socket(agent: &Agent) -> PathBuf {
    agent.home.state_dir().join("agent.sock")
}

/// Connects, says this, and reads to the end; nothing at all when it is cut off.
fn say(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = Vec::new();
    match stream.write_all(bytes).and_then(|()| stream.read_to_end(&mut answer)) {
        Ok(_) => {}
        Err(e) => assert!(matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{e}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Memory in use and open descriptors of a process, if that may be known.
fn size_of(pid: u32) -> Option<(usize, usize)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB").parse().ok()?;
    Some((rss, fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count()))
}

/// Room for many connections of our own.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    raise_descriptor_limit();
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    let path = socket(&agent);
    let held: Vec<_> = (0..500)
        .map(|n| {
            let mut stream = UnixStream::connect(&path).unwrap();
            // Half of them begin a request, or a body, and never end it; some are cut while they speak.
            let begun: [&[u8]; 4] =
                [b"", b"G", &HEALTH[..30], b"POST /v1/pause HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"];
            let start = begun[n % 4];
            let _ = stream.write_all(start);
            stream
        })
        .collect();
    let good: Vec<_> = (0..100)
        .map(|_| {
            let client = Client::new(&path);
            std::thread::spawn(move || {
                let began = instant();
                let answer = client.request("GET", "/v1/profiles/dev-sso/credentials", &[], b"", LIMIT);
                assert_eq!(answer.unwrap().status, 200);
                began.elapsed()
            })
        })
        .collect();
    let mut took: Vec<_> = good.into_iter().map(|thread| thread.join().unwrap()).collect();
    took.sort_unstable();
    println!("100 good clients beside 500 silent ones: p50 {:?}, p99 {:?}, max {:?}", took[49], took[98], took[99]);
    drop(held);
    drop(daemon);
}

#[test]
fn who_says_nothing_is_cut_off_in_time() {
    let agent = Agent::new();
    let _daemon = agent.start_daemon();
    let began = instant();
    assert_eq!(say(&socket(&agent), b""), "");
    let silent = began.elapsed();
    assert!((1900..4000).contains(&silent.as_millis()), "{silent:?}");
    let began = instant();
    assert!(say(&socket(&agent), b"POST /v1/pause HTTP/1.1\r\ncontent-length: 5\r\n\r\n{").starts_with("HTTP/1.1 408"));
    let slow = began.elapsed();
    assert!((4900..8000).contains(&slow.as_millis()), "{slow:?}");
    assert!(agent.status()["paused"].as_bool() != Some(true), "half a request does nothing");
}

#[test]
fn nonsense_is_refused_and_leaves_nothing_behind() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    let path = socket(&agent);
    let huge_head = format!("GET /v1/health HTTP/1.1\r\nx: {}\r\n\r\n", "h".repeat(64 * 1024));
    let huge_body = format!("POST /v1/pause HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n{}", "b".repeat(1_000_000));
    let many_headers = format!("GET /v1/health HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let endless =
        format!("POST /v1/pause HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(70_000));
    let requests: [(&[u8], &[&str]); 12] = [
        (b"\0\x01\x02\xff\xfe\r\n\r\n", &["HTTP/1.1 400", ""]),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", &["HTTP/1.1 400", ""]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &["HTTP/1.1 400", ""]),
        (huge_head.as_bytes(), &["HTTP/1.1 431", ""]),
        (many_headers.as_bytes(), &["HTTP/1.1 431", ""]),
        (huge_body.as_bytes(), &["HTTP/1.1 413", ""]),
        (endless.as_bytes(), &["HTTP/1.1 413", ""]),
        (b"GET /v2/x HTTP/1.1\r\nconnection: close\r\n\r\n", &["HTTP/1.1 404"]),
        (b"DELETE /v1/pause HTTP/1.1\r\nconnection: close\r\n\r\n", &["HTTP/1.1 404"]),
        (
            b"GET /v1/profiles/%ff%00/credentials HTTP/1.1\r\nconnection: close\r\n\r\n",
            &["HTTP/1.1 400", "HTTP/1.1 404"],
        ),
        (b"GET /v1/status?after=x HTTP/1.1\r\nconnection: close\r\n\r\n", &["HTTP/1.1 400"]),
        (b"POST /v1/pause HTTP/1.1\r\nconnection: close\r\ncontent-length: 3\r\n\r\n{1}", &["HTTP/1.1 400"]),
    ];
    let round = || {
        for (request, answers) in requests {
            let answer = say(&path, request);
            let fits = |start: &&str| if start.is_empty() { answer.is_empty() } else { answer.starts_with(*start) };
            let shown = String::from_utf8_lossy(&request[..request.len().min(60)]);
            assert!(answers.iter().any(fits), "{shown:?} is answered by {answer:?}");
            // And whoever goes away in the middle.
            let mut early = UnixStream::connect(&path).unwrap();
            let _ = early.write_all(&request[..request.len() / 2]);
        }
    };
    round();
    let settled = |wanted: usize| within(LIMIT, || size_of(daemon.pid()).is_none_or(|s| s.1 <= wanted).then_some(()));
    let Some((_, descriptors)) = size_of(daemon.pid()) else {
        eprintln!("descriptors are not counted: the agent's process cannot be looked into without privileges");
        return;
    };
    (0..20).for_each(|_| round());
    assert!(settled(descriptors).is_some(), "{:?} after {descriptors}", size_of(daemon.pid()));
    agent.credentials("dev-sso");
}

#[test]
#[ignore = "soak: 10^5 requests"]
fn a_hundred_thousand_requests_leave_nothing_behind() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    let client = Client::new(socket(&agent));
    let ask = |n: usize| {
        for _ in 0..n {
            let answer = client.request("GET", "/v1/profiles/dev-sso/credentials", &[], b"", LIMIT).unwrap();
            assert_eq!(answer.status, 200);
        }
    };
    ask(10_000);
    let Some(before) = size_of(daemon.pid()) else { panic!("the agent's process cannot be looked into") };
    let began = instant();
    ask(100_000);
    let took = began.elapsed();
    let after = size_of(daemon.pid()).unwrap();
    println!("10^5 requests one after the other in {took:?}; RSS (kB) and descriptors {before:?} -> {after:?}");
    assert!(after.1 <= before.1 && after.0 <= before.0 + 1024, "{before:?} -> {after:?}");
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let agent = Agent::new();
    // Enough for its own files and a few clients.
    let mut limited = agent.home.command("sh");
    limited.args(["-c", &format!("ulimit -n 40; exec '{AGENTD}'")]);
    let mut daemon = Running::start(limited);
    eventually("agentd serves", LIMIT, || agent.ctl(&["daemon", "status"]).status.success().then_some(()));
    agent.credentials("dev-sso");
    let hogs: Vec<_> = (0..120).map(|_| UnixStream::connect(socket(&agent)).unwrap()).collect();
    eventually("it runs out", LIMIT, || daemon.stderr().contains("a connection was not accepted").then_some(()));
    assert!(daemon.is_running());
    // Silent ones are cut off after two seconds, and whoever asks then is answered.
    eventually("a client is answered beside them", LIMIT, || {
        agent.ctl(&["credential-process", "--profile", "dev-sso", "--no-autostart"]).status.success().then_some(())
    });
    drop(hogs);
    agent.credentials("dev-sso");
    assert!(daemon.is_running());
}

/// Runs a program as a user who is nobody here.
fn as_stranger(agent: &Agent, program: &str) -> Command {
    let mut command = agent.home.command("setpriv");
    let uid = STRANGER.to_string();
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--", program]);
    command
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: changing the user needs root");
    }
    root
}

#[track_caller]
fn unreachable(finished: &Finished, words: &str) {
    assert_eq!((finished.code(), finished.stdout.as_str()), (19, ""), "{}", finished.stderr);
    assert!(finished.stderr.lines().count() == 1 && finished.stderr.contains(words), "{}", finished.stderr);
}

#[test]
fn another_user_cannot_connect() {
    if !is_root() {
        return;
    }
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.credentials("dev-sso");
    let ask = |path: &Path| {
        let mut command = as_stranger(&agent, AGENTCTL);
        command.args(["credential-process", "--profile", "dev-sso", "--no-autostart", "--socket"]).arg(path);
        process::run(command, LIMIT)
    };
    unreachable(&ask(&socket(&agent)), "Permission denied");
    // Were every mode wide open, the client would see whose agent it is, and the agent who asks.
    for (path, mode) in
        [(agent.home.path().to_owned(), 0o755), (agent.home.state_dir(), 0o755), (socket(&agent), 0o666)]
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    unreachable(&ask(&socket(&agent)), "is served by uid 0, not by you");
    let mut raw = as_stranger(&agent, std::env::current_exe().unwrap().to_str().unwrap());
    raw.args(["--exact", "peers::asks_without_looking", "--ignored", "--nocapture"]).env("TEST_SOCKET", socket(&agent));
    let heard = process::run(raw, LIMIT).expect_success().stdout;
    assert!(heard.contains("heard: \"\""), "not a byte for a stranger: {heard}");
    eventually("it is told", LIMIT, || daemon.stderr().contains("a connection was refused").then_some(()));
    assert!(daemon.stderr().contains("uid=12345"), "{}", daemon.stderr());
}

/// Runs as another user, for the test above.
#[test]
#[ignore = "only for the test that starts it"]
fn asks_without_looking() {
    let Ok(socket) = std::env::var("TEST_SOCKET") else { return };
    println!("heard: {:?}", say(Path::new(&socket), HEALTH));
}

#[test]
fn root_cannot_connect_unless_the_config_names_it() {
    if !is_root() {
        return;
    }
    let agent = Agent::new();
    give_to_stranger(agent.home.path());
    let start = || {
        let daemon = Running::start(as_stranger(&agent, AGENTD));
        eventually("agentd serves", LIMIT, || daemon.stderr().contains(" serving ").then_some(()));
        daemon
    };
    let daemon = start();
    unreachable(&agent.ctl(&["status"]), "is served by uid 12345, not by you");
    assert_eq!(say(&socket(&agent), HEALTH), "");
    daemon.terminate();
    daemon.finish(LIMIT);
    agent.write_settings("allow_uids = [0]\n");
    give_to_stranger(agent.home.path());
    let daemon = start();
    assert!(say(&socket(&agent), HEALTH).starts_with("HTTP/1.1 200"));
    // The client's own check stands: what this socket says could come from anybody.
    unreachable(&agent.ctl(&["status"]), "is served by uid 12345, not by you");
    daemon.terminate();
    daemon.finish(LIMIT);
    give_to(agent.home.path(), 0);
}

fn give_to_stranger(path: &Path) {
    give_to(path, STRANGER);
}

fn give_to(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_to(&entry.unwrap().path(), uid));
    }
}

/// A way to spoil the socket's place, what the line says, and whether it is still there afterwards.
type Obstacle = (fn(&Path), &'static str);

#[test]
fn what_stands_in_the_sockets_place_is_told_and_left_alone() {
    let obstacles: [Obstacle; 8] = [
        (|path| fs::write(path, "precious").unwrap(), "is no socket"),
        (|path| fs::create_dir(path).unwrap(), "is no socket"),
        (|path| symlink("/dev/null", path).unwrap(), "is no socket"),
        (
            |path| {
                let made = Command::new("mkfifo").arg(path).status().unwrap();
                assert!(made.success());
            },
            "is no socket",
        ),
        (|path| open_up(path, 0o770), "is open to others (mode 0770)"),
        (|path| open_up(path, 0o707), "is open to others (mode 0707)"),
        (
            |path| {
                let folder = path.parent().unwrap();
                fs::rename(folder, folder.with_extension("real")).unwrap();
                symlink(folder.with_extension("real"), folder).unwrap();
            },
            "is a symbolic link",
        ),
        (
            |path| {
                if rustix::process::geteuid().is_root() {
                    chown(path.parent().unwrap(), Some(STRANGER), None).unwrap();
                } else {
                    open_up(path, 0o777);
                }
            },
            if rustix::process::geteuid().is_root() {
                "belongs to another user (uid 12345)"
            } else {
                "is open to others"
            },
        ),
    ];
    for (spoil, words) in obstacles {
        let agent = Agent::new();
        let folder = agent.home.path().join("run");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let path = folder.join("agent.sock");
        spoil(&path);
        let before = fs::symlink_metadata(&path).ok().map(|m| (m.ino(), m.mode()));
        let mut start = agent.command(&["daemon", "start", "--socket"]);
        start.arg(&path);
        let told = process::run(start, LIMIT);
        assert_eq!((told.code(), told.stderr.lines().count()), (12, 1), "{}", told.stderr);
        assert!(told.stderr.contains(words), "{words:?}: {}", told.stderr);
        assert_eq!(fs::symlink_metadata(&path).ok().map(|m| (m.ino(), m.mode())), before, "it is left alone");
    }
}

fn open_up(path: &Path, mode: u32) {
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_dead_socket_is_replaced_a_live_one_is_not_and_a_path_has_a_limit() {
    let agent = Agent::new();
    let path = socket(&agent);
    let live = UnixListener::bind(&path).unwrap();
    let second = process::run(agent.home.command(AGENTD), LIMIT);
    assert_eq!(second.code(), 12);
    assert!(second.stderr.contains("another agentd already serves"), "{}", second.stderr);
    drop(live);
    agent.credentials("dev-sso");
    for length in [108, 300, 5000] {
        let mut long = agent.command(&["daemon", "start", "--socket"]);
        long.arg(Path::new("/").join("x".repeat(length - 1)));
        let told = process::run(long, LIMIT);
        assert_eq!((told.code(), told.stderr.lines().count()), (12, 1), "{}", told.stderr);
        assert!(told.stderr.contains(&format!("has {length} bytes, 107 are possible")), "{}", told.stderr);
    }
}

#[test]
fn a_client_is_not_let_down_when_the_agent_dies_under_load() {
    let agent = Agent::new();
    agent.credentials("dev-sso");
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let commands: Vec<_> =
                (0..12).map(|_| agent.command(&["credential-process", "--profile", "dev-sso"])).collect();
            std::thread::spawn(move || commands.into_iter().map(|c| process::run(c, LIMIT)).collect::<Vec<_>>())
        })
        .collect();
    let mut killed = 0;
    while !asking.iter().all(std::thread::JoinHandle::is_finished) {
        if let Some(pid) = serving(&agent).filter(|_| killed < 5) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            killed += 1;
        }
        std::thread::yield_now();
    }
    let answers: Vec<_> = asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(killed >= 2, "it was killed {killed} times");
    for answer in &answers {
        assert!(answer.status.success(), "{}", answer.stderr);
    }
}

/// The process that holds the lock.
fn serving(agent: &Agent) -> Option<rustix::process::Pid> {
    let text = fs::read_to_string(agent.home.state_dir().join("agent.sock.lock")).ok()?;
    let pid = rustix::process::Pid::from_raw(text.trim().parse().ok()?)?;
    let answers = Client::new(socket(agent)).request("GET", "/v1/health", &[], b"", Duration::from_secs(2)).is_ok();
    answers.then_some(pid)
}
