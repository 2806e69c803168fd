//! placeholder until the room lands
#[derive(Debug, thiserror::Error)]
#[error("report")]
pub struct ReportError;
pub fn render(_: &std::path::Path) -> Result<String, ReportError> { Ok(String::new()) }
