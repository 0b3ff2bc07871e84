//! The connections of the local socket, served within bounds: how many, how long each may keep silent, how long its
//! request may take to arrive, and what happens to all of them at a clean end.
//!
//! A connection takes a seat. When all are taken and one more arrives, the oldest connection *without a complete
//! request* loses its seat; where every connection is being answered, the newcomer waits. So clients that connect and
//! say nothing keep nobody out. Every client gives the agent 2 s to answer at all, from its `connect` on, and a thousand
//! callers of one slow fetch are not to be held as long as a few are: while a newcomer waits, requests that have only
//! been waiting for [`HELD_AT_LEAST`] are answered "ask again" ([`Seats::make_way`]), so that a whole backlog is through
//! in time.
//!
//! At a clean end ([`Connections::finish`]) whoever has connected is still answered; a connection that says nothing more
//! is closed.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::SERVER;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::audit::Peer;
use super::http::refused;
use crate::api::v1;
use crate::ipc::peer::PeerIdentity;
use crate::platform::process;

/// Connections served at a time, where the process may have as many descriptors; more wait in the socket's backlog.
const MOST_SEATS: u64 = 1024;
const FEWEST_SEATS: u64 = 16;
/// Descriptors for all else: files, the event loop, calls to AWS.
const OTHER_DESCRIPTORS: u64 = 128;
/// A new connection keeps its seat for this long whatever it says: on a busy machine its client may not get to write its
/// request at once.
const SETTLED: Duration = Duration::from_millis(200);
/// A new connection must say something by then.
const FIRST_BYTE: Duration = Duration::from_secs(2);
/// A request's head must be there by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// And its body, counted from the head.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// A connection takes no new request after this long, and is cut when its last one takes this long again: a client that
/// does not read its answer holds a place no longer.
const LIFE: Duration = Duration::from_secs(60);
/// Nobody makes way earlier: as often as a client asks again, and a pace at which answering "ask again" costs little.
const HELD_AT_LEAST: Duration = Duration::from_millis(200);
/// At a clean end, who has just connected gets this long to ask.
const LAST_WORD: Duration = Duration::from_millis(100);

/// All connections of one socket. Clones share the seats.
#[derive(Clone)]
pub struct Connections {
    router: TowerToHyperService<axum::Router>,
    seats: Arc<Seats>,
}

impl Connections {
    /// Nobody is connected yet; requests will be answered by `router`.
    #[must_use]
    pub fn new(router: axum::Router, seats: Arc<Seats>) -> Self {
        Self { router: TowerToHyperService::new(router), seats }
    }

    /// Returns when one more can be served: a seat is free, or somebody has one without asking anything.
    pub async fn room(&self) {
        self.seats.wanted.send_replace(false);
        while !self.seats.taken().has_room(self.seats.places) {
            self.seats.wanted.send_replace(true);
            self.seats.freed.notified().await;
        }
    }

    /// Serves a connection to its end.
    pub fn conversation<S>(&self, stream: S, peer: PeerIdentity) -> impl Future<Output = ()> + Send + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let seat = self.seats.take();
        let (router, ending) = (self.router.clone(), self.seats.ending.subscribe());
        async move { converse(stream, peer, router, &seat.seat, ending).await }
    }

    /// Serves a connection in a task of its own.
    pub fn serve<S>(&self, stream: S, peer: PeerIdentity)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(self.conversation(stream, peer));
    }

    /// Lets every conversation come to its end, and returns when there is none left.
    pub async fn finish(&self) {
        self.seats.ending.send_replace(true);
        while !self.seats.taken().is_empty() {
            self.seats.freed.notified().await;
        }
    }
}

/// Who has a seat, in the order of arrival.
#[derive(Debug)]
pub struct Seats {
    /// How many there are.
    places: usize,
    taken: Mutex<Taken>,
    /// Wakes the one who waits for a seat, or for all of them to be free.
    freed: Notify,
    /// All seats are taken by requests, and one more wants in.
    wanted: watch::Sender<bool>,
    ending: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    seats: BTreeMap<u64, Arc<Seat>>,
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    fn has_room(&self, places: usize) -> bool {
        self.seats.len() < places || self.silent().is_some()
    }

    /// The oldest connection that asks nothing.
    fn silent(&self) -> Option<u64> {
        self.seats.iter().find(|(_, seat)| seat.is_silent()).map(|(number, _)| *number)
    }
}

/// What is known of one connection.
#[derive(Debug)]
struct Seat {
    /// Where it stands among the others.
    seats: Arc<Seats>,
    /// It was listened to long enough to know whether it came with a request.
    settled: AtomicBool,
    /// A complete request is being answered.
    answering: AtomicBool,
    /// Fires when `answering` begins.
    asked: Notify,
    /// Fires when somebody else needs the seat.
    lost: Notify,
}

impl Default for Seats {
    fn default() -> Self {
        Self::within(MOST_SEATS + OTHER_DESCRIPTORS)
    }
}

impl Seats {
    /// As many as this process can have: it asks for the descriptors.
    #[must_use]
    pub fn of_process() -> Self {
        Self::within(process::descriptors(MOST_SEATS + OTHER_DESCRIPTORS))
    }

    fn within(descriptors: u64) -> Self {
        let places = descriptors.saturating_sub(OTHER_DESCRIPTORS).clamp(FEWEST_SEATS, MOST_SEATS);
        Self {
            places: usize::try_from(places).unwrap_or(usize::MAX),
            taken: Mutex::default(),
            freed: Notify::new(),
            wanted: watch::Sender::default(),
            ending: watch::Sender::default(),
        }
    }

    /// Ends when a request that has been waiting since this was called is to make way for others.
    pub async fn make_way(&self) {
        sleep(HELD_AT_LEAST).await;
        // The sender is ours, so it cannot be gone.
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await;
    }

    /// A free seat, else that of the oldest connection that asks nothing, else one too many: who waits for
    /// [`Connections::room`] gets there by a hair at most.
    fn take(self: &Arc<Self>) -> Taking {
        let mut taken = self.taken();
        if taken.seats.len() >= self.places
            && let Some(seat) = taken.silent().and_then(|number| taken.seats.remove(&number))
        {
            seat.lost.notify_one();
        }
        let (number, seat) = (taken.next, Arc::new(Seat::new(Arc::clone(self))));
        taken.next += 1;
        taken.seats.insert(number, Arc::clone(&seat));
        Taking { number, seat }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat that is given back when its connection ends, however it ends.
struct Taking {
    number: u64,
    seat: Arc<Seat>,
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.seat.seats.taken().seats.remove(&self.number);
        self.seat.seats.freed.notify_one();
    }
}

/// A conversation. Until its client says something it costs next to nothing: a house full of silent ones is small.
async fn converse<S>(
    mut stream: S,
    peer: PeerIdentity,
    router: TowerToHyperService<axum::Router>,
    seat: &Arc<Seat>,
    mut ending: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut settling = pin!(settle(seat));
    let first = tokio::select! {
        // First: what has arrived is read before anything is made of its absence.
        biased;
        first = stream.read_u8() => first.ok(),
        () = seat.lost.notified() => None,
        () = settling.as_mut() => None,
        () = sleep(FIRST_BYTE) => None,
        () = last_word(&mut ending) => None,
    };
    let Some(first) = first else { return debug!(pid = peer.pid, "connection without a word") };
    let pid = peer.pid;
    let talk = Box::pin(talk(Begun { first: Some(first), stream }, peer, router, seat, ending));
    let served = tokio::select! {
        served = talk => served,
        () = settling => None,
    };
    match served {
        Some(Ok(())) => {}
        Some(Err(e)) => debug!(pid, error = %e, "connection ended early"),
        None => debug!(pid, "connection cut"),
    }
}

/// Serves a client that has begun to speak. `None`: it is cut.
async fn talk<S>(
    stream: Begun<S>,
    peer: PeerIdentity,
    router: TowerToHyperService<axum::Router>,
    seat: &Arc<Seat>,
    mut ending: watch::Receiver<bool>,
) -> Option<hyper::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (answering, asker) = (Arc::clone(seat), Arc::new(Peer::new(peer)));
    let service = hyper::service::service_fn(move |request| {
        answer(request, Arc::clone(&asker), router.clone(), Arc::clone(&answering))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(v1::MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        served = connection.as_mut() => Some(served),
        () = seat.lost.notified() => None,
        () = sleep(LIFE) => last_answer(connection.as_mut()).await,
        () = begun(&mut ending) => {
            if !seat.answering.load(Ordering::Relaxed) {
                // It may have asked a moment ago: its request must be read to know.
                tokio::select! {
                    served = connection.as_mut() => return Some(served),
                    () = seat.request() => {}
                    () = sleep(LAST_WORD) => {}
                }
            }
            last_answer(connection.as_mut()).await
        }
    }
}

type Conversation<S, F> = hyper::server::conn::http1::Connection<TokioIo<Begun<S>>, F>;

/// Ends a connection after the answer on its way, if any. `None`: its client does not take it.
async fn last_answer<S, F>(mut connection: Pin<&mut Conversation<S, F>>) -> Option<hyper::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: hyper::service::HttpService<Incoming, ResBody = Body>,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    timeout(LIFE, connection).await.ok()
}

/// Ends when the clean end begins.
async fn begun(ending: &mut watch::Receiver<bool>) {
    // The sender lives as long as any connection.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Ends when the clean end has begun and whoever has just connected had the time to ask.
async fn last_word(ending: &mut watch::Receiver<bool>) {
    begun(ending).await;
    sleep(LAST_WORD).await;
}

/// From a while after its arrival on, a connection that asks nothing may lose its seat. Never ends.
async fn settle(seat: &Seat) {
    sleep(SETTLED).await;
    seat.settled.store(true, Ordering::Relaxed);
    seat.seats.freed.notify_one();
    std::future::pending().await
}

/// One request: read whole, then answered by the router, which finds the peer among its extensions.
async fn answer(
    request: Request<Incoming>,
    peer: Arc<Peer>,
    router: TowerToHyperService<axum::Router>,
    seat: Arc<Seat>,
) -> Result<Response, std::convert::Infallible> {
    let (mut head, body) = request.into_parts();
    head.extensions.insert(peer);
    let mut response = match timeout(BODY_DEADLINE, Limited::new(body, v1::MAX_BODY).collect()).await {
        Ok(Ok(body)) => {
            let answering = seat.answer();
            let request = Request::from_parts(head, Body::from(body.to_bytes()));
            let Ok(response) = router.call(request).await;
            // Being answered goes on until the last byte of the answer is taken.
            response.map(|body| Body::new(body.map_err(move |e| answering.keep(e))))
        }
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB")
        }
        Ok(Err(_)) => refused(StatusCode::BAD_REQUEST, "the body is broken off"),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    response.headers_mut().insert(SERVER, HeaderValue::from_static(v1::SERVER));
    Ok(response)
}

impl Seat {
    fn new(seats: Arc<Seats>) -> Self {
        let [settled, answering] = [false; 2].map(AtomicBool::new);
        Self { seats, settled, answering, asked: Notify::new(), lost: Notify::new() }
    }

    fn is_silent(&self) -> bool {
        self.settled.load(Ordering::Relaxed) && !self.answering.load(Ordering::Relaxed)
    }

    /// Returns when a complete request is being answered.
    async fn request(&self) {
        while !self.answering.load(Ordering::Relaxed) {
            self.asked.notified().await;
        }
    }

    fn answer(self: &Arc<Self>) -> Answering {
        self.answering.store(true, Ordering::Relaxed);
        self.asked.notify_one();
        Answering(Arc::clone(self))
    }
}

/// While it lives, a request is being answered.
struct Answering(Arc<Seat>);

impl Answering {
    fn keep<T>(&self, value: T) -> T {
        value
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.store(false, Ordering::Relaxed);
        self.0.seats.freed.notify_one();
    }
}

/// A stream whose first byte was read already.
struct Begun<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let Some(first) = this.first.take_if(|_| buffer.remaining() > 0) else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        buffer.put_slice(&[first]);
        // The rest is mostly there too. What goes wrong with it will go wrong again.
        let _ = Pin::new(&mut this.stream).poll_read(cx, buffer);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
