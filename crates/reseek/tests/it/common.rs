//! What the tests share: scratch folders, a small text, and the program with settings that take about a second a chain.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A new folder for one test, removed at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chain-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("tiny.toml"), TINY).unwrap();
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A folder of text to train on: sentences from a small grammar, the same in every test.
    pub fn text(&self) -> PathBuf {
        let folder = self.join("text");
        fs::create_dir_all(&folder).unwrap();
        for document in 0..60 {
            fs::write(folder.join(format!("{document:02}.txt")), prose(document)).unwrap();
        }
        folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fourteen sentences of a document.
pub fn prose(document: u64) -> String {
    const SUBJECTS: [&str; 5] = ["The miller", "A small boat", "My neighbour", "Every student", "The north wind"];
    const VERBS: [&str; 5] = ["carries", "finds", "repairs", "remembers", "opens"];
    const OBJECTS: [&str; 5] =
        ["the heavy sacks", "a narrow river", "three red lamps", "an honest answer", "the long road"];
    let mut state = document + 1;
    let mut pick = |words: [&'static str; 5]| {
        // Knuth's MMIX generator; its upper bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        words[(state >> 33) as usize % words.len()]
    };
    let sentence = |_| {
        let (a, b, c) = (pick(SUBJECTS), pick(VERBS), pick(OBJECTS));
        format!("{a} {b} {c}, and {} {} {}.", pick(SUBJECTS).to_lowercase(), pick(VERBS), pick(OBJECTS))
    };
    (0..14).map(sentence).collect::<Vec<_>>().join(" ")
}

/// The smoke recipe made smaller: every stage has work, none has much.
const TINY: &str = r#"
[tokenizer]
vocab_size = 400
sample_bytes = 30000

[pretrain]
seq_len = 128
tokens = 6144
sequences_start = 4
sequences = 8

[extend]
steps = 2
batch_tokens = 512
needles = 2

[zero]
steps = 6
questions = 2
group = 4
max_new_tokens = 16

[r1]
cold_start_samples = 16
rejection_questions = 4
rejection_samples = 2
general_samples = 16
reward_model_pairs = 8
reward_model_steps = 2

[r1.rl]
steps = 4
questions = 2
group = 4
max_new_tokens = 16

[r1.sft]
sequences = 4

[r1.rl_all]
steps = 4
questions = 2
group = 4
max_new_tokens = 16

[distil]
pretrain_tokens = 2048

[distil.sft]
sequences = 4

[distil.rl]
questions = 2
group = 4
max_new_tokens = 16

[eval]
problems = 6
k = 2
max_new_tokens = 8
text_bytes = 2000
"#;

/// The program, on two threads whatever the machine has.
pub fn reseek() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reseek"));
    command.env("RESEEK_THREADS", "2").env_remove("RESEEK_SIMD");
    command
}

/// A stage's command, or `replicate`, with the tiny recipe on `data`.
pub fn stage(scratch: &Scratch, name: &str, data: &Path, out: &Path) -> Command {
    let mut command = reseek();
    command.args([name, "--quiet", "--scale", "smoke", "--recipe"]).arg(scratch.join("tiny.toml"));
    command.arg("--data").arg(data).arg("--out").arg(out);
    command
}

/// What a command printed, if it succeeded.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command said, if it ended as a mistake of the user does: exit code 2 and every one of `parts`.
pub fn refuse(command: &mut Command, parts: &[&str]) -> String {
    let output = command.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {}\n{message}", output.status);
    assert!(!message.contains("panicked"), "{command:?}: {message}");
    for part in parts.iter().chain(&["error: "]) {
        assert!(message.contains(part), "{command:?}: no {part:?} in\n{message}");
    }
    message
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A finished chain with its text. Tests share it, so they only read it; what writes works on a [`copy`].
pub struct Finished {
    _scratch: Scratch,
    pub out: PathBuf,
    pub text: PathBuf,
    /// What `replicate --json` printed.
    pub stdout: String,
}

/// The shared chain; it is made when the first test asks and removed when the last one lets go.
pub fn finished() -> Arc<Finished> {
    static SHARED: Mutex<Weak<Finished>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(finished) = shared.upgrade() {
        return finished;
    }
    let scratch = Scratch::new();
    let (text, out) = (scratch.text(), scratch.join("run"));
    let stdout = succeed(stage(&scratch, "replicate", &text, &out).arg("--json"));
    let finished = Arc::new(Finished { _scratch: scratch, out, text, stdout });
    *shared = Arc::downgrade(&finished);
    finished
}

/// Every file of a run that follows from configuration and seed alone; clocks and what is computed from them stay out.
pub fn bytes_of(run: &Path) -> BTreeMap<String, Vec<u8>> {
    const CLOCKS: [&str; 8] = [
        "timing.jsonl",
        "usage.json",
        "profile.json",
        "summary.json",
        "index.html",
        "lock",
        "prediction.json",
        "machine.json",
    ];
    let mut found = BTreeMap::new();
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(run).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                // A kill right after a stage's record was written leaves its states, which nothing reads any more.
                folders.extend((!path.ends_with("state")).then_some(path));
            } else if !CLOCKS.iter().any(|clock| path.ends_with(clock)) {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Asserts that two whole runs hold the same files with the same bytes.
pub fn assert_same_bytes(run: &Path, reference: &Path) {
    let files = bytes_of(reference).len();
    assert!(files > 60, "only {files} files");
    assert_equal_folders(run, reference);
}

/// Asserts that two folders hold the same files with the same bytes, clocks aside.
pub fn assert_equal_folders(run: &Path, reference: &Path) {
    let (run, reference) = (bytes_of(run), bytes_of(reference));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&run), names(&reference));
    let other: Vec<&String> = run.iter().filter(|(name, bytes)| reference[*name] != **bytes).map(|(n, _)| n).collect();
    assert!(other.is_empty(), "other bytes than in the undisturbed run: {other:?}");
}

/// A copy of a run, to be damaged.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
