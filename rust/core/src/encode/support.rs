//! The code of one sample while it is being built: coefficients of an atom that is chosen again add up.

use crate::codes::Codes;

/// A sparse accumulator over `n_components` atoms.
#[derive(Clone, Debug)]
pub(super) struct Support {
    /// Place of an atom in `entries`, or `ABSENT`.
    places: Vec<u32>,
    entries: Vec<(u32, f32)>,
}

const ABSENT: u32 = u32::MAX;

impl Support {
    pub(super) fn new(n_components: usize) -> Support {
        Support { places: vec![ABSENT; n_components], entries: Vec::new() }
    }

    /// `z[atom] += coefficient`.
    pub(super) fn add(&mut self, atom: u32, coefficient: f32) {
        let place = &mut self.places[atom as usize];
        if *place == ABSENT {
            *place = self.entries.len() as u32;
            self.entries.push((atom, coefficient));
        } else {
            self.entries[*place as usize].1 += coefficient;
        }
    }

    /// Appends the code to `out` and starts the next sample.
    pub(super) fn finish(&mut self, out: &mut Codes) {
        for (atom, _) in &self.entries {
            self.places[*atom as usize] = ABSENT;
        }
        out.push_row(&mut self.entries);
        self.entries.clear();
    }
}
