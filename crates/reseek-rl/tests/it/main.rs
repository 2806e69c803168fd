//! Reinforcement learning on problems small enough to be learnt in a few steps.

mod bandit;
mod checks;
mod common;
mod dynamic;
mod guide;
mod masks;
mod preferences;
mod trl;
