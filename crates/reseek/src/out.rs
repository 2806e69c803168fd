//! Standard output that may close early, as under `| head`.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stdout};
use std::process::exit;

/// Prints a line; ends the process quietly when nobody reads any more.
#[macro_export]
macro_rules! say {
    () => { $crate::out::write(format_args!("\n")) };
    ($($part:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($part)*))) };
}

/// What [`say!`] stands on; text without an end of line goes through here directly.
pub fn write(text: Arguments<'_>) {
    let mut stdout = stdout().lock();
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}. Is the disk that it goes to full?");
            exit(2);
        }
    }
}
