//! GPT-2's table between bytes and printable characters, in which byte-level vocabularies are written.
//!
//! The 188 printable bytes of Latin-1 stand for themselves, the other 68 for the characters from U+0100 on, in
//! ascending order: space is `Ġ` (U+0120), newline is `Ċ` (U+010A).

/// Whether a byte stands for itself: `!`..=`~`, `¡`..=`¬`, `®`..=`ÿ`.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The character that stands for each byte.
pub(crate) fn byte_to_char() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if is_printable(byte) {
            return char::from(byte);
        }
        let stand_in = char::from_u32(next).expect("U+0100..U+0144 are characters");
        next += 1;
        stand_in
    })
}

/// The bytes that a token of a byte-level vocabulary stands for, or `None` if it holds a character outside the table.
pub(crate) fn token_bytes(token: &str) -> Option<Vec<u8>> {
    token.chars().map(char_to_byte).collect()
}

fn char_to_byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    if let Ok(byte) = u8::try_from(code) {
        return is_printable(byte).then_some(byte);
    }
    // The stand-ins in order are the unprintable bytes in order: 0..=0x20, 0x7f..=0xa0, 0xad.
    match code - 0x100 {
        n @ 0..=0x20 => Some(n as u8),
        n @ 0x21..=0x42 => Some((n - 0x21 + 0x7f) as u8),
        0x43 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_one_to_one() {
        let table = byte_to_char();
        for (byte, &character) in table.iter().enumerate() {
            assert_eq!(char_to_byte(character), Some(byte as u8), "byte {byte:#x}");
        }
        assert_eq!((table[b' ' as usize], table[b'\n' as usize], table[b'A' as usize]), ('Ġ', 'Ċ', 'A'));
        assert_eq!(token_bytes("Ġthe"), Some(b" the".to_vec()));
        assert_eq!((token_bytes("世"), token_bytes("a b")), (None, None));
    }
}
