//! The built program, from outside: whole chains at the smallest size that still has every stage.

mod ahead;
#[cfg(unix)]
mod algorithms;
mod answers;
mod chain;
mod common;
#[cfg(unix)]
mod examples;
mod gguf;
mod given;
mod keeps;
mod models;
mod own_data;
#[cfg(unix)]
mod post;
mod published;
mod real;
#[cfg(unix)]
mod redo;
#[cfg(unix)]
mod resume;
mod runs;
mod wrong;
#[cfg(unix)]
mod wrong_disk;
mod wrong_scale;
