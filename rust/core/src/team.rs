//! Threads: fixed blocks of work, taken by as many workers as the process has cores to spare.
//!
//! A call cuts its work into blocks that depend on sizes alone. Workers take the next block from a
//! counter and write to that block's own place, so results have the same bits for any number of
//! threads. Workers are scoped threads of the call, started at its beginning: there is no pool that a
//! `fork` could leave without threads, and nothing to tear down. A call with one block
//! starts none.
//!
//! With `n_jobs = None` the workers of all calls of a process share one budget, the number of cores:
//! the calling thread always works, and further workers join only where cores are idle when the call
//! begins. Python threads that keep every core busy with calls of their own get no workers beside them. An
//! explicit `n_jobs` is taken at its word.

use crate::cancel::Cancel;
use crate::error::Result;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How a call may use threads, and how it is stopped.
#[derive(Clone, Copy, Debug)]
pub struct Team<'a> {
    n_jobs: Option<usize>,
    cancel: &'a Cancel,
}

impl<'a> Team<'a> {
    /// `n_jobs` workers, or as many as there are idle cores for `None`.
    pub fn new(n_jobs: Option<usize>, cancel: &'a Cancel) -> Team<'a> {
        Team { n_jobs, cancel }
    }

    /// The flag that stops this call.
    pub fn cancel(&self) -> &'a Cancel {
        self.cancel
    }

    /// Runs `body(scratch, block)` for every block in `0..n_blocks`; each worker makes one `scratch`.
    ///
    /// # Errors
    /// The error of the lowest failing block, or [`crate::Error::Cancelled`]; remaining blocks are dropped.
    pub fn run<S>(
        &self,
        n_blocks: usize,
        scratch: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let permits = Permits::take(self.n_jobs, n_blocks);
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            let mut scratch = scratch();
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= n_blocks {
                    return;
                }
                if let Err(error) = self.cancel.check().and_then(|()| body(&mut scratch, block)) {
                    next.store(n_blocks, Ordering::Relaxed);
                    keep_lowest(&failure, block, error);
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..permits.extra {
                // A refused thread (process limits) costs speed, not the call.
                let _ = std::thread::Builder::new().name("icfl".into()).spawn_scoped(scope, work);
            }
            work();
        });
        match failure.into_inner().expect("no worker panicked") {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// As [`Team::run`], where block `b` owns the `b`-th piece of `out`, `piece` values long.
    ///
    /// # Errors
    /// As [`Team::run`].
    pub fn run_pieces<T: Send, S>(
        &self,
        out: &mut [T],
        piece: usize,
        scratch: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, usize, &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        let pieces: Vec<_> = out.chunks_mut(piece.max(1)).map(Mutex::new).collect();
        self.run(pieces.len(), scratch, |scratch, block| {
            body(scratch, block, &mut pieces[block].lock().expect("each piece has one user"))
        })
    }

    /// As [`Team::run`], collecting what each block returns, in the order of blocks.
    ///
    /// # Errors
    /// As [`Team::run`].
    pub fn map<T: Send, S>(
        &self,
        n_blocks: usize,
        scratch: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let mut out: Vec<Option<T>> = std::iter::repeat_with(|| None).take(n_blocks).collect();
        self.run_pieces(&mut out, 1, scratch, |scratch, block, place| {
            place[0] = Some(body(scratch, block)?);
            Ok(())
        })?;
        Ok(out.into_iter().map(|value| value.expect("every block ran")).collect())
    }
}

fn keep_lowest<E>(failure: &Mutex<Option<(usize, E)>>, block: usize, error: E) {
    let mut kept = failure.lock().expect("no worker panicked");
    if kept.as_ref().is_none_or(|(lowest, _)| block < *lowest) {
        *kept = Some((block, error));
    }
}

/// Threads at work in this process, callers included: process id in the high half, count in the low.
///
/// The id makes the count start again at zero in a forked child, whose parent's workers it lacks.
static AT_WORK: AtomicU64 = AtomicU64::new(0);

/// The place of a call and its extra workers in the count, given back when it ends.
struct Permits {
    extra: usize,
    process: u32,
}

impl Permits {
    fn take(n_jobs: Option<usize>, n_blocks: usize) -> Permits {
        let process = std::process::id();
        let cores = cores();
        let mut seen = AT_WORK.load(Ordering::Relaxed);
        loop {
            let others = count(seen, process);
            let extra = extra_workers(n_jobs, n_blocks, others, cores);
            let new = pack(process, others + 1 + extra);
            match AT_WORK.compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Permits { extra, process },
                Err(current) => seen = current,
            }
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        let process = self.process;
        let _ = AT_WORK.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| {
            Some(pack(process, count(seen, process).saturating_sub(1 + self.extra)))
        });
    }
}

/// Workers beside the caller: what `n_jobs` says, or the cores that neither it nor `others` occupy.
fn extra_workers(n_jobs: Option<usize>, n_blocks: usize, others: usize, cores: usize) -> usize {
    let wanted = match n_jobs {
        Some(n) => n.saturating_sub(1),
        None => cores.saturating_sub(1 + others),
    };
    wanted.min(n_blocks.saturating_sub(1))
}

fn pack(process: u32, count: usize) -> u64 {
    u64::from(process) << 32 | count.min(u32::MAX as usize) as u64
}

fn count(packed: u64, process: u32) -> usize {
    if packed >> 32 == u64::from(process) { (packed & 0xffff_ffff) as usize } else { 0 }
}

/// Cores this process may use: its affinity mask and control group, as the operating system says.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::collections::HashSet;

    #[test]
    fn every_block_runs_once_for_any_number_of_jobs() {
        let cancel = Cancel::new();
        for n_jobs in [None, Some(1), Some(2), Some(5), Some(64)] {
            for n_blocks in [0, 1, 2, 17] {
                let squares = Team::new(n_jobs, &cancel).map(n_blocks, || (), |(), b| Ok(b * b)).unwrap();
                assert_eq!(squares, (0..n_blocks).map(|b| b * b).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_explicit_number_of_jobs_is_the_number_of_threads() {
        let cancel = Cancel::new();
        let barrier = std::sync::Barrier::new(3);
        let ids = Team::new(Some(3), &cancel)
            .map(
                3,
                || (),
                |(), _| {
                    barrier.wait();
                    Ok(std::thread::current().id())
                },
            )
            .unwrap();
        assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), 3);
    }

    #[test]
    fn errors_and_cancellation_come_back() {
        let cancel = Cancel::new();
        let team = Team::new(Some(2), &cancel);
        let fail = |(): &mut (), b: usize| if b == 3 { Err(Error::Argument("three".into())) } else { Ok(()) };
        assert_eq!(team.run(9, || (), fail), Err(Error::Argument("three".into())));
        cancel.cancel();
        assert_eq!(team.run(9, || (), |(), _| Ok(())), Err(Error::Cancelled));
    }

    #[test]
    fn workers_join_only_where_cores_are_idle() {
        assert_eq!(extra_workers(None, 100, 0, 2), 1);
        assert_eq!(extra_workers(None, 100, 1, 2), 0, "the other caller has the second core");
        assert_eq!(extra_workers(None, 100, 9, 2), 0);
        assert_eq!(extra_workers(None, 100, 3, 8), 4);
        assert_eq!(extra_workers(None, 3, 0, 8), 2, "no worker without a block");
        assert_eq!(extra_workers(Some(5), 100, 9, 2), 4);
        assert_eq!(extra_workers(Some(1), 100, 0, 2), 0);
    }

    #[test]
    fn a_count_of_another_process_is_void() {
        assert_eq!(count(pack(7, 3), 7), 3);
        assert_eq!(count(pack(7, 3), 8), 0);
    }
}
