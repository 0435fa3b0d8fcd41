//! What is said about a config: mistakes and warnings, and where in the user's text they are.
//!
//! A [`Problem`] is found while settings are read, or when one part of a config does not fit another; it names
//! its place by a [`Path`]. A dialect knows its files and makes a [`Message`] of it, with line and column.

mod excerpt;
mod message;
mod path;
mod place;
mod placed;
mod problems;
mod span;
mod words;

pub use message::Message;
pub use path::{Path, Step};
pub use place::Place;
pub use placed::Placed;
pub use problems::{Kind, Problem, Report};
pub use span::{Lines, Span};
pub use words::{did_you_mean, either};
