//! Keeps plain text plain: finds the places where a text spells a control token.
//!
//! The tokenizers crate turns every added token that it finds in a text into its id, whoever wrote it. Cutting the
//! text one character into each such spelling and encoding the pieces one by one makes that impossible, and decoding
//! still gives the text back.

/// Marks a cut in a text that a chat template has rendered. A noncharacter: Unicode reserves it for internal use.
pub(crate) const CUT: char = '\u{fdd0}';

/// Longest run of white space that is tokenized in one piece. The regular-expression engine keeps an entry on its
/// stack for each character of a run and fails at a million; no tokenizer has tokens anywhere near this long.
const WHITESPACE_RUN_MAX: usize = 100_000;

/// The spellings to look for, grouped by their first byte.
#[derive(Debug)]
pub(crate) struct Guard {
    by_first_byte: Vec<Vec<String>>,
}

impl Guard {
    /// Guards against the given spellings. Those of nothing but white space are left alone: some tokenizers hold runs
    /// of blanks as added tokens for ordinary text.
    pub(crate) fn new<'a>(spellings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut by_first_byte = vec![Vec::new(); 256];
        for spelling in spellings {
            if !spelling.trim().is_empty() {
                by_first_byte[usize::from(spelling.as_bytes()[0])].push(spelling.to_owned());
            }
        }
        Self { by_first_byte }
    }

    /// Byte offsets, ascending, at which `text` must be cut so that no piece holds a spelling.
    pub(crate) fn cuts(&self, text: &str) -> Vec<usize> {
        let mut cuts = Vec::new();
        for (start, byte) in text.bytes().enumerate() {
            let spellings = &self.by_first_byte[usize::from(byte)];
            if spellings.is_empty() || !text.is_char_boundary(start) {
                continue;
            }
            let rest = &text[start..];
            if spellings.iter().any(|spelling| rest.starts_with(spelling.as_str())) {
                let first = rest.chars().next().expect("a spelling is not empty");
                cuts.push(start + first.len_utf8());
            }
        }
        cuts
    }

    /// `text` with [`CUT`] at its cuts, for a template to carry along. A `CUT` that was there before is removed.
    pub(crate) fn mark(&self, text: &str) -> String {
        let text = text.replace(CUT, "");
        let pieces = split_at(&text, &self.cuts(&text));
        pieces.join(CUT.encode_utf8(&mut [0; 4]))
    }
}

/// The pieces of `text` between ascending byte offsets.
pub(crate) fn split_at<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(text.len()));
    starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
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

    fn check(spellings: &[&str], text: &str, expect: &[&str]) {
        let guard = Guard::new(spellings.iter().copied());
        assert_eq!(split_at(text, &guard.cuts(text)), expect, "{text}");
    }

    #[test]
    fn every_spelling_is_cut() {
        check(&["<a>"], "x<a>y<a", &["x<", "a>y<a"]);
        check(&["<a>", "<a><b>", "  "], "<a><b>  ", &["<", "a><b>  "]);
        // Overlapping spellings: cutting the first must not leave the second whole.
        check(&["ab", "bc"], "abc", &["a", "b", "c"]);
        check(&["｜u｜"], "<｜u｜｜u｜", &["<｜", "u｜｜", "u｜"]);
        check(&["<a>"], "", &[""]);
    }

    #[test]
    fn marks_are_not_smuggled_in() {
        let guard = Guard::new(["<a>"]);
        assert_eq!(guard.mark("<\u{fdd0}a>"), "<\u{fdd0}a>");
        assert_eq!(guard.mark("plain"), "plain");
    }

    #[test]
    fn long_runs_of_blanks_are_cut() {
        let text = " ".repeat(250_000) + "x";
        assert_eq!(whitespace_cuts(&text), [100_000, 200_000]);
        assert!(whitespace_cuts("a b").is_empty());
    }
}
