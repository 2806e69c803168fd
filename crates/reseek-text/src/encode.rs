//! Text to ids.

use tokenizers::normalizer::Range;
use tokenizers::tokenizer::{OffsetReferential, OffsetType};
use tokenizers::{Encoding, Model, NormalizedString, PostProcessor, PreTokenizedString, PreTokenizer, Token};

use crate::added::{Trust, split_at, take_cuts};
use crate::error::TextError;
use crate::tokenizer::Tokenizer;

/// Longest run of white space that is tokenized in one piece. The regular-expression engine keeps an entry on its
/// stack for each character of a run and fails at a million; no tokenizer has tokens anywhere near this long.
const WHITESPACE_RUN_MAX: usize = 100_000;

impl Tokenizer {
    /// The ids of plain text, as a user writes it. Spellings of added tokens in it stay text, those of nothing but
    /// blanks or of one character aside, which are ordinary text; no begin token is added. A tokenizer that has no
    /// byte tokens gives its unknown token for what it cannot spell.
    ///
    /// # Errors
    /// A regular expression of a tokenizer from elsewhere that gives up on this text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.ids(text, Trust::Plain)
    }

    /// The ids of a text to be scored, with what the tokenizer's own post-processor puts around it, most often a begin
    /// token or nothing: what transformers' `tokenizer(text)` gives, spellings of added tokens without the `special`
    /// flag (`<think>`, a run of blanks) taken for these tokens, except that those of *special* tokens stay text.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_framed(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let ids = self.ids(text, Trust::Unspecial)?;
        self.framed(ids).map_err(|reason| TextError::Encode { bytes: text.len(), reason })
    }

    /// The ids of text in which the spellings of added tokens mean those tokens: text that templates made. No begin
    /// token is added.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let (text, cuts) = take_cuts(text);
        self.ids(&text, Trust::Template(&cuts))
    }

    /// `text` changed invisibly so that [`encode_with_special`](Self::encode_with_special) takes it for plain text
    /// wherever it stands inside a larger one: for what users write in the slots of a template.
    pub fn mark_plain(&self, text: &str) -> String {
        self.added.mark(self.normalizer.as_ref(), text)
    }

    /// `ids` with what the post-processor puts around them.
    pub(crate) fn framed(&self, ids: Vec<u32>) -> Result<Vec<u32>, String> {
        let Some(post_processor) = &self.post_processor else { return Ok(ids) };
        // Post-processors look at ids only: spellings and offsets may stay empty.
        let tokens = ids.into_iter().map(|id| Token::new(id, String::new(), (0, 0))).collect();
        let framed = post_processor.process(Encoding::from_tokens(tokens, 0), None, true);
        framed.map(|encoding| encoding.get_ids().to_vec()).map_err(|error| error.to_string())
    }

    fn ids(&self, text: &str, trust: Trust) -> Result<Vec<u32>, TextError> {
        let pieces = self
            .words(text, trust)
            .and_then(|mut words| words.tokenize(|word| self.tokens_of(word.get(), trust)).map(|()| words))
            .map_err(|error| TextError::Encode { bytes: text.len(), reason: error.to_string() })?;
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        Ok(splits.into_iter().filter_map(|(_, _, tokens)| tokens.as_ref()).flatten().map(|token| token.id).collect())
    }

    /// The words between the added tokens, as the pre-tokenizer cuts them.
    fn words(&self, text: &str, trust: Trust) -> tokenizers::Result<PreTokenizedString> {
        let mut pieces = self.added.extract(self.normalizer.as_ref(), text, trust)?;
        // Where a blank is put before each piece a cut would be seen.
        if self.steps.is_byte_level() && text.len() > WHITESPACE_RUN_MAX {
            pieces.split(|_, piece| Ok(short_runs(piece)))?;
        }
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        Ok(pieces)
    }

    /// The tokens of a word. Where the model takes a part of it for a token that this text may not hold (Unigram knows
    /// `</s>` as a piece like any other), the word is cut.
    fn tokens_of(&self, word: &str, trust: Trust) -> tokenizers::Result<Vec<Token>> {
        let tokens = self.model.tokenize(word)?;
        let is_barred = |token: &Token| Some(token.id) != self.unk && self.added.is_barred(token.id, trust);
        if !tokens.iter().any(is_barred) {
            return Ok(tokens);
        }
        let pieces = split_at(word, &self.added.cuts_in_word(word)).into_iter();
        let tokens: Vec<Vec<Token>> = pieces.map(|piece| self.model.tokenize(piece)).collect::<Result<_, _>>()?;
        Ok(tokens.concat())
    }
}

/// A piece cut so that no run of white space in it is longer than [`WHITESPACE_RUN_MAX`].
fn short_runs(piece: NormalizedString) -> Vec<NormalizedString> {
    let cuts = whitespace_cuts(piece.get());
    if cuts.is_empty() {
        return vec![piece];
    }
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(piece.len()));
    let slice = |(start, end)| piece.slice(Range::Normalized(start..end)).expect("cut between characters");
    starts.zip(ends).map(slice).collect()
}

/// Byte offsets at which runs of white space must be cut to stay within [`WHITESPACE_RUN_MAX`] characters.
pub(crate) fn whitespace_cuts(text: &str) -> Vec<usize> {
    let mut cuts = Vec::new();
    if text.len() <= WHITESPACE_RUN_MAX {
        return cuts;
    }
    let mut run = 0;
    for (at, character) in text.char_indices() {
        run = if character.is_whitespace() { run + 1 } else { 0 };
        if run > WHITESPACE_RUN_MAX {
            cuts.push(at);
            run = 1;
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_of_blanks_are_cut() {
        let text = " ".repeat(250_000) + "x";
        assert_eq!(whitespace_cuts(&text), [100_000, 200_000]);
        assert!(whitespace_cuts("a b").is_empty());
    }
}
