use std::fs;

use reseek_store::{AtomicFile, sha256_file, sha256_hex, sweep_temporaries, write_atomic};

use crate::common::{Scratch, assert_names};

#[test]
fn the_hash_is_sha256() {
    // FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256_hex(b"abc"), expected);
    let scratch = Scratch::new();
    let written = write_atomic(&scratch.join("a"), b"abc").unwrap();
    assert_eq!((written.bytes, written.sha256.as_str()), (3, expected));
    assert_eq!(sha256_file(&scratch.join("a")).unwrap(), written);
}

#[test]
fn a_write_replaces_the_file_and_leaves_nothing_else() {
    let scratch = Scratch::new();
    let path = scratch.join("rows");
    for content in [&b"first"[..], b"", b"third, longer than the first"] {
        write_atomic(&path, content).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_not_committed_changes_nothing() {
    let scratch = Scratch::new();
    let path = scratch.join("weights");
    write_atomic(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn leftovers_of_a_kill_are_swept_and_do_not_stand_in_the_way() {
    let scratch = Scratch::new();
    let path = scratch.join("weights");
    // forget: no destructor runs in a killed process either.
    std::mem::forget(AtomicFile::create(&path).unwrap());
    fs::write(scratch.join(".hidden"), b"the user's").unwrap();
    write_atomic(&path, b"whole").unwrap();
    std::mem::forget(AtomicFile::create(&scratch.join("other")).unwrap());
    assert_eq!(sweep_temporaries(scratch.path()).unwrap(), 1);
    assert_eq!(sweep_temporaries(scratch.path()).unwrap(), 0);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    assert_eq!(sweep_temporaries(&scratch.join("absent")).unwrap(), 0);
}

#[cfg(unix)]
#[test]
fn a_leftover_that_is_a_link_is_not_written_through() {
    let scratch = Scratch::new();
    fs::write(scratch.join("precious"), b"precious").unwrap();
    std::os::unix::fs::symlink(scratch.join("precious"), scratch.join(".a.reseek-tmp")).unwrap();
    write_atomic(&scratch.join("a"), b"new").unwrap();
    assert_eq!(fs::read(scratch.join("precious")).unwrap(), b"precious");
    assert_eq!(fs::read(scratch.join("a")).unwrap(), b"new");
}

#[test]
fn a_file_where_a_folder_is_needed_is_named() {
    let scratch = Scratch::new();
    fs::write(scratch.join("file"), b"").unwrap();
    let error = write_atomic(&scratch.join("file/a.json"), b"x").unwrap_err();
    assert_names(&error, &["create", "file/a.json", "Not a directory", "A file stands"]);
    let error = write_atomic(&scratch.join("absent/a.json"), b"x").unwrap_err();
    assert_names(&error, &["absent/a.json", "No such file", "Check the path"]);
}

#[cfg(unix)]
#[test]
fn a_folder_without_write_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let folder = scratch.join("readonly");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write everywhere; there is then nothing to see here.
    if fs::write(folder.join("probe"), b"").is_ok() {
        return;
    }
    let error = write_atomic(&folder.join("a.json"), b"x").unwrap_err();
    assert_names(&error, &["create", "readonly/a.json", "Permission denied", "Make the folder writable"]);
}
