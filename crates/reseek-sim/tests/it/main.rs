//! The simulator and the bill, as tests.

mod bill;
mod timeline;
