//! Behaviour of the data room, seen from outside.

mod corpus;
mod folder;
mod heldout;
mod mixture;
mod needle;
mod packing;
mod tokenized;

use std::sync::{Arc, LazyLock};

use reseek_data::{Corpus, Mixture, MixtureSpec, Problems, TokenizedCorpus};
use reseek_text::Tokenizer;

/// The embedded corpus.
pub static EMBEDDED: LazyLock<Corpus> = LazyLock::new(Corpus::embedded);

/// One document in forty of the embedded corpus.
pub static SMALL: LazyLock<Arc<Corpus>> = LazyLock::new(|| {
    let mut corpus = EMBEDDED.clone();
    let mut index = 0;
    corpus.documents.retain(|_| {
        index += 1;
        index % 40 == 0
    });
    Arc::new(corpus)
});

/// A tokenizer for it.
pub static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let spec = MixtureSpec::default();
    let texts = reseek_data::tokenizer_texts(&SMALL, &Problems::default(), &spec, 300_000, 1);
    Arc::new(Tokenizer::train(&texts, 700, 1).expect("trains"))
});

/// Its tokens.
pub static TOKENIZED: LazyLock<Arc<TokenizedCorpus>> =
    LazyLock::new(|| Arc::new(TokenizedCorpus::new(SMALL.clone(), &TOKENIZER).expect("encodes")));

/// A mixture of the small corpus and generated problems.
pub fn mixture(spec: MixtureSpec, seed: u64) -> Mixture {
    Mixture::new(TOKENIZED.clone(), Arc::new(Problems::default()), TOKENIZER.clone(), spec, seed).expect("mixes")
}
