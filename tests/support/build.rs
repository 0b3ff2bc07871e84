//! The project's own programs, built for who is no test: cargo builds them for tests by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds `agentd` and `agentctl` beside this example and says where they are.
pub fn programs() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_else(|e| panic!("this program's own path: {e}"));
    let bin = here.parent().and_then(Path::parent).map(PathBuf::from).unwrap_or_default();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--bins"]);
    if bin.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.status().is_ok_and(|status| status.success());
    assert!(built, "agentd and agentctl could not be built: run cargo build");
    bin
}
