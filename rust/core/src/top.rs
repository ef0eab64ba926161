//! The best few scores of a stream, kept sorted: descending score, ascending index among equals.

/// The `capacity` best (score, index) pairs offered so far, above a floor.
///
/// Scores must be offered with ascending indices; then equal scores are settled for the lower index,
/// because a later equal score does not displace an earlier one.
#[derive(Clone, Debug)]
pub struct Top {
    capacity: usize,
    floor: f32,
    scores: Vec<f32>,
    indices: Vec<u32>,
}

impl Top {
    /// An empty list for `capacity` entries.
    pub fn new(capacity: usize) -> Top {
        Top {
            capacity,
            floor: f32::NEG_INFINITY,
            scores: Vec::with_capacity(capacity + 1),
            indices: Vec::with_capacity(capacity + 1),
        }
    }

    /// Empties the list; from now on only scores greater than `floor` are kept.
    pub fn clear(&mut self, floor: f32) {
        self.floor = floor;
        self.scores.clear();
        self.indices.clear();
    }

    /// Empties the list and makes it one for `capacity` entries above `floor`.
    pub fn reset(&mut self, capacity: usize, floor: f32) {
        self.capacity = capacity;
        self.clear(floor);
    }

    /// Number of entries it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The score an offer must exceed to be kept.
    #[inline(always)]
    pub fn entry_score(&self) -> f32 {
        if self.scores.len() < self.capacity { self.floor } else { self.scores[self.capacity - 1] }
    }

    /// Keeps the pair if it is among the best so far.
    #[inline(always)]
    pub fn offer(&mut self, score: f32, index: u32) {
        if self.capacity > 0 && score > self.entry_score() {
            self.insert(score, index);
        }
    }

    fn insert(&mut self, score: f32, index: u32) {
        if self.scores.len() == self.capacity {
            self.scores.pop();
            self.indices.pop();
        }
        let at = self.scores.partition_point(|&kept| kept >= score);
        self.scores.insert(at, score);
        self.indices.insert(at, index);
    }

    /// Indices of the kept entries, best first.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Scores of the kept entries, best first.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_what_a_full_sort_keeps(
            scores in prop::collection::vec((-4i8..4).prop_map(f32::from), 0..60),
            capacity in 0usize..9,
            floor in (-5i8..5).prop_map(f32::from),
        ) {
            let mut top = Top::new(capacity);
            top.clear(floor);
            for (index, &score) in scores.iter().enumerate() {
                top.offer(score, index as u32);
            }
            let mut expected: Vec<u32> =
                (0..scores.len() as u32).filter(|&i| scores[i as usize] > floor).collect();
            expected.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
            expected.truncate(capacity);
            prop_assert_eq!(top.indices(), &expected[..]);
        }
    }
}
