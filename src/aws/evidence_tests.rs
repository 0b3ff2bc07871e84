//! Every error shape of the SDK, made by a real failure: the real client against a server that misbehaves.

use std::sync::atomic::Ordering;

use super::Deadlines;
use super::test_server::*;
use crate::core::classify::{Answer, BodyKind, CertificateFault, Issuer, ProxyAnswer, Signal};
use crate::core::failure::FailureClass as C;
use crate::core::time::Timestamp;

const TOKEN: &str = r#"{"accessToken":"new-access","refreshToken":"new-refresh","expiresIn":3600}"#;
const NOW: (i32, i32) = (2020, 2090);

/// CreateToken over TLS to a server with a certificate for `name`, while the test's authority is trusted or not.
async fn over_tls(name: &str, years: (i32, i32), trusted: bool) -> Result<(), Signal> {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let port = serve_tls(&authority.issue(name, years), answer("200 OK", &[], TOKEN));
    let ca = authority.write(&folder);
    let env = if trusted { vec![("AWS_CA_BUNDLE", ca.as_str())] } else { vec![] };
    let call = token(&aws(&env, Deadlines::default()), &session(Some(&format!("https://localhost:{port}")))).await;
    call.result.map(|_| ()).map_err(|evidence| {
        assert_eq!(evidence.host, "localhost");
        assert!(!evidence.outcome_unknown());
        assert_class(&evidence, C::Intercepted)
    })
}

#[tokio::test]
async fn certificates() {
    assert_eq!(over_tls("localhost", NOW, true).await, Ok(()));
    let issuer = Some(Issuer { name: AUTHORITY.to_owned(), product: None });
    let fault = |fault| Err(Signal::Certificate { fault, issuer: issuer.clone() });
    assert_eq!(over_tls("localhost", NOW, false).await, fault(CertificateFault::UnknownIssuer));
    assert_eq!(over_tls("other.example", NOW, true).await, fault(CertificateFault::NameMismatch));
    assert_eq!(over_tls("localhost", (2001, 2002), true).await, fault(CertificateFault::NotValidNow));
    assert_eq!(over_tls("localhost", (2089, 2090), true).await, fault(CertificateFault::NotValidNow));
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let port = serve_tls(&authority.itself(), answer("200 OK", &[], TOKEN));
    let aws = aws(&[("AWS_CA_BUNDLE", &authority.write(&folder))], Deadlines::default());
    let call = token(&aws, &session(Some(&format!("https://localhost:{port}")))).await;
    assert_eq!(
        assert_class(&call.result.unwrap_err(), C::Intercepted),
        fault(CertificateFault::Authority).unwrap_err()
    );
}

#[tokio::test]
async fn tls_of_other_kinds() {
    let alert = vec![0x15, 3, 3, 0, 2, 2, 0x28]; // fatal, handshake_failure
    for deed in [Deed::Blurt(alert), Deed::Blurt(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())] {
        let url = format!("https://localhost:{}", serve(deed));
        let evidence = token(&aws(&[], Deadlines::default()), &session(Some(&url))).await.result.unwrap_err();
        let signal = assert_class(&evidence, C::Intercepted);
        assert!(matches!(signal, Signal::Tls { .. }), "{signal:?}");
    }
    let url = format!("https://localhost:{}", serve(Deed::Reset));
    let evidence = token(&aws(&[], Deadlines::default()), &session(Some(&url))).await.result.unwrap_err();
    let signal = assert_class(&evidence, C::Transient);
    assert!(matches!(signal, Signal::Broken { sent: false, .. }), "{signal:?}");
}

/// A call to AWS's own address through a proxy that answers CONNECT like this.
async fn through_proxy(port: u16) -> (Signal, Option<C>) {
    let proxy = format!("http://user:hunter22@127.0.0.1:{port}");
    let aws = aws(&[("HTTPS_PROXY", &proxy)], short_deadlines());
    let evidence = token(&aws, &session(None)).await.result.unwrap_err();
    assert_eq!(evidence.host, "oidc.eu-west-1.amazonaws.com");
    assert!(!evidence.outcome_unknown(), "{evidence:?}");
    assert!(!format!("{evidence:?} {aws:?}").contains("hunter22"));
    (evidence.signal.clone(), class(&evidence))
}

#[tokio::test]
async fn proxies_that_refuse() {
    for (line, status) in [("407 Proxy Authentication Required", 407), ("403 Forbidden", 403), ("502 Bad Gateway", 502)]
    {
        let headers = ["Content-Type: text/html", "Proxy-Authenticate: NTLM", "proxy-authenticate: Basic realm=\"x\""];
        let port = serve(answer(line, &headers, "<html>no</html>"));
        let told = ProxyAnswer {
            status: Some(status),
            schemes: vec!["NTLM".to_owned(), "Basic".to_owned()],
            with_credentials: status == 407,
        };
        assert_eq!(through_proxy(port).await, (Signal::ProxyRefused(told), Some(C::Intercepted)));
    }
    let (signal, class) = through_proxy(closed_port()).await;
    assert_eq!(class, Some(C::Offline));
    let Signal::Unreachable { detail } = signal else { panic!("{signal:?}") };
    assert!(
        detail.starts_with("the proxy http://***@127.0.0.1:") && detail.ends_with("connection refused"),
        "{detail}"
    );

    assert_eq!(through_proxy(serve(Deed::Silence)).await, (Signal::TimedOut { sent: false }, Some(C::Transient)));
    let (signal, class) = through_proxy(serve(Deed::Close)).await;
    assert!(matches!(signal, Signal::Broken { sent: false, .. }), "{signal:?}");
    assert_eq!(class, Some(C::Transient));
}

#[tokio::test]
async fn a_proxy_that_works_carries_tls_to_the_end() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = serve_tls(&authority.issue("oidc.eu-west-1.amazonaws.com", NOW), answer("200 OK", &[], TOKEN));
    let proxy = format!("127.0.0.1:{}", serve(Deed::Tunnel(server)));
    let aws = aws(&[("https_proxy", &proxy), ("SSL_CERT_FILE", &authority.write(&folder))], Deadlines::default());
    let token = token(&aws, &session(None)).await.result.unwrap();
    assert_eq!(token.access_token.expose(), "new-access");
}

#[tokio::test]
async fn loopback_and_no_proxy_are_direct() {
    let proxy = format!("http://127.0.0.1:{}", closed_port());
    let env = [("HTTPS_PROXY", proxy.as_str()), ("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "0.0.0.0")];
    let aws = aws(&env, Deadlines::default());
    let url = format!("http://127.0.0.1:{}", serve(answer("200 OK", &[], TOKEN)));
    assert!(token(&aws, &session(Some(&url))).await.result.is_ok());
    // This machine by a name that is no loopback address.
    let here = format!("https://0.0.0.0:{}", closed_port());
    let evidence = token(&aws, &session(Some(&here))).await.result.unwrap_err();
    let Signal::Unreachable { detail } = assert_class(&evidence, C::Offline) else { panic!("{evidence:?}") };
    assert!(!detail.contains("proxy"), "{detail}");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_never_bypassed() {
    let aws = aws(&[("HTTPS_PROXY", "socks5://127.0.0.1:1")], Deadlines::default());
    let evidence = token(&aws, &session(None)).await.result.unwrap_err();
    assert!(matches!(assert_class(&evidence, C::Misconfigured), Signal::Unusable { .. }));
}

#[tokio::test]
async fn nobody_there() {
    assert_nobody_at(&format!("http://127.0.0.1:{}", closed_port())).await;
}

#[tokio::test]
#[ignore = "soak: asks this machine's resolver"]
async fn a_name_that_nobody_has() {
    assert_nobody_at("https://sso.invalid").await;
}

async fn assert_nobody_at(url: &str) {
    let evidence = token(&aws(&[], Deadlines::default()), &session(Some(url))).await.result.unwrap_err();
    let signal = assert_class(&evidence, C::Offline);
    assert!(matches!(signal, Signal::Unreachable { .. }), "{signal:?}");
    assert!(!evidence.outcome_unknown());
}

#[tokio::test]
async fn deadlines_say_whether_the_request_was_sent() {
    let aws = aws(&[], short_deadlines());
    let silent = serve(Deed::Silence);
    for (url, sent) in [
        (format!("http://127.0.0.1:{silent}"), true),
        (format!("https://127.0.0.1:{silent}"), false), // the handshake hangs
    ] {
        let evidence = token(&aws, &session(Some(&url))).await.result.unwrap_err();
        assert_eq!(assert_class(&evidence, C::Transient), Signal::TimedOut { sent }, "{url}");
        assert_eq!(evidence.outcome_unknown(), sent);
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{".to_vec();
    let url = format!("http://127.0.0.1:{}", serve(Deed::KeepAlive(head)));
    let evidence = token(&aws, &session(Some(&url))).await.result.unwrap_err();
    assert_eq!(assert_class(&evidence, C::Transient), Signal::TimedOut { sent: true });
}

#[tokio::test]
async fn connections_that_break_after_sending() {
    for deed in [Deed::Close, Deed::Reset] {
        let evidence = token_against(deed).await;
        let signal = assert_class(&evidence, C::Transient);
        assert!(matches!(signal, Signal::Broken { sent: true, .. }), "{signal:?}");
        assert!(evidence.outcome_unknown());
    }
}

fn parts(signal: Signal) -> Answer {
    match signal {
        Signal::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn answers_cut_short() {
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", TOKEN.len());
    let missing_tail = Deed::Answer([whole.as_bytes(), &TOKEN.as_bytes()[..30]].concat());
    let ends_early = answer("200 OK", &["Content-Type: application/json"], &TOKEN[..30]);
    for deed in [missing_tail, ends_early] {
        let evidence = token_against(deed).await;
        assert_eq!(parts(assert_class(&evidence, C::Transient)).body, BodyKind::JsonCut);
        assert!(evidence.outcome_unknown());
    }
}

#[tokio::test]
async fn a_success_without_its_contents() {
    for body in ["{}", r#"{"accessToken":""}"#, r#"{"accessToken":"x","expiresIn":0}"#, r#"{"expiresIn":3600}"#] {
        let evidence = token_against(answer("200 OK", &[], body)).await;
        let found = parts(assert_class(&evidence, C::Transient));
        assert_eq!((found.status, found.body), (200, BodyKind::Json), "{body}");
    }
    for body in ["{}", r#"{"roleCredentials":{}}"#, r#"{"roleCredentials":{"accessKeyId":"A","secretAccessKey":"B"}}"#]
    {
        let evidence = role_against(answer("200 OK", &[], body)).await;
        assert_eq!(parts(assert_class(&evidence, C::Transient)).body, BodyKind::Json, "{body}");
    }
}

#[tokio::test]
async fn a_success_that_is_no_json_came_from_somebody_else() {
    for body in ["", "OK", "<html><title>Welcome</title>", "\u{feff}<!doctype html>"] {
        for evidence in
            [token_against(answer("200 OK", &[], body)).await, role_against(answer("200 OK", &[], body)).await]
        {
            assert_class(&evidence, C::Intercepted);
        }
    }
}

#[tokio::test]
async fn endless_answers_are_given_up() {
    let endless = "x".repeat(600 * 1024);
    assert_class(&token_against(answer("200 OK", &["Content-Type: text/html"], &endless)).await, C::Intercepted);
    let evidence = token_against(answer("200 OK", &["Content-Type: application/json"], &endless)).await;
    assert_class(&evidence, C::Transient);
}

#[tokio::test]
async fn success_and_date() {
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
    let when = Some(Timestamp::from_secs(784_111_777));
    let body = r#"{"roleCredentials":{"accessKeyId":"ASIA1","secretAccessKey":"s","sessionToken":"t","expiration":1700000000123}}"#;
    let url = format!("http://127.0.0.1:{}/", serve(answer("200 OK", &[date], body)));
    let call = role(&aws(&[], Deadlines::default()), &session(Some(&url))).await;
    assert_eq!(call.server_date, when);
    assert_eq!(call.result.unwrap().expires_at, Timestamp::from_millis(1_700_000_000_123));

    let url = format!("http://127.0.0.1:{}", serve(answer("500 No", &[date], "")));
    assert_eq!(token(&aws(&[], Deadlines::default()), &session(Some(&url))).await.server_date, when);
}

#[tokio::test]
async fn an_answer_that_repeats_the_request_is_not_quoted() {
    let echo = format!(r#"{{"error":"invalid_grant","error_description":"no such token {}"}}"#, SECRETS[0]);
    let found = parts(assert_class(&token_against(answer("400 Bad", &[], &echo)).await, C::NeedsLogin));
    assert_eq!(found.message, None);
}

#[tokio::test]
async fn plain_http_is_for_loopback_only() {
    let aws = aws(&[("AWS_ENDPOINT_URL", "https://evil.example")], Deadlines::default());
    let evidence = token(&aws, &session(Some("http://vpce.example"))).await.result.unwrap_err();
    let signal = assert_class(&evidence, C::Misconfigured);
    assert!(matches!(signal, Signal::Unusable { ref detail, .. } if detail.contains("in the clear")), "{signal:?}");
}

/// A second CreateToken could burn the refresh token that the first one used up.
#[tokio::test]
async fn one_call_is_one_request() {
    let aws = aws(&[], Deadlines::default());
    for deed in [
        Deed::Close,
        Deed::Reset,
        answer("500 No", &[], "{}"),
        answer("429 Slow", &["Retry-After: 0"], ""),
        answer("400 Bad", &["x-amzn-ErrorType: SlowDownException"], "{}"),
        answer("302 Found", &["Location: /elsewhere"], ""),
    ] {
        let (port, count) = serve_and_count(deed);
        let session = session(Some(&format!("http://127.0.0.1:{port}")));
        assert!(token(&aws, &session).await.result.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(role(&aws, &session).await.result.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}

/// A kept connection may have died in a suspend.
#[tokio::test]
async fn no_connection_is_kept() {
    let aws = aws(&[], Deadlines::default());
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{TOKEN}", TOKEN.len());
    let (port, count) = serve_and_count(Deed::KeepAlive(text.into_bytes()));
    let session = session(Some(&format!("http://127.0.0.1:{port}")));
    for calls in 1..=3 {
        assert!(token(&aws, &session).await.result.is_ok());
        assert_eq!(count.load(Ordering::SeqCst), calls);
    }
}

/// Collects what a log subscriber is given.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The SDK's, hyper's and rustls' own log lines, down to DEBUG. (At TRACE the SDK writes the request: see `aws`.) In a
/// process of its own: whether a line is wanted is cached per process, and the other tests' threads do not want it.
#[test]
fn no_secret_is_logged() {
    const INNER: &str = "aws::evidence_tests::log_of_some_calls";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", INNER, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "run by no_secret_is_logged"]
async fn log_of_some_calls() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let aws = aws(&[], Deadlines::default());
    let role_body = r#"{"roleCredentials":{"accessKeyId":"ASIA1","secretAccessKey":"new-secret-key","sessionToken":"new-session","expiration":1700000000123}}"#;
    for (oidc, portal) in [
        (answer("200 OK", &[], TOKEN), answer("200 OK", &[], role_body)),
        (answer("400 Bad", &[], r#"{"error":"invalid_grant"}"#), answer("403 No", &[], "<html>")),
        (Deed::Reset, Deed::Close),
    ] {
        let _ = token(&aws, &session(Some(&format!("http://127.0.0.1:{}", serve(oidc))))).await;
        let _ = role(&aws, &session(Some(&format!("http://127.0.0.1:{}", serve(portal))))).await;
    }
    drop(guard);
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("try_attempt"), "the SDK logs nothing, so this proves nothing: {text}");
    for secret in SECRETS.iter().chain(&["new-access", "new-refresh", "new-secret-key", "new-session"]) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
