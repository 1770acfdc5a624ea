//! Settings, the folder's life, and sled against what the trait promises.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use thalweg_operators::cold::ColdStore;

use super::*;

fn conf(settings: &[(&str, &str)]) -> Conf {
    let mut conf = Conf::default();
    settings.iter().for_each(|(key, value)| conf.set(*key, value));
    conf
}

#[test]
fn settings_say_where_state_lies() {
    let store = |settings: &[(&str, &str)]| StateStore::of(&conf(settings));
    assert_eq!(store(&[]).unwrap(), StateStore::Memory);
    assert_eq!(store(&[(STORE, "Memory")]).unwrap(), StateStore::Memory);
    let rocks = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider";
    assert!(store(&[(PROVIDER, rocks)]).unwrap().exceeds_memory());
    assert_eq!(store(&[(PROVIDER, rocks), (STORE, "memory")]).unwrap(), StateStore::Memory);
    let sled = store(&[(STORE, "sled"), (MEMORY, "2m"), (PATH, "/somewhere")]).unwrap();
    assert_eq!(sled, StateStore::Sled(SledRules { memory: 2 << 20, path: "/somewhere".into() }));
}

#[test]
fn other_stores_are_refused_with_the_nearest_name() {
    let error = StateStore::of(&conf(&[(STORE, "sledd")])).unwrap_err();
    assert!(error.to_string().contains("Did you mean 'sled'?"), "{error}");
    let error = StateStore::of(&conf(&[(PROVIDER, "com.example.Mine")])).unwrap_err();
    assert!(error.message().contains("com.example.Mine"), "{error}");
    assert!(StateStore::of(&conf(&[(STORE, "sled"), (MEMORY, "much")])).is_err());
}

#[test]
fn a_folder_is_private_and_gone_with_its_owner() {
    let parent = tempfile::tempdir().unwrap();
    let folder = PrivateFolder::new(&parent.path().join("new")).unwrap();
    let path = folder.path().to_path_buf();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(folder);
    assert!(!path.exists());
}

#[test]
fn folders_of_dead_processes_are_removed_and_no_others() {
    let parent = tempfile::tempdir().unwrap();
    let living = PrivateFolder::new(parent.path()).unwrap();
    let dead = parent.path().join("thalweg-state-dead");
    let (other, young) = (parent.path().join("other"), parent.path().join("thalweg-state-young"));
    [&dead, &other, &young].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    [&dead, &other].into_iter().for_each(|folder| fs::write(folder.join("lock"), "").unwrap());
    let _next = PrivateFolder::new(parent.path()).unwrap();
    assert!(!dead.exists());
    assert!(living.path().exists() && other.exists() && young.exists());
}

#[test]
fn sled_keeps_what_the_trait_promises() {
    let parent = tempfile::tempdir().unwrap();
    let home = Arc::new(sled::Home::open(PrivateFolder::new(parent.path()).unwrap(), 0).unwrap());
    let mut store = SledStore::open(Arc::clone(&home), "a").unwrap();
    let mut other = SledStore::open(home, "b").unwrap();
    other.put(b"x", b"other").unwrap();
    for key in ["x", "y", "z"] {
        store.put(key.as_bytes(), format!("-{key}").as_bytes()).unwrap();
    }
    store.put(b"y", b"").unwrap();
    let mut value = b"at".to_vec();
    assert!(store.get(b"x", &mut value).unwrap() && store.take(b"x", &mut value).unwrap());
    assert!(!store.take(b"x", &mut value).unwrap());
    assert_eq!(value, b"at-x-x");
    let mut seen = Vec::new();
    store
        .walk(b"a", b"z", &mut |key, value| {
            seen.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
    assert_eq!(seen, [(b"y".to_vec(), Vec::new())]);
    store.walk(b"z", b"a", &mut |_, _| unreachable!()).unwrap();
    drop((store, other));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "the folder goes with the last store");
}
