//! The server itself: accepts, routes, strikes with faults, keeps the book of calls.
//!
//! It runs on a thread of its own. A second socket, bound and never listening, holds its port: while the server is down
//! connections are refused and nobody else takes the port.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, to_bytes};
use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::calls::{Call, Operation};
use super::faults::{self, Effect, Fault};
use super::state::State;
use super::wire::{Answer, Request};
use super::{bedrock, login, oidc, portal, sigv4, sts};
use crate::support::clock;

/// What the owner tells the server; each is acknowledged by a message.
pub(super) enum Command {
    Stop(std::sync::mpsc::Sender<()>),
    Start(std::sync::mpsc::Sender<()>),
}

/// The book, shared with the owner.
pub(super) type Shared = Arc<Mutex<State>>;

/// Locks the book; a panic elsewhere does not hide what it holds.
pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket that is bound, shares its port with others of its kind, and refuses connections until it listens.
pub(super) fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves on the port that `holder` holds until the owner drops its end of `commands`.
pub(super) async fn run(
    holder: TcpSocket,
    shared: Shared,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let address = holder.local_addr()?;
    let listen = || reserve(address)?.listen(1024);
    let mut listener = listen()?;
    loop {
        let Some(Command::Stop(stopped)) = serve(&listener, &shared, &mut commands).await else { return Ok(()) };
        drop(listener);
        let _ = stopped.send(());
        let started = loop {
            match commands.recv().await {
                Some(Command::Start(started)) => break started,
                Some(Command::Stop(stopped)) => drop(stopped.send(())),
                None => return Ok(()),
            }
        };
        listener = listen()?;
        let _ = started.send(());
    }
}

/// Accepts until told to stop, then drops every connection.
async fn serve(
    listener: &TcpListener,
    shared: &Shared,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) -> Option<Command> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(connection(stream, Arc::clone(shared)));
            },
            Some(_) = connections.join_next() => {}
            command = commands.recv() => match command {
                Some(Command::Start(started)) => drop(started.send(())),
                end => {
                    connections.shutdown().await;
                    return end;
                }
            },
        }
    }
}

/// How a fault ends a connection from below.
enum Abort {
    Reset,
    /// These bytes, then the end.
    Raw(Vec<u8>),
}

/// One connection, kept alive for as long as the client likes and no fault ends it.
async fn connection(stream: TcpStream, shared: Shared) {
    let _ = stream.set_nodelay(true);
    let (abort, mut aborted) = mpsc::unbounded_channel();
    let service = service_fn(move |request| respond(request, Arc::clone(&shared), abort.clone()));
    let mut http = http1::Builder::new();
    let mut connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let abort = tokio::select! {
        _ = &mut connection => return,
        Some(abort) = aborted.recv() => abort,
    };
    let mut stream = connection.into_parts().io.into_inner();
    match abort {
        Abort::Reset => drop(stream.set_zero_linger()),
        Abort::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// One request: noted, struck by a fault or answered, noted again.
async fn respond(
    request: hyper::Request<Incoming>,
    shared: Shared,
    abort: mpsc::UnboundedSender<Abort>,
) -> Result<Response<Body>, hyper::Error> {
    let mut request = read(request).await?;
    let operation = route(&request);
    let entry = Entry::begin(&shared, operation, &request);
    let fault = faults::take(&mut lock(&shared).faults, operation);
    let answer = match fault {
        None => entry.work(&request),
        Some(fault) => {
            tokio::time::sleep(fault.delay).await;
            match strike(fault, &entry, &mut request) {
                Ok(answer) => answer,
                Err(end) => {
                    if let Some(abort_now) = end {
                        let _ = abort.send(abort_now);
                    }
                    return pending().await;
                }
            }
        }
    };
    let date = lock(&shared).now();
    entry.end(answer.status);
    Ok(http_response(answer, date))
}

/// What a fault makes of a request: an answer, or `Err` with the way in which none comes.
fn strike(fault: Fault, entry: &Entry, request: &mut Request) -> Result<Answer, Option<Abort>> {
    let done = fault.after_work.then(|| entry.work(request));
    let truth = |request: &Request| done.clone().unwrap_or_else(|| entry.work(request));
    match fault.effect {
        Effect::Slow => Ok(truth(request)),
        Effect::Answer(answer) => Ok(answer),
        Effect::Hang => Err(None),
        Effect::Reset => Err(Some(Abort::Reset)),
        Effect::TruncatedJson => {
            let mut answer = truth(request);
            answer.body.truncate(answer.body.len() / 2);
            Ok(answer)
        }
        Effect::CutBody => {
            let answer = truth(request);
            let mut raw = format!("HTTP/1.1 {} OK\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
            answer.headers.iter().for_each(|(name, value)| raw.push_str(&format!("{name}: {value}\r\n")));
            let mut raw = (raw + "\r\n").into_bytes();
            raw.extend_from_slice(&answer.body[..answer.body.len() / 2]);
            Err(Some(Abort::Raw(raw)))
        }
        Effect::StripBearer => {
            request.headers.remove("x-amz-sso_bearer_token");
            Ok(truth(request))
        }
    }
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, hyper::Error> {
    let (head, body) = request.into_parts();
    // A body that never ends is the client's mistake: what is there counts as empty.
    let body = to_bytes(Body::new(body), 64 << 20).await.unwrap_or_default();
    Ok(Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    })
}

fn route(request: &Request) -> Operation {
    let path = request.path.trim_end_matches('/');
    let (get, post) = (request.method == Method::GET, request.method == Method::POST);
    match path {
        "/token" if post => Operation::CreateToken,
        "/client/register" if post => Operation::RegisterClient,
        "/device_authorization" if post => Operation::StartDeviceAuthorization,
        "/authorize" if get => Operation::Authorize,
        "/device" | "/device/approve" | "/device/deny" if get => Operation::DevicePage,
        "/federation/credentials" if get => Operation::GetRoleCredentials,
        "/assignment/accounts" if get => Operation::ListAccounts,
        "/assignment/roles" if get => Operation::ListAccountRoles,
        "/logout" if post => Operation::Logout,
        "/inference-profiles" if get => Operation::ListInferenceProfiles,
        "" if sts::is_get_caller_identity(request) => Operation::GetCallerIdentity,
        "/use-case-for-model-access" if !post => Operation::GetUseCase,
        _ if post && path.starts_with("/model/") && path.ends_with("/invoke") => Operation::InvokeModel,
        _ if post && path.starts_with("/model/") && path.ends_with("/invoke-with-response-stream") => {
            Operation::InvokeModelStream
        }
        _ => Operation::Unknown,
    }
}

/// This request's line in the book of calls.
struct Entry {
    shared: Shared,
    operation: Operation,
    at: usize,
}

impl Entry {
    fn begin(shared: &Shared, operation: Operation, request: &Request) -> Self {
        let mut state = lock(shared);
        let target = match &*request.query {
            "" => format!("{} {}", request.method, request.path),
            query => format!("{} {}?{query}", request.method, request.path),
        };
        let mut call = Call::new(clock::now(), operation, target, request.header("user-agent").unwrap_or_default());
        call.claimed_key = sigv4::claimed_key(request);
        call.region = sigv4::region(request);
        if operation == Operation::CreateToken {
            call.refresh_token = request.json()["refreshToken"].as_str().map(str::to_owned);
        }
        state.calls.push(call);
        let under_way = state.calls.iter().filter(|c| c.operation == operation && !c.finished).count();
        let most = state.most_at_once.entry(operation).or_default();
        *most = under_way.max(*most);
        Self { shared: Arc::clone(shared), operation, at: state.calls.len() - 1 }
    }

    /// Does what AWS would do.
    fn work(&self, request: &Request) -> Answer {
        let mut state = lock(&self.shared);
        let state = &mut *state;
        let mut call = state.calls[self.at].clone();
        let answer = match self.operation {
            Operation::CreateToken => oidc::create_token(state, request, &mut call),
            Operation::RegisterClient => login::register(state, request),
            Operation::StartDeviceAuthorization => {
                let url = format!("http://{}", request.header("host").unwrap_or_default());
                login::start_device(state, request, &url)
            }
            Operation::Authorize => login::authorize(state, request),
            Operation::DevicePage => login::device_page(state, request),
            Operation::GetRoleCredentials => portal::role_credentials(state, request, &mut call),
            Operation::ListAccounts => portal::accounts(state, request, &mut call),
            Operation::ListAccountRoles => portal::roles(state, request, &mut call),
            Operation::Logout => portal::logout(state, request, &mut call),
            Operation::GetCallerIdentity => sts::caller_identity(state, request, &mut call),
            Operation::ListInferenceProfiles => bedrock::inference_profiles(state, request, &mut call),
            Operation::GetUseCase => bedrock::use_case(state, request, &mut call),
            Operation::InvokeModel => bedrock::invoke(state, request, &mut call),
            Operation::InvokeModelStream => bedrock::invoke_stream(state, request, &mut call),
            Operation::Unknown => super::aws_json_error(404, "UnknownOperationException", &json!({})),
        };
        state.calls[self.at] = call;
        super::marked(answer)
    }

    fn end(&self, status: u16) {
        lock(&self.shared).calls[self.at].status = Some(status);
    }
}

impl Drop for Entry {
    /// Also when the client has gone before its answer.
    fn drop(&mut self) {
        lock(&self.shared).calls[self.at].finished = true;
    }
}

fn http_response(answer: Answer, date: DateTime<Utc>) -> Response<Body> {
    let mut response =
        Response::builder().status(answer.status).header("date", date.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap_or_default()
}
