//! Artifacts and blobs in real folders.

use super::*;

fn state() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

#[test]
fn an_artifact_is_kept_by_its_content_and_outlives_the_original() {
    let state = state();
    let source = state.path().join("shop");
    fs::write(&source, b"#!/bin/sh\necho one\n").expect("write");
    fs::set_permissions(&source, Permissions::from_mode(0o4755)).expect("chmod");
    let first = keep_artifact(state.path(), &source).expect("keep");
    assert_eq!(first.digest, Digest::of(b"#!/bin/sh\necho one\n"));
    assert_eq!(first.path, state.path().join(format!("artifacts/{}/shop", first.digest)));
    assert_eq!((first.size, mode(&first.path)), (19, 0o555), "executable, not set-uid");
    fs::write(&source, b"#!/bin/sh\necho two\n").expect("write");
    let second = keep_artifact(state.path(), &source).expect("keep");
    assert_ne!(first.digest, second.digest);
    assert_eq!(fs::read(&first.path).expect("read"), b"#!/bin/sh\necho one\n");
    let names = fs::read_dir(state.path().join("artifacts")).expect("list").count();
    assert_eq!(names, 2, "no temporary file is left");
}

#[test]
fn a_kept_artifact_is_not_copied_again_unless_it_is_damaged() {
    let state = state();
    let source = state.path().join("data.bin");
    fs::write(&source, vec![7; 200_000]).expect("write");
    let kept = keep_artifact(state.path(), &source).expect("keep");
    assert_eq!(mode(&kept.path), 0o444);
    let number = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&kept.path).expect("there"));
    let before = number();
    assert_eq!(keep_artifact(state.path(), &source).expect("again"), kept);
    assert_eq!(number(), before, "the same file");
    // The same size, another content, as a bad disk would do it.
    fs::set_permissions(&kept.path, Permissions::from_mode(0o644)).expect("chmod");
    fs::write(&kept.path, vec![8; 200_000]).expect("damage");
    fs::set_permissions(&kept.path, Permissions::from_mode(0o444)).expect("chmod");
    assert_eq!(keep_artifact(state.path(), &source).expect("again"), kept);
    assert_eq!(fs::read(&kept.path).expect("read"), vec![7; 200_000]);
}

#[test]
fn only_regular_files_are_artifacts() {
    let state = state();
    for source in [state.path().to_owned(), state.path().join("absent"), PathBuf::from("/dev/null")]
    {
        let failure = keep_artifact(state.path(), &source).expect_err("not a file");
        assert_eq!(failure.kind, FailureKind::NotDone, "{}", failure.chain());
    }
}

#[test]
fn a_blob_reads_back_and_shows_damage() {
    let state = state();
    let digest = keep_blob(state.path(), b"port: 8080\n").expect("keep");
    assert_eq!(keep_blob(state.path(), b"port: 8080\n").expect("again"), digest);
    let path = blob_path(state.path(), digest);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(read_blob(state.path(), digest).expect("read"), b"port: 8080\n");
    fs::write(&path, b"port: 8081\n").expect("damage");
    let failure = read_blob(state.path(), digest).expect_err("damaged");
    assert_eq!(failure.kind, FailureKind::Damaged);
    fs::remove_file(&path).expect("remove");
    let failure = read_blob(state.path(), digest).expect_err("gone");
    assert_eq!(failure.kind, FailureKind::Missing);
}

#[test]
fn only_old_and_unreferenced_files_are_removed() {
    let state = state();
    let source = state.path().join("app");
    fs::write(&source, b"app").expect("write");
    let kept = keep_artifact(state.path(), &source).expect("keep");
    let blob = keep_blob(state.path(), b"blob").expect("keep");
    let other = state.path().join("blobs/README");
    fs::write(&other, b"someone else's").expect("write");
    let remove = |referenced: &[Digest], age| {
        remove_unreferenced(state.path(), &referenced.iter().copied().collect(), age)
            .expect("tidy up")
    };
    assert_eq!(remove(&[], Duration::ZERO), Removed::default(), "an empty list removes nothing");
    assert_eq!(remove(&[kept.digest], UNREFERENCED_AGE_MIN), Removed::default(), "too young");
    assert_eq!(remove(&[kept.digest, blob], Duration::ZERO), Removed::default(), "both wanted");
    assert_eq!(remove(&[kept.digest], Duration::ZERO), Removed { count: 1, bytes: 4 });
    assert!(kept.path.is_file() && other.is_file());
    assert_eq!(remove(&[blob], Duration::ZERO), Removed { count: 1, bytes: 3 });
    assert!(!kept.path.exists());
}
