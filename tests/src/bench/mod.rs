//! Comparisons that `make bench` measures in the same run as the engine.

pub mod bare_loop;
