use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use super::*;
use crate::files::folders::Wanted;

/// A folder with what listens to what happens below it.
struct Bed {
    root: PathBuf,
    wanted: Vec<Wanted>,
    signals: Arc<Signals>,
    armed: Armed,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new(folders: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let wanted = folders.iter().map(|f| Wanted::folder(&root.join(f))).collect();
        for folder in folders {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let signals = Arc::<Signals>::default();
        Self { armed: Armed::new(Arc::clone(&signals)), root, wanted, signals, _folder: folder }
    }

    fn plan(&self) -> Plan {
        Plan::of(self.wanted.clone(), 512)
    }

    /// Until all is armed.
    fn arm(&mut self) {
        let plan = self.plan();
        let done = self.armed.arm(&plan);
        assert!(done.trouble.is_none() && self.armed.fits(&plan), "{done:?} {plan:?}");
    }

    /// What is heard within 5 s, taken note of.
    fn heard(&mut self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let wake = runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(5), self.signals.wake.notified()).await });
        let news = self.signals.take();
        self.armed.note(&news);
        wake.is_ok()
    }

    /// Whether the kernel holds a watch on what this path is now.
    fn is_watched(&self, path: &str) -> bool {
        let inode = format!(" ino:{:x} ", fs::metadata(self.root.join(path)).unwrap().ino());
        let infos = fs::read_dir("/proc/self/fdinfo").unwrap();
        let mut texts = infos.filter_map(|info| fs::read_to_string(info.unwrap().path()).ok());
        texts.any(|text| text.contains("inotify wd:") && text.contains(&inode))
    }
}

#[test]
fn only_what_is_planned_is_watched() {
    let mut bed = Bed::new(&["a", "b"]);
    bed.arm();
    assert!(bed.is_watched("a") && bed.is_watched("b"));
    let forgotten = bed.wanted.pop();
    bed.arm();
    assert!(bed.is_watched("a") && !bed.is_watched("b"));
    bed.wanted.extend(forgotten);
    assert!(!bed.armed.fits(&bed.plan()));
    bed.arm();
    fs::write(bed.root.join("b/file"), "").unwrap();
    assert!(bed.heard());
    assert!(bed.armed.fits(&bed.plan()), "a file is no reason to arm anew");
}

#[test]
fn a_folder_that_is_back_in_its_place_is_armed_anew() {
    // Both are watched, so that the move is heard twice: by the parent too, for which notify ends the child's watch.
    let mut bed = Bed::new(&["a", "a/b"]);
    bed.arm();
    let (b, aside) = (bed.root.join("a/b"), bed.root.join("a/c"));
    fs::rename(&b, &aside).unwrap();
    fs::rename(&aside, &b).unwrap();
    while bed.armed.fits(&bed.plan()) {
        assert!(bed.heard(), "the same folder in the same place, and nobody heard that it had moved");
    }
    // Whatever else was heard of it comes before the answer to our asking.
    bed.arm();
    assert!(bed.is_watched("a/b"));
    let news = bed.signals.take();
    bed.armed.note(&news);
    bed.arm();
    fs::write(b.join("file"), "").unwrap();
    assert!(bed.heard());
}

#[test]
fn a_folder_that_was_made_again_is_armed_anew_whatever_its_inode() {
    let mut bed = Bed::new(&["a"]);
    let folder = bed.root.join("a");
    for _ in 0..20 {
        bed.arm();
        fs::remove_dir(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        while bed.armed.fits(&bed.plan()) {
            assert!(bed.heard());
        }
        bed.arm();
        assert!(bed.is_watched("a"));
    }
    fs::write(folder.join("file"), "").unwrap();
    assert!(bed.heard());
}

#[test]
fn a_folder_that_goes_by_another_path_keeps_a_watch() {
    let mut bed = Bed::new(&["link", "real/deep"]);
    fs::remove_dir(bed.root.join("link")).unwrap();
    symlink(bed.root.join("real/deep"), bed.root.join("link")).unwrap();
    bed.wanted.truncate(1);
    bed.arm();
    assert!(bed.is_watched("real/deep") && bed.is_watched(""));
    let moved = bed.root.join("moved");
    fs::rename(bed.root.join("real"), &moved).unwrap();
    fs::remove_file(bed.root.join("link")).unwrap();
    symlink(moved.join("deep"), bed.root.join("link")).unwrap();
    assert!(bed.heard());
    bed.arm();
    assert!(bed.is_watched("moved/deep"));
}

#[test]
fn lost_events_make_every_watch_doubtful() {
    let mut bed = Bed::new(&["a"]);
    bed.arm();
    bed.signals.hear(Ok(notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
    assert!(bed.heard() && !bed.armed.fits(&bed.plan()));
    bed.arm();
    bed.signals.hear(Err(notify::Error::generic("no more")));
    assert!(bed.heard() && !bed.armed.fits(&bed.plan()));
}

#[test]
fn what_went_wrong_is_told_with_a_way_out() {
    let cases = [
        (ErrorKind::MaxFilesWatch, Some("/x"), "inotify watches are used up", "fs.inotify.max_user_watches"),
        (ErrorKind::Io(std::io::Error::from_raw_os_error(24)), None, "(Too many", "fs.inotify.max_user_instances"),
        (ErrorKind::Io(std::io::Error::from_raw_os_error(13)), Some("/x"), "/x cannot be watched: Perm", "its mode"),
        (ErrorKind::Generic("odd".into()), None, "no folder can be watched: odd", "again every 30 s"),
    ];
    for (kind, path, message, fix) in cases {
        let told = finding(path.map(Path::new), &notify::Error::new(kind));
        assert!(told.message.contains(message) && told.fix.contains(fix), "{told:?}");
        assert_eq!((told.name.as_str(), told.message.lines().count()), ("watch-unavailable", 1));
    }
    assert!(is_gone(&notify::Error::path_not_found()));
}

#[test]
fn a_panic_in_the_library_is_only_a_missing_watch() {
    assert_eq!(guarded(|| -> u8 { panic!("as notify does when its thread has ended") }), None);
}
