//! GGUF: files of every architecture read and written, every key of their headers, and files that mean harm.

pub mod builder;
mod converter;
mod hostile;
mod keys;
mod models;
mod round_trip;
