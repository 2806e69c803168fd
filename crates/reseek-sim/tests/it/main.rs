//! The simulator and the bill, as tests.

mod bill;
mod laptop;
mod search;
mod steps;
mod timeline;
