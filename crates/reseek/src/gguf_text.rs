//! The tokenizer between a GGUF file's header and the room of texts: the two have the same parts, and neither knows the other.

use std::path::Path;

use reseek_store::{GgufTokenizer, TokenKind as StoredKind, TokenizerModel};
use reseek_text::{PartsModel, TokenKind, Tokenizer, TokenizerParts};

use crate::error::Outcome;

/// Each kind with the file's.
const KINDS: [(TokenKind, StoredKind); 6] = [
    (TokenKind::Normal, StoredKind::Normal),
    (TokenKind::Unknown, StoredKind::Unknown),
    (TokenKind::Control, StoredKind::Control),
    (TokenKind::UserDefined, StoredKind::UserDefined),
    (TokenKind::Unused, StoredKind::Unused),
    (TokenKind::Byte, StoredKind::Byte),
];

/// The tokenizer of the file `path`.
pub fn tokenizer(stored: &GgufTokenizer, path: &Path) -> Outcome<Tokenizer> {
    let kind =
        |kind: &StoredKind| KINDS.iter().find(|(_, stored)| stored == kind).map_or(TokenKind::Normal, |(k, _)| *k);
    let parts = TokenizerParts {
        model: match stored.model {
            TokenizerModel::BytePairs => PartsModel::BytePairs,
            TokenizerModel::SentencePiece => PartsModel::SentencePiece,
        },
        tokens: stored.tokens.clone(),
        kinds: stored.kinds.iter().map(kind).collect(),
        scores: stored.scores.clone(),
        merges: stored.merges.clone(),
        pre: stored.pre.clone(),
        bos: stored.bos,
        eos: stored.eos,
        pad: stored.pad,
        add_bos: Some(stored.add_bos),
        add_eos: Some(stored.add_eos),
        add_space_prefix: Some(stored.add_space_prefix),
    };
    Ok(Tokenizer::from_parts(&parts, &path.display().to_string())?)
}

/// What a file holds of a tokenizer; an answer ends at each of `stops`.
pub fn stored(tokenizer: &Tokenizer, stops: &[u32], rows: usize) -> Outcome<GgufTokenizer> {
    let parts = tokenizer.to_parts()?;
    let stored =
        |kind: &TokenKind| KINDS.iter().find(|(k, _)| k == kind).map_or(StoredKind::Normal, |(_, stored)| *stored);
    let mut kinds: Vec<StoredKind> = parts.kinds.iter().map(stored).collect();
    let mut tokens = parts.tokens;
    // An embedding may have more rows than there are tokens, and llama.cpp wants a token for each.
    let filled = tokens.len();
    tokens.extend((filled..rows).map(|id| format!("[PAD{id}]")));
    kinds.resize(tokens.len(), StoredKind::Unused);
    let is_pieces = parts.model == PartsModel::SentencePiece;
    let mut scores = parts.scores;
    if is_pieces {
        scores.resize(tokens.len(), -1e4);
    }
    let unk = kinds.iter().position(|&kind| kind == StoredKind::Unknown);
    let eog: Vec<usize> = stops.iter().map(|&stop| stop as usize).collect();
    Ok(GgufTokenizer {
        model: if is_pieces { TokenizerModel::SentencePiece } else { TokenizerModel::BytePairs },
        control: kinds.iter().map(|&kind| kind == StoredKind::Control).collect(),
        kinds,
        scores,
        merges: parts.merges,
        pre: parts.pre,
        bos: parts.bos,
        eos: parts.eos,
        // llama.cpp has a key for one end token more.
        eot: eog.iter().copied().find(|&id| Some(id) != parts.eos),
        eog,
        pad: parts.pad,
        unk,
        add_bos: parts.add_bos.unwrap_or(false),
        add_eos: parts.add_eos.unwrap_or(false),
        add_space_prefix: parts.add_space_prefix.unwrap_or(is_pieces),
        tokens,
    })
}
