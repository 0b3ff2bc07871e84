//! Taking the name against every kind of thing in its place, and who gets in.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ipc::client::Client;
use crate::platform::home::Environment;

fn address(root: &tempfile::TempDir) -> Address {
    Address::resolve(&Environment::default(), Some(&root.path().join("agentctl/agent.sock"))).unwrap()
}

fn bind(address: &Address) -> Result<Listener, BindError> {
    Listener::bind(address, Admission::new(BTreeSet::new()))
}

fn why(result: Result<Listener, BindError>) -> String {
    match result {
        Err(BindError::Failed(failure)) => failure.message,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_client_and_a_server_meet_and_know_each_other() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let mut listener = bind(&address).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(address.socket()), mode(address.socket().parent().unwrap())), (0o600, 0o700));
    let client = Client::new(address.socket());
    let asking = std::thread::spawn(move || client.request("GET", "/v1/x", &[], b"", Duration::from_secs(30)));
    let Arrival::Admitted(mut stream, peer) = listener.accept().await.unwrap() else { panic!("refused") };
    assert_eq!(peer.uid, Some(crate::platform::process::uid()));
    if cfg!(target_os = "linux") {
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.executable(), std::env::current_exe().ok());
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    assert_eq!(&asking.join().unwrap().unwrap().body[..], b"ok");
    assert_eq!(&head, b"GET ");
}

#[tokio::test]
async fn a_second_agent_is_told_and_harms_nothing() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let first = bind(&address).unwrap();
    assert!(matches!(bind(&address), Err(BindError::AlreadyRunning)));
    assert!(UnixStream::connect(address.socket()).is_ok());
    drop(first);
    assert!(!address.socket().exists() && address.lock().exists());
    drop(bind(&address).unwrap());
}

#[tokio::test]
async fn a_live_server_without_our_lock_is_not_displaced() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    drop(bind(&address).unwrap());
    let foreign = UnixListener::bind(address.socket()).unwrap();
    assert!(matches!(bind(&address), Err(BindError::AlreadyRunning)));
    drop(foreign);
    let _listener = bind(&address).unwrap();
}

#[tokio::test]
async fn the_socket_of_a_killed_agent_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    drop(bind(&address).unwrap());
    drop(UnixListener::bind(address.socket()).unwrap());
    let _listener = bind(&address).unwrap();
    assert!(UnixStream::connect(address.socket()).is_ok());
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    drop(bind(&address).unwrap());
    fs::write(address.socket(), "precious").unwrap();
    assert!(why(bind(&address)).ends_with("is in the socket's place and is no socket"));
    assert_eq!(fs::read(address.socket()).unwrap(), b"precious");
    fs::remove_file(address.socket()).unwrap();
    symlink("/dev/null", address.socket()).unwrap();
    assert!(why(bind(&address)).ends_with("is no socket"));
}

#[tokio::test]
async fn a_folder_that_others_can_enter_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let folder = address.socket().parent().unwrap();
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
    assert!(why(bind(&address)).contains("is open to others (mode 0711)"));
    fs::remove_dir(folder).unwrap();
    symlink(root.path(), folder).unwrap();
    assert!(why(bind(&address)).ends_with("is a symbolic link"));
}

#[tokio::test]
async fn the_end_removes_only_what_we_made() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let listener = bind(&address).unwrap();
    fs::remove_file(address.socket()).unwrap();
    let _other = UnixListener::bind(address.socket()).unwrap();
    drop(listener);
    assert!(address.socket().exists(), "somebody else's socket by now");
}

#[tokio::test]
async fn a_stranger_is_hung_up_on() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let mut listener = bind(&address).unwrap();
    listener.admission = Admission::of_user(4242);
    let mut stream = UnixStream::connect(address.socket()).unwrap();
    let Arrival::Refused(peer, why) = listener.accept().await.unwrap() else { panic!("admitted") };
    assert!(why.contains(&format!("uid {}", peer.uid.unwrap())));
    let mut rest = Vec::new();
    assert_eq!(std::io::Read::read_to_end(&mut stream, &mut rest).unwrap(), 0);
}

#[tokio::test]
async fn hanging_up_on_one_waits_for_nobody() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let mut listener = bind(&address).unwrap();
    listener.hang_up_on_one().await;
    let _first = UnixStream::connect(address.socket()).unwrap();
    let mut second = UnixStream::connect(address.socket()).unwrap();
    // As at EMFILE: the runtime knows that somebody waits.
    let first = listener.accept().await.unwrap();
    assert!(matches!(first, Arrival::Admitted(..)));
    listener.hang_up_on_one().await;
    assert!(listener.spare.is_some());
    let mut rest = Vec::new();
    assert_eq!(std::io::Read::read_to_end(&mut second, &mut rest).unwrap(), 0);
}

#[tokio::test]
async fn who_has_connected_before_the_end_is_still_let_in() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let mut listener = bind(&address).unwrap();
    let mut early = [(); 3].map(|()| UnixStream::connect(address.socket()).unwrap());
    let arrivals = listener.close();
    assert!(!address.socket().exists() && UnixStream::connect(address.socket()).is_err());
    assert_eq!(arrivals.len(), 3);
    for (arrival, early) in arrivals.into_iter().zip(&mut early) {
        let Arrival::Admitted(mut stream, _) = arrival else { panic!("refused") };
        stream.write_all(b"word").await.unwrap();
        let mut word = [0; 4];
        std::io::Read::read_exact(early, &mut word).unwrap();
    }
    assert!(matches!(Listener::bind(&address, listener.admission.clone()), Err(BindError::AlreadyRunning)), "locked");
}

#[tokio::test]
async fn an_agent_notices_that_its_name_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let listener = bind(&address).unwrap();
    assert!(listener.has_its_name());
    fs::remove_file(address.socket()).unwrap();
    assert!(!listener.has_its_name());
    let _other = UnixListener::bind(address.socket()).unwrap();
    assert!(!listener.has_its_name(), "somebody else's by now");
}

#[tokio::test]
async fn a_holder_that_is_not_there_yet_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    drop(bind(&address).unwrap());
    let lock = fs::File::options().write(true).open(address.lock()).unwrap();
    lock.lock().unwrap();
    let (begun, seen) = std::sync::mpsc::channel();
    let ending = std::thread::spawn(move || {
        seen.recv().unwrap();
        drop(lock);
    });
    begun.send(()).unwrap();
    drop(bind(&address).unwrap());
    ending.join().unwrap();
    assert_eq!(fs::read_to_string(address.lock()).unwrap().trim(), std::process::id().to_string());
}

#[tokio::test]
async fn a_socket_that_was_handed_over_keeps_its_name_and_whoever_waits() {
    use crate::ipc::activation::Activated;

    let root = tempfile::tempdir().unwrap();
    let address = address(&root);
    let folder = address.socket().parent().unwrap();
    crate::platform::folder::ensure_private(folder).unwrap();
    let manager = UnixListener::bind(address.socket()).unwrap();
    let hand_over = || Activated { socket: manager.try_clone().unwrap().into(), path: address.socket().to_owned() };
    let _waits = UnixStream::connect(address.socket()).unwrap();

    let admission = Admission::new(BTreeSet::new());
    let mut first = Listener::activated(hand_over(), admission.clone()).unwrap();
    assert!(first.has_its_name() && first.close().is_empty());
    drop(first);
    let mut second = Listener::activated(hand_over(), admission.clone()).unwrap();
    assert!(matches!(second.accept().await.unwrap(), Arrival::Admitted(..)), "who waited is served by the next");
    drop(second);
    assert!(address.socket().exists());

    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(why(Listener::activated(hand_over(), admission)).contains("is open to others"));
}
