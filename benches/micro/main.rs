//! `cargo bench`: what one operator, one decoder or one encoder costs by itself, without a graph, threads or disks.
//!
//! In: chunks of 8192 rows made from a fixed seed. Out: Criterion's figures, rows per second among them. Whole queries are
//! measured by the command `thalweg bench`. `cargo bench -- dedup` runs those whose name contains `dedup`.

#![allow(missing_docs, reason = "what the macros of Criterion make has none")]

mod data;
mod formats;
mod operators;
mod queries;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    operators::group_by_key,
    operators::key_groups,
    operators::windows,
    operators::dedup,
    operators::join,
    formats::decode,
    formats::encode,
    queries::words
);
criterion_main!(benches);
