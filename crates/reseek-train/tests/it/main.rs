//! Training, from outside the crate.

mod common;
mod lanes;
mod objective;
mod optimizer;
mod pair_loss;
mod schedule;
mod session;
mod step;
