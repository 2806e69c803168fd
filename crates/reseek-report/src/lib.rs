//! Self-contained pages from a run's artifacts and from the simulator's answers: no script, font or image from elsewhere. Whatever is
//! missing is said to be missing; whatever a file holds is escaped.

#![deny(missing_docs)]

mod charts;
mod page;
pub mod sim_charts;
mod svg;

use serde_json::Value;

pub use page::{ReportError, render};

/// The page about full-scale runs. `facts` has what `templates/sim.html` names; charts come as HTML from [`sim_charts`].
///
/// # Errors
/// If the template and `facts` do not fit, which is a defect.
pub fn render_sim(facts: &Value) -> Result<String, ReportError> {
    Ok(page::templates()?.get_template("sim.html")?.render(facts)?)
}

/// The page whose dials ask a server on the same machine.
///
/// # Errors
/// As [`render_sim`].
pub fn render_dials(facts: &Value) -> Result<String, ReportError> {
    Ok(page::templates()?.get_template("dials.html")?.render(facts)?)
}
