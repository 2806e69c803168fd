//! SentencePiece's table of characters ("precompiled_charsmap"): a double array over bytes whose leaves point into a
//! text of replacements. The crate that reads it follows its pointers without looking, so they are followed here first.

/// Longest replacement of a grapheme in bytes; NFKC's longest has 33.
const REPLACEMENT_MAX: usize = 256;

/// Whether every pointer of the table leads into it.
pub(crate) fn check(base64: &str) -> Result<(), String> {
    let damaged = |reason: &str| format!("the precompiled_charsmap {reason}");
    let blob = decode(base64).ok_or_else(|| damaged("is not base64"))?;
    let (size, rest) = blob.split_first_chunk::<4>().ok_or_else(|| damaged("is cut short"))?;
    let size = u32::from_le_bytes(*size) as usize;
    let (trie, texts) = rest.split_at_checked(size).ok_or_else(|| damaged("is cut short"))?;
    let texts = std::str::from_utf8(texts).map_err(|_| damaged("replaces by what is not UTF-8"))?;
    let units: Vec<u32> =
        trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
    let root = units.first().ok_or_else(|| damaged("is empty"))?;
    // Nodes by the place from which their children are reached.
    let mut open = vec![offset(*root)];
    let mut seen = vec![false; units.len()];
    while let Some(base) = open.pop() {
        for byte in 1..=255_usize {
            let place = base ^ byte;
            let unit = *units.get(place).ok_or_else(|| damaged("points behind its end"))?;
            if unit & (1 << 31 | 0xff) != byte as u32 || std::mem::replace(&mut seen[place], true) {
                continue;
            }
            let base = place ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let leaf = *units.get(base).ok_or_else(|| damaged("points behind its end"))?;
                let text = texts.get((leaf & !(1 << 31)) as usize..).ok_or_else(|| damaged("points behind its end"))?;
                if text.bytes().take(REPLACEMENT_MAX + 1).all(|byte| byte != 0) && text.len() > REPLACEMENT_MAX {
                    return Err(damaged("has a very long replacement"));
                }
            }
            open.push(base);
        }
    }
    Ok(())
}

/// Where the children of a unit are, relative to it.
fn offset(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & 1 << 9) >> 6)
}

fn decode(base64: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        Some(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    for four in base64.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for place in 0..4 {
            bits = bits << 6 | four.get(place).map_or(Some(0), |&byte| digit(byte)).map(u32::from)?;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}
