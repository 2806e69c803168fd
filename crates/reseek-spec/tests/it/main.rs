//! The published numbers, as tests.

mod config;
mod counts;
mod explain;
mod families;
mod published;
mod recipes;
mod schedule;
