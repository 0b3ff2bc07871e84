//! What a client of ours waits for: `agentctl credential-process` on a warm agent, from its start to its exit, beside
//! `/bin/true` in pairs (the machine's speed drifts, a pair does not); and what the agent's share of that is.
//!
//! ```text
//! cargo bench --bench client            # 300 pairs
//! cargo bench --bench client -- 1000
//! AWS_CLI="$(tests/interop/setup)/python/venv/bin/python -m awscli" cargo bench --bench client
//! ```
//!
//! With `AWS_CLI` the processor time of `aws configure get` is measured, too: the least that a `credential_process` by that
//! tool could cost (version 1 has no `export-credentials`), since it fetches nothing.
//!
//! Everything is on loopback and in a temporary home. Nothing passes or fails here: the ratio is meant to stay below 2.

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
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use aws_credential_agent::ipc::client::Client;

    use super::support::clock;
    use super::support::fake_aws::{FakeAws, SsoSession};
    use super::support::home::TestHome;
    use super::support::process::{Running, run};

    const ACCOUNT: &str = "111122223333";
    const ROLE: &str = "Developer";
    const LIMIT: Duration = Duration::from_secs(20);
    const PAIRS: usize = 300;
    const MOST_PAIRS: usize = 5_000;
    const WARM_UP: usize = 20;
    const MANY: u32 = 1_000;
    const FEW: u32 = 10;

    pub(super) fn main() {
        let pairs = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(PAIRS).clamp(1, MOST_PAIRS);
        let fake = FakeAws::start();
        let session = fake.add_session(SsoSession::new("corp").allow(ACCOUNT, ROLE));
        let mut home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
        home.set("AGENTCTL_NO_AUTOSTART", "1");
        let _agent = Running::start(home.command(env!("CARGO_BIN_EXE_agentd")));
        let socket = home.state_dir().join("agent.sock");
        clock::eventually("agentd listens", LIMIT, || socket.exists().then_some(()));
        let ask = || client(&home, &["credential-process", "--profile", "dev-sso"]);
        run(ask(), LIMIT).expect_success();

        let documents = Pairs::measure(pairs, ask, baseline);
        documents.report("credential-process, warm, against /bin/true");
        Pairs::measure(pairs, || client(&home, &["--version"]), baseline).report("--version, against /bin/true");
        let line = || client(&home, &["statusline", "--profile", "dev-sso"]);
        Pairs::measure(pairs, line, baseline).report("statusline, against /bin/true");
        exchanges(&socket, pairs);
        let aws = std::env::var("AWS_CLI").ok();
        if let Some(aws) = &aws {
            let theirs = || {
                let mut words = aws.split_whitespace();
                let mut command = home.command(words.next().unwrap_or("aws"));
                command.args(words).args(["configure", "get", "region", "--profile", "dev-sso"]);
                command
            };
            // Its own files are compiled before it is measured.
            time(theirs());
            let (ours, theirs) = (processor_time(MANY, ask), processor_time(FEW, theirs));
            let ratio = theirs / ours;
            println!("processor time of aws configure get {theirs:.0} ms, of ours {ours:.2} ms: {ratio:.0} x less");
        }
        assert_eq!(fake.role_calls(ACCOUNT, ROLE), 1, "all but the first were answered from memory");
    }

    fn client(home: &TestHome, arguments: &[&str]) -> Command {
        let mut command = home.command(env!("CARGO_BIN_EXE_agentctl"));
        command.args(arguments);
        command
    }

    fn baseline() -> Command {
        let mut command = Command::new("/bin/true");
        command.env_clear();
        command
    }

    /// The times of two commands that ran in turn.
    struct Pairs(Vec<(Duration, Duration)>);

    impl Pairs {
        fn measure(pairs: usize, ours: impl Fn() -> Command, theirs: impl Fn() -> Command) -> Self {
            let mut times: Vec<_> = (0..WARM_UP + pairs).map(|_| (time(ours()), time(theirs()))).collect();
            Self(times.split_off(WARM_UP))
        }

        fn report(&self, what: &str) {
            let median = |figure: fn(&(Duration, Duration)) -> f64| quantiles(self.0.iter().map(figure).collect())[1];
            let [low, ratio, high] = quantiles(self.0.iter().map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect());
            let (ours, theirs) = (median(|p| p.0.as_secs_f64() * 1e3), median(|p| p.1.as_secs_f64() * 1e3));
            println!("{what}: {ours:.2} ms / {theirs:.2} ms, ratio p50 {ratio:.2} (p10 {low:.2}, p90 {high:.2})");
        }
    }

    /// From the start of a command to its end.
    fn time(mut command: Command) -> Duration {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let began = clock::instant();
        let status = command.status();
        let took = began.elapsed();
        assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
        took
    }

    /// Milliseconds of processor time that one run takes, children included, from the kernel's account (in ticks of
    /// 10 ms, hence many runs).
    fn processor_time(runs: u32, command: impl Fn() -> Command) -> f64 {
        let before = children_ticks();
        for _ in 0..runs {
            time(command());
        }
        (children_ticks() - before) * 10.0 / f64::from(runs)
    }

    /// `cutime` and `cstime` of proc_pid_stat(5), the 16th and 17th field.
    fn children_ticks() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(13).take(2).filter_map(|f| f.parse::<f64>().ok()).sum()
    }

    /// The agent's share: connect, ask, answer, in a process that runs already.
    fn exchanges(socket: &Path, times: usize) {
        let agent = Client::new(socket);
        let ask = |_| {
            let began = clock::instant();
            let answer = agent.request("GET", "/v1/profiles/dev-sso/credentials", &[], b"", LIMIT);
            assert!(answer.is_ok_and(|a| a.status == 200), "the agent answers with credentials");
            began.elapsed().as_secs_f64() * 1e6
        };
        let [low, median, high] = quantiles((0..times).map(ask).collect());
        println!("the exchange alone: {median:.0} us (p10 {low:.0}, p90 {high:.0})");
    }

    /// p10, p50 and p90.
    fn quantiles(mut figures: Vec<f64>) -> [f64; 3] {
        figures.sort_by(f64::total_cmp);
        [1, 5, 9].map(|tenth| figures[(figures.len() * tenth / 10).min(figures.len() - 1)])
    }
}
