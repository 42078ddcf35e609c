//! What paths answer, on real files.

use super::*;

/// A directory of its own for each test, gone afterwards.
pub struct Scratch(pub std::path::PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("hutch-agent-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_tree_is_removed_and_what_its_links_point_to_is_not() {
    let scratch = Scratch::new("tree");
    fs::create_dir_all(scratch.0.join("tree/a/b/c")).unwrap();
    fs::write(scratch.0.join("kept"), "x").unwrap();
    for name in ["tree/1", "tree/a/2", "tree/a/b/3", "tree/a/b/c/4"] {
        fs::write(scratch.0.join(name), "x").unwrap();
    }
    std::os::unix::fs::symlink("..", scratch.0.join("tree/a/up")).unwrap();
    remove(&scratch.path("tree"), true).unwrap();
    assert!(!scratch.0.join("tree").exists() && scratch.0.join("kept").exists());
}

#[test]
fn a_list_is_in_order_and_goes_on_after_a_name() {
    let scratch = Scratch::new("list");
    for name in ["b", "a", "d", "c", "é"] {
        fs::write(scratch.0.join(name), "").unwrap();
    }
    let names = |value: &Value| -> Vec<String> {
        let entries = value["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect()
    };
    let first = list(&scratch.path(""), "", Some(2)).unwrap();
    assert_eq!(
        (names(&first), first["more"].as_bool()),
        (vec!["a".into(), "b".into()], Some(true))
    );
    let rest = list(&scratch.path(""), "b", Some(3)).unwrap();
    assert_eq!(
        (names(&rest), rest["more"].as_bool()),
        (vec!["c".into(), "d".into(), "é".into()], Some(false))
    );
}

#[test]
fn a_long_list_stays_below_the_bound_of_a_header() {
    let scratch = Scratch::new("long");
    for number in 0..700 {
        fs::write(scratch.0.join(format!("{number:0>200}")), "").unwrap();
    }
    let (mut after, mut seen) = (String::new(), 0);
    loop {
        let page = list(&scratch.path(""), &after, None).unwrap();
        assert!(page.to_string().len() <= LIST_LIMIT + 1024);
        let entries = page["entries"].as_array().unwrap();
        seen += entries.len();
        after = entries.last().unwrap()["path"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, 700);
}

#[test]
fn the_root_is_not_removed() {
    for path in ["/", "//", "/..", "/tmp/.."] {
        assert!(remove(path, true).is_err(), "{path}");
    }
}

#[test]
fn a_mode_is_what_was_asked_for() {
    let scratch = Scratch::new("mode");
    make_directory(&scratch.path("x/y"), 0o777).unwrap();
    assert_eq!(fs::metadata(scratch.path("x/y")).unwrap().mode() & 0o7777, 0o777);
    assert!(make_directory(&scratch.path("x/y"), 0o700).is_ok());
    fs::write(scratch.path("file"), "").unwrap();
    assert!(make_directory(&scratch.path("file"), 0o700).is_err());
    assert!(make_directory(&scratch.path("file/below"), 0o700).is_err());
}

#[test]
fn a_rename_replaces_a_file_and_names_what_is_missing() {
    let scratch = Scratch::new("rename");
    fs::write(scratch.path("a"), "new").unwrap();
    fs::write(scratch.path("b"), "old").unwrap();
    rename(&scratch.path("a"), &scratch.path("b")).unwrap();
    assert_eq!(fs::read(scratch.path("b")).unwrap(), b"new");
    let missing = rename(&scratch.path("a"), &scratch.path("c")).unwrap_err();
    assert!(missing.message.starts_with(&scratch.path("a")), "{}", missing.message);
    let nowhere = rename(&scratch.path("b"), &scratch.path("x/y")).unwrap_err();
    assert!(nowhere.message.starts_with(&scratch.path("x/y")), "{}", nowhere.message);
}

#[test]
fn a_change_leaves_what_was_not_asked_for() {
    let scratch = Scratch::new("change");
    fs::write(scratch.path("a"), "").unwrap();
    change(&scratch.path("a"), Some(0o4711), None).unwrap();
    let found = fs::metadata(scratch.path("a")).unwrap();
    let own = Ownership {
        uid: Some(found.uid()),
        gid: None,
    };
    change(&scratch.path("a"), None, Some(own)).unwrap();
    assert_eq!(fs::metadata(scratch.path("a")).unwrap().mode() & 0o7777, 0o4711);
    assert!(change(&scratch.path("b"), Some(0o600), None).is_err());
}
