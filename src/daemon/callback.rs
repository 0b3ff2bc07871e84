//! Where the browser comes back to (RFC 8252 section 7.3): a listener on 127.0.0.1 and a random port, for one answer.
//!
//! Anything on this machine, and any page in its browser, can send requests here. Only one that names the listener by its
//! address (no DNS rebinding), comes from no page of its own (no `Origin`), and brings the random state counts; all others
//! get an error, and the login goes on. The first that counts closes the listener.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::aws::sso_login::CALLBACK_PATH;
use crate::core::secret::Secret;

/// A connection to the listener has this long.
const CONVERSATION: Duration = Duration::from_secs(5);
/// Connections at a time; a browser opens two or three.
const MOST: usize = 16;

/// What the browser brought.
#[derive(Debug)]
pub enum Returned {
    /// An authorization code.
    Code(Secret),
    /// The person said no.
    Denied,
    /// AWS's page ended with this error (RFC 6749 section 4.1.2.1).
    Failed(String),
}

/// The listener.
pub struct Callback {
    listener: TcpListener,
    expected: Arc<Expected>,
}

struct Expected {
    host: String,
    state: Secret,
}

#[derive(Deserialize)]
struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

impl Callback {
    /// Listens. Only an answer with `state` counts.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn listen(state: Secret) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let host = listener.local_addr()?.to_string();
        Ok(Self { listener, expected: Arc::new(Expected { host, state }) })
    }

    /// What AWS is told to send the browser to.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        format!("http://{}{CALLBACK_PATH}", self.expected.host)
    }

    /// Waits for the one answer that counts.
    pub async fn returned(self) -> Returned {
        let (found, mut answers) = mpsc::channel(1);
        let mut conversations = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                answer = answers.recv() => if let Some(returned) = answer {
                    drop(self.listener);
                    // The page is still on its way to the browser.
                    let _ = tokio::time::timeout(CONVERSATION, async { while conversations.join_next().await.is_some() {} }).await;
                    return returned;
                },
                accepted = self.listener.accept(), if conversations.len() < MOST => match accepted {
                    Ok((stream, _)) => {
                        conversations.spawn(converse(stream, Arc::clone(&self.expected), found.clone()));
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                Some(_) = conversations.join_next() => {}
            }
        }
    }
}

async fn converse(stream: TcpStream, expected: Arc<Expected>, found: mpsc::Sender<Returned>) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let page = match judge(&request, &expected) {
            Ok(returned) => {
                let page = page_of(&returned);
                // The first one counts.
                match found.try_send(returned) {
                    Ok(()) => page,
                    Err(_) => (StatusCode::GONE, "This login is over."),
                }
            }
            Err(refused) => refused,
        };
        async move { Ok::<_, Infallible>(answer(page)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONVERSATION)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A browser that goes away is not waited for.
    let _ = tokio::time::timeout(CONVERSATION, connection).await;
}

type Page = (StatusCode, &'static str);

fn judge<B>(request: &Request<B>, expected: &Expected) -> Result<Returned, Page> {
    let headers: &HeaderMap = request.headers();
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    if host != Some(expected.host.as_str()) || headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "This address is for AWS's answer to agentctl only."));
    }
    if request.method() != Method::GET || request.uri().path() != CALLBACK_PATH {
        return Err((StatusCode::NOT_FOUND, "There is nothing here."));
    }
    let Ok(Query(Answer { state, code, error })) = Query::try_from_uri(request.uri()) else {
        return Err((StatusCode::BAD_REQUEST, "This answer cannot be read."));
    };
    if state.map(Secret::new).as_ref() != Some(&expected.state) {
        return Err((StatusCode::BAD_REQUEST, "This answer belongs to another login. Start again from your terminal."));
    }
    match (code.filter(|c| !c.is_empty()), error) {
        (_, Some(error)) if error == "access_denied" => Ok(Returned::Denied),
        (_, Some(error)) => Ok(Returned::Failed(error)),
        (Some(code), None) => Ok(Returned::Code(Secret::new(code))),
        (None, None) => Err((StatusCode::BAD_REQUEST, "This answer has no code.")),
    }
}

const fn page_of(returned: &Returned) -> Page {
    let text = match returned {
        Returned::Code(_) => "AWS has answered. You can close this tab; agentctl says in your terminal how it went.",
        Returned::Denied => "You denied the login. You can close this tab.",
        Returned::Failed(_) => "The login did not work; agentctl says why in your terminal. You can close this tab.",
    };
    (StatusCode::OK, text)
}

fn answer((status, text): Page) -> Response<String> {
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>agentctl login</title>\
         <body style=\"font:1.2em sans-serif;margin:4em\"><p>{text}</p></body></html>\n"
    );
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // The code stands in this page's address: no other page is to learn it.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(uri: &str, headers: &[(&str, &str)]) -> Result<Returned, StatusCode> {
        let expected = Expected { host: "127.0.0.1:5000".into(), state: Secret::new("state-of-this-login") };
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        judge(&request.body(()).unwrap(), &expected).map_err(|(status, _)| status)
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:5000");

    #[test]
    fn only_the_browser_that_comes_back_from_aws_counts() {
        let good = "/oauth/callback?code=c&state=state-of-this-login";
        assert!(matches!(judged(good, &[HERE]), Ok(Returned::Code(code)) if code.expose() == "c"));
        for (uri, headers, status) in [
            (good, vec![("host", "attacker.example:5000")], 403),
            (good, vec![], 403),
            (good, vec![HERE, ("origin", "https://attacker.example")], 403),
            ("/?code=c&state=state-of-this-login", vec![HERE], 404),
            ("/oauth/callback?code=c&state=another", vec![HERE], 400),
            ("/oauth/callback?code=c", vec![HERE], 400),
            ("/oauth/callback?state=state-of-this-login", vec![HERE], 400),
        ] {
            assert_eq!(judged(uri, &headers).unwrap_err().as_u16(), status, "{uri} {headers:?}");
        }
        let denied = "/oauth/callback?error=access_denied&state=state-of-this-login";
        assert!(matches!(judged(denied, &[HERE]), Ok(Returned::Denied)));
        assert!(matches!(judged(&denied.replace("access_denied", "x"), &[HERE]), Ok(Returned::Failed(_))));
    }
}
