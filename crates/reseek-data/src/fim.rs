//! Fill in the middle, in the order prefix, suffix, middle (PSM) of the DeepSeek-V3 report, section 4.1:
//!
//! ```text
//! <｜fim▁begin｜> prefix <｜fim▁hole｜> suffix <｜fim▁end｜> middle
//! ```
//!
//! The document is cut between characters, not between tokens, so that a model learns to continue from half a word.

use reseek_tasks::Stream;
use reseek_text::{Special, Tokenizer};

use crate::error::DataError;

/// A document in three pieces; any may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pieces<'t> {
    pub prefix: &'t str,
    pub middle: &'t str,
    pub suffix: &'t str,
}

/// Cuts a text at two places, each uniform over its bytes and moved back to the beginning of a character.
pub(crate) fn cut<'t>(text: &'t str, stream: &mut Stream) -> Pieces<'t> {
    let mut place = || text.floor_char_boundary(stream.below(text.len() + 1));
    let (one, other) = (place(), place());
    let (from, to) = (one.min(other), one.max(other));
    Pieces { prefix: &text[..from], middle: &text[from..to], suffix: &text[to..] }
}

/// The tokens of the pieces in PSM order, without begin and end of the document.
pub(crate) fn encode(pieces: Pieces, tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
    let mut ids = Vec::new();
    let order =
        [(Special::FimBegin, pieces.prefix), (Special::FimHole, pieces.suffix), (Special::FimEnd, pieces.middle)];
    for (special, text) in order {
        ids.push(tokenizer.special(special)?);
        ids.extend(tokenizer.encode(text)?);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::stream;

    /// Puts a document in PSM order back together.
    fn undo(ids: &[u32], tokenizer: &Tokenizer) -> String {
        let at = |special| {
            let id = tokenizer.special(special).unwrap();
            ids.iter().position(|&i| i == id).unwrap()
        };
        let (begin, hole, end) = (at(Special::FimBegin), at(Special::FimHole), at(Special::FimEnd));
        assert_eq!(begin, 0);
        let text = |ids: &[u32]| tokenizer.decode(ids);
        text(&ids[begin + 1..hole]) + &text(&ids[end + 1..]) + &text(&ids[hole + 1..end])
    }

    #[test]
    fn round_trip() {
        let tokenizer = Tokenizer::train(&["the cat sat on the mat, the cat"], 280, 1).unwrap();
        let mut cuts = std::collections::BTreeSet::new();
        for text in ["the cat sat on the mat 世界 <｜fim▁hole｜> end", "世", "ab", ""] {
            for index in 0..200 {
                let pieces = cut(text, &mut stream(1, "test", index));
                assert_eq!([pieces.prefix, pieces.middle, pieces.suffix].concat(), text);
                assert_eq!(undo(&encode(pieces, &tokenizer).unwrap(), &tokenizer), text);
                cuts.insert((text, pieces.prefix.len(), pieces.middle.len()));
            }
        }
        assert!(cuts.len() > 150, "cuts vary: {}", cuts.len());
    }
}
