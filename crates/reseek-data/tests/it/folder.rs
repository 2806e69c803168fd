//! A user's own folder, good and bad.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use reseek_data::{Corpus, Holds, Problems, Side};
use reseek_tasks::{Split, TaskMix};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("reseek-data-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&root).unwrap();
        for (name, bytes) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Self(root)
    }

    fn read(&self) -> Result<Corpus, String> {
        Corpus::from_folder(&self.0).map_err(|error| error.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

const LONG: &[u8] = b"A sentence that is long enough to be a document by itself.\r\n\r\nAnother one.";

#[test]
fn text_and_problems_are_read() {
    let folder = Folder::new(&[
        ("b/notes.md", b"# Title\n\nSome text of a sufficient length for a document.\n"),
        ("a.txt", LONG),
        ("c.jsonl", "{\"text\": \"中文的一篇短文，长度足够成为一个文档。\", \"source\": \"mine/1\"}\n\n".as_bytes()),
        ("copy.TXT", LONG),
        ("problems.jsonl", b"{\"question\": \"2+3?\", \"answer\": \"5\"}\n{\"question\": \"2+4?\", \"answer\": 6}\n"),
        (".git/config.txt", b"\xff"),
        ("picture.png", b"\x89PNG"),
    ]);
    let corpus = folder.read().unwrap();
    let mut sources: Vec<&str> = corpus.documents.iter().chain(&corpus.heldout).map(|d| d.source.as_str()).collect();
    sources.sort_unstable();
    assert_eq!(sources, ["a.txt", "b/notes.md", "mine/1"]);
    assert_eq!((corpus.documents.len(), corpus.heldout.len()), (2, 1));
    assert_eq!((corpus.problems.len(), corpus.reading.passed_over.len()), (2, 1));
    assert_eq!(corpus.sha256(), folder.read().unwrap().sha256());
}

#[test]
fn problems_alone_come_with_the_embedded_text() {
    let folder = Folder::new(&[("p.jsonl", b"{\"question\": \"2+3?\", \"answer\": \"5\"}\n")]);
    let corpus = folder.read().unwrap();
    assert_eq!(corpus.documents.len(), crate::EMBEDDED.documents.len());
    let error = Problems::of(&corpus, TaskMix::default()).unwrap_err().to_string();
    assert!(error.contains("1 usable problems") && error.contains(". "), "{error}");
}

#[test]
fn mistakes_are_named() {
    let check = |files: &[(&str, &[u8])], expect: &[&str]| {
        let error = Folder::new(files).read().unwrap_err();
        for part in expect.iter().chain(&[". "]) {
            assert!(error.contains(part), "{error}\ndoes not say {part}");
        }
    };
    check(&[], &["no .txt, .md or .jsonl file", "(0 other files)"]);
    check(&[("a.pdf", b"%PDF")], &["(1 other files)"]);
    check(&[("a.txt", b"abc\xe4\xb8")], &["a.txt: byte 3 is not UTF-8"]);
    check(&[("deep/p.jsonl", b"{\"text\": \"\xff\"}")], &["p.jsonl: byte 10 is not UTF-8"]);
    check(&[("a.txt", b"")], &["0 usable documents"]);
    check(&[("a.txt", b"\x00\x01\xef\xbf\xbd \n\n"), ("b.txt", b"short")], &["0 usable documents"]);
    check(&[("a.txt", b"This is the only document, though it is long enough.")], &["1 usable documents"]);
    check(
        &[("a.jsonl", b"{\"text\": \"good line here, long enough\"}\n{\"txt\": 1}")],
        &["a.jsonl:2: there is no \"text\""],
    );
    check(&[("a.jsonl", b"{\"text\": \"x\"}\n{")], &["a.jsonl:2: "]);
    check(&[("p.jsonl", b"{\"question\": \"2+3?\"}")], &["p.jsonl:1: field `answer` is missing"]);
    check(&[("p.jsonl", b"")], &["p.jsonl: no problem"]);
}

#[test]
fn a_missing_folder_is_named() {
    let error = Corpus::from_folder(&std::env::temp_dir().join("reseek-no-such-folder")).unwrap_err().to_string();
    assert!(error.contains("reseek-no-such-folder") && error.contains(". "), "{error}");
}

#[test]
fn one_endless_line_becomes_documents() {
    let folder = Folder::new(&[("a.txt", "word ".repeat(100_000).as_bytes()), ("b.txt", "世".repeat(9000).as_bytes())]);
    let corpus = folder.read().unwrap();
    assert!(corpus.documents.iter().all(|document| document.text.len() <= 3600));
    // Copies of a piece count once: the long lines repeat themselves.
    assert!(corpus.documents.len() + corpus.heldout.len() >= 3);
}

#[test]
fn listed_problems_are_divided_and_come_round() {
    let lines: String = (0..40).map(|n| format!("{{\"question\": \"{n}+1?\", \"answer\": \"{}\"}}\n", n + 1)).collect();
    let folder = Folder::new(&[("p.jsonl", lines.as_bytes())]);
    let problems = Problems::of(&folder.read().unwrap(), TaskMix::default()).unwrap();
    let Problems::Listed { train, development, test } = &problems else { panic!("the folder has problems") };
    assert_eq!(train.len() + development.len() + test.len(), 40);
    assert!(!test.is_empty() && train.iter().all(|p| p.split == Split::Train));
    assert!(development.iter().all(|p| p.split == Split::Development) && test.iter().all(|p| p.split == Split::Test));
    let n = train.len() as u64;
    for epoch in 0..2 {
        let mut ids: Vec<String> = (0..n).map(|i| problems.train(3, "zero", epoch * n + i).id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u64, n, "each once an epoch");
    }
    assert_eq!(problems.train(3, "zero", 5), problems.train(3, "zero", 5));
    let order = |purpose| (0..n).map(|i| problems.train(3, purpose, i).id).collect::<Vec<_>>();
    assert_ne!(order("zero"), order("r1"), "each stage has an order of its own");
    assert_eq!(problems.heldout(3, Split::Development, 1000).len(), development.len());
    let mut tested = problems.heldout(3, Split::Test, 1000);
    assert_eq!(tested.len(), test.len());
    tested.sort_by(|a, b| a.id.cmp(&b.id));
    assert!(tested.iter().all(|p| test.contains(p) && !train.contains(p) && !development.contains(p)));
}

#[test]
fn a_handful_of_problems_leaves_something_to_train_on_and_something_to_test_by() {
    for n in 2..9 {
        let lines: String = (0..n).map(|i| format!("{{\"question\": \"{i}+{n}?\", \"answer\": \"1\"}}\n")).collect();
        let folder = Folder::new(&[("p.jsonl", lines.as_bytes())]);
        let problems = Problems::of(&folder.read().unwrap(), TaskMix::default()).unwrap();
        let Problems::Listed { train, development, test } = &problems else { panic!("the folder has problems") };
        assert!(!train.is_empty() && !test.is_empty(), "{n}: {train:?} {test:?}");
        assert_eq!(train.len() + development.len() + test.len(), n);
    }
}

#[test]
fn official_train_and_test_files_keep_their_sides() {
    let line = |q: &str| format!("{{\"question\": \"{q}\", \"answer\": \"1\"}}\n");
    let lines = |of: &str, n: usize| (0..n).map(|i| line(&format!("{of} {i}?"))).collect::<String>();
    // A question of the test stands in the training file too, in other spacing and case.
    let train = lines("Sum", 40) + &line("  PRODUCT  3? ");
    let files = |extra: &[(&'static str, String)]| {
        let mut files = vec![("train.jsonl", train.clone()), ("test.jsonl", lines("Product", 30))];
        files.extend_from_slice(extra);
        files
    };
    let read = |files: &[(&str, String)]| {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        Folder::new(&files).read()
    };
    let count = |corpus: &Corpus, split| corpus.problems.iter().filter(|p| p.split == split).count();

    let corpus = read(&files(&[])).unwrap();
    assert_eq!((count(&corpus, Split::Train), count(&corpus, Split::Test)), (40, 30));
    assert!(corpus.problems.iter().all(|p| (p.split == Split::Train) == p.question.starts_with("Sum")));
    assert!(corpus.problems.iter().all(|p| p.id.contains(p.split.name())), "{}", corpus.problems[0].id);
    assert_eq!(corpus.reading.asked_in_test, 1);
    let holds: Vec<&Holds> = corpus.reading.files.iter().map(|file| &file.holds).collect();
    assert_eq!(holds, [&Holds::Problems(30, Side::Test), &Holds::Problems(41, Side::Train)]);

    // A validation file beside a test is to choose settings by, a file without such a name goes by its hash, and no question of either is
    // trained on.
    let more = read(&files(&[("dev.jsonl", lines("Sum", 3)), ("more.jsonl", lines("Product", 60))])).unwrap();
    assert_eq!(count(&more, Split::Train) + more.reading.asked_in_test, 41 + count_by_hash(&lines("Product", 60)));
    assert!(more.problems.iter().filter(|p| p.split == Split::Train).all(|p| {
        let n: usize = p.question.trim_end_matches('?').rsplit(' ').next().unwrap().parse().unwrap();
        if p.question.starts_with("Sum") { n >= 3 } else { n >= 30 }
    }));

    // Training alone is divided by hash; tests alone are no training.
    let alone = read(&[("train.jsonl", lines("Sum", 40))]).unwrap();
    assert!(count(&alone, Split::Test) > 0 && count(&alone, Split::Train) > 20);
    let error = read(&[("test.jsonl", lines("Sum", 40))]).unwrap_err();
    assert!(error.contains("Nothing is left to train on.") && error.contains("train.jsonl"), "{error}");
}

fn count_by_hash(lines: &str) -> usize {
    let problems = reseek_tasks::parse_problems(lines.as_bytes(), "more.jsonl").unwrap();
    problems.iter().filter(|p| p.split == Split::Train).count()
}
