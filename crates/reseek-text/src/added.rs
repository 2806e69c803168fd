//! Added tokens: spellings that stand for one token wherever a text holds them, found before anything else happens to
//! the text, as the tokenizers crate finds them, and the guard that keeps plain text plain.
//!
//! The crate takes every spelling for its token, whoever wrote it. Here the caller says which ([`Trust`]).

use std::collections::{BTreeMap, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::normalizer::Range;
use tokenizers::{AddedToken, NormalizedString, Normalizer, NormalizerWrapper, PreTokenizedString, Token};

/// Marks a cut in a text that a chat template has rendered: no token is taken from a spelling that holds the character
/// before it. A noncharacter: Unicode reserves it for internal use.
pub(crate) const CUT: char = '\u{fdd0}';

/// Most added tokens, and the bytes of all their spellings; Gemma has 6,400 of 80,000 bytes.
const ADDED_MAX: usize = 100_000;
const SPELLING_BYTES_MAX: usize = 4 << 20;

/// Whose text it is: which spellings of added tokens are taken for the tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'c> {
    /// A user's: only tokens that are ordinary text ([`is_ordinary`]).
    Plain,
    /// A text to be scored: all but those with the `special` flag.
    Unspecial,
    /// A template's: all but those that hold a character before one of these ascending byte offsets.
    Template(&'c [usize]),
}

/// The added tokens of a tokenizer.
#[derive(Debug)]
pub(crate) struct AddedTokens {
    by_id: BTreeMap<u32, AddedToken>,
    ids: HashMap<String, u32>,
    /// Spellings to find in a text as it is, and in a normalized one.
    raw: Spellings,
    normalized: Spellings,
    /// All that are not ordinary text, to be cut wherever a model would take a part of a word for one of them.
    guarded: AhoCorasick,
}

#[derive(Debug)]
struct Spellings {
    finder: AhoCorasick,
    ids: Vec<u32>,
}

/// Whether a token is nothing but blanks, or a single character: tokenizers hold such as added tokens for ordinary
/// text, and nothing can be forged with them.
fn is_ordinary(spelling: &str) -> bool {
    spelling.chars().count() == 1 || spelling.chars().all(|c| c.is_whitespace() || c == '▁')
}

impl AddedTokens {
    /// Gives each token its id: that of its spelling in the model's vocabulary, or the next one behind it. A token
    /// that comes twice has the flags of its last coming.
    pub(crate) fn new(
        tokens: Vec<AddedToken>,
        id_of: impl Fn(&str) -> Option<u32>,
        n_model_ids: usize,
        normalizer: Option<&NormalizerWrapper>,
    ) -> Result<Self, String> {
        let bytes = tokens.iter().fold(0, |sum, token| sum + token.content.len());
        if tokens.len() > ADDED_MAX || bytes > SPELLING_BYTES_MAX {
            let n = tokens.len();
            return Err(format!(
                "{n} added tokens have {bytes} bytes, at most {ADDED_MAX} of {SPELLING_BYTES_MAX} bytes are read"
            ));
        }
        let mut next = n_model_ids as u32;
        let (mut by_id, mut ids) = (BTreeMap::new(), HashMap::new());
        for token in tokens.into_iter().filter(|token| !token.content.is_empty()) {
            let id = ids.get(&token.content).copied().or_else(|| id_of(&token.content)).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            ids.insert(token.content.clone(), id);
            by_id.insert(id, token);
        }
        let finder = |patterns: Vec<String>| {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(MatchKind::LeftmostLongest).build(patterns).map_err(|error| error.to_string())
        };
        let spellings = |is_normalized: bool| {
            let chosen = by_id.iter().filter(|(_, token)| token.normalized == is_normalized);
            let (ids, patterns) = chosen
                .map(|(&id, token)| {
                    (id, if is_normalized { normalize(normalizer, &token.content) } else { token.content.clone() })
                })
                // A spelling of which nothing is left would be found everywhere.
                .filter(|(_, pattern)| !pattern.is_empty())
                .unzip();
            Ok::<_, String>(Spellings { finder: finder(patterns)?, ids })
        };
        let (raw, normalized) = (spellings(false)?, spellings(true)?);
        let guarded = finder(by_id.values().map(|t| t.content.clone()).filter(|text| !is_ordinary(text)).collect())?;
        Ok(Self { by_id, ids, raw, normalized, guarded })
    }

    /// Tokens with their ids, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &AddedToken)> {
        self.by_id.iter().map(|(&id, token)| (id, token))
    }

    pub(crate) fn get(&self, id: u32) -> Option<&AddedToken> {
        self.by_id.get(&id)
    }

    pub(crate) fn id(&self, spelling: &str) -> Option<u32> {
        self.ids.get(spelling).copied()
    }

    /// Whether a text of this trust may not hold a token.
    pub(crate) fn is_barred(&self, id: u32, trust: Trust) -> bool {
        self.by_id.get(&id).is_some_and(|token| match trust {
            Trust::Unspecial => token.special,
            Trust::Plain | Trust::Template(_) => !is_ordinary(&token.content),
        })
    }

    /// The text with its added tokens found, the rest normalized.
    pub(crate) fn extract(
        &self,
        normalizer: Option<&NormalizerWrapper>,
        text: &str,
        trust: Trust,
    ) -> tokenizers::Result<PreTokenizedString> {
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, piece| Ok(self.split(piece, &self.raw, trust)))?;
        pieces.split(|_, mut piece| {
            if let Some(normalizer) = normalizer {
                normalizer.normalize(&mut piece)?;
            }
            Ok(self.split(piece, &self.normalized, trust))
        })?;
        Ok(pieces)
    }

    /// A piece cut at the spellings in it. The rules of `single_word`, `lstrip` and `rstrip` are the crate's.
    fn split(
        &self,
        piece: NormalizedString,
        spellings: &Spellings,
        trust: Trust,
    ) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        let text = piece.get();
        let mut parts = Vec::new();
        let mut done = 0;
        for found in spellings.finder.find_iter(text) {
            let (start, end) = (found.start(), found.end());
            let id = spellings.ids[found.pattern().as_usize()];
            let token = &self.by_id[&id];
            let is_word = |c: Option<char>| c.is_some_and(is_word_character);
            let joined = is_word(text[..start].chars().next_back()) || is_word(text[end..].chars().next());
            if token.single_word && joined || !self.is_taken(token, &piece, start..end, trust) {
                continue;
            }
            let from = if token.lstrip { text[..start].trim_end().len().max(done) } else { start };
            let to = if token.rstrip { text.len() - text[end..].trim_start().len() } else { end };
            if done < from {
                parts.push((done..from, None));
            }
            parts.push((from..to, Some(id)));
            done = to;
        }
        if parts.is_empty() {
            return vec![(piece, None)];
        }
        if done < text.len() {
            parts.push((done..text.len(), None));
        }
        let part = |(range, id): (std::ops::Range<usize>, Option<u32>)| {
            let slice = piece.slice(Range::Normalized(range)).expect("found between characters");
            (slice, id.map(|id| vec![Token::new(id, String::new(), (0, 0))]))
        };
        parts.into_iter().map(part).collect()
    }

    fn is_taken(
        &self,
        token: &AddedToken,
        piece: &NormalizedString,
        range: std::ops::Range<usize>,
        trust: Trust,
    ) -> bool {
        match trust {
            Trust::Plain => is_ordinary(&token.content),
            Trust::Unspecial => !token.special,
            Trust::Template([]) => true,
            Trust::Template(cuts) => {
                let slice = piece.slice(Range::Normalized(range)).expect("found between characters");
                let (start, end) = slice.offsets_original();
                let next = cuts.partition_point(|&cut| cut <= start);
                cuts.get(next).is_none_or(|&cut| cut > end)
            }
        }
    }

    /// Byte offsets, ascending, behind the first character of each guarded spelling in `word`.
    pub(crate) fn cuts_in_word(&self, word: &str) -> Vec<usize> {
        starts(&self.guarded, word).map(|found| found.start() + first_len(&word[found.start()..])).collect()
    }

    /// `text` with [`CUT`] behind the first character of each guarded spelling, also of those that only normalizing
    /// makes, for a template to carry along. A `CUT` that was there before is removed.
    pub(crate) fn mark(&self, normalizer: Option<&NormalizerWrapper>, text: &str) -> String {
        let text = text.replace(CUT, "");
        let mut cuts = self.cuts_in_word(&text);
        if let Some(normalizer) = normalizer
            && !self.normalized.ids.is_empty()
        {
            let mut whole = NormalizedString::from(text.as_str());
            if normalizer.normalize(&mut whole).is_ok() {
                let found = starts(&self.normalized.finder, whole.get());
                let guarded =
                    found.filter(|m| !is_ordinary(&self.by_id[&self.normalized.ids[m.pattern().as_usize()]].content));
                let places = guarded.filter_map(|m| whole.convert_offsets(Range::Normalized(m.start()..m.end())));
                let first = |place: std::ops::Range<usize>| Some(place.start + first_len(text.get(place.start..)?));
                cuts.extend(places.filter(|place| !place.is_empty()).filter_map(first));
                cuts.sort_unstable();
                cuts.dedup();
            }
        }
        split_at(&text, &cuts).join(CUT.encode_utf8(&mut [0; 4]))
    }
}

/// A spelling as a normalized text holds it.
pub(crate) fn normalize(normalizer: Option<&NormalizerWrapper>, text: &str) -> String {
    let mut text = NormalizedString::from(text);
    match normalizer.map(|normalizer| normalizer.normalize(&mut text)) {
        // Without its normal form a spelling can't be found; the crate panics.
        Some(Err(_)) => String::new(),
        _ => text.get().to_owned(),
    }
}

/// The longest match at each place where one begins.
fn starts<'a>(finder: &'a AhoCorasick, text: &'a str) -> impl Iterator<Item = aho_corasick::Match> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let found = finder.find(aho_corasick::Input::new(text).range(from..))?;
        from = found.start() + 1;
        Some(found)
    })
}

fn first_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// A character of regex's `\w`, near enough for the crate's rule of single words: letters, marks, digits, connectors.
fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `text` without its [`CUT`]s, and where they were.
pub(crate) fn take_cuts(text: &str) -> (String, Vec<usize>) {
    let mut plain = String::with_capacity(text.len());
    let mut cuts = Vec::new();
    for piece in text.split(CUT) {
        cuts.push(plain.len());
        plain.push_str(piece);
    }
    cuts.remove(0);
    (plain, cuts)
}

/// The pieces of `text` between ascending byte offsets.
pub(crate) fn split_at<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(text.len()));
    starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
}
