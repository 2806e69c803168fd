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
    fs::write(scratch.join(".weights.reseek-tmp"), b"half").unwrap();
    fs::write(scratch.join(".hidden"), b"the user's").unwrap();
    write_atomic(&path, b"whole").unwrap();
    fs::write(scratch.join(".other.reseek-tmp"), b"half").unwrap();
    assert_eq!(sweep_temporaries(scratch.path()).unwrap(), 1);
    assert_eq!(sweep_temporaries(scratch.path()).unwrap(), 0);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    assert_eq!(sweep_temporaries(&scratch.join("absent")).unwrap(), 0);
}

#[test]
fn of_two_writers_of_one_file_the_second_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.join("weights");
    let mut file = AtomicFile::create(&path).unwrap();
    file.write(b"first").unwrap();
    assert_names(&AtomicFile::create(&path).unwrap_err(), &["another process", "weights", "Wait"]);
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    write_atomic(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
}

/// Many at once: what is published is whole, and nothing is left.
#[test]
fn whoever_wins_publishes_what_it_wrote() {
    let scratch = Scratch::new();
    let path = scratch.join("weights");
    let write = |byte: u8| {
        let mut file = AtomicFile::create(&path)?;
        for _ in 0..16 {
            file.write(&vec![byte; 1 << 16])?;
        }
        file.commit()
    };
    let published = std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..8).map(|byte| scope.spawn(move || (0..8).filter(|_| write(byte).is_ok()).count())).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum::<usize>()
    });
    assert!(published > 0);
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() == 16 << 16 && bytes.iter().all(|byte| *byte == bytes[0]));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
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
