//! A flag through which a caller stops work that is under way.

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Set by the caller, looked at by workers between small pieces of work.
#[derive(Debug, Default)]
pub struct Cancel {
    flag: AtomicBool,
    question: Option<Question>,
}

/// What the thread that has the question asks from time to time.
struct Question {
    stop: Box<dyn Fn() -> bool + Send + Sync>,
    every: Duration,
    due: Mutex<Instant>,
    asker: ThreadId,
}

impl Cancel {
    /// A flag that is not set.
    pub const fn new() -> Cancel {
        Cancel { flag: AtomicBool::new(false), question: None }
    }

    /// A flag that sets itself when `stop` says so, which is called about so often, and by this thread only.
    pub fn asking(every: Duration, stop: impl Fn() -> bool + Send + Sync + 'static) -> Cancel {
        let due = Mutex::new(Instant::now() + every);
        let question = Question { stop: Box::new(stop), every, due, asker: std::thread::current().id() };
        Cancel { flag: AtomicBool::new(false), question: Some(question) }
    }

    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// [`Error::Cancelled`] once the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.question.as_ref().is_some_and(Question::says_stop) {
            self.cancel();
        }
        if self.flag.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl Question {
    fn says_stop(&self) -> bool {
        if std::thread::current().id() != self.asker {
            return false;
        }
        let mut due = self.due.lock().expect("one thread asks");
        let now = Instant::now();
        if now < *due {
            return false;
        }
        *due = now + self.every;
        (self.stop)()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("every", &self.every).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn the_question_is_asked_by_its_thread_and_stops_all() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let cancel = Cancel::asking(Duration::ZERO, move || count.fetch_add(1, Ordering::Relaxed) == 2);
        let elsewhere = || std::thread::scope(|scope| scope.spawn(|| cancel.check()).join().unwrap());
        assert_eq!(elsewhere(), Ok(()));
        assert_eq!(asked.load(Ordering::Relaxed), 0, "another thread does not ask");
        assert_eq!([(); 3].map(|()| cancel.check()), [Ok(()), Ok(()), Err(Error::Cancelled)]);
        assert_eq!(elsewhere(), Err(Error::Cancelled));
    }

    #[test]
    fn the_question_waits_for_its_time() {
        let cancel = Cancel::asking(Duration::from_secs(3600), || true);
        assert_eq!(cancel.check(), Ok(()));
        cancel.cancel();
        assert_eq!(cancel.check(), Err(Error::Cancelled));
    }
}
