//! One self-contained page from a run's artifacts: no script, font or image from elsewhere. Whatever is missing is said to be missing;
//! whatever a file holds is escaped.

mod charts;
mod page;
mod svg;

pub use page::{ReportError, render};
