//! Turns of many writers at one link: who waits for room among what goes down it, and how much each may put there.
//!
//! In a round everybody who has much to say gets one turn, and the next round begins when all have had theirs. That must not be left to
//! the scheduler: a thread runs the task first that was woken last, so that one of many would be served again and again.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::task::{Context, Poll, Waker};

/// The most that waits for the link, before writers wait too.
pub(crate) const ROOM: usize = 128 * 1024;

/// What one may write while others wait for the same room.
pub(crate) const TURN: usize = 32 * 1024;

/// Those that are woken when there is room again: as many as fill it. Each comes, or leaves.
const WOKEN: usize = ROOM / TURN;

/// The writers of a link, by their numbers.
pub(crate) struct Turns<K> {
    round: u32,
    /// In the order in which they came. They keep their place until they have written.
    waiting: VecDeque<K>,
    /// Somebody has left who may have been woken, and others were not because of that.
    has_left: bool,
}

/// What one of them has had.
#[derive(Default)]
pub(crate) struct Share {
    /// The round it has written in, and how much.
    round: u32,
    written: usize,
    is_waiting: bool,
    has_yielded: bool,
    waker: Option<Waker>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            round: 0,
            waiting: VecDeque::new(),
            has_left: false,
        }
    }
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Whether nobody waits.
    pub(crate) fn is_free(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How much may be written now, of [`usize::MAX`] where nobody else waits; `taken` is what waits for the link already.
    pub(crate) fn poll(
        &mut self,
        cx: &Context<'_>,
        id: K,
        share: &mut Share,
        taken: usize,
    ) -> Poll<usize> {
        if share.round != self.round {
            (share.round, share.written) = (self.round, 0);
        }
        let others = self.waiting.len() - usize::from(share.is_waiting);
        let may_write = match others {
            0 => usize::MAX,
            _ => TURN.saturating_sub(share.written),
        };
        if taken < ROOM && may_write > 0 {
            return Poll::Ready(may_write);
        }
        if taken == 0 && share.has_yielded {
            // Those before it were given the time to come.
            self.round = self.round.wrapping_add(1);
            (share.round, share.written) = (self.round, 0);
            return Poll::Ready(TURN);
        }
        if taken == 0 {
            share.has_yielded = true;
            cx.waker().wake_by_ref();
        }
        share.wait(cx);
        if !share.is_waiting {
            share.is_waiting = true;
            self.waiting.push_back(id);
        }
        Poll::Pending
    }

    /// It has written so much.
    pub(crate) fn wrote(&mut self, id: K, share: &mut Share, n: usize) {
        share.written += n;
        self.leave(id, share);
        // There will be room when that is taken.
        self.has_left = false;
    }

    /// It waits no more, as it cannot write. Whether it did: then [`Self::make_room`] is due.
    pub(crate) fn leave(&mut self, id: K, share: &mut Share) -> bool {
        share.has_yielded = false;
        let has_waited = std::mem::take(&mut share.is_waiting);
        if has_waited {
            // Who writes is among the first.
            let place = self.waiting.iter().position(|waiting| *waiting == id);
            place.map(|place| self.waiting.remove(place));
            self.has_left = true;
        }
        has_waited
    }

    /// All that waited for the link is on its way, if `any` did; `woken` gets those who may use the room.
    pub(crate) fn make_room<W: AsMut<Share>>(
        &mut self,
        any: bool,
        writers: &mut HashMap<K, W>,
        woken: &mut Vec<Waker>,
    ) {
        if !std::mem::take(&mut self.has_left) && !any {
            return;
        }
        let first = self.waiting.front().and_then(|id| writers.get_mut(id));
        let has_had_a_turn = |share: &Share| share.round == self.round && share.written > 0;
        if first.is_none_or(|first| has_had_a_turn(first.as_mut())) {
            self.round = self.round.wrapping_add(1);
        }
        // Those that were woken before will come.
        let waiting = self.waiting.iter();
        let wakers = waiting.filter_map(|id| writers.get_mut(id)?.as_mut().wake());
        woken.extend(wakers.take(WOKEN));
    }
}

impl Share {
    /// Has the task in `cx` woken by [`Self::wake`], where it waits for something else than its turn.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        let is_known = |waker: &Waker| waker.will_wake(cx.waker());
        if !self.waker.as_ref().is_some_and(is_known) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Who is to hear that something has changed.
    pub(crate) fn wake(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    /// A thread that runs the task first that was woken last, thrice in a row at most, as tokio's do.
    #[derive(Default)]
    struct Thread(Mutex<Tasks>);

    #[derive(Default)]
    struct Tasks {
        last: Option<usize>,
        in_a_row: usize,
        others: VecDeque<usize>,
        running: Option<usize>,
    }

    impl Tasks {
        fn next(&mut self) -> Option<usize> {
            self.in_a_row += 1;
            if self.in_a_row > 3 || self.last.is_none() {
                self.in_a_row = 0;
                self.others.extend(self.last.take());
                self.last = self.others.pop_front();
            }
            self.running = self.last.take();
            self.running
        }
    }

    struct Task {
        thread: Arc<Thread>,
        number: usize,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            let mut tasks = self.thread.0.lock().unwrap();
            match tasks.running == Some(self.number) {
                true => tasks.others.push_back(self.number),
                false => {
                    let before = tasks.last.replace(self.number);
                    tasks.others.extend(before);
                }
            }
        }
    }

    struct Writer {
        share: Share,
        sent: usize,
    }

    impl AsMut<Share> for Writer {
        fn as_mut(&mut self) -> &mut Share {
            &mut self.share
        }
    }

    /// What each of `n` has sent, of which all but `gone` have much to say, when `steps` were done. Whenever one has written the link takes
    /// it all, or with `is_slow` when nobody runs.
    fn sent(n: usize, gone: usize, is_slow: bool, steps: usize) -> Vec<usize> {
        let thread = Arc::<Thread>::default();
        let task = |number| Task {
            thread: thread.clone(),
            number,
        };
        let tasks: Vec<_> = (0..n).map(|number| Arc::new(task(number))).collect();
        let writer = |number| {
            let share = Share::default();
            (number, Writer { share, sent: 0 })
        };
        let mut writers: HashMap<_, _> = (0..n).map(writer).collect();
        let (mut turns, mut taken) = (Turns::default(), 0);
        thread.0.lock().unwrap().others.extend(0..n);
        for _ in 0..steps {
            let next = thread.0.lock().unwrap().next();
            let has_room = match next {
                Some(number) if number >= gone || writers[&number].sent == 0 => {
                    let waker = Waker::from(tasks[number].clone());
                    let cx = Context::from_waker(&waker);
                    let writer = writers.get_mut(&number).unwrap();
                    while let Poll::Ready(most) = turns.poll(&cx, number, &mut writer.share, taken)
                    {
                        let n = most.min(ROOM);
                        turns.wrote(number, &mut writer.share, n);
                        writer.sent += n;
                        taken += n;
                    }
                    thread.0.lock().unwrap().running = None;
                    !is_slow
                }
                Some(_) => false,
                None => true,
            };
            if has_room && taken > 0 {
                taken = 0;
                let mut woken = Vec::new();
                turns.make_room(true, &mut writers, &mut woken);
                woken.into_iter().for_each(Waker::wake);
            }
        }
        (0..n).map(|number| writers[&number].sent).collect()
    }

    #[test]
    fn all_have_as_much_whoever_runs_first() {
        for n in [2, 3, 4, 5, 16, 100] {
            for is_slow in [false, true] {
                let sent = sent(n, 0, is_slow, 100_000);
                let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
                assert!(10 * (most - least) <= *most, "{n} {is_slow}: {sent:?}");
            }
        }
    }

    /// One that waits, and is not asked again: nobody waits for it.
    #[test]
    fn whoever_does_not_come_holds_up_nobody() {
        for is_slow in [false, true] {
            let sent = sent(6, 2, is_slow, 100_000);
            let (least, most) = (sent[2..].iter().min().unwrap(), sent.iter().max().unwrap());
            assert!(*least > 100 * ROOM, "{is_slow}: {sent:?}");
            assert!(10 * (most - least) <= *most, "{is_slow}: {sent:?}");
        }
    }
}
