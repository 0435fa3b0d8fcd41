//! Tests against real programs.
