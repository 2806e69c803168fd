//! A tokenizer from its parts, as a GGUF file has them: spellings with their kinds, merges or scores, and the name of a
//! pre-tokenizer.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::error::TextError;
use crate::pre::{NAMES, Pre, pre, pre_tokenizer};
use crate::tokenizer::Tokenizer;

/// Longest token in characters of which merges are sought; SentencePiece makes none of more than 48.
pub(crate) const PIECE_CHARS_MAX: usize = 512;

/// Most merges that are sought; Gemma's 262,144 tokens have 580,000.
const MERGES_MAX: usize = 4_000_000;

/// What a token is, in ggml's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Stands for what cannot be spelt.
    Unknown,
    /// Begin, end, turns: Hugging Face's added token with the `special` flag.
    Control,
    /// Hugging Face's added token without it.
    UserDefined,
    /// A place in the table that no text leads to.
    Unused,
    /// `<0xE4>`: a single byte.
    Byte,
}

/// How a tokenizer joins characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartsModel {
    /// GGUF's `gpt2`: pairs of bytes in the order of their merges.
    BytePairs,
    /// GGUF's `llama`: SentencePiece's pairs of characters in the order of their scores.
    SentencePiece,
}

/// The parts of a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerParts {
    /// How it joins characters.
    pub model: PartsModel,
    /// Spellings by id: of byte pairs in GPT-2's characters, of SentencePiece with `▁` for blanks; control and
    /// user-defined tokens as they are.
    pub tokens: Vec<String>,
    /// What each token is.
    pub kinds: Vec<TokenKind>,
    /// Scores of SentencePiece's tokens; empty for byte pairs.
    pub scores: Vec<f32>,
    /// Pairs in order, with a space between their halves; empty for SentencePiece.
    pub merges: Vec<String>,
    /// llama.cpp's name of the pre-tokenizer; empty for SentencePiece.
    pub pre: String,
    /// Id of the begin token.
    pub bos: Option<usize>,
    /// Id of the end token.
    pub eos: Option<usize>,
    /// Id of the padding token.
    pub pad: Option<usize>,
    /// Whether the begin token stands before a text; where a file doesn't say, llama.cpp's default of `model` and
    /// `pre` holds.
    pub add_bos: Option<bool>,
    /// Whether the end token stands behind a text; by default not.
    pub add_eos: Option<bool>,
    /// Whether SentencePiece puts a blank before a text, and takes it off again; by default it does.
    pub add_space_prefix: Option<bool>,
}

impl Tokenizer {
    /// Puts a tokenizer together. `place` names it in errors.
    ///
    /// # Errors
    /// A pre-tokenizer that is not known here, or parts that do not fit each other.
    pub fn from_parts(parts: &TokenizerParts, place: &str) -> Result<Self, TextError> {
        let malformed = |reason: String| TextError::Malformed { place: place.to_owned(), reason };
        check(parts).map_err(malformed)?;
        let (json, add_bos) = match parts.model {
            PartsModel::BytePairs => {
                let pre = pre(&parts.pre).ok_or_else(|| TextError::Unsupported {
                    place: place.to_owned(),
                    reason: format!(
                        "the pre-tokenizer is {:?} (known are {} and their kin)",
                        parts.pre,
                        NAMES.join(", ")
                    ),
                })?;
                (byte_pairs(parts, &pre), pre.add_bos)
            }
            PartsModel::SentencePiece => (sentence_piece(parts).map_err(malformed)?, true),
        };
        let frame = frame(parts, parts.add_bos.unwrap_or(add_bos), parts.add_eos.unwrap_or(false));
        let mut whole = json!({"version": "1.0", "added_tokens": added(parts), "post_processor": frame});
        if let (Some(whole), Value::Object(json)) = (whole.as_object_mut(), json) {
            whole.extend(json);
        }
        let control = [parts.bos, parts.eos, parts.pad].map(|id| id.map(|id| parts.tokens[id].clone()));
        Self::with_config(whole.to_string().as_bytes(), Config::named(control), place)
    }
}

/// Whether the lists fit each other.
fn check(parts: &TokenizerParts) -> Result<(), String> {
    let n = parts.tokens.len();
    if parts.kinds.len() != n {
        return Err(format!("{n} tokens have {} kinds", parts.kinds.len()));
    }
    if parts.model == PartsModel::SentencePiece && parts.scores.len() != n {
        return Err(format!("{n} tokens have {} scores", parts.scores.len()));
    }
    for (name, id) in [("begin", parts.bos), ("end", parts.eos), ("padding", parts.pad)] {
        if let Some(id) = id.filter(|&id| id >= n) {
            return Err(format!("the {name} token is {id}, of {n} tokens"));
        }
    }
    match parts.tokens.iter().position(|token| token.chars().nth(PIECE_CHARS_MAX).is_some()) {
        Some(id) if parts.model == PartsModel::SentencePiece => {
            Err(format!("token {id} has more than {PIECE_CHARS_MAX} characters"))
        }
        _ => Ok(()),
    }
}

fn vocab(parts: &TokenizerParts) -> Map<String, Value> {
    parts.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect()
}

fn added(parts: &TokenizerParts) -> Vec<Value> {
    let tokens = parts.tokens.iter().zip(&parts.kinds).enumerate();
    let is_special = |kind: TokenKind| match kind {
        TokenKind::Control | TokenKind::Unknown => Some(true),
        TokenKind::UserDefined => Some(false),
        TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => None,
    };
    tokens
        .filter_map(|(id, (token, &kind))| {
            Some(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": is_special(kind)?,
            }))
        })
        .collect()
}

/// The steps of a byte-level tokenizer.
fn byte_pairs(parts: &TokenizerParts, pre: &Pre) -> Value {
    json!({
        "normalizer": pre.is_nfc.then(|| json!({"type": "NFC"})),
        "pre_tokenizer": pre_tokenizer(&pre.splits),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "ignore_merges": pre.ignore_merges, "vocab": vocab(parts), "merges": parts.merges,
        },
    })
}

/// The steps of a SentencePiece model, as transformers converts it: blanks become `▁`, one before the text, and pieces
/// join in the order of the score of what they make.
fn sentence_piece(parts: &TokenizerParts) -> Result<Value, String> {
    let has_prefix = parts.add_space_prefix.unwrap_or(true);
    let blanks = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let mut normalizers = vec![blanks];
    if has_prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unk = parts.kinds.iter().position(|&kind| kind == TokenKind::Unknown).map(|id| &parts.tokens[id]);
    Ok(json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "unk_token": unk, "fuse_unk": true, "byte_fallback": parts.kinds.contains(&TokenKind::Byte),
            "vocab": vocab(parts), "merges": merges_by_score(parts)?,
        },
    }))
}

/// Every split of a token into two others, the best token first. Of tokens with one score, as runs of blanks may have,
/// llama.cpp joins what is leftmost, so that a run grows to the longest of them: the longest comes first.
fn merges_by_score(parts: &TokenizerParts) -> Result<Vec<[&str; 2]>, String> {
    let is_piece = |kind: TokenKind| matches!(kind, TokenKind::Normal | TokenKind::UserDefined);
    let tokens = parts.tokens.iter().zip(&parts.kinds).enumerate();
    let ids: HashMap<&str, usize> =
        tokens.filter(|(_, (_, kind))| is_piece(**kind)).map(|(id, (token, _))| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (&token, &id) in &ids {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&left_id), Some(&right_id)) = (ids.get(left), ids.get(right)) {
                let rank = (Reverse(token.len()), id, left_id, right_id);
                merges.push((parts.scores[id], rank, [left, right]));
                if merges.len() > MERGES_MAX {
                    return Err(format!("its tokens split into others in more than {MERGES_MAX} ways"));
                }
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(merges.into_iter().map(|(.., halves)| halves).collect())
}

/// The post-processor that puts the begin and end token around a text.
fn frame(parts: &TokenizerParts, add_bos: bool, add_eos: bool) -> Value {
    let [before, after] = [(add_bos, parts.bos), (add_eos, parts.eos)].map(|(is_added, id)| id.filter(|_| is_added));
    if before.is_none() && after.is_none() {
        return Value::Null;
    }
    let part = |id: Option<usize>| id.map(|id| json!({"SpecialToken": {"id": parts.tokens[id], "type_id": 0}}));
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<Value> = [part(before), Some(text), part(after)].into_iter().flatten().collect();
    let special: Map<String, Value> = [before, after]
        .into_iter()
        .flatten()
        .map(|id| {
            let token = &parts.tokens[id];
            (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}))
        })
        .collect();
    // Texts come one at a time here, so pairs get no more than the form asks for.
    let pair = [&single[..], &[json!({"Sequence": {"id": "B", "type_id": 1}})]].concat();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special})
}
