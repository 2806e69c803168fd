//! Text from a stream of tokens, one token at a time.

use crate::tokenizer::Tokenizer;

/// Turns tokens into text as they come, holding back bytes that are not yet a whole character: a Chinese character
/// may be spread over three tokens.
///
/// What [`push`](Self::push) and [`finish`](Self::finish) return, put together, is what [`Tokenizer::decode`] makes of
/// all tokens at once.
#[derive(Debug)]
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    pending: Vec<u8>,
    is_first: bool,
    /// Blanks that may still be taken off the front.
    blanks: usize,
}

impl<'t> StreamDecoder<'t> {
    /// A decoder at the start of a stream.
    pub fn new(tokenizer: &'t Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new(), is_first: true, blanks: tokenizer.front_blanks() }
    }

    /// Takes the next token and returns the text that is now complete, often empty or a few characters. A byte that
    /// can no longer become a character comes out as U+FFFD.
    pub fn push(&mut self, id: u32) -> String {
        self.take(id);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).expect("valid up to here"));
                    let Some(broken) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[broken..].to_vec();
                }
            }
        }
    }

    /// Adds the bytes of a token to those that are held back.
    pub(crate) fn take(&mut self, id: u32) {
        let bytes = self.tokenizer.token_bytes_at(id, std::mem::replace(&mut self.is_first, false));
        let mut bytes = &*bytes;
        while self.blanks > 0 && !bytes.is_empty() {
            match bytes.strip_prefix(b" ") {
                Some(rest) => (bytes, self.blanks) = (rest, self.blanks - 1),
                None => self.blanks = 0,
            }
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Ends the stream: what is still held back comes out as one U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
