//! The lines that `reseek chat` reads: from a person at a terminal, with editing and a history of this conversation, or from a file or
//! another program.

use std::io::{BufRead, IsTerminal, Read, Write};

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use crate::error::{Outcome, fail};

const PROMPT: &str = "> ";

/// Where lines come from.
pub enum Lines {
    /// A terminal on both ends. The history is in memory only: what people ask is theirs.
    Edited(Box<Editor<(), MemHistory>>),
    /// A terminal whose answers go elsewhere; it is asked on stderr.
    Typed,
    /// A file or a pipe.
    Piped,
}

impl Lines {
    pub fn open() -> Outcome<Self> {
        Ok(match (std::io::stdin().is_terminal(), std::io::stdout().is_terminal()) {
            (true, true) => {
                let config = Config::builder().auto_add_history(true).build();
                let history = MemHistory::with_config(&config);
                Self::Edited(Box::new(Editor::with_history(config, history)?))
            }
            (true, false) => Self::Typed,
            (false, _) => Self::Piped,
        })
    }

    /// Whether someone reads what is said between questions.
    pub fn is_person(&self) -> bool {
        !matches!(self, Self::Piped)
    }

    /// The next line, of which `number` counts; nothing at the end.
    ///
    /// # Errors
    /// A line that is not UTF-8, and input that cannot be read.
    pub fn next(&mut self, number: u64) -> Outcome<Option<String>> {
        match self {
            Self::Edited(editor) => match editor.readline(PROMPT) {
                Ok(line) => Ok(Some(line)),
                Err(ReadlineError::Eof) => Ok(None),
                // Ctrl-C gives the line up, as in a shell.
                Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
                Err(error) => fail(format!("The terminal cannot be read: {error}. Pipe the questions in instead.")),
            },
            Self::Typed => {
                eprint!("{PROMPT}");
                let _ = std::io::stderr().flush();
                read_line(number)
            }
            Self::Piped => read_line(number),
        }
    }
}

/// Longest line that is taken for a question.
const LINE_BYTES_MAX: u64 = 4 << 20;

fn read_line(number: u64) -> Outcome<Option<String>> {
    let mut line = Vec::new();
    let read = std::io::stdin().lock().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 > LINE_BYTES_MAX {
        return fail(format!(
            "line {number} of the input has more than {LINE_BYTES_MAX} bytes. Write one question in each line."
        ));
    }
    match String::from_utf8(line) {
        Ok(line) => Ok(Some(line)),
        Err(error) => fail(format!(
            "line {number} of the input is not UTF-8 from its byte {} on. Convert it, for example with iconv.",
            error.utf8_error().valid_up_to()
        )),
    }
}
