//! One connection: CONNECT, handshake, request, the upstream's answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustls::{ServerConnection, Stream};

use super::behaviour::{Behaviour, Stage, page};
use super::message::{self, Message};
use super::{PATIENCE, Shared, tls};

/// Between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(300);
/// How often it is looked whether a client still waits.
const GLANCE: Duration = Duration::from_millis(200);

/// How a connection ends before all is said.
enum End {
    /// As the network says, or the client: it may hang up at any time.
    Close,
    Reset,
    Silence,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Close
    }
}

/// Serves a connection to its end.
pub(super) fn serve(client: TcpStream, at: usize, shared: &Shared) {
    let end = Connection { client: &client, at, shared, behaviour: shared.behaviour("") }.run();
    if matches!(end, Err(End::Silence)) {
        swallow(&client, shared);
    } else if end.is_ok() {
        let _ = client.shutdown(Shutdown::Write);
        let _ = io::copy(&mut &client, &mut io::sink()); // a close with bytes unread would take the answer with it
    }
    shared.release(at);
    if matches!(end, Err(End::Reset)) {
        reset(client);
    } else {
        drop(client);
    }
    shared.note(at, |seen| seen.over = true);
}

/// A real RST: a socket that does not linger drops what is unsent and says so.
fn reset(client: TcpStream) {
    let socket = tokio::net::TcpSocket::from_std_stream(client);
    let _ = socket.set_zero_linger();
}

/// Reads until the client or the proxy has gone.
fn swallow(mut client: &TcpStream, shared: &Shared) {
    loop {
        match client.read(&mut [0; 4096]) {
            Ok(1..) => {}
            Err(e) if is_timeout(&e) && !shared.stopped() => {}
            _ => return,
        }
    }
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

struct Connection<'a> {
    client: &'a TcpStream,
    at: usize,
    shared: &'a Shared,
    behaviour: Behaviour,
}

impl Connection<'_> {
    fn run(mut self) -> Result<(), End> {
        self.pass(Stage::Accept)?;
        let connect = Message::read_head(self.client)?;
        let target = connect.start.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let Some(target) = target else { return self.say(&page(405, &[], "Only CONNECT")) };
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host).trim_matches(['[', ']']);
        let authorization = connect.header("proxy-authorization");
        self.shared.note(self.at, |seen| {
            target.clone_into(&mut seen.target);
            seen.proxy_authorization = authorization.map(str::to_owned);
        });
        self.behaviour = self.shared.behaviour(host);
        self.pass(Stage::Connect)?;
        if let Some(refusal) = self.refusal(authorization) {
            return self.say(&refusal);
        }
        self.say(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let mut tls = self.handshake(host)?;
        self.exchange(&mut tls)
    }

    /// Ends the connection if that is to happen at this stage or was to happen before.
    fn pass(&self, reached: Stage) -> Result<(), End> {
        match &self.behaviour {
            Behaviour::Reset(stage) if *stage <= reached => Err(End::Reset),
            Behaviour::BlackHole(stage) if *stage <= reached => Err(End::Silence),
            _ => Ok(()),
        }
    }

    fn say(&self, bytes: &[u8]) -> Result<(), End> {
        let mut client = self.client;
        Ok(client.write_all(bytes)?)
    }

    fn refusal(&self, authorization: Option<&str>) -> Option<Vec<u8>> {
        match &self.behaviour {
            Behaviour::Refuse(status) => Some(page(*status, &[], "Blocked by policy")),
            Behaviour::AskCredentials { schemes, accepts }
                if accepts.is_none() || authorization != accepts.as_deref() =>
            {
                let schemes: Vec<String> = schemes.iter().map(|s| format!("proxy-authenticate: {s}")).collect();
                Some(page(407, &schemes, "Proxy sign-in"))
            }
            _ => None,
        }
    }

    fn handshake(&self, host: &str) -> Result<ServerConnection, End> {
        if self.client.peek(&mut [0])? == 0 {
            return Err(End::Close);
        }
        self.shared.note(self.at, |seen| seen.handshake = Some(false));
        if matches!(self.behaviour, Behaviour::Reset(Stage::Handshake) | Behaviour::BlackHole(Stage::Handshake)) {
            tls::read_client_hello(self.client)?;
        }
        self.pass(Stage::Handshake)?;
        let wrong = if let Behaviour::Leaf(wrong) = self.behaviour { Some(wrong) } else { None };
        let server = self.shared.authority.server(host, wrong)?;
        let heard = |bytes| self.shared.note(self.at, |seen| seen.after_failure = bytes);
        let tls = tls::handshake(self.client, server, heard)?;
        self.shared.note(self.at, |seen| (seen.handshake, seen.after_failure) = (Some(true), 0));
        Ok(tls)
    }

    fn exchange(&self, tls: &mut ServerConnection) -> Result<(), End> {
        let mut client = self.client;
        let request = Message::read_request(Stream::new(tls, &mut client))?;
        self.shared.note(self.at, |seen| seen.requests.push(request.head()));
        self.pass(Stage::Request)?;
        let answer = self.answer(tls, request)?;
        let mut stream = Stream::new(tls, &mut client);
        match &self.behaviour {
            Behaviour::Reset(_) | Behaviour::BlackHole(_) => {
                stream.write_all(message::half(&answer))?;
                stream.flush()?;
                self.pass(Stage::Answer)?;
            }
            Behaviour::Drip => drip(&mut stream, &answer)?,
            _ => stream.write_all(&answer)?,
        }
        stream.flush()?;
        tls.send_close_notify();
        tls.write_tls(&mut client)?;
        Ok(())
    }

    /// The whole answer to a request.
    fn answer(&self, tls: &mut ServerConnection, mut request: Message) -> Result<Vec<u8>, End> {
        if let Behaviour::Answer(bytes) = &self.behaviour {
            return Ok(bytes.clone());
        }
        if let Behaviour::Strip { request: headers, .. } = &self.behaviour {
            headers.iter().for_each(|pattern| request.remove(pattern));
        }
        request.close();
        let came = self.ask_upstream(tls, &request.bytes())?;
        let Ok(mut answer) = Message::answer(&came) else { return Ok(page(502, &[], "No answer")) };
        match &self.behaviour {
            Behaviour::Strip { response, .. } => response.iter().for_each(|pattern| answer.remove(pattern)),
            Behaviour::Cut => answer.cut(),
            Behaviour::Mangle => answer.mangle(),
            _ => {}
        }
        answer.close();
        Ok(answer.bytes())
    }

    /// All that the upstream says to a request, nothing if it is not there; ends with the client if that goes first.
    fn ask_upstream(&self, tls: &mut ServerConnection, request: &[u8]) -> Result<Vec<u8>, End> {
        let mut came = Vec::new();
        let Ok(mut upstream) = TcpStream::connect_timeout(&self.shared.upstream, PATIENCE) else { return Ok(came) };
        upstream.set_read_timeout(Some(GLANCE))?;
        if upstream.write_all(request).is_err() {
            return Ok(came);
        }
        let mut buffer = [0; 16 << 10];
        let mut patience = PATIENCE;
        loop {
            match upstream.read(&mut buffer) {
                Ok(n @ 1..) => came.extend_from_slice(&buffer[..n]),
                Err(e) if is_timeout(&e) && !patience.is_zero() => {
                    patience = patience.saturating_sub(GLANCE);
                    if tls::has_gone(tls, self.client) {
                        return Err(End::Close);
                    }
                }
                _ => return Ok(came),
            }
        }
    }
}

fn drip(stream: &mut impl Write, answer: &[u8]) -> io::Result<()> {
    for byte in answer {
        stream.write_all(&[*byte])?;
        stream.flush()?;
        std::thread::sleep(DRIP);
    }
    Ok(())
}
