//! Numerics of icfl, without Python, files, clocks or printing.
//!
//! Data flows from [`rows`] (inputs of any layout, packed tile by tile) through [`encode`] (pursuit over a
//! [`dictionary`]) into [`codes`] (compressed rows), from which [`update`] moves the dictionary; `screen`
//! finds the few atoms that matter with cheap products; an [`autoencoder`] learns its encoder too; [`statistics`] counts. Inner loops live in
//! [`kernels`], the only module with `unsafe`; [`team`] spreads fixed blocks over threads.

#![deny(unsafe_code)]

mod aligned;
pub mod autoencoder;
pub mod cancel;
pub mod codes;
pub mod dictionary;
pub mod encode;
pub mod error;
pub mod kernels;
mod panels;
pub mod rows;
mod screen;
pub mod statistics;
pub mod team;
pub mod top;
pub mod update;

pub use error::{Error, Result};
