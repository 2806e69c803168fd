//! The code by which threads share a product (`reseek-tensor/src/team.rs`), in every order in which its threads can run:
//! `RUSTFLAGS="--cfg loom" cargo test --release --manifest-path checks/loom/Cargo.toml`.

#[path = "../../../crates/reseek-tensor/src/team.rs"]
mod team;
