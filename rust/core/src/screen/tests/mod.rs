//! Screening against float64 and brute force, at every level, for vectors of many kinds and sizes.

mod bounds;
mod data;
mod drift;
mod gram;
mod search;
