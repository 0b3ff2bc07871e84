use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A real folder to play in; on some machines the temporary one is behind a link.
struct Root {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().canonicalize().unwrap(), _folder: folder }
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.path.clone() } else { self.path.join(path) }
    }

    fn make(&self, path: &str) -> &Self {
        fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        symlink(self.at(target), self.at(path)).unwrap();
        self
    }

    /// The usual world, and our own settings.
    fn plan(&self) -> Plan {
        self.plan_of(&["home/.aws/config", "home/.aws/credentials", "home/.config/agentctl/config.toml"])
    }

    fn plan_of(&self, files: &[&str]) -> Plan {
        let files = files.iter().map(|f| Wanted::file(&self.at(f)));
        Plan::of(files.chain([Wanted::folder(&self.at("home/.aws/sso/cache"))]), 512)
    }

    fn folders(&self, plan: &Plan) -> Vec<String> {
        let shown = |path: &Path| path.strip_prefix(&self.path).unwrap().display().to_string();
        plan.folders().map(|(path, _)| shown(path)).collect()
    }
}

#[track_caller]
fn assert_hears(root: &Root, plan: &Plan, expected: &[(&str, Heard)]) {
    for (path, heard) in expected {
        assert_eq!(plan.hears(&root.at(path)), *heard, "{path}");
    }
}

#[test]
fn what_exists_is_watched_itself_and_heard_by_name() {
    let root = Root::new();
    root.make("home/.aws/sso/cache").make("home/.config/agentctl");
    let plan = root.plan();
    assert_eq!(root.folders(&plan), ["home/.aws", "home/.aws/sso/cache", "home/.config/agentctl"]);
    assert_hears(
        &root,
        &plan,
        &[
            ("home/.aws/config", Heard::Change),
            ("home/.aws/credentials", Heard::Change),
            ("home/.aws/cli", Heard::Nothing),
            ("home/.aws/config.bak", Heard::Nothing),
            ("home/.aws/sso/cache/0123.json", Heard::Change),
            ("home/.aws/sso/cache/deeper/file", Heard::Nothing),
            ("home/.config/agentctl/config.toml", Heard::Change),
            ("home/.config/agentctl/agentd.log", Heard::Nothing),
            ("home/.aws", Heard::OfFolder),
            ("home/.aws/sso", Heard::OfFolder),
            ("home/.aws/sso/cache", Heard::OfFolder),
            ("home", Heard::OfFolder),
            ("home/.aws-other", Heard::Nothing),
            ("home/.bash_history", Heard::Nothing),
        ],
    );
}

#[test]
fn a_missing_folder_is_stood_in_for_by_its_nearest_parent() {
    let root = Root::new();
    root.make("home");
    let nothing = root.plan();
    assert_eq!(root.folders(&nothing), ["home"]);
    assert_hears(
        &root,
        &nothing,
        &[
            ("home/.aws", Heard::Change),
            ("home/.config", Heard::Change),
            ("home/.bash_history", Heard::Nothing),
            ("home/.aws/config", Heard::Nothing),
        ],
    );
    root.make("home/.aws").make("home/.config");
    let some = root.plan();
    assert_eq!(root.folders(&some), ["home/.aws", "home/.config"]);
    assert_hears(
        &root,
        &some,
        &[
            ("home/.aws/sso", Heard::Change),
            ("home/.aws/config", Heard::Change),
            ("home/.config/agentctl", Heard::Change),
            ("home/.config/kderc", Heard::Nothing),
        ],
    );
    root.make("home/.aws/sso");
    assert_eq!(root.folders(&root.plan()), ["home/.aws", "home/.aws/sso", "home/.config"]);
    // A file in a folder's place is no folder.
    fs::write(root.at("home/.config/agentctl"), "").unwrap();
    let file = root.plan();
    assert_eq!(root.folders(&file), ["home/.aws", "home/.aws/sso", "home/.config"]);
    assert_hears(&root, &file, &[("home/.config/agentctl", Heard::Change)]);
}

#[test]
fn a_folder_that_was_made_again_is_another_one() {
    let root = Root::new();
    root.make("home/.aws/sso/cache").make("home/.config/agentctl");
    let cache = root.at("home/.aws/sso/cache");
    let before = root.plan();
    assert_eq!(root.plan(), before, "nothing happened");
    // Kept aside, so that its inode is not used again.
    fs::rename(&cache, root.at("home/.aws/sso/aside")).unwrap();
    let gone = root.plan();
    assert_eq!(gone.identity(&cache), None);
    assert_hears(&root, &gone, &[("home/.aws/sso/cache", Heard::Change)]);
    root.make("home/.aws/sso/cache");
    let again = root.plan();
    assert_eq!(root.folders(&again), root.folders(&before));
    assert_ne!(again.identity(&cache), before.identity(&cache));
}

#[test]
fn a_link_to_a_folder_is_watched_at_both_ends() {
    let root = Root::new();
    root.make("dotfiles/aws/sso/cache").make("other/sso/cache").make("home/.config/agentctl");
    root.link("home/.aws", "dotfiles/aws");
    let plan = root.plan();
    let expected = ["dotfiles/aws", "dotfiles/aws/sso/cache", "home", "home/.config/agentctl"];
    assert_eq!(root.folders(&plan), expected);
    assert_hears(
        &root,
        &plan,
        &[
            ("dotfiles/aws/config", Heard::Change),
            ("dotfiles/aws/sso/cache/0123.json", Heard::Change),
            ("home/.aws", Heard::Change),
            ("home/other", Heard::Nothing),
        ],
    );
    fs::remove_file(root.at("home/.aws")).unwrap();
    root.link("home/.aws", "other");
    assert_eq!(root.folders(&root.plan()), ["home", "home/.config/agentctl", "other", "other/sso/cache"]);
    fs::remove_file(root.at("home/.aws")).unwrap();
    root.link("home/.aws", "nowhere");
    let dangling = root.plan();
    assert_eq!(root.folders(&dangling), ["home", "home/.config/agentctl"]);
    assert_hears(&root, &dangling, &[("home/.aws", Heard::Change)]);
}

#[test]
fn a_link_to_a_file_is_watched_at_both_ends() {
    let root = Root::new();
    root.make("home/.aws/sso/cache").make("dotfiles");
    fs::write(root.at("dotfiles/aws-config"), "").unwrap();
    root.link("home/.aws/config", "dotfiles/aws-config");
    let plan = root.plan_of(&["home/.aws/config"]);
    assert_eq!(root.folders(&plan), ["dotfiles", "home/.aws", "home/.aws/sso/cache"]);
    assert_hears(
        &root,
        &plan,
        &[
            ("home/.aws/config", Heard::Change),
            ("dotfiles/aws-config", Heard::Change),
            ("dotfiles/vimrc", Heard::Nothing),
        ],
    );
}

#[test]
fn links_in_a_circle_and_strange_paths_end() {
    let root = Root::new();
    root.make("home").link("home/a", "home/b").link("home/b", "home/a");
    let wanted = ["home/a/config", "home/a", "home/none/../config", "home/.."].map(|p| Wanted::file(&root.at(p)));
    let plan = Plan::of(wanted.into_iter().chain([Wanted::file(Path::new("/")), Wanted::folder(Path::new("x"))]), 512);
    assert!(plan.identity(&root.at("home")).is_some(), "{plan:?}");
    assert_eq!(plan.hears(&root.at("home/a")), Heard::Change);
}

#[test]
fn two_ways_to_a_folder_are_one_watch_for_both() {
    let root = Root::new();
    root.make("real").make("links").link("links/one", "real").link("links/two", "real");
    let wanted = ["links/one/a", "links/two/b", "real/c"].map(|p| Wanted::file(&root.at(p)));
    let plan = Plan::of(wanted, 512);
    assert_eq!(root.folders(&plan), ["links", "real"]);
    for name in ["a", "b", "c"] {
        assert_eq!(plan.hears(&root.at("real").join(name)), Heard::Change);
    }
    assert_eq!(plan.hears(&root.at("real/d")), Heard::Nothing);
}

#[test]
fn the_first_ones_are_planned_where_there_are_too_many() {
    let root = Root::new();
    let wanted: Vec<_> = (0..9).rev().map(|n| format!("{n}")).collect();
    for name in &wanted {
        root.make(name);
    }
    let plan = Plan::of(wanted.iter().chain(&wanted).map(|n| Wanted::file(&root.at(n).join("config"))), 3);
    assert_eq!(root.folders(&plan), ["6", "7", "8"]);
    assert_eq!(plan.hears(&root.at("8/config")), Heard::Change);
}

#[test]
fn folders_of_everybody_are_left_to_the_scan() {
    let root = Root::new();
    root.make("tmp").make("own");
    fs::set_permissions(root.at("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let wanted = ["tmp/config", "tmp/home/.aws/config", "own/home/.aws/config"].map(|p| Wanted::file(&root.at(p)));
    let devices = ["/dev/null", "/dev/fd/63", "/proc/self/fd/3"].map(|p| Wanted::file(Path::new(p)));
    let plan = Plan::of(wanted.into_iter().chain(devices), 512);
    assert_eq!(root.folders(&plan), ["own"]);
    root.make("tmp/home");
    let plan = Plan::of([Wanted::file(&root.at("tmp/home/.aws/config"))], 512);
    assert_eq!(root.folders(&plan), ["tmp/home"], "what is in it is another matter");
}
