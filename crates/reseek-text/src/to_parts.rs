//! The way back: the parts that a GGUF file holds of a tokenizer.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{Model, ModelWrapper};

use crate::bounds::{part, steps};
use crate::bytes::token_bytes;
use crate::decode::fallback_byte;
use crate::error::TextError;
use crate::file::File;
use crate::parts::{PartsModel, TokenKind, TokenizerParts};
use crate::pre::{name_of, splits_of};
use crate::special::Special;
use crate::tokenizer::Tokenizer;

impl Tokenizer {
    /// The parts of a byte-level tokenizer, or of one with byte fallback (Llama 2, Mistral, Gemma), of which
    /// [`from_parts`](Self::from_parts), and llama.cpp, make one that gives texts the same ids, with these exceptions.
    ///
    /// - Tokens without the `special` flag that look as if they had it (`<｜User｜>`) are control tokens there, as
    ///   llama.cpp's converter makes them, so a text to be scored no longer becomes them; nor those that llama.cpp takes
    ///   for such by their spelling when it reads a file (Gemma's `</s>`).
    /// - GGUF has no place for Qwen's NFC normalizer: of a text that is not in that form llama.cpp makes other tokens.
    /// - Where spellings of added tokens overlap in a text llama.cpp takes the longest, transformers the leftmost.
    /// - With byte fallback, where a blank is put before a text: llama.cpp puts one before any text and behind each
    ///   added token in it, Mistral's `Metaspace` none before a text that begins with one, and with
    ///   `prepend_scheme: first` none behind added tokens.
    /// - Of added tokens of nothing but `▁` (Gemma) those that a text spells with this character, not with blanks, are
    ///   joined like any others.
    ///
    /// # Errors
    /// Another kind of tokenizer, a step that llama.cpp has no name for, or merges that no scores
    /// of tokens say.
    pub fn to_parts(&self) -> Result<TokenizerParts, TextError> {
        self.parts_of().map_err(|reason| TextError::NoParts { reason })
    }

    fn parts_of(&self) -> Result<TokenizerParts, String> {
        let ModelWrapper::BPE(model) = &self.model else { return Err(format!("it is {}", self.kind())) };
        for (name, affix) in [
            ("continuing_subword_prefix", &model.continuing_subword_prefix),
            ("end_of_word_suffix", &model.end_of_word_suffix),
        ] {
            if let Some(affix) = affix.as_ref().filter(|affix| !affix.is_empty()) {
                return Err(format!("it has the {name} {affix:.40?}"));
            }
        }
        let file = File::parse(self.to_json())?;
        match (self.steps.is_byte_level(), model.byte_fallback) {
            (true, _) => self.byte_pairs(model, file),
            (false, true) => self.pieces(model, file),
            (false, false) => Err(format!("it is {}", self.kind())),
        }
    }

    fn byte_pairs(&self, model: &BPE, file: File) -> Result<TokenizerParts, String> {
        let normalizer = part::<Value>("normalizer", file.normalizer)?.map(|part| part.value);
        if let Some(step) =
            normalizer.iter().flat_map(steps).find(|step| step["type"] != "NFC" && step["type"] != "Sequence")
        {
            return Err(format!("it has the normalizer {step:.80}"));
        }
        let is_nfc = normalizer.iter().flat_map(steps).any(|step| step["type"] == "NFC");
        let pre_tokenizer = part::<Value>("pre_tokenizer", file.pre_tokenizer)?.map(|part| part.value);
        let words: Vec<&Value> = pre_tokenizer.iter().flat_map(steps).collect();
        let splits = splits_of(&words).map_err(|step| format!("its pre-tokenizer has {step}"))?;
        let (pre, asks_single_digits) = name_of(&splits, model.ignore_merges, is_nfc)
            .ok_or_else(|| format!("llama.cpp has no name for its pre-tokenizer {splits:?}"))?;
        let merges: Vec<String> =
            file.model.merges().into_iter().map(|[left, right]| format!("{left} {right}")).collect();
        if asks_single_digits {
            self.check_single_digits(&merges)?;
        }
        Ok(TokenizerParts { merges, pre: pre.to_owned(), ..self.outline(PartsModel::BytePairs)? })
    }

    /// The parts that a tokenizer of any kind has: without merges, scores and what happens to a text before.
    pub(crate) fn outline(&self, model: PartsModel) -> Result<TokenizerParts, String> {
        let id = |special| self.special(special).ok().map(|id| id as usize);
        let (bos, eos, pad) = (id(Special::Bos), id(Special::Eos), id(Special::Pad));
        let (before, after) = self.frame()?;
        let is_added = |around: &[u32], id: Option<usize>, place: &str| match around {
            [] => Ok(false),
            [only] if Some(*only as usize) == id => Ok(true),
            other => Err(format!("it puts the tokens {other:?} {place} a text")),
        };
        let (tokens, kinds) = self.spellings(model);
        Ok(TokenizerParts {
            model,
            tokens,
            kinds,
            scores: Vec::new(),
            merges: Vec::new(),
            pre: String::new(),
            bos,
            eos,
            pad,
            add_bos: Some(is_added(&before, bos, "before")?),
            add_eos: Some(is_added(&after, eos, "behind")?),
            add_space_prefix: None,
        })
    }

    /// The tokens that the post-processor puts before and behind a text.
    pub(crate) fn frame(&self) -> Result<(Vec<u32>, Vec<u32>), String> {
        let (empty, one) = (self.framed(Vec::new())?, self.framed(vec![u32::MAX])?);
        let at = one.iter().position(|&id| id == u32::MAX).unwrap_or(0);
        Ok((empty[..at].to_vec(), empty[at..].to_vec()))
    }

    /// Spellings and kinds by id. Control tokens are those with the `special` flag and those that look like it, as
    /// llama.cpp's converter takes them: `<|…|>` and `<｜…｜>`.
    fn spellings(&self, model: PartsModel) -> (Vec<String>, Vec<TokenKind>) {
        let looks_special = |text: &str| {
            text.starts_with("<|") && text.ends_with("|>") || text.starts_with("<｜") && text.ends_with("｜>")
        };
        let is_pieces = model == PartsModel::SentencePiece;
        let token = |id: u32| match (self.added.get(id), self.token(id)) {
            (_, Some(token)) if is_pieces && self.unk == Some(id) => (token, TokenKind::Unknown),
            (Some(added), _) if added.special || looks_special(&added.content) => {
                (added.content.clone(), TokenKind::Control)
            }
            // llama.cpp writes user-defined tokens as they are, not with blanks, and `▁` for blanks is what merges make.
            (Some(added), _) if is_pieces && added.content.chars().all(|c| c == '▁') => {
                (added.content.clone(), TokenKind::Normal)
            }
            (Some(added), _) => (added.content.clone(), TokenKind::UserDefined),
            (None, Some(token)) if is_pieces && fallback_byte(&token).is_some() => (token, TokenKind::Byte),
            (None, Some(token)) => (token, TokenKind::Normal),
            (None, None) => (format!("[PAD{id}]"), TokenKind::Unused),
        };
        (0..self.vocab_size() as u32).map(token).unzip()
    }

    /// Whether three digits in a word get the tokens of the three alone. A merge across two of them is possible where a
    /// token begins in the bytes of one and ends in those of the next: each such pair of digits is tried.
    fn check_single_digits(&self, merges: &[String]) -> Result<(), String> {
        let digits: Vec<char> = ('\0'..=char::MAX).filter(|c| c.is_numeric()).collect();
        let mut ending: HashMap<Vec<u8>, Vec<char>> = HashMap::new();
        let mut beginning: HashMap<Vec<u8>, Vec<char>> = HashMap::new();
        for &digit in &digits {
            let bytes = digit.to_string().into_bytes();
            for at in 0..bytes.len() {
                ending.entry(bytes[at..].to_vec()).or_default().push(digit);
                beginning.entry(bytes[..=at].to_vec()).or_default().push(digit);
            }
        }
        let table = crate::bytes::byte_to_char();
        let tokens = |text: &str| -> Result<Vec<u32>, String> {
            let word: String = text.bytes().map(|byte| table[usize::from(byte)]).collect();
            let tokens = self.model.tokenize(&word).map_err(|error| error.to_string())?;
            Ok(tokens.into_iter().map(|token| token.id).collect())
        };
        let mut tried = BTreeSet::new();
        for merge in merges {
            let halves =
                merge.split_once(' ').and_then(|(left, right)| Some((token_bytes(left)?, token_bytes(right)?)));
            let Some((left, right)) = halves else { continue };
            let (Some(lefts), Some(rights)) = (ending.get(&left), beginning.get(&right)) else { continue };
            for (&a, &b) in lefts.iter().flat_map(|a| rights.iter().map(move |b| (a, b))) {
                if tried.insert((a, b))
                    && tokens(&format!("{a}{b}"))? != [tokens(&a.to_string())?, tokens(&b.to_string())?].concat()
                {
                    return Err(format!(
                        "it reads digits one by one, and the merge {merge:?} joins the digits {a} and {b}"
                    ));
                }
            }
        }
        Ok(())
    }
}
