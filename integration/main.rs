//! Tests against real programs.

mod cli;
mod loading;
