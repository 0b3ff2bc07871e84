//! What the proxy does with a connection, as data.

/// What the proxy does with a connection.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    /// Opens TLS with a certificate of its own for the asked host, and relays.
    #[default]
    Inspect,
    /// The same with a certificate that is wrong.
    Leaf(Leaf),
    /// Answers CONNECT with 407 unless its Proxy-Authorization is the one that is accepted; then as [`Self::Inspect`].
    AskCredentials {
        /// The Proxy-Authenticate headers: `Basic realm="corp"`, `NTLM`, `Negotiate`.
        schemes: Vec<String>,
        /// The whole value of the Proxy-Authorization that opens; `None`: nothing does.
        accepts: Option<String>,
    },
    /// Answers CONNECT with this status and a small page.
    Refuse(u16),
    /// Resets the connection at this stage.
    Reset(Stage),
    /// Reads on and says nothing more from this stage on, until the client or the proxy goes.
    BlackHole(Stage),
    /// Relays; the answer's bytes, its head too, come one by one, one per 300 ms.
    Drip,
    /// Opens TLS, reads the request and answers it with these bytes, a whole HTTP answer; the upstream sees nothing.
    Answer(Vec<u8>),
    /// Relays without these headers: names, or beginnings of names that end in `*` (`x-amzn-*`).
    Strip {
        /// Headers that the upstream does not see.
        request: Vec<String>,
        /// Headers that the client does not see.
        response: Vec<String>,
    },
    /// Relays; the body ends after half of its bytes, and the content-length says so.
    Cut,
    /// Relays; the JSON of the body is damaged: each `"` after the first is a `'`.
    Mangle,
}

impl Behaviour {
    /// An HTML page in place of every answer, titled "Sign in to the network".
    pub fn page(status: u16) -> Self {
        Self::Answer(page(status, &[], "Sign in to the network"))
    }

    /// A redirection (302) in place of every answer.
    pub fn redirect(to: &str) -> Self {
        Self::Answer(page(302, &[format!("location: {to}")], "Found"))
    }

    /// What a captive network answers: 511 Network Authentication Required (RFC 6585).
    pub fn network_sign_in() -> Self {
        Self::page(511)
    }
}

/// What is wrong with a certificate; but for the last two the proxy's authority has signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// For another host.
    OtherHost,
    /// Expired years ago.
    Expired,
    /// Valid in some years.
    NotYetValid,
    /// Signed by its own key.
    SelfSigned,
    /// The authority's own certificate, in place of a server's.
    AuthorityItself,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// At once, before anything is read.
    Accept,
    /// The CONNECT is read.
    Connect,
    /// The CONNECT is answered, the ClientHello is read.
    Handshake,
    /// TLS is open, the request is read; the upstream sees nothing of it.
    Request,
    /// The answer's head and half of its body are sent.
    Answer,
}

/// A small page as a whole HTTP answer.
pub(super) fn page(status: u16, headers: &[String], title: &str) -> Vec<u8> {
    let body = format!("<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n");
    let mut head = format!("HTTP/1.1 {status} {}\r\ncontent-type: text/html\r\n", reason(status));
    headers.iter().for_each(|header| head.push_str(&format!("{header}\r\n")));
    format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        511 => "Network Authentication Required",
        _ => "Answer",
    }
}
