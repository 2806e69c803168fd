//! The way back of SentencePiece's tokenizers: the scores that their merges were made from.
//!
//! transformers writes a merge for every split of a piece into two others, in the order of the score of the piece that
//! they make; llama.cpp joins any two neighbours that make a piece, the one with the best score first. Both do the same
//! where each piece has the place of *its* merge, because only one of a piece's merges ever comes to be: when two
//! symbols stand side by side, all that happened to their characters happened among them, and so it happens when the
//! piece stands alone. What joins last there joins it everywhere. And where the piece, alone, ends as two others that no
//! merge joins, llama.cpp would join them.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use crate::added::normalize;
use crate::bounds::{part, steps};
use crate::file::File;
use crate::parts::{PIECE_CHARS_MAX, PartsModel, TokenKind, TokenizerParts};
use crate::tokenizer::Tokenizer;

/// What stands for a blank.
const BLANK: char = '▁';

/// Most steps to join every piece, of which each takes the square of its characters; Gemma's 262,144 take 13 million.
const WORK_MAX: usize = 1 << 30;

/// The kinds of tokens by spelling.
type Kinds<'t> = HashMap<&'t str, TokenKind>;

impl Tokenizer {
    /// [`to_parts`](Self::to_parts) of a tokenizer that joins characters.
    pub(crate) fn pieces(&self, model: &BPE, file: File) -> Result<TokenizerParts, String> {
        if model.ignore_merges {
            return Err("it takes words that are tokens without their merges".into());
        }
        let has_prefix = has_space_prefix(&file)?;
        let mut parts = self.outline(PartsModel::SentencePiece)?;
        self.check_found(&parts)?;
        let merges = file.model.merges();
        let kinds: Kinds = parts.tokens.iter().map(String::as_str).zip(parts.kinds.iter().copied()).collect();
        parts.scores = scores(&parts, &kinds, &merges)?;
        parts.add_space_prefix = Some(has_prefix);
        Ok(parts)
    }

    /// Whether user-defined tokens are found in any text that holds them, as llama.cpp finds them: then no merge ever
    /// sees their characters together.
    fn check_found(&self, parts: &TokenizerParts) -> Result<(), String> {
        let found = self.added.iter().filter(|(id, _)| parts.kinds[*id as usize] == TokenKind::UserDefined);
        for (_, token) in found {
            let content = &token.content;
            if token.lstrip || token.rstrip || token.single_word {
                return Err(format!("its added token {content:.40?} is tied to what stands beside it"));
            }
            if token.normalized && normalize(self.normalizer.as_ref(), content) != *content {
                return Err(format!("its added token {content:.40?} is sought in normalized text"));
            }
        }
        Ok(())
    }
}

/// Whether a blank is put before a text. Blanks must become [`BLANK`], and nothing else may happen.
fn has_space_prefix(file: &File) -> Result<bool, String> {
    let (mut is_replaced, mut has_prefix) = (false, false);
    let normalizer = part::<Value>("normalizer", file.normalizer)?.map(|part| part.value);
    for step in normalizer.iter().flat_map(steps) {
        let is_blanks = step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == "▁";
        let is_prefix = step["type"] == "Prepend" && step["prepend"] == "▁" && !has_prefix;
        is_replaced |= is_blanks;
        has_prefix |= is_prefix;
        let is_nothing = step["type"] == "Sequence";
        if !is_blanks && !is_prefix && !is_nothing {
            return Err(format!("it has the normalizer {step:.80}"));
        }
    }
    let pre_tokenizer = part::<Value>("pre_tokenizer", file.pre_tokenizer)?.map(|part| part.value);
    for step in pre_tokenizer.iter().flat_map(steps) {
        let metaspace = serde_json::from_value::<Metaspace>(step.clone());
        match metaspace {
            Ok(step) if step.get_replacement() == BLANK && !step.get_split() => {
                is_replaced = true;
                has_prefix |= step.get_prepend_scheme() != PrependScheme::Never;
            }
            // No blank is left to split at.
            Err(_) if is_replaced && step["type"] == "Split" && step["pattern"]["String"] == " " => {}
            Err(_) if step["type"] == "Sequence" => {}
            _ => return Err(format!("its pre-tokenizer has {step:.80}")),
        }
    }
    if is_replaced { Ok(has_prefix) } else { Err("it leaves blanks as they are".into()) }
}

/// Merges by the ids of their halves.
struct Merges<'t> {
    ids: HashMap<&'t str, u32>,
    /// The place of a merge, and what it makes.
    pairs: HashMap<[u32; 2], (usize, u32)>,
}

impl<'t> Merges<'t> {
    fn new(tokens: &'t [String], merges: &[[String; 2]]) -> Self {
        let ids: HashMap<&str, u32> = (0..).zip(tokens).map(|(id, token)| (token.as_str(), id)).collect();
        let id = |token: &str| ids.get(token).copied();
        let pair = |(place, [left, right]): (usize, &[String; 2])| {
            Some(([id(left)?, id(right)?], (place, id(&format!("{left}{right}"))?)))
        };
        // Of a merge that comes twice the last counts, as for the tokenizers crate.
        let pairs = merges.iter().enumerate().filter_map(pair).collect();
        Self { ids, pairs }
    }

    /// What becomes of a piece that stands alone, and the place of the merge that came last; `None` where one of its
    /// characters is no token.
    fn join(&self, piece: &str) -> Option<(Vec<u32>, Option<usize>)> {
        let mut symbols: Vec<u32> =
            piece.chars().map(|c| self.ids.get(&*c.encode_utf8(&mut [0; 4])).copied()).collect::<Option<_>>()?;
        let mut last = None;
        loop {
            let places = symbols.windows(2).enumerate().filter_map(|(at, pair)| {
                let &(place, id) = self.pairs.get(&[pair[0], pair[1]])?;
                Some((place, at, id))
            });
            let Some((place, at, id)) = places.min() else { return Some((symbols, last)) };
            symbols.splice(at..at + 2, [id]);
            last = Some(place);
        }
    }
}

/// Scores as SentencePiece's trainer gives them: each joined piece one below the one before, then the characters in the
/// order of their ids; of control tokens, bytes and the like 0.
fn scores(parts: &TokenizerParts, kinds: &Kinds, merges: &[[String; 2]]) -> Result<Vec<f32>, String> {
    check_bytes(kinds, merges)?;
    check_lengths(parts)?;
    let known = Merges::new(&parts.tokens, merges);
    let mut first: HashMap<u32, usize> = HashMap::new();
    for &(place, id) in known.pairs.values() {
        let least = first.entry(id).or_insert(place);
        *least = place.min(*least);
    }
    let mut joined = Vec::new();
    let mut others = Vec::new();
    for (id, (token, &kind)) in (0..).zip(parts.tokens.iter().zip(&parts.kinds)) {
        let mut place = first.get(&id).copied();
        if kind == TokenKind::Normal && token.chars().nth(1).is_some() {
            place = own_merge(token, id, kinds, &known, parts)?.or(place);
        }
        match place {
            Some(place) => joined.push((place, id)),
            None if kind == TokenKind::Normal => others.push(id),
            None => {}
        }
    }
    joined.sort_unstable();
    let mut scores = vec![0.0; parts.tokens.len()];
    for (place, id) in joined.into_iter().map(|(_, id)| id).chain(others).enumerate() {
        scores[id as usize] = 0.0 - place as f32;
    }
    Ok(scores)
}

/// The place of the merge that makes a piece, if ever one does.
fn own_merge(
    piece: &str,
    id: u32,
    kinds: &Kinds,
    merges: &Merges,
    parts: &TokenizerParts,
) -> Result<Option<usize>, String> {
    match merges.join(piece) {
        Some((symbols, last)) if symbols == [id] => Ok(last),
        Some((symbols, _)) => {
            let [left, right] = symbols[..] else { return Ok(None) };
            let [left, right] = [left, right].map(|id| &parts.tokens[id as usize]);
            if [left, right].iter().any(|half| kinds[half.as_str()] != TokenKind::Normal) {
                return Ok(None);
            }
            Err(format!(
                "it has no merge of {left:.40?} and {right:.40?}, and llama.cpp joins them to its token {piece:.40?}"
            ))
        }
        // llama.cpp joins also characters that are no tokens.
        None => {
            let is_symbol = |half: &str| kinds.contains_key(half) || half.chars().nth(1).is_none();
            let mut splits = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
            match splits.find(|(left, right)| is_symbol(left) && is_symbol(right)) {
                Some((left, right)) => Err(format!(
                    "it spells its token {piece:.40?} in bytes, and llama.cpp joins {left:.40?} and {right:.40?} to it"
                )),
                None => Ok(None),
            }
        }
    }
}

/// Whether there is a token for each byte, and no merge with one.
fn check_bytes(kinds: &Kinds, merges: &[[String; 2]]) -> Result<(), String> {
    let mut bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
    if let Some(byte) = bytes.find(|byte| !kinds.contains_key(byte.as_str())) {
        return Err(format!("it has no token {byte}, and llama.cpp wants one for each byte"));
    }
    let is_byte = |token: &str| kinds.get(token) == Some(&TokenKind::Byte);
    match merges.iter().find(|[left, right]| is_byte(left) || is_byte(right) || is_byte(&format!("{left}{right}"))) {
        Some([left, right]) => {
            Err(format!("it has a merge of {left:.40?} and {right:.40?}, which stands in for a byte"))
        }
        None => Ok(()),
    }
}

/// Whether the pieces can be joined one by one in bounded time.
fn check_lengths(parts: &TokenizerParts) -> Result<(), String> {
    let mut work = 0_usize;
    for token in &parts.tokens {
        let length = token.chars().count();
        if length > PIECE_CHARS_MAX {
            return Err(format!("its token {token:.40?} has {length} characters, more than {PIECE_CHARS_MAX}"));
        }
        work += length * length;
    }
    if work > WORK_MAX {
        Err(format!("its tokens would take {work} steps to join, more than {WORK_MAX}"))
    } else {
        Ok(())
    }
}
