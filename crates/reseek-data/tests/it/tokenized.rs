//! Passages with their tokens.

use reseek_data::{Corpus, TokenizedCorpus};

use crate::{SMALL, TOKENIZER};

fn texts(documents: &TokenizedCorpus) -> Vec<&str> {
    documents.corpus().documents.iter().map(|document| document.text.as_str()).collect()
}

#[test]
fn passages_joined_are_the_text_and_their_tokens() {
    let short = TokenizedCorpus::in_passages(&SMALL, 100, &TOKENIZER).unwrap();
    assert!(short.len() > 2 * SMALL.documents.len());
    assert!(texts(&short).iter().all(|text| text.len() <= 100));
    let whole: String = SMALL.documents.iter().map(|document| document.text.as_str()).collect();
    let mut former = short.len();
    for bytes_max in [150, 400, usize::MAX] {
        let long = short.joined(bytes_max);
        assert!(long.len() < former, "{} passages of {bytes_max} bytes, {former} of less", long.len());
        former = long.len();
        assert_eq!(texts(&long).concat(), whole);
        assert_eq!(long.n_tokens(), short.n_tokens());
        for (i, text) in texts(&long).iter().enumerate() {
            assert!(text.len() <= bytes_max);
            assert_eq!(TOKENIZER.decode(long.document(i)), *text);
        }
    }
    // Without a limit every document is whole again, and no two of them are one.
    let whole = texts(&short.joined(usize::MAX)).iter().map(|text| text.to_string()).collect::<Vec<_>>();
    assert_eq!(whole, SMALL.documents.iter().map(|document| document.text.clone()).collect::<Vec<_>>());
}

#[test]
fn what_is_not_trained_on_stays() {
    let joined = TokenizedCorpus::in_passages(&SMALL, 64, &TOKENIZER).unwrap().joined(128);
    let Corpus { heldout, problems, .. } = &**joined.corpus();
    assert_eq!((heldout.len(), problems.len()), (SMALL.heldout.len(), SMALL.problems.len()));
}
