//! A folder that another process works in, and disks that refuse.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Scratch, assert_same_bytes, finished, refuse, stage, stderr, succeed};

#[test]
fn a_run_that_another_process_works_in() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    let mut first = stage(&scratch, "replicate", &text, &out).stderr(Stdio::null()).spawn().unwrap();
    while !out.join("config.toml").exists() {
        assert!(first.try_wait().unwrap().is_none(), "the first process ended before the second began");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // Held still, so that it cannot end while the second one tries.
    let pid = first.id().to_string();
    assert!(Command::new("sh").args(["-c", &format!("kill -STOP {pid}")]).status().unwrap().success());
    refuse(&mut stage(&scratch, "tokenizer", &text, &out), &["run", "in use", &pid]);
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock dies with its process.
    succeed(&mut stage(&scratch, "tokenizer", &text, &out));
}

/// `sh` with a limit on the size of files: the system then refuses to write on, much as a full disk does.
#[test]
fn a_limit_on_file_sizes_loses_nothing() {
    let run = finished();
    let scratch = Scratch::new();
    let out = scratch.join("limited");
    succeed(&mut stage(&scratch, "tokenizer", &run.text, &out));
    let inner = stage(&scratch, "replicate", &run.text, &out);
    // Ignored, the signal of the limit becomes an error of the write. Blocks are of 512 or of 1,024 bytes.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$@\"", "sh"]);
    limited.arg(inner.get_program()).args(inner.get_args()).env("RESEEK_THREADS", "2");
    refuse(&mut limited, &["cannot", "pretrain", "limit"]);
    succeed(&mut stage(&scratch, "replicate", &run.text, &out));
    assert_same_bytes(&out, &run.out);
}

/// A really full disk: a small file system in memory, mounted in a name space of its own where the system lets us.
#[test]
fn a_full_disk_loses_nothing() {
    let run = finished();
    let scratch = Scratch::new();
    let (disk, out) = (scratch.join("disk"), scratch.join("disk/run"));
    fs::create_dir(&disk).unwrap();
    if !may_mount(&disk) {
        eprintln!("no mounts here: the limit on file sizes stands for the full disk");
        return;
    }
    let inner = stage(&scratch, "replicate", &run.text, &out);
    // What fits is kept: the tokenizer's stage is whole after the failure, and with more room the run goes on.
    let script = "mount -t tmpfs -o size=700k tmpfs \"$1\" || exit 9; shift; \"$@\" && exit 8; code=$?; \
                  [ -f \"$OUT/tokenizer/stage.json\" ] || exit 7; [ ! -f \"$OUT/pretrain/stage.json\" ] || exit 6; \
                  mount -o remount,size=64m \"$DISK\" && \"$@\" >&2 || exit 5; cp -r \"$OUT\" \"$COPY\" && exit $code";
    let mut full = Command::new("unshare");
    full.args(["-rm", "sh", "-c", script, "sh"]).arg(&disk).arg(inner.get_program()).args(inner.get_args());
    full.env("OUT", &out).env("DISK", &disk).env("COPY", scratch.join("copy")).env("RESEEK_THREADS", "2");
    let message = refuse(&mut full, &["disk", "full"]);
    assert!(message.contains("pretrain"), "{message}");
    assert_same_bytes(&scratch.join("copy"), &run.out);
}

fn may_mount(disk: &Path) -> bool {
    let mut mount = Command::new("unshare");
    mount.args(["-rm", "mount", "-t", "tmpfs", "tmpfs"]).arg(disk);
    match mount.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{}", stderr(&output).trim());
            false
        }
        Err(_) => false,
    }
}
