//! The way into a media thread: a bounded queue whose sender wakes the thread only when it sleeps.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering::SeqCst, fence},
    },
};

use super::sys::EventFd;

/// A queue with room for `capacity` messages.
///
/// Not one of the standard library's channels: their receiver spins while a sender is between taking its place and filling it.
/// A real-time thread that spins keeps that sender off the core they share, until the kernel throttles it a second later.
pub(super) fn mailbox<T>(capacity: usize) -> io::Result<(Sender<T>, Inbox<T>)> {
    let queue = Mutex::new(VecDeque::new());
    let event = EventFd::new()?;
    let shared = Arc::new(Shared { queue, capacity, event, asleep: AtomicBool::new(false), closed: AtomicBool::new(false) });
    Ok((Sender { shared: Arc::clone(&shared) }, Inbox { shared }))
}

struct Shared<T> {
    queue: Mutex<VecDeque<T>>,
    capacity: usize,
    event: EventFd,
    /// Set by the receiver before it looks at the queue for the last time and sleeps.
    asleep: AtomicBool,
    /// The receiver is gone.
    closed: AtomicBool,
}

/// The sending end; clones send to the same queue.
pub(super) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Sender<T> {
    /// Queues a message, or gives it back when the queue is full or the thread is gone; never waits for the receiver.
    pub(super) fn send(&self, message: T) -> Result<(), T> {
        self.push(message, self.shared.capacity, true)
    }

    /// The same for a message that may wait for the next one: a receiver that sleeps goes on sleeping, while there is room.
    pub(super) fn leave(&self, message: T) -> Result<(), T> {
        self.push(message, self.shared.capacity, false)
    }

    /// Queues a message even when the queue is full: for the end of a thread only.
    pub(super) fn send_last(&self, message: T) {
        // A thread that is gone needs not be told to go.
        let _ = self.push(message, usize::MAX, true);
    }

    fn push(&self, message: T, capacity: usize, urgent: bool) -> Result<(), T> {
        if self.shared.closed.load(SeqCst) {
            return Err(message);
        }
        let is_filling = {
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= capacity {
                return Err(message);
            }
            queue.push_back(message);
            queue.len() >= capacity.div_ceil(2)
        };
        if !urgent && !is_filling {
            return Ok(());
        }
        // Pairs with the fence in `arm`: either this sees the receiver asleep, or the receiver sees the message.
        fence(SeqCst);
        if self.shared.asleep.swap(false, SeqCst) {
            self.shared.event.raise();
        }
        Ok(())
    }
}

/// The receiving end, with a descriptor to sleep on.
pub(super) struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Inbox<T> {
    /// The next message, if there is one. `Err` once every sender is gone.
    ///
    /// Does not wait for a sender that holds the queue: what it is about to queue is found, or rung for, afterwards.
    pub(super) fn receive(&self) -> Result<Option<T>, Closed> {
        let message = match self.shared.queue.try_lock() {
            Ok(mut queue) => queue.pop_front(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().pop_front(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        // Only a sender makes a sender: once this end is the last one it stays so.
        if message.is_none() && Arc::strong_count(&self.shared) == 1 {
            return Err(Closed);
        }
        Ok(message)
    }

    /// Asks for the descriptor to be raised by the next message. What was sent before is still in the queue and raises
    /// nothing: look once more before sleeping.
    pub(super) fn arm(&self) {
        self.shared.asleep.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Ends [`Self::arm`]; `rang` says whether the descriptor was found raised. A sender may still be about to raise
    /// it for a message that was taken already: then it is found raised, and cleared, the next time.
    pub(super) fn disarm(&self, rang: bool) {
        self.shared.asleep.store(false, SeqCst);
        if rang {
            self.shared.event.clear();
        }
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, SeqCst);
    }
}

impl<T> AsRawFd for Inbox<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}

/// Every sender is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::sys::{Epoll, Readiness};
    use super::*;

    #[test]
    fn a_message_to_a_sleeping_receiver_rings_once() {
        let (sender, inbox) = mailbox::<u32>(4).unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(inbox.as_raw_fd(), 0).unwrap();
        let mut ready = [Readiness { events: 0, u64: 0 }; 1];
        sender.send(1).unwrap();
        assert_eq!(epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap(), 0, "nobody sleeps");
        inbox.arm();
        assert_eq!(inbox.receive(), Ok(Some(1)));
        sender.send(2).unwrap();
        sender.send(3).unwrap();
        assert_eq!(epoll.wait(&mut ready, None).unwrap(), 1);
        inbox.disarm(true);
        assert_eq!((inbox.receive(), inbox.receive()), (Ok(Some(2)), Ok(Some(3))));
        assert_eq!(epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn a_message_that_is_left_rings_only_when_the_queue_fills_and_comes_before_those_sent_later() {
        let (sender, inbox) = mailbox::<u32>(4).unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(inbox.as_raw_fd(), 0).unwrap();
        let mut ready = [Readiness { events: 0, u64: 0 }; 1];
        inbox.arm();
        sender.leave(1).unwrap();
        assert_eq!(epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap(), 0, "it may wait");
        sender.send(2).unwrap();
        assert_eq!(epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap(), 1);
        inbox.disarm(true);
        assert_eq!((inbox.receive(), inbox.receive()), (Ok(Some(1)), Ok(Some(2))));
        inbox.arm();
        sender.leave(3).unwrap();
        sender.leave(4).unwrap();
        assert_eq!(epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap(), 1, "half full");
    }

    #[test]
    fn a_receiver_does_not_wait_for_a_sender_that_holds_the_queue_and_is_rung_by_it() {
        let (sender, inbox) = mailbox::<u32>(4).unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(inbox.as_raw_fd(), 0).unwrap();
        let held = inbox.shared.queue.lock().unwrap();
        inbox.arm();
        assert_eq!(inbox.receive(), Ok(None));
        drop(held);
        sender.send(1).unwrap();
        let mut ready = [Readiness { events: 0, u64: 0 }; 1];
        assert_eq!(epoll.wait(&mut ready, None).unwrap(), 1);
        assert_eq!(inbox.receive(), Ok(Some(1)));
    }

    #[test]
    fn the_last_message_goes_in_even_when_the_queue_is_full_and_none_once_the_receiver_is_gone() {
        let (sender, inbox) = mailbox::<u32>(1).unwrap();
        sender.send(1).unwrap();
        sender.send_last(2);
        assert_eq!((inbox.receive(), inbox.receive()), (Ok(Some(1)), Ok(Some(2))));
        drop(inbox);
        assert_eq!(sender.send(3), Err(3));
    }

    #[test]
    fn a_full_queue_gives_the_message_back() {
        let (sender, inbox) = mailbox::<u32>(1).unwrap();
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Err(2));
        drop(sender);
        assert_eq!(inbox.receive(), Ok(Some(1)));
        assert_eq!(inbox.receive(), Err(Closed));
    }
}
