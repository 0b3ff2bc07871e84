//! # AWS credential agent
//!
//! `agentd` runs in the background and owns every IAM Identity Center token and role credential of its user;
//! `agentctl` is the thin client that Claude Code, the AWS CLI, SDKs and people call. This crate is both, and these
//! pages are its architecture.
//!
//! ## The one idea
//!
//! A **pure broker inside a thin shell**. [`core::broker::Broker::step`] takes the time and one event and returns the
//! work to do; it is the only code that changes state. It has no I/O, no clock, no randomness, no async and no logging.
//! Everything hard about this program (single flight, one session that feeds twelve roles, serving while refreshing,
//! suspend, clock steps) crosses credentials, so it is decided in one place and tested by millions of random events
//! in seconds.
//!
//! ```text
//!  agentctl ──HTTP/1.1 over the local socket──▶ daemon::http ──Event::Demand──▶ core::broker
//!                                                                                │ Vec<Action>
//!    files (looked at) ─Event─▶                   daemon::event_loop ◀───────────┘
//!    clocks (tick)     ─Event─▶                          │ each Action runs with a deadline and
//!                                                        ▼ posts exactly one Event back
//!                              aws (SSO OIDC, SSO portal)   files (token cache, state, audit log)
//! ```
//!
//! ## Rooms
//!
//! | room | what lives there | may lean on |
//! |---|---|---|
//! | [`core`] | every decision; pure. **The refresh window is decided in [`core::schedule`]** | nothing |
//! | [`api`] | the local API's types and documents | core |
//! | [`net`] | proxies and trusted roots, as values; looks at who lies between us and AWS ([`net::probe`]) | core, files, platform |
//! | [`aws`] | the only user of the AWS SDK: calls, evidence of failures, profiles | core, net, files, platform |
//! | [`files`] | token cache, journal, state, audit log, locks, our own config.toml | core, platform |
//! | [`ipc`] | the local socket: bind, peers, blocking client | core, api, platform |
//! | [`platform`] | clocks (the only reader), environment, processes | core's values |
//! | [`daemon`] | the shell: tokio lives here | all but cli |
//! | [`cli`] | one file per verb; blocking, without the runtime and the SDK | core, api, ipc, files, platform |
//!
//! `tests/core/tidy.rs` reads the sources and fails on an import against this table, a file over 500 lines, a clock
//! read outside [`platform`] or an SDK client built outside [`aws`].
//!
//! ## Three ways through the house
//!
//! 1. **A credential is asked for.** `agentctl credential-process` connects (absent: starts agentd once and waits for
//!    its word), asks `GET /v1/profiles/dev/credentials`; the files are looked at, [`core::broker::Event::Demand`] goes
//!    in; usable: answered now; in the refresh window: answered now, and fetched beside; missing or about to end: the
//!    waiter is parked and one fetch starts; a login is needed: refused at once with a code and the next command. What
//!    was handed out, and to which process, goes into the audit log beside the answer ([`daemon::audit`]).
//! 2. **A credential is refreshed before it lapses.** The loop wakes at the broker's next wake or after 30 s, reads
//!    both clocks and sends [`core::broker::Event::Tick`]; what is due is fetched; a rotated refresh token is stored
//!    before anybody uses it; a failure becomes [`core::classify::Evidence`], then a class, then a disposition; the old
//!    credential is served until its end.
//!
//! 3. **Somebody asks for a login.** `agentctl login` posts it ([`daemon::login_routes`]); the broker first waits for
//!    credentials like any other client, which renews silently what can be renewed; only class `needs-login` leads on, to
//!    the login that is pending or, by the rules of [`core::login`], to a new one, made by [`daemon::login_flow`]. The
//!    client shows the address and opens the browser. It is done when the token has proved to work; how it went is
//!    told to the session's [`core::login::Breaker`]; before that lets one through again somebody looks at the way to AWS
//!    ([`daemon::probe`]). A logout goes the other way ([`daemon::logout_flow`]): the token
//!    file goes, the broker forgets, AWS ends the session.
//!
//! What tools need to come to all this is written by `agentctl setup` ([`cli::setup`]): pure merges of Claude Code's settings
//! ([`core::claude_settings`]) and of the AWS config ([`core::aws_config_edit`]), shown before they are made, and undone to the
//! byte. What is wrong is found by `agentctl doctor` ([`cli::doctor`]).
//!
//! ## Invariants
//!
//! 1. An expired credential is never handed out. A valid one is never withheld because a refresh failed.
//! 2. Only class `needs-login` may ever lead to a browser, and only AWS itself can cause it. The machine path never
//!    opens a browser and never prompts.
//! 3. One refresh per SSO session at a time, one fetch per role, whatever the number of callers; a caller that leaves
//!    cancels nothing; every waiter is answered exactly once.
//! 4. A file that others own is never torn by us, never loses keys that we do not know, and never counts as a logout
//!    because it was torn by someone else.
//! 5. A refresh token that AWS refused is never sent again; a rotated one is stored before anything else happens.
//! 6. No secret in a log, an error, argv, the environment of another process, or a file outside the AWS cache folder;
//!    secrets are wiped.
//! 7. A profile of one world (config files, cache folder) is never answered from another's.
//! 8. Without a person at a terminal browser openings are bounded, whatever fails; no failure of the network counts as the
//!    end of a session, and a probe sends no secret to AWS and nothing after a certificate that it refuses.
//! 9. Nothing sleeps past its deadline unnoticed: with anything kept, the loop looks at both clocks at least every
//!    30 s; no subtraction of times can panic, no accept error ends the daemon.
//!
//! ## What it deliberately does not do
//!
//! It assumes no roles yet (the broker's chains are ready for it), keeps no credential on disk but the SSO token that the
//! AWS tools share, writes no settings of others but by `agentctl setup`, has no switch that weakens TLS, and retries nothing below the broker, but for one
//! repeat of a CreateToken whose answer was lost.

pub mod api;
pub mod aws;
pub mod cli;
pub mod core;
pub mod daemon;
pub mod files;
pub mod ipc;
pub mod net;
pub mod platform;
