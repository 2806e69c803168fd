//! Sentences out of the parts of an error.

/// `part` as a sentence: with a capital, unless it begins with a name (`zero.lr`, `--tp`, `n_group`), and a full stop.
pub fn sentence(part: &str) -> String {
    let part = part.trim();
    let first = part.split(' ').next().unwrap_or_default();
    let is_word = first.trim_end_matches([',', ':', ';', '.']).chars().all(|c| c.is_ascii_lowercase() || c == '\'');
    let end = if part.is_empty() || part.ends_with(['.', '?', '!']) { "" } else { "." };
    match part.chars().next() {
        Some(letter) if is_word => format!("{}{}{end}", letter.to_ascii_uppercase(), &part[letter.len_utf8()..]),
        _ => format!("{part}{end}"),
    }
}

/// What is wrong and what to do: two sentences, the first of which goes on behind a colon. A message of several lines, as a parser of TOML
/// writes it, keeps its lines.
pub(crate) fn sentences(message: &str, mend: &str) -> String {
    let message = message.trim_end().trim_end_matches('.');
    format!("{message}. {}", sentence(mend))
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn words_get_capitals_and_names_keep_theirs() {
        for (part, whole) in [
            ("use --tp 4", "Use --tp 4."),
            ("it's 3", "It's 3."),
            ("Is it one?", "Is it one?"),
            ("zero.lr is", "zero.lr is."),
            ("--tp 4 does", "--tp 4 does."),
            ("n_group = 8", "n_group = 8."),
            ("", ""),
        ] {
            assert_eq!(sentence(part), whole);
        }
    }
}
