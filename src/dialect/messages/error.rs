//! Why a message describes nothing that could run.

use thiserror::Error;

use crate::report::Problem;
use crate::wire::typed::OpenError;

#[derive(Debug, Error)]
pub enum MessageError {
    #[error(transparent)]
    Unreadable(#[from] OpenError),
    /// All mistakes that were found, each with its place.
    #[error("{}", join(.0))]
    Wrong(Vec<Problem>),
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
