//! Held-out windows cover their documents.

use reseek_data::{Heldout, long_windows};
use reseek_text::Special;

use crate::{EMBEDDED, SMALL, TOKENIZER};

#[test]
fn windows_cover_the_text() {
    let heldout = Heldout::new(&SMALL, &TOKENIZER, 100, usize::MAX).unwrap();
    let mut texts = vec![Vec::new(); SMALL.heldout.len()];
    for window in &heldout.windows {
        assert!(window.tokens.len() <= 100 && window.tokens.len() == window.targets.len());
        assert_eq!(window.tokens[1..], window.targets[..window.targets.len() - 1]);
        texts[window.document].extend_from_slice(&window.targets);
    }
    for (ids, document) in texts.iter().zip(&SMALL.heldout) {
        assert!(TOKENIZER.decode(ids) == document.text);
    }
    assert_eq!(heldout.bytes(), SMALL.heldout.iter().map(|d| d.text.len()).sum::<usize>());
    let bos = TOKENIZER.special(Special::Bos).unwrap();
    assert_eq!(heldout.windows[0].tokens[0], bos);
    let beginnings = heldout.windows.iter().filter(|window| window.tokens[0] == bos).count();
    assert_eq!(beginnings, SMALL.heldout.len(), "one window a document begins with the begin token");
}

#[test]
fn a_small_measure_takes_all_collections() {
    let heldout = Heldout::new(&EMBEDDED, &TOKENIZER, 256, 60_000).unwrap();
    assert!((30_000..120_000).contains(&heldout.bytes()), "{}", heldout.bytes());
    let collections: std::collections::BTreeSet<&str> = heldout
        .windows
        .iter()
        .filter_map(|window| EMBEDDED.heldout[window.document].source.split('/').next())
        .collect();
    assert!(collections.len() >= 5, "{collections:?}");
}

#[test]
fn long_windows_are_the_beginnings_of_the_documents_that_are_long_enough() {
    let length = 1024;
    let windows = long_windows(&EMBEDDED, &TOKENIZER, length).unwrap();
    let is_long = |text: &str| TOKENIZER.encode(text).unwrap().len() >= length;
    let expect: Vec<usize> = (0..EMBEDDED.heldout.len()).filter(|&i| is_long(&EMBEDDED.heldout[i].text)).collect();
    assert_eq!(windows.iter().map(|window| window.document).collect::<Vec<_>>(), expect);
    assert!(expect.len() >= 10, "only {} documents for intervals", expect.len());
    for window in &windows {
        assert_eq!((window.tokens.len(), window.targets.len()), (length, length));
        assert_eq!(window.tokens[0], TOKENIZER.special(Special::Bos).unwrap());
        assert_eq!(window.tokens[1..], window.targets[..length - 1]);
        let text = TOKENIZER.decode(&window.targets);
        let whole = &EMBEDDED.heldout[window.document].text;
        // The last character may be cut.
        assert!(whole.starts_with(text.trim_end_matches('\u{fffd}')), "{text}");
    }
    assert!(long_windows(&EMBEDDED, &TOKENIZER, 100_000).unwrap().is_empty());
}
