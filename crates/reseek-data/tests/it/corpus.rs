//! The embedded corpus is what its README says.

use std::collections::BTreeSet;

use reseek_data::{Corpus, Document};

use crate::EMBEDDED;

#[test]
fn embedded_corpus_is_clean() {
    let corpus = &*EMBEDDED;
    let all = || corpus.documents.iter().chain(&corpus.heldout);
    assert_eq!(all().count(), 1930 + 700 + 5832);
    assert_eq!(all().map(|d| d.text.len()).sum::<usize>(), 5_399_602 + 2_019_434 + 1_955_556);
    for document in all() {
        let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{fffd}' | '\u{feff}' | '\r');
        assert!(!document.text.contains(bad), "{}", document.source);
        assert!((160..=5408).contains(&document.text.len()), "{}", document.source);
        assert_eq!(document.text.trim(), document.text, "{}", document.source);
    }
    let collections: BTreeSet<&str> = all().map(collection).collect();
    let expect = ["austen", "bible", "rust-book", "rust-reference", "songci", "yuanqu"];
    assert_eq!(collections.into_iter().collect::<Vec<_>>(), expect);
}

/// The first part of a compiled-in document's source.
fn collection(document: &Document) -> &str {
    document.source.split('/').next().unwrap()
}

#[test]
fn one_document_in_fifty_is_held_out_of_every_collection() {
    let corpus = &*EMBEDDED;
    let share = corpus.heldout.len() as f64 / (corpus.documents.len() + corpus.heldout.len()) as f64;
    assert!((0.015..0.025).contains(&share), "{share}");
    let trained: BTreeSet<&str> = corpus.documents.iter().map(|d| d.text.as_str()).collect();
    assert!(corpus.heldout.iter().all(|d| !trained.contains(d.text.as_str())));
    let collections: BTreeSet<&str> = corpus.heldout.iter().map(collection).collect();
    assert_eq!(collections.len(), 6);
}

#[test]
fn fingerprint_sees_every_change() {
    let texts = [("the first text is this one here", "a"), ("the second text is that one there", "b")];
    let corpus = || Corpus::from_texts(texts).unwrap();
    assert_eq!(corpus().sha256(), corpus().sha256());
    assert_eq!(corpus().sha256().len(), 64);
    let mut moved = corpus();
    let document = moved.heldout.pop().unwrap();
    moved.documents.push(document);
    assert_ne!(moved.sha256(), corpus().sha256());
    let mut renamed = corpus();
    renamed.documents[0].source.push('x');
    assert_ne!(renamed.sha256(), corpus().sha256());
}
