//! Time of every kernel, encoder and update at every level of instructions that this CPU has, on one thread.
//!
//! `cargo bench -p icfl-core -- encoders/icfl` runs those whose name holds what is given.

mod cases;

use cases::{Sizes, instances};
use criterion::Criterion;
use std::time::Duration;

/// The scores of a sample fit in L1; the dictionary (8 MiB) and its Gram matrix (64 MiB) do not fit in L2.
const SIZES: Sizes = Sizes { d: 512, m: 4096, n: 128 };

fn time(criterion: &mut Criterion) {
    for instance in instances() {
        criterion.benchmark_group(instance.group).bench_function(&instance.name, |bencher| {
            let mut work = instance.prepare(SIZES);
            bencher.iter(&mut work);
        });
    }
}

fn main() {
    // Enough for the slowest, at some 100 ms a run; everything takes a few minutes.
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    time(&mut criterion);
    criterion.final_summary();
}
