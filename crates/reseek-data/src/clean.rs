//! Cleaning of text that users bring, and its division into documents.

/// Largest document in bytes: a few windows of the smallest model. The embedded corpus keeps to it too.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 3600;

/// Smallest document in bytes: less is a heading or a stray line.
pub(crate) const DOCUMENT_BYTES_MIN: usize = 24;

/// Line breaks as `\n`, no control characters, byte order marks, noncharacters or replacement characters, no blanks at
/// ends of lines, at most one empty line in a row. Characters are not composed or decomposed.
pub(crate) fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut cleaned = String::with_capacity(text.len());
    let mut line_breaks = 0;
    for line in text.split('\n') {
        let line: String = line.chars().filter(|&c| !is_unwanted(c)).collect();
        let line = line.trim_end();
        if line.is_empty() {
            line_breaks += 1;
            continue;
        }
        if !cleaned.is_empty() {
            cleaned.push_str(if line_breaks > 0 { "\n\n" } else { "\n" });
        }
        cleaned.push_str(line);
        line_breaks = 0;
    }
    cleaned
}

fn is_unwanted(character: char) -> bool {
    matches!(character, '\u{fffd}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{e000}'..='\u{f8ff}')
        || (character.is_control() && character != '\t')
        || u32::from(character) & 0xfffe == 0xfffe
}

/// Cuts cleaned text into documents of at most [`DOCUMENT_BYTES_MAX`] bytes: between paragraphs where it can, else after
/// a sentence or a line, else between words, else anywhere between characters.
pub(crate) fn split_documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut rest = text.trim();
    while rest.len() > DOCUMENT_BYTES_MAX {
        let (document, after) = rest.split_at(cut_point(rest));
        documents.push(document.trim());
        rest = after.trim_start_matches('\n');
    }
    documents.push(rest);
    documents.retain(|document| document.len() >= DOCUMENT_BYTES_MIN);
    documents
}

/// Where to end the first document of a text that is too long for one. A good place in the second half of the room is
/// preferred to a better one in the first half, so that no document is tiny.
fn cut_point(text: &str) -> usize {
    let limit = text.floor_char_boundary(DOCUMENT_BYTES_MAX);
    let head = &text[..limit];
    let late = |at: &usize| *at >= DOCUMENT_BYTES_MAX / 2;
    let after = |mark: &str| head.rfind(mark).map(|at| at + mark.len()).filter(late);
    after("\n\n")
        .or_else(|| [". ", "! ", "? ", "。", "！", "？", "\n"].into_iter().filter_map(after).max())
        .or_else(|| after(" "))
        .unwrap_or(limit)
}

/// A text without everything but letters and digits: equal keys are copies.
pub(crate) fn copy_key(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        let check = |dirty: &str, expect: &str| assert_eq!(clean(dirty), expect, "{dirty:?}");
        check("\u{feff}a\u{0}b\u{fffd} \r\n\r\n\r\n\n c\t\u{7}d \r e", "ab\n\n c\td\n e");
        check("", "");
        check("\n \n", "");
        check("中文，\u{fdd0}\u{ffff}好", "中文，好");
    }

    #[test]
    fn documents_lose_no_text_and_keep_their_size() {
        let paragraph = "A sentence of some length, and one more word. ".repeat(30);
        for text in [
            [paragraph.as_str(); 12].join("\n\n"),
            paragraph.repeat(12),
            "word ".repeat(5000),
            "世".repeat(5000),
            "x".repeat(20_000),
        ] {
            let documents = split_documents(&text);
            assert!(documents.len() > 2);
            assert!(documents.iter().all(|d| d.len() <= DOCUMENT_BYTES_MAX && d.len() >= DOCUMENT_BYTES_MIN));
            assert_eq!(copy_key(&documents.concat()), copy_key(&text));
        }
        assert!(split_documents("short").is_empty());
    }
}
