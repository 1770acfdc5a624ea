//! Rules of the repository that no compiler checks: what `operators/` may depend on, headers of files, lessons in the README.
//!
//! In: the files of the repository. Each test names every file that breaks its rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the operators crate may use. No plans, no async runtime, no I/O: see `docs/architecture.md`.
const OPERATORS_MAY_USE: [&str; 7] =
    ["arrow", "timely", "differential-dataflow", "serde", "hashbrown", "smallvec", "tracing"];

#[test]
fn operators_depend_on_columns_and_timely_alone() {
    let manifest = read(&root().join("operators/Cargo.toml"));
    let names = dependencies(&manifest);
    assert!(names.contains(&"timely"), "the list of dependencies was not found in {names:?}");
    let others: Vec<&str> = names.into_iter().filter(|name| !OPERATORS_MAY_USE.contains(name)).collect();
    assert!(others.is_empty(), "operators/ must build without {others:?}: hand in a closure or a trait instead");
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let mut files = Vec::new();
    ["src", "operators/src", "tests/it", "examples"]
        .iter()
        .for_each(|folder| collect(&root().join(folder), &mut files));
    assert!(files.len() > 100, "only {} files were found", files.len());
    let bare: Vec<&PathBuf> = files.iter().filter(|file| !read(file).starts_with("//! ")).collect();
    assert!(bare.is_empty(), "files without a header (`//! ...` in the first line): {bare:#?}");
}

#[test]
fn every_lesson_is_in_the_readme() {
    let readme = read(&root().join("README.md"));
    let mut lessons = Vec::new();
    collect(&root().join("examples"), &mut lessons);
    assert!(!lessons.is_empty());
    let names = lessons.iter().filter_map(|file| file.file_stem()?.to_str());
    let missing: Vec<&str> = names.filter(|name| !readme.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "the table of lessons lacks {missing:?}");
}

/// Which fault has which tests; written anew when `THALWEG_WRITE_DOCS` is set.
#[test]
fn the_table_of_faults_is_current() {
    let mut files = Vec::new();
    ["src", "operators/src", "tests/it"].iter().for_each(|folder| collect(&root().join(folder), &mut files));
    files.sort();
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in &files {
        let place = file.strip_prefix(root()).expect("below the root").display().to_string();
        for name in test_names(&read(file)) {
            for id in fault_ids(&name) {
                tests.entry(id).or_default().push(format!("`{name}` ({place})"));
            }
        }
    }
    assert!(tests.contains_key("K12") && tests.contains_key("C08"), "{:?}", tests.keys());
    let rows: String = tests.iter().map(|(id, names)| format!("| {id} | {} |\n", names.join(", "))).collect();
    let text = format!("{FAULTS_HEADER}{rows}");
    let file = root().join("docs/faults.md");
    if std::env::var_os("THALWEG_WRITE_DOCS").is_some() {
        fs::write(&file, text).expect("the table can be written");
    } else {
        assert!(read(&file) == text, "docs/faults.md is old: run this test with THALWEG_WRITE_DOCS=1");
    }
}

/// Tests and cases that docs/modes.md names exist, and each kind of query that runs somewhere names one.
#[test]
fn what_runs_where_is_shown_by_tests() {
    let text = read(&root().join("docs/modes.md"));
    let names: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let missing: Vec<&&str> = names.iter().filter(|name| !is_shown(name)).collect();
    assert!(missing.is_empty(), "docs/modes.md names what does not exist: {missing:?}");
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 8);
    let rows: Vec<&str> = rows.skip(1).collect();
    assert!(rows.len() > 25, "the table was not found");
    let bare: Vec<&&str> = rows.iter().filter(|row| !row.contains("::")).collect();
    assert!(bare.is_empty(), "rows without a test: {bare:#?}");
}

/// Whether a name is that of a test or case which exists; true for all other words.
fn is_shown(name: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b));
    if let Some((module, test)) = name.split_once("::").filter(|(a, b)| is_word(a) && is_word(b)) {
        let file = root().join(format!("tests/it/{module}.rs"));
        return file.exists() && read(&file).contains(&format!("fn {test}()"));
    }
    match name.split_once('/').filter(|(a, b)| is_word(a) && is_word(b)) {
        Some((area, case)) => root().join(format!("tests/conformance/{area}/{case}.json")).exists(),
        None => true,
    }
}

const FAULTS_HEADER: &str = "# Faults and their tests\n\n\
    K: the process dies at a step of the commit protocol. D: bad input. T: time. C: disk and checkpoint. N: network. O: sinks.\n\
    P: process, memory, plans. X: security. The table is made from the names of the tests.\n\n\
    | fault | tests |\n|---|---|\n";

/// Names of functions behind `#[test]`, also those that a macro tests.
fn test_names(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
    names.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())).collect()
}

/// `k12_k14_a_commit` → K12, K14.
fn fault_ids(name: &str) -> Vec<String> {
    let is_id = |word: &&str| {
        let (letter, digits) = word.split_at(word.len().min(1));
        "kdtcnopx".contains(letter) && digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    name.split('_').take_while(|word| !word.is_empty() && is_id(word)).map(str::to_uppercase).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The names in the manifest's `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['=', '.']).next()).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// All `.rs` files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("the folder can be listed").path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
