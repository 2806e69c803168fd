//! Models of anyone's, measured and trained on anyone's problems: what `eval MODEL` and `rl` do. The stages of the chain share their rooms
//! (rollouts, updates, verdicts, scores); here is what such a model needs beside: its own template, its own end tokens, a place to look
//! for its answers.

mod asking;
pub mod folder;
pub mod harvest;
pub mod measure;
mod samples;
pub mod score;
mod seen;
pub mod train;
pub mod tune;
pub mod why;

pub use asking::Asking;
