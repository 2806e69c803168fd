//! GGUF: files of every architecture read and written, every key of their headers, and files that mean harm.

pub mod builder;
mod hostile;
mod keys;
mod round_trip;
