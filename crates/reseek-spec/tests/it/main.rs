//! The published numbers, as tests.

mod config;
mod counts;
mod drawn;
mod explain;
mod families;
mod hostile;
mod published;
mod recipes;
mod schedule;
