//! Every input that was worth keeping holds.
#![expect(clippy::unwrap_used, reason = "a failure is what a test is for")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("closing", handy_ws_fuzz::closing),
    ("connection", handy_ws_fuzz::connection),
    ("decoder", handy_ws_fuzz::decoder),
    ("extensions", handy_ws_fuzz::extensions),
    ("head", handy_ws_fuzz::head),
    ("inflate", handy_ws_fuzz::inflate),
];

/// What is in a folder of the corpora, in order.
fn list(folder: &str) -> BTreeSet<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let files = list(name);
    assert!(!files.is_empty(), "there is no corpus for {name}");
    for file in files {
        let input = fs::read(&file).unwrap();
        let name = file.display();
        let result = std::panic::catch_unwind(|| target(&input));
        assert!(result.is_ok(), "{name} does not hold: the message is above");
    }
}

#[test]
fn every_target_has_a_corpus_and_nothing_else_has() {
    let names: Vec<_> =
        list("").iter().filter_map(|path| Some(path.file_name()?.to_owned())).collect();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}

#[test]
fn closing() {
    replay("closing");
}

#[test]
fn connection() {
    replay("connection");
}

#[test]
fn decoder() {
    replay("decoder");
}

#[test]
fn extensions() {
    replay("extensions");
}

#[test]
fn head() {
    replay("head");
}

#[test]
fn inflate() {
    replay("inflate");
}
