//! The built program, from outside: whole chains at the smallest size that still has every stage.

mod ahead;
mod answers;
mod chain;
mod common;
mod gguf;
mod own_data;
#[cfg(unix)]
mod resume;
mod wrong;
#[cfg(unix)]
mod wrong_disk;
mod wrong_scale;
