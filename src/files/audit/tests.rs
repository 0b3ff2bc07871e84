//! Rotation, what is skipped, what is refused, and which lines are found.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::core::audit::{Asker, MAX_TEXT, bounded};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

fn fixture() -> (tempfile::TempDir, AuditFile) {
    let root = tempfile::tempdir().unwrap();
    let file = AuditFile::new(root.path().join("state"));
    (root, file)
}

/// The grant of second `n`.
fn grant(n: i64, profile: &str) -> Grant {
    Grant {
        at: START.shifted(n * 1000),
        profile: profile.to_owned(),
        config_file: None,
        key_suffix: "MPLE".to_owned(),
        expires_at: START.shifted(3_600_000),
        asker: Asker { pid: Some(42), ..Asker::default() },
    }
}

fn all() -> Wanted {
    Wanted { since: None, profile: None, limit: usize::MAX, max_bytes: usize::MAX }
}

/// The seconds of the grants that are found, and whether there are more.
fn found(file: &AuditFile, wanted: &Wanted) -> (Vec<i64>, bool) {
    let found = file.read(wanted).unwrap();
    (found.grants.iter().map(|g| g.at.offset_from(START) / 1000).collect(), found.more)
}

fn raw(file: &AuditFile, text: impl AsRef<[u8]>) {
    let mut raw = fs::OpenOptions::new().append(true).create(true).open(file.path()).unwrap();
    raw.write_all(text.as_ref()).unwrap();
}

#[test]
fn each_grant_is_a_line_of_a_private_file() {
    let (_root, file) = fixture();
    assert_eq!(found(&file, &all()), (vec![], false), "nobody asked yet");
    file.append(&[grant(1, "dev"), grant(2, "ops")]).unwrap();
    file.append(&[grant(3, "a\nb")]).unwrap();
    assert_eq!(fs::read_to_string(file.path()).unwrap().lines().count(), 3);
    assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(file.read(&all()).unwrap().grants, [grant(1, "dev"), grant(2, "ops"), grant(3, "a\nb")]);
}

#[test]
fn a_full_file_takes_the_place_of_the_one_before() {
    let (_root, file) = fixture();
    file.append(&[grant(1, "dev")]).unwrap();
    fs::rename(file.path(), file.old_path()).unwrap();
    file.append(&[grant(2, "dev")]).unwrap();
    let line = fs::metadata(file.path()).unwrap().len();
    // Up to the last byte it is used.
    let filler = usize::try_from(MAX_FILE - 2 * line).unwrap();
    raw(&file, format!("{}\n", "x".repeat(filler - 1)));
    file.append(&[grant(3, "dev")]).unwrap();
    assert_eq!(fs::metadata(file.path()).unwrap().len(), MAX_FILE);
    assert_eq!(found(&file, &all()).0, [1, 2, 3]);
    file.append(&[grant(4, "dev")]).unwrap();
    assert_eq!(found(&file, &all()).0, [2, 3, 4], "the oldest lines went");
    let sizes = [file.path(), file.old_path()].map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(sizes, [line, MAX_FILE]);
    assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(&file.folder).unwrap().count(), 2);
}

#[test]
fn of_several_that_find_it_full_one_renames_it() {
    let (_root, file) = fixture();
    folder::ensure_private(&file.folder).unwrap();
    raw(&file, vec![b'x'; usize::try_from(MAX_FILE).unwrap()]);
    let (ours, _) = limits::open_log(&file.path()).unwrap();
    let (theirs, _) = limits::open_log(&file.path()).unwrap();
    theirs.try_lock().unwrap();
    file.append(&[grant(1, "dev")]).unwrap();
    assert!(!file.old_path().exists(), "the one that holds the lock does it");
    atomic::rename(&file.path(), &file.old_path()).unwrap();
    drop(theirs);
    file.append(&[grant(2, "dev")]).unwrap();
    file.rotate(&ours, 1).unwrap();
    assert_eq!(found(&file, &all()).0, [1, 2], "renamed once more, the old lines would be gone");
}

#[test]
fn torn_and_foreign_lines_are_skipped() {
    let (_root, file) = fixture();
    file.append(&[grant(1, "dev")]).unwrap();
    raw(&file, b"\n\xff\xfe\n{}\n[]\nnull\n\"x\"\n{\"at\":\"soon\"}\n");
    let whole = serde_json::to_string(&grant(2, "dev")).unwrap();
    raw(&file, format!("{}\n", whole.replacen('{', "{\"of_a_newer_version\":[1],", 1)));
    raw(&file, &whole[..whole.len() / 2]);
    file.append(&[grant(3, "dev")]).unwrap();
    file.append(&[grant(4, "dev")]).unwrap();
    assert_eq!(found(&file, &all()), (vec![1, 2, 3, 4], false));
    let text = String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned();
    assert_eq!(text.matches("\n\n").count(), 1, "only a torn line is ended: {text}");
}

#[test]
fn what_is_not_our_own_file_is_neither_written_nor_read() {
    let (root, file) = fixture();
    folder::ensure_private(&file.folder).unwrap();
    let victim = root.path().join("victim");
    fs::write(&victim, "precious\n").unwrap();
    symlink(&victim, file.path()).unwrap();
    let lost = file.append(&[grant(1, "dev"), grant(2, "dev")]).unwrap_err();
    assert_eq!((lost.count, lost.why.class), (2, FailureClass::Misconfigured));
    let said = format!("{} is a symbolic link; move it away: a new one is begun", file.path().display());
    assert_eq!(lost.why.line(), said);
    assert_eq!(file.read(&all()).unwrap_err(), lost.why);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
    fs::remove_file(file.path()).unwrap();

    fs::create_dir(file.path()).unwrap();
    assert!(file.append(&[grant(1, "dev")]).unwrap_err().why.message.ends_with("is not a regular file"));
    assert!(file.read(&all()).unwrap_err().message.ends_with("is not a regular file"));
    fs::remove_dir(file.path()).unwrap();

    assert!(std::process::Command::new("mkfifo").arg(file.path()).status().unwrap().success());
    assert!(file.append(&[grant(1, "dev")]).unwrap_err().why.message.ends_with("is not a regular file"));
    fs::remove_file(file.path()).unwrap();

    let socket = std::os::unix::net::UnixListener::bind(file.path()).unwrap();
    assert!(file.append(&[grant(1, "dev")]).unwrap_err().why.message.ends_with("is not a regular file"));
    drop(socket);
    fs::remove_file(file.path()).unwrap();

    if crate::platform::process::uid() == 0 {
        fs::write(file.path(), "").unwrap();
        std::os::unix::fs::chown(file.path(), Some(65_534), None).unwrap();
        assert!(file.append(&[grant(1, "dev")]).unwrap_err().why.message.contains("belongs to another user"));
        assert_eq!(fs::read(file.path()).unwrap(), b"");
        fs::remove_file(file.path()).unwrap();
    }
    file.append(&[grant(3, "dev")]).unwrap();
    assert_eq!(found(&file, &all()).0, [3], "it goes on by itself");
}

#[test]
fn a_folder_open_to_others_and_an_old_file_in_the_way_are_told() {
    let (_root, file) = fixture();
    file.append(&[grant(1, "dev")]).unwrap();
    raw(&file, vec![b'\n'; usize::try_from(MAX_FILE).unwrap()]);
    fs::create_dir_all(file.old_path().join("full")).unwrap();
    let why = file.append(&[grant(2, "dev")]).unwrap_err().why;
    assert!(why.message.contains("audit.jsonl is full") && why.fix.ends_with("audit.jsonl.old away"), "{why:?}");
    fs::remove_dir_all(file.old_path()).unwrap();
    file.append(&[grant(3, "dev")]).unwrap();
    fs::set_permissions(&file.folder, fs::Permissions::from_mode(0o755)).unwrap();
    let why = file.append(&[grant(4, "dev")]).unwrap_err().why;
    assert!(why.message.contains("is open to others") && why.fix.starts_with("chmod 700"), "{why:?}");
}

#[test]
fn the_newest_that_are_wanted() {
    let (_root, file) = fixture();
    let profile = |n| if n % 2 == 0 { "even" } else { "odd" };
    let grants = |range: std::ops::Range<i64>| range.map(|n| grant(n, profile(n))).collect::<Vec<_>>();
    file.append(&grants(0..5)).unwrap();
    fs::rename(file.path(), file.old_path()).unwrap();
    file.append(&grants(5..10)).unwrap();
    let since = Some(START.shifted(4_000));
    assert_eq!(found(&file, &Wanted { since, ..all() }), (vec![4, 5, 6, 7, 8, 9], false));
    assert_eq!(found(&file, &Wanted { limit: 2, ..all() }), (vec![8, 9], true));
    assert!(!found(&file, &Wanted { limit: 10, ..all() }).1);
    assert_eq!(found(&file, &Wanted { limit: 0, ..all() }), (vec![], true));
    let odd = Wanted { profile: Some("odd".to_owned()), limit: 4, ..all() };
    assert_eq!(found(&file, &odd), (vec![3, 5, 7, 9], true));
    assert_eq!(found(&file, &Wanted { since, ..odd }), (vec![5, 7, 9], false));
    let line = serde_json::to_string(&grant(0, "even")).unwrap().len() + 1;
    assert_eq!(found(&file, &Wanted { max_bytes: 2 * line, ..all() }), (vec![8, 9], true));
    fs::remove_file(file.path()).unwrap();
    assert_eq!(found(&file, &all()).0, [0, 1, 2, 3, 4]);
}

/// Takes so many bytes and no more.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fills_up_takes_the_first_lines() {
    assert!(write(&mut Disk(9), b"one\ntwo\n").is_ok());
    for (room, missing) in [(0, 2), (3, 2), (4, 1), (7, 1)] {
        let (written, e) = write(&mut Disk(room), b"one\ntwo\n").unwrap_err();
        assert_eq!((written, e.kind()), (room, io::ErrorKind::StorageFull));
        assert_eq!(lines_in(&b"one\ntwo\n"[written..]), missing);
    }
}

#[test]
fn the_longest_line_leaves_room_for_a_batch() {
    let text = || bounded("\u{1}".repeat(10 * MAX_TEXT));
    let mut longest = grant(1, &text());
    longest.config_file = Some(text());
    longest.asker.executable = Some(text());
    longest.asker.parent = Some(crate::core::audit::Parent { pid: u32::MAX, executable: Some(text()) });
    let line = serde_json::to_string(&longest).unwrap().len();
    assert!((256 * line as u64) < MAX_FILE, "{line} bytes a line");
}
