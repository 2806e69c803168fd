use std::collections::BTreeMap;
use std::fs;

use reseek_store::{DirWriter, Manifest, StoreError, sha256_hex, verify_dir};
use serde_json::{Value, json};

use crate::common::{Scratch, SplitMix, assert_names, tree};

fn folder(scratch: &Scratch) -> std::path::PathBuf {
    let dir = scratch.join("folder");
    let mut writer = DirWriter::create(&dir).unwrap();
    writer.write("b.txt", b"bee").unwrap();
    writer.write("a/deep.txt", b"").unwrap();
    writer.finish(json!({"zeta": 0.1 + 0.2, "alpha": ["x"]})).unwrap();
    dir
}

#[test]
fn a_finished_folder_is_whole_and_its_bytes_are_fixed() {
    let scratch = Scratch::new();
    let dir = folder(&scratch);
    let verified = verify_dir(&dir).unwrap();
    assert_eq!(verified.manifest.meta, json!({"zeta": 0.1 + 0.2, "alpha": ["x"]}));
    assert_eq!(verified.manifest.files["b.txt"].sha256, sha256_hex(b"bee"));
    assert!(verified.vouches_for("a/deep.txt") && verified.unlisted.is_empty());
    let first = tree(&dir);
    folder(&scratch);
    assert_eq!(tree(&dir), first);
}

#[test]
fn any_other_byte_anywhere_is_found() {
    let scratch = Scratch::new();
    let dir = folder(&scratch);
    let mut random = SplitMix(1);
    for (name, bytes) in tree(&dir) {
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1 + random.below(255) as u8;
            fs::write(dir.join(&name), &other).unwrap();
            let error = verify_dir(&dir).unwrap_err();
            assert_names(&error, &[&name, ". "]);
        }
        fs::write(dir.join(&name), &bytes).unwrap();
    }
    verify_dir(&dir).unwrap();
}

#[test]
fn white_space_in_the_manifest_counts_too() {
    let scratch = Scratch::new();
    let path = folder(&scratch).join("manifest.json");
    let spaced = fs::read_to_string(&path).unwrap().replace(": ", ":\t");
    fs::write(&path, spaced).unwrap();
    assert_names(&Manifest::read(&path).unwrap_err(), &["manifest.json", "damaged", "layout"]);
}

#[test]
fn a_damaged_file_is_named_with_both_hashes() {
    let scratch = Scratch::new();
    let dir = folder(&scratch);
    fs::write(dir.join("b.txt"), b"been").unwrap();
    let parts = ["b.txt", "3 bytes", &sha256_hex(b"bee"), "4 bytes", &sha256_hex(b"been"), "Restore"];
    assert_names(&verify_dir(&dir).unwrap_err(), &parts);
}

#[test]
fn missing_and_unlisted_files_are_told_apart() {
    let scratch = Scratch::new();
    let dir = folder(&scratch);
    fs::write(dir.join("metrics.jsonl"), b"").unwrap();
    fs::write(dir.join("also.txt"), b"").unwrap();
    assert_eq!(verify_dir(&dir).unwrap().unlisted, ["also.txt", "metrics.jsonl"]);
    fs::remove_file(dir.join("b.txt")).unwrap();
    let error = verify_dir(&dir).unwrap_err();
    assert!(matches!(error, StoreError::MissingFile { .. }));
    assert_names(&error, &["b.txt", &sha256_hex(b"bee")]);
    fs::remove_file(dir.join("manifest.json")).unwrap();
    assert_names(&verify_dir(&dir).unwrap_err(), &["folder", "never finished", ". "]);
}

#[test]
fn a_folder_being_rewritten_counts_as_unfinished() {
    let scratch = Scratch::new();
    let dir = folder(&scratch);
    let mut writer = DirWriter::create(&dir).unwrap();
    writer.write("b.txt", b"new").unwrap();
    drop(writer);
    assert!(matches!(verify_dir(&dir).unwrap_err(), StoreError::NoManifest { .. }));
}

#[test]
fn names_that_lead_out_are_refused_in_both_directions() {
    let scratch = Scratch::new();
    fs::write(scratch.join("secret"), b"secret").unwrap();
    let absolute = scratch.join("secret").to_string_lossy().into_owned();
    let hostile = ["../secret", "a/../../secret", "", ".", "a//b", "./b.txt", "a\\b", "C:b", "a\0b", &absolute];
    for name in hostile {
        let dir = scratch.join("target");
        let error = DirWriter::create(&dir).unwrap().write(name, b"x").unwrap_err();
        assert!(matches!(error, StoreError::Name { .. }), "{name:?}: {error}");
        let entry = reseek_store::FileEntry { bytes: 6, sha256: sha256_hex(b"secret") };
        let files = BTreeMap::from([(name.to_owned(), entry)]);
        let manifest = Manifest { files, meta: Value::Null };
        manifest.write(&dir.join("manifest.json")).unwrap();
        let error = verify_dir(&dir).unwrap_err();
        assert!(matches!(error, StoreError::Name { .. }), "{name:?}: {error}");
        assert_names(&error, &["manifest.json", &format!("{name:?}"), "Names are relative"]);
    }
    assert_eq!(fs::read(scratch.join("secret")).unwrap(), b"secret");
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_and_folders_are_no_files() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("outside")).unwrap();
    fs::write(scratch.join("outside/deep.txt"), b"").unwrap();
    let dir = folder(&scratch);
    fs::remove_dir_all(dir.join("a")).unwrap();
    symlink(scratch.join("outside"), dir.join("a")).unwrap();
    assert_names(&verify_dir(&dir).unwrap_err(), &["a/deep.txt", "a link out of the folder"]);
    fs::remove_file(dir.join("a")).unwrap();
    fs::create_dir_all(dir.join("a/deep.txt")).unwrap();
    assert_names(&verify_dir(&dir).unwrap_err(), &["a/deep.txt", "no plain file"]);
}

#[test]
fn arbitrary_bytes_as_a_manifest_are_an_error_and_no_panic() {
    let scratch = Scratch::new();
    let path = scratch.join("manifest.json");
    let deep = "[".repeat(100_000);
    let texts: [&[u8]; 7] =
        [b"", b"{}", b"null", b"\xff\xfe", b"{\"files\":{},\"meta\":1}", b"[1e999]", deep.as_bytes()];
    for text in texts {
        fs::write(&path, text).unwrap();
        assert_names(&Manifest::read(&path).unwrap_err(), &["manifest.json", "damaged"]);
    }
}
