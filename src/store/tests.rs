//! Every store keeps the same promises.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A local folder and an object store, both empty.
fn stores() -> (tempfile::TempDir, [Folder; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let local = Folder::open(dir.path().join("a/b").to_str().unwrap()).unwrap();
    let memory = Folder::open(&format!("memory:{}", uuid::Uuid::new_v4())).unwrap();
    (dir, [local, memory])
}

fn names(folder: &Folder) -> Vec<String> {
    let mut names: Vec<String> = folder.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

#[test]
fn files_come_back_and_go() {
    let (_dir, stores) = stores();
    for root in &stores {
        let folder = root.folder("commits");
        assert_eq!(folder.read("0").unwrap(), None);
        assert!(folder.list().unwrap().is_empty());
        assert!(folder.create("0", b"one").unwrap());
        assert!(!folder.create("0", b"two").unwrap());
        assert_eq!(folder.read("0").unwrap().unwrap(), b"one");
        folder.write("0", b"three").unwrap();
        assert_eq!(folder.read("0").unwrap().unwrap(), b"three");
        folder.put_bare("hint", b"", Put::Hint).unwrap();
        assert_eq!((names(&folder), names(root)), (vec!["0".into(), "hint".into()], vec!["commits".to_owned()]));
        folder.delete("0").unwrap();
        folder.delete("0").unwrap();
        assert!(!folder.exists("0").unwrap() && !folder.has_checksum("0").unwrap());
        root.delete_folder("commits").unwrap();
        root.delete_folder("commits").unwrap();
        assert!(names(&folder).is_empty());
    }
}

#[test]
fn one_of_many_creates_a_file() {
    let (_dir, stores) = stores();
    for root in &stores {
        let won = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|n: u8| scope.spawn(move || root.create("file", &[n]).unwrap())).collect();
            tries.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
        assert_eq!(root.read("file").unwrap().unwrap().len(), 1);
    }
}

#[test]
fn c03_a_changed_file_is_named_with_the_way_out() {
    let (_dir, stores) = stores();
    for folder in &stores {
        folder.create("7", b"v1\n{}").unwrap();
        folder.put_bare("7", b"v1\n{]", Put::Replace).unwrap();
        let error = folder.read("7").unwrap_err().to_string();
        assert!(error.contains("/7'") && error.contains("thalweg checkpoint repair"), "{error}");
    }
}

#[test]
fn k18_a_checksum_whose_file_was_deleted_by_hand_does_not_condemn_the_next() {
    let (_dir, stores) = stores();
    for folder in &stores {
        folder.create("7", b"old").unwrap();
        folder.store.delete("7").unwrap();
        assert!(folder.create("7", b"new").unwrap());
        assert_eq!(folder.read("7").unwrap().unwrap(), b"new");
    }
}

#[test]
fn x13_files_and_folders_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("checkpoint");
    Folder::local(&root, true).folder("offsets").create("0", b"").unwrap();
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(""), mode("offsets"), mode("offsets/0"), mode("offsets/.0.crc")], [0o700, 0o700, 0o600, 0o600]);
}

#[test]
fn an_unknown_scheme_is_refused() {
    let error = Folder::open("hdfs://host/path").unwrap_err();
    assert_eq!(error.condition(), Some("UNSUPPORTED_FILE_SYSTEM"));
}
