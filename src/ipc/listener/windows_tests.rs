//! The named pipe: a round trip, and one agent at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ipc::client::{Client, ClientError};
use crate::platform::home::Environment;

#[tokio::test]
async fn a_client_and_a_server_meet_over_the_pipe() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let environment: Environment = [("AGENTCTL_STATE_DIR", state.to_str().unwrap())].into_iter().collect();
    let address = Address::resolve(&environment, None).unwrap();
    assert!(address.socket().to_str().unwrap().starts_with(r"\\.\pipe\agentctl-S-1-"), "{address:?}");
    let client = Client::new(address.socket());
    let ask = |client: Client| client.request("GET", "/v1/x", &[], b"", Duration::from_secs(30));
    assert_eq!(ask(client.clone()), Err(ClientError::Absent));

    let mut listener = Listener::bind(&address, Admission::new(BTreeSet::new())).unwrap();
    assert!(matches!(Listener::bind(&address, Admission::new(BTreeSet::new())), Err(BindError::AlreadyRunning)));
    let asking = std::thread::spawn(move || ask(client));
    let mut head = [0; 4];
    let mut stream = loop {
        let Arrival::Admitted(mut stream, peer) = listener.accept().await.unwrap() else { panic!("refused") };
        assert_eq!(peer.pid, Some(std::process::id()));
        // The second `bind` knocked, too, and went away.
        if stream.read_exact(&mut head).await.is_ok() {
            break stream;
        }
    };
    assert_eq!(&head, b"GET ");
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    assert_eq!(&asking.join().unwrap().unwrap().body[..], b"ok");
}

#[test]
fn only_a_pipe_of_this_machine_is_a_socket() {
    let environment: Environment = [("AGENTCTL_STATE_DIR", r"C:\state")].into_iter().collect();
    let resolve = |name: &str| Address::resolve(&environment, Some(name.as_ref()));
    assert_eq!(resolve(r"\\.\PIPE\mine").unwrap().socket().to_str(), Some(r"\\.\PIPE\mine"));
    for name in [r"C:\state\agent.sock", r"\\server\pipe\mine", r"\\.\pipe\", r"\\.\C:"] {
        let failure = resolve(name).unwrap_err();
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.ends_with("is no name of a pipe on this machine"), "{failure:?}");
    }
}
