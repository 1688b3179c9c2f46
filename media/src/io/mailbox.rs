//! The way into a media thread: a bounded queue whose sender wakes the thread only when it sleeps.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst, fence},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
};

use super::sys::EventFd;

/// A queue with room for `capacity` messages.
pub(super) fn mailbox<T>(capacity: usize) -> io::Result<(Sender<T>, Inbox<T>)> {
    let (queue, messages) = sync_channel(capacity);
    let bell = Arc::new(Bell { event: EventFd::new()?, asleep: AtomicBool::new(false) });
    Ok((Sender { queue, bell: Arc::clone(&bell) }, Inbox { messages, bell }))
}

struct Bell {
    event: EventFd,
    /// Set by the receiver before it looks at the queue for the last time and sleeps.
    asleep: AtomicBool,
}

/// The sending end; clones send to the same queue.
pub(super) struct Sender<T> {
    queue: SyncSender<T>,
    bell: Arc<Bell>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Sender<T> {
    /// Queues a message, or gives it back when the queue is full or the thread is gone; never blocks.
    pub(super) fn send(&self, message: T) -> Result<(), T> {
        self.queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })?;
        self.ring();
        Ok(())
    }

    /// Queues a message, and waits for room if it must: for the end of a thread only.
    pub(super) fn send_blocking(&self, message: T) {
        if self.queue.send(message).is_ok() {
            self.ring();
        }
    }

    fn ring(&self) {
        // Pairs with the fence in `arm`: either this sees the receiver asleep, or the receiver sees the message.
        fence(SeqCst);
        if self.bell.asleep.swap(false, SeqCst) {
            self.bell.event.raise();
        }
    }
}

/// The receiving end, with a descriptor to sleep on.
pub(super) struct Inbox<T> {
    messages: Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Inbox<T> {
    /// The next message, if there is one. `Err` once every sender is gone.
    pub(super) fn receive(&self) -> Result<Option<T>, Closed> {
        match self.messages.try_recv() {
            Ok(message) => Ok(Some(message)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Closed),
        }
    }

    /// Asks for the descriptor to be raised by the next message. What was sent before is still in the queue and raises
    /// nothing: look once more before sleeping.
    pub(super) fn arm(&self) {
        self.bell.asleep.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Ends [`Self::arm`]; `rang` says whether the descriptor was found raised. A sender may still be about to raise
    /// it for a message that was taken already: then it is found raised, and cleared, the next time.
    pub(super) fn disarm(&self, rang: bool) {
        self.bell.asleep.store(false, SeqCst);
        if rang {
            self.bell.event.clear();
        }
    }
}

impl<T> AsRawFd for Inbox<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.event.as_raw_fd()
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
    fn a_full_queue_gives_the_message_back() {
        let (sender, inbox) = mailbox::<u32>(1).unwrap();
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Err(2));
        drop(sender);
        assert_eq!(inbox.receive(), Ok(Some(1)));
        assert_eq!(inbox.receive(), Err(Closed));
    }
}
