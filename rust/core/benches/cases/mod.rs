//! What is measured: named pieces of work on fixed data, by group.
//!
//! `benches/time.rs` takes their time on this CPU, `examples/instruction_counts.rs` runs one of them once under
//! a simulator. A new kernel, encoder or update is a line in the table of its group.

mod data;
mod encoders;
mod kernels;
mod products;
mod updates;

use icfl_core::kernels::Simd;
use std::hint::black_box;

/// Sizes of the data.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Features.
    pub(crate) d: usize,
    /// Atoms; also the length of the vectors that kernels work on.
    pub(crate) m: usize,
    /// Samples.
    pub(crate) n: usize,
}

/// What a case is prepared for.
#[derive(Clone, Copy)]
struct Setting {
    simd: Simd,
    d: usize,
    m: usize,
    n: usize,
}

/// A case whose data is made; running it may be repeated.
pub(crate) type Work = Box<dyn FnMut()>;

/// Wraps a body so that what it returns is not optimised away.
fn work<T>(mut body: impl FnMut() -> T + 'static) -> Work {
    Box::new(move || drop(black_box(body())))
}

/// A name, and how its data is made.
type Case = (&'static str, fn(Setting) -> Work);

struct Group {
    name: &'static str,
    cases: &'static [Case],
    /// Whether instruction sets are ours to choose; the `gemm` crate chooses its own.
    has_levels: bool,
}

const GROUPS: [Group; 4] = [
    Group { name: "kernels", cases: kernels::CASES, has_levels: true },
    Group { name: "products", cases: products::CASES, has_levels: false },
    Group { name: "encoders", cases: encoders::CASES, has_levels: true },
    Group { name: "updates", cases: updates::CASES, has_levels: true },
];

/// A case at a level of instructions.
pub(crate) struct Instance {
    pub(crate) group: &'static str,
    /// `case/level`, or `case` where there are no levels.
    pub(crate) name: String,
    simd: Simd,
    prepare: fn(Setting) -> Work,
}

impl Instance {
    pub(crate) fn prepare(&self, sizes: Sizes) -> Work {
        let Sizes { d, m, n } = sizes;
        (self.prepare)(Setting { simd: self.simd, d, m, n })
    }
}

/// Every case at every level that this CPU has, from the slowest to the fastest.
pub(crate) fn instances() -> Vec<Instance> {
    let levels = Simd::available();
    let fastest = *levels.last().expect("scalar is always available");
    let mut all = Vec::new();
    for Group { name: group, cases, has_levels } in GROUPS {
        for &(case, prepare) in cases {
            if has_levels {
                all.extend(levels.iter().map(|&simd| {
                    let name = format!("{case}/{}", simd.name());
                    Instance { group, name, simd, prepare }
                }));
            } else {
                all.push(Instance { group, name: case.to_string(), simd: fastest, prepare });
            }
        }
    }
    all
}
