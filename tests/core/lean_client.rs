//! The client stays lean: neither the async runtime and its server nor TLS and the AWS SDK is linked into `agentctl`,
//! whatever the layers say. Functions leave their names in a program's symbols, each crate as a length and a word.

use std::fs;

/// What the symbols of a program with all of them in it cannot hide.
const MARKS: [&str; 5] = ["5tokio7runtime", "5hyper", "4axum", "6rustls", "11aws_sdk_sso"];

fn marks_in(program: &str) -> Vec<&'static str> {
    let bytes = fs::read(program).unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&bytes);
    MARKS.into_iter().filter(|mark| text.contains(mark)).collect()
}

/// On Windows the names are in a file of their own.
#[cfg(not(windows))]
#[test]
fn the_client_links_neither_the_runtime_nor_the_sdk() {
    assert_eq!(marks_in(env!("CARGO_BIN_EXE_agentd")), MARKS, "a mark that agentd does not bear proves nothing");
    assert_eq!(marks_in(env!("CARGO_BIN_EXE_agentctl")), [""; 0]);
}
