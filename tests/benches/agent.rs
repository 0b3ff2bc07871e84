//! The agent as a server: how many requests it answers beside a bare server that only reads and writes (the same runtime,
//! the same socket, no HTTP and no broker), what silent clients cost the others, how long the first credential takes when
//! no agent runs, and what an idle agent takes from the machine.
//!
//! ```text
//! cargo bench --bench agent             # about two minutes, half of them idle
//! cargo bench --bench agent -- 5        # seconds of load for each figure
//! ```
//!
//! Everything is on loopback and in temporary homes. Nothing passes or fails here.

#![cfg_attr(unix, expect(clippy::print_stdout, reason = "a bench tells its figures"))]

#[cfg(unix)]
#[path = "../support/mod.rs"]
mod support;

fn main() {
    #[cfg(unix)]
    unix::main();
}

#[cfg(unix)]
mod unix {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    use super::support::clock;
    use super::support::fake_aws::{FakeAws, SsoSession};
    use super::support::home::TestHome;
    use super::support::process::{Running, run};

    const ACCOUNT: &str = "111122223333";
    const LIMIT: Duration = Duration::from_secs(20);
    const CLIENTS: usize = 64;
    const IDLE: Duration = Duration::from_secs(60);

    pub(super) fn main() {
        let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(3).clamp(1, 60);
        let (_fake, home) = signed_in(10);
        let agent = start(&home);
        let socket = home.state_dir().join("agent.sock");
        for n in 0..10 {
            let profile = format!("p{n}");
            let mut ask = home.command(env!("CARGO_BIN_EXE_agentctl"));
            ask.args(["credential-process", "--profile", &profile]);
            run(ask, LIMIT).expect_success();
        }
        requests(&socket, Duration::from_secs(seconds));
        silent_clients(&socket);
        first_credential();
        idle(agent.pid());
    }

    fn signed_in(profiles: usize) -> (FakeAws, TestHome) {
        let fake = FakeAws::start();
        let mut session = SsoSession::new("corp");
        for n in 0..profiles {
            session = session.allow(ACCOUNT, &format!("role{n}"));
        }
        let session = fake.add_session(session);
        let home = TestHome::with_sso_profile(&fake, session, ACCOUNT, "role0");
        (0..profiles).for_each(|n| home.add_sso_profile(&format!("p{n}"), "corp", ACCOUNT, &format!("role{n}")));
        (fake, home)
    }

    fn start(home: &TestHome) -> Running {
        let agent = Running::start(home.command(env!("CARGO_BIN_EXE_agentd")));
        let socket = home.state_dir().join("agent.sock");
        clock::eventually("agentd listens", LIMIT, || socket.exists().then_some(()));
        agent
    }

    /// Sixty-four clients, each with one request at a time: on a connection that stays, and on a new one each time.
    fn requests(socket: &Path, span: Duration) {
        let bare = Bare::start();
        for (what, keep) in [("kept", true), ("new each time", false)] {
            let ours = Load { socket: socket.to_owned(), keep, span }.run();
            let theirs = Load { socket: bare.socket.clone(), keep, span }.run();
            println!(
                "{CLIENTS} clients, connections {what}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms; bare server {:.0}/s, p99 {:.2} \
                 ms; ratio {:.2}",
                ours.rate,
                ours.p50,
                ours.p99,
                theirs.rate,
                theirs.p99,
                theirs.rate / ours.rate
            );
        }
    }

    /// A server that answers each head with the same bytes, in a thread of its own.
    struct Bare {
        socket: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Bare {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder: {e}"));
            let socket = folder.path().join("bare.sock");
            let path = socket.clone();
            let (ready, is_ready) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                runtime().block_on(async {
                    let listener = UnixListener::bind(path).unwrap_or_else(|e| panic!("no socket: {e}"));
                    let _ = ready.send(());
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(Self::answer(stream));
                    }
                });
            });
            let _ = is_ready.recv();
            Self { socket, _folder: folder }
        }

        async fn answer(mut stream: UnixStream) -> io::Result<()> {
            // As long as a union document.
            let body = "x".repeat(1100);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let mut head = Vec::with_capacity(1024);
            loop {
                head.clear();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await? == 0 {
                        return Ok(());
                    }
                }
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        built.unwrap_or_else(|e| panic!("no runtime: {e}"))
    }

    struct Load {
        socket: PathBuf,
        keep: bool,
        span: Duration,
    }

    struct Figures {
        rate: f64,
        p50: f64,
        p99: f64,
    }

    impl Load {
        fn run(self) -> Figures {
            let began = clock::instant();
            let times = runtime().block_on(async {
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|_| {
                        let (socket, keep, span) = (self.socket.clone(), self.keep, self.span);
                        tokio::spawn(async move { Self::client(&socket, keep, began, span).await })
                    })
                    .collect();
                let mut times = Vec::new();
                for client in clients {
                    match client.await {
                        Ok(Ok(mut took)) => times.append(&mut took),
                        other => panic!("a client failed: {other:?}"),
                    }
                }
                times
            });
            let rate = times.len() as f64 / began.elapsed().as_secs_f64();
            let [p50, p99] = quantiles(times, [50, 99]);
            Figures { rate, p50, p99 }
        }

        async fn client(socket: &Path, keep: bool, began: std::time::Instant, span: Duration) -> io::Result<Vec<f64>> {
            let mut times = Vec::new();
            let mut kept = None;
            while began.elapsed() < span {
                let asked = clock::instant();
                let mut stream = match kept.take() {
                    Some(stream) => stream,
                    None => UnixStream::connect(socket).await?,
                };
                ask(&mut stream).await?;
                times.push(asked.elapsed().as_secs_f64() * 1e3);
                kept = keep.then_some(stream);
            }
            Ok(times)
        }
    }

    async fn ask(stream: &mut UnixStream) -> io::Result<()> {
        stream.write_all(b"GET /v1/profiles/p0/credentials HTTP/1.1\r\nhost: agent\r\n\r\n").await?;
        let mut answer = Vec::with_capacity(8192);
        let whole = loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
                let length =
                    head.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
                break end + 4 + length.unwrap_or(0);
            }
        };
        while answer.len() < whole {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other("not 200")) }
    }

    /// A hundred clients at once, with and without five hundred connections that say nothing.
    fn silent_clients(socket: &Path) {
        let good = || {
            let mut times = Vec::new();
            for _ in 0..10 {
                times.extend(runtime().block_on(async {
                    let clients: Vec<_> = (0..100)
                        .map(|_| {
                            let socket = socket.to_owned();
                            tokio::spawn(async move {
                                let asked = clock::instant();
                                let mut stream = UnixStream::connect(socket).await?;
                                ask(&mut stream).await?;
                                io::Result::Ok(asked.elapsed().as_secs_f64() * 1e3)
                            })
                        })
                        .collect();
                    let mut times = Vec::new();
                    for client in clients {
                        match client.await {
                            Ok(Ok(took)) => times.push(took),
                            other => panic!("a client failed: {other:?}"),
                        }
                    }
                    times
                }));
            }
            quantiles(times, [50, 99])
        };
        let [p50, p99] = good();
        println!("100 clients at once, alone: p50 {p50:.1} ms, p99 {p99:.1} ms");
        let connect =
            |_| std::os::unix::net::UnixStream::connect(socket).unwrap_or_else(|e| panic!("not connected: {e}"));
        let silent: Vec<_> = (0..500).map(connect).collect();
        let [p50, p99] = good();
        println!("100 clients at once, beside {} silent ones: p50 {p50:.1} ms, p99 {p99:.1} ms", silent.len());
    }

    /// From the start of agentctl to its end, when it has to start the agent first.
    fn first_credential() {
        let mut times = Vec::new();
        for _ in 0..15 {
            let (_fake, home) = signed_in(1);
            let mut ask = home.command(env!("CARGO_BIN_EXE_agentctl"));
            ask.args(["credential-process", "--profile", "p0"]).stdin(Stdio::null()).stdout(Stdio::null());
            let began = clock::instant();
            let status = ask.status();
            times.push(began.elapsed().as_secs_f64() * 1e3);
            assert!(status.is_ok_and(|s| s.success()));
            let mut stop = home.command(env!("CARGO_BIN_EXE_agentctl"));
            stop.args(["-q", "daemon", "stop"]);
            run(stop, LIMIT).expect_success();
        }
        let [p50, p100] = quantiles(times, [50, 100]);
        println!("first credential, no agent running: p50 {p50:.0} ms, max {p100:.0} ms");
    }

    /// Memory and wake-ups of all threads while nobody asks.
    fn idle(pid: u32) {
        let Some(before) = Process::look(pid) else {
            println!("idle: not measured (Linux only)");
            return;
        };
        std::thread::sleep(IDLE);
        let Some(after) = Process::look(pid) else { return };
        println!(
            "idle with 10 profiles: RSS {:.1} MiB, {} threads, {} wake-ups in {} s",
            after.rss_kib as f64 / 1024.0,
            after.threads,
            after.switches_since(&before),
            IDLE.as_secs()
        );
    }

    struct Process {
        rss_kib: usize,
        threads: usize,
        /// By thread.
        switches: BTreeMap<OsString, usize>,
    }

    impl Process {
        /// Of the threads that lived at both times.
        fn switches_since(&self, before: &Self) -> usize {
            let since = |(thread, now): (&OsString, &usize)| Some(now - before.switches.get(thread)?);
            self.switches.iter().filter_map(since).sum()
        }

        fn look(pid: u32) -> Option<Self> {
            let number = |text: &str, key: &str| {
                let line = text.lines().find_map(|l| l.strip_prefix(key))?;
                line.split_ascii_whitespace().next()?.parse::<usize>().ok()
            };
            let rss_kib = number(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")?;
            let tasks: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().collect();
            let switches = tasks.iter().filter_map(|task| {
                let status = fs::read_to_string(task.path().join("status")).ok()?;
                Some((task.file_name(), number(&status, "voluntary_ctxt_switches:")?))
            });
            Some(Self { rss_kib, threads: tasks.len(), switches: switches.collect() })
        }
    }

    fn quantiles<const N: usize>(mut figures: Vec<f64>, percents: [usize; N]) -> [f64; N] {
        figures.sort_by(f64::total_cmp);
        percents.map(|percent| figures[(figures.len() * percent / 100).min(figures.len() - 1)])
    }
}
