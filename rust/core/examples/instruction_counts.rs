//! Runs one case once, for a simulator that counts the instructions of [`counted`].
//!
//! Without arguments it prints the names of all cases. `benches/instructions.py` calls it under callgrind; by
//! itself it is of no use.

#[path = "../benches/cases/mod.rs"]
mod cases;

use cases::{Sizes, Work, instances};

/// Small, since a simulated instruction takes some fifty times as long; neither vectors nor tiles fit evenly.
const SIZES: Sizes = Sizes { d: 100, m: 600, n: 16 };

/// What is counted, with all it calls. The simulator finds it by its name.
#[inline(never)]
fn counted(work: &mut Work) {
    work();
}

fn main() {
    let Some(wanted) = std::env::args().nth(1) else {
        instances().iter().for_each(|case| println!("{}/{}", case.group, case.name));
        return;
    };
    let found = instances().into_iter().find(|case| format!("{}/{}", case.group, case.name) == wanted);
    let Some(case) = found else {
        eprintln!("no case is called {wanted} on this CPU");
        std::process::exit(2);
    };
    counted(&mut case.prepare(SIZES));
}
