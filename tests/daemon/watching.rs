//! What others do to files is noticed without anybody asking: nothing here asks the agent between a change and what must
//! come of it, which has 5 s. The scan would find it too, but comes 30 s after the start.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::agent::{ACCOUNT, Agent, LIMIT};
use crate::support::clock::{eventually, instant};
use crate::support::process::Running;
#[cfg(target_os = "linux")]
use {
    crate::agent::AGENTD, crate::support::clock::within, crate::support::process, serde_json::Value,
    std::process::Command,
};

/// A change is noticed by then; the scan would take up to 30 s.
const SOON: Duration = Duration::from_secs(5);

/// A user who is logged out, with an agent that keeps `dev-sso` and has seen that there is no token.
fn logged_out(agent: &Agent) -> Running {
    agent.write_settings("keep = [\"dev-sso\"]\n");
    let daemon = agent.start_daemon();
    eventually("it has looked for a token", LIMIT, || {
        (agent.profile("dev-sso")["last_failure"]["class"] == "needs-login").then_some(())
    });
    daemon
}

/// The text of a token file after a new login.
fn login(agent: &Agent) -> String {
    let elsewhere = agent.home.seed_token("elsewhere", &agent.fake.sign_in(agent.session));
    let text = fs::read_to_string(&elsewhere).unwrap();
    fs::remove_file(elsewhere).unwrap();
    text
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Writes beside the file and renames over it.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    write_private(&new, text);
    fs::rename(new, path).unwrap();
}

#[track_caller]
fn fetches(agent: &Agent, count: usize) {
    let began = instant();
    eventually("what is kept is fetched", SOON, || (agent.roles() == count).then_some(()));
    println!("noticed after {:?}", began.elapsed());
}

#[test]
fn a_login_of_another_tool_is_noticed_however_it_is_written() {
    for write in [write_private, replace] {
        for before in [None, Some("{\"accessToken\": \"x\", \"expiresAt\": \"2020-01-01T00:00:00Z\"}")] {
            let agent = Agent::new();
            let token = login(&agent);
            let file = agent.home.token_file("corp");
            match before {
                Some(ended) => write_private(&file, ended),
                None => fs::remove_file(&file).unwrap(),
            }
            let _daemon = logged_out(&agent);
            write(&file, &token);
            fetches(&agent, 1);
        }
    }
}

#[test]
fn a_logout_by_deletion_is_noticed() {
    let agent = Agent::new();
    agent.write_settings("keep = [\"dev-sso\"]\n");
    let _daemon = agent.start_daemon();
    eventually("fetched", LIMIT, || agent.profile("dev-sso")["expires_at"].is_string().then_some(()));
    let mut news = held_question(&agent);
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    // Two seconds of it are for a file that is only being replaced.
    let answer = news.answer(SOON);
    assert!(answer.contains("needs-login"), "{answer}");
}

/// A question for the next revision, which the agent holds by now.
fn held_question(agent: &Agent) -> Held {
    let revision = agent.status()["revision"].as_u64().unwrap();
    let mut stream = UnixStream::connect(agent.home.state_dir().join("agent.sock")).unwrap();
    let request = format!("GET /v1/status?after={revision} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    // Questions that come later are answered, so this one has made the agent look before anything happened.
    agent.status();
    assert_eq!(agent.status()["revision"], revision, "nothing changes by itself");
    Held(stream)
}

struct Held(UnixStream);

impl Held {
    #[track_caller]
    fn answer(&mut self, limit: Duration) -> String {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap_or_else(|e| panic!("no news within {limit:?}: {e}"));
        answer
    }
}

#[test]
fn a_cache_folder_that_appears_is_watched() {
    let agent = Agent::new();
    let (file, token) = (agent.home.token_file("corp"), login(&agent));
    // Not even its parent is there.
    fs::remove_dir_all(agent.home.path().join(".aws/sso")).unwrap();
    let _daemon = logged_out(&agent);
    fs::create_dir_all(agent.home.sso_cache()).unwrap();
    write_private(&file, &token);
    fetches(&agent, 1);
}

#[test]
fn a_home_without_any_aws_folder_is_watched() {
    let agent = Agent::new();
    let (file, token) = (agent.home.token_file("corp"), login(&agent));
    let (aws, aside) = (agent.home.path().join(".aws"), agent.home.path().join("aside"));
    agent.write_settings("keep = [\"dev-sso\"]\n");
    fs::remove_file(&file).unwrap();
    fs::rename(&aws, &aside).unwrap();
    let _daemon = agent.start_daemon();
    fs::rename(&aside, &aws).unwrap();
    write_private(&file, &token);
    fetches(&agent, 1);
}

#[test]
fn a_cache_folder_that_was_made_again_is_watched_again() {
    let agent = Agent::new();
    let (file, token) = (agent.home.token_file("corp"), login(&agent));
    fs::remove_file(&file).unwrap();
    let cache = agent.home.sso_cache();
    let aside = cache.with_file_name("aside");
    let _daemon = logged_out(&agent);
    // An inode may be used again for the next folder, or be the very same: what tells is that the folder went away.
    let ways: [&dyn Fn(); 4] = [
        &|| {
            fs::remove_dir_all(&cache).unwrap();
            fs::create_dir(&cache).unwrap();
        },
        &|| {
            fs::rename(&cache, &aside).unwrap();
            fs::create_dir(&cache).unwrap();
            fs::remove_dir_all(&aside).unwrap();
        },
        &|| {
            fs::rename(&cache, &aside).unwrap();
            fs::rename(&aside, &cache).unwrap();
        },
        &|| {
            let (sso, away) = (cache.parent().unwrap(), cache.parent().unwrap().with_file_name("away"));
            fs::rename(sso, &away).unwrap();
            fs::create_dir_all(&cache).unwrap();
        },
    ];
    for (n, remake) in ways.iter().enumerate() {
        remake();
        // What was made again has settled, and what is heard of the token is heard by a watch that was made for it.
        settled(&agent, &cache);
        write_private(&file, &token);
        eventually(&format!("noticed, way {n}"), SOON, || (agent.roles() == n + 1).then_some(()));
        fs::remove_file(&file).unwrap();
        eventually("the logout is noticed", SOON, || {
            (agent.profile("dev-sso")["last_failure"]["class"] == "needs-login").then_some(())
        });
    }
}

/// Waits until the agent watches a folder, where that can be seen: its descriptors are shown to root alone.
fn settled(agent: &Agent, folder: &Path) {
    let pid = agent.status()["agent"]["pid"].as_u64().unwrap();
    let descriptors = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    if !cfg!(target_os = "linux") || fs::read_dir(&descriptors).is_err() {
        return;
    }
    let inode = format!(" ino:{:x} ", std::os::unix::fs::MetadataExt::ino(&fs::metadata(folder).unwrap()));
    eventually("the folder is watched", SOON, || {
        let infos = fs::read_dir(&descriptors).unwrap();
        let mut texts = infos.filter_map(|info| fs::read_to_string(info.unwrap().path()).ok());
        texts.any(|text| text.contains("inotify wd:") && text.contains(&inode)).then_some(())
    });
}

#[test]
fn a_link_that_is_pointed_elsewhere_is_followed() {
    let agent = Agent::new();
    let (file, token) = (agent.home.token_file("corp"), login(&agent));
    fs::remove_file(&file).unwrap();
    let (aws, one, two) =
        (agent.home.path().join(".aws"), agent.home.path().join("dots/one"), agent.home.path().join("dots/two"));
    fs::create_dir(one.parent().unwrap()).unwrap();
    fs::rename(&aws, &one).unwrap();
    fs::create_dir_all(two.join("sso/cache")).unwrap();
    fs::copy(one.join("config"), two.join("config")).unwrap();
    symlink(&one, &aws).unwrap();
    let _daemon = logged_out(&agent);
    write_private(&file, &token);
    fetches(&agent, 1);
    fs::remove_file(&file).unwrap();
    let second = two.join("sso/cache").join(file.file_name().unwrap());
    write_private(&second, &login(&agent));
    eventually("the logout is noticed", SOON, || {
        (agent.profile("dev-sso")["last_failure"]["class"] == "needs-login").then_some(())
    });
    symlink(&two, aws.with_extension("new")).unwrap();
    fs::rename(aws.with_extension("new"), &aws).unwrap();
    fetches(&agent, 2);
    fs::remove_file(second).unwrap(); // no cache folder by name
}

#[test]
fn an_edited_config_is_noticed() {
    let agent = Agent::with(|s| *s = s.clone().allow(ACCOUNT, "Second").allow(ACCOUNT, "Third"));
    agent.write_settings("keep = [\"dev-sso\", \"second\", \"third\"]\n");
    // As dotfile managers have it.
    let (config, real) = (agent.home.aws_config(), agent.home.path().join("dots-config"));
    let profile = |name: &str, role: &str| {
        format!("[profile {name}]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {role}\n")
    };
    let _daemon = agent.start_daemon();
    eventually("the first profile is kept", LIMIT, || (agent.roles() == 1).then_some(()));
    let text = fs::read_to_string(&config).unwrap();
    replace(&config, &format!("{text}{}", profile("second", "Second")));
    fetches(&agent, 2);
    replace(&real, &format!("{text}{}", profile("third", "Third")));
    symlink(&real, config.with_extension("new")).unwrap();
    fs::rename(config.with_extension("new"), &config).unwrap();
    fetches(&agent, 3);
    agent.write_settings("keep = [\"dev-sso\"]\n");
    eventually("the edited settings", LIMIT, || (agent.profile("third")["kept"] != "always").then_some(()));
    settled(&agent, agent.home.path());
    write_private(&real, &format!("{text}{}", profile("dev-sso", "Second")));
    fetches(&agent, 4);
}

#[test]
fn settings_that_appear_are_noticed() {
    let agent = Agent::new();
    assert!(!agent.config_toml().parent().unwrap().parent().unwrap().exists());
    let _daemon = agent.start_daemon();
    agent.write_settings("keep = [\"dev-sso\"]\n");
    fetches(&agent, 1);
}

/// How many folders the agent watches; `None`: that is shown to root alone.
#[cfg(target_os = "linux")]
fn watches(pid: u32) -> Option<usize> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?;
    let texts = infos.filter_map(|info| fs::read_to_string(info.unwrap().path()).ok());
    Some(texts.map(|text| text.matches("inotify wd:").count()).sum())
}

#[test]
#[cfg(target_os = "linux")]
fn worlds_that_are_forgotten_are_watched_no_more() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    if watches(daemon.pid()).is_none() {
        println!("skipped: agentd's descriptors are shown to root alone");
        return;
    }
    // The config's folder, the cache, and the home for the settings that may appear.
    eventually("its own files are watched", SOON, || (watches(daemon.pid()) == Some(3)).then_some(()));
    let began = instant();
    for n in 0..300 {
        let folder = agent.home.path().join(format!("world-{n}"));
        fs::create_dir(&folder).unwrap();
        let mut stream = UnixStream::connect(agent.home.state_dir().join("agent.sock")).unwrap();
        let folder = folder.display();
        let request = format!(
            "GET /v1/profiles/x/credentials HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             x-aws-config-file: {folder}/config\r\nx-aws-shared-credentials-file: {folder}/credentials\r\n\
             x-aws-sso-cache: {folder}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let answer = Held(stream).answer(LIMIT);
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    println!("300 worlds in {:?}", began.elapsed());
    eventually("all are watched", SOON, || (watches(daemon.pid()) == Some(303)).then_some(()));
    eventually("the scan keeps 256", LIMIT, || (watches(daemon.pid()) == Some(259)).then_some(()));
}

/// How often threads of a process went to sleep: all of them, and the first one.
#[cfg(target_os = "linux")]
fn wake_ups(pid: u32) -> (u64, u64) {
    let of_thread = |thread: &Path| {
        let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
        let count = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        count.map_or(0, |n| n.trim().parse::<u64>().unwrap())
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let all = threads.map(|thread| of_thread(&thread.unwrap().path())).sum();
    (all, of_thread(&PathBuf::from(format!("/proc/{pid}/task/{pid}"))))
}

#[test]
#[cfg(target_os = "linux")]
fn a_burst_is_a_few_looks_and_reading_is_none() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    let other = agent.home.sso_cache().join("other.json");
    write_private(&other, "{}");
    settled(&agent, &agent.home.sso_cache());
    eventually("it is quiet", LIMIT, || {
        let before = wake_ups(daemon.pid());
        (within(Duration::from_millis(500), || (wake_ups(daemon.pid()) != before).then_some(())).is_none())
            .then_some(())
    });
    let woken_by_what_does_not_matter = || {
        let (_, before) = wake_ups(daemon.pid());
        let began = instant();
        while began.elapsed() < Duration::from_secs(2) {
            fs::read_to_string(&other).unwrap();
            fs::read_to_string(agent.home.aws_config()).unwrap();
            fs::write(agent.home.path().join(".aws/other"), "").unwrap();
            // On a busy machine the queue of events would overflow, and then everything must be looked at.
            std::thread::sleep(Duration::from_millis(1));
        }
        wake_ups(daemon.pid()).1 - before
    };
    // The scan of every 30 s may fall into one of two such times.
    let woken: Vec<_> = (0..2).map(|_| woken_by_what_does_not_matter()).collect();
    assert!(woken.iter().any(|times| *times <= 4), "woken {woken:?} times by what does not matter");
    let (_, after) = wake_ups(daemon.pid());
    let began = instant();
    let mut writes = 0;
    while began.elapsed() < Duration::from_secs(2) {
        fs::write(&other, "{}").unwrap();
        writes += 1;
    }
    let (_, burst) = wake_ups(daemon.pid());
    assert!(writes > 500, "no burst: {writes} writes");
    println!("{writes} writes: {} wake-ups", burst - after);
    assert!((3..=150).contains(&(burst - after)), "{writes} writes: {} wake-ups", burst - after);
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "soak: a minute and a half of idleness"]
fn an_idle_agent_wakes_up_four_times_a_minute_at_most() {
    let agent = Agent::new();
    let daemon = agent.start_daemon();
    agent.status();
    let rest = |span| within(span, || None::<()>);
    rest(Duration::from_secs(20)); // idle threads of the start end
    let (before, _) = wake_ups(daemon.pid());
    rest(Duration::from_secs(60));
    let (after, _) = wake_ups(daemon.pid());
    println!("{} wake-ups in a minute", after - before);
    assert!(after - before <= 4, "{} wake-ups in a minute", after - before);
}

/// agentd in a user namespace of its own, with so many inotify instances and watches until a line is sent to it.
#[cfg(target_os = "linux")]
fn start_limited(agent: &Agent, instances: u32, watches: u32) -> Option<Running> {
    let limits = "/proc/sys/user/max_inotify_";
    let set = |instances: u32, watches: u32| {
        format!("echo {instances} > {limits}instances && echo {watches} > {limits}watches")
    };
    let unshare = |script: &str| {
        let mut command: Command = agent.home.command("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script]);
        command
    };
    let tried = match unshare(&set(instances, watches)).output() {
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(String::from_utf8_lossy(&tried.stderr).into_owned()),
        Err(e) => Some(e.to_string()),
    };
    if let Some(why) = tried {
        println!("skipped: no user namespace with limits of its own: {why}");
        return None;
    }
    let script = format!("{} && {{ {AGENTD} & }} && read line && {} && wait", set(instances, watches), set(128, 8192));
    let daemon = Running::start_with_input(unshare(&script));
    eventually("agentd serves", LIMIT, || {
        process::run(agent.command(&["daemon", "status"]), LIMIT).status.success().then_some(())
    });
    Some(daemon)
}

#[cfg(target_os = "linux")]
fn unwatched(agent: &Agent) -> Option<Value> {
    let status = agent.status();
    status["findings"].as_array().unwrap().iter().find(|f| f["name"] == "watch-unavailable").cloned()
}

#[test]
#[cfg(target_os = "linux")]
fn an_agent_that_cannot_watch_says_so_and_works() {
    let limited = [(0, 8192, "max_user_instances"), (128, 1, "max_user_watches")].map(|(instances, watches, fix)| {
        let agent = Agent::with(|s| *s = s.clone().allow(ACCOUNT, "Second"));
        agent.home.add_sso_profile("second", "corp", ACCOUNT, "Second");
        let daemon = start_limited(&agent, instances, watches)?;
        let finding = eventually("a finding", SOON, || unwatched(&agent));
        assert!(finding["fix"].as_str().unwrap().contains(fix), "{finding}");
        assert!(finding["message"].as_str().unwrap().contains("every 30 s"), "{finding}");
        agent.credentials("dev-sso");
        Some((agent, daemon))
    });
    let mut limited: Vec<_> = limited.into_iter().flatten().collect();
    limited.iter_mut().for_each(|(_, daemon)| daemon.send("more"));
    for (agent, _daemon) in limited {
        eventually("watched after the next scan", LIMIT, || unwatched(&agent).is_none().then_some(()));
        agent.write_settings("keep = [\"second\"]\n");
        fetches(&agent, 2);
    }
}
