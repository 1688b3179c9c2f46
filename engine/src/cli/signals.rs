//! Being told to end, and not being told.
#![expect(unsafe_code, reason = "whether a signal is ignored has no safe interface")]

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::ptr;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT (Ctrl-C), SIGQUIT and SIGHUP (the terminal is gone).
pub(super) struct Signals {
    end: [Signal; 3],
    /// The terminal's end is told by the terminal and by the shell, and after the others by a window that is closed or by systemd: it
    /// counts where nothing has been told before. `None`: something has, or it is none of ours.
    hangup: Option<Signal>,
}

impl Signals {
    /// From here on they no longer end the process by themselves, nor do SIGUSR1 and SIGUSR2, which mean nothing here. `nohup` has
    /// SIGHUP ignored: that stays so.
    pub(super) fn listen() -> Result<Self, String> {
        let listened = |kind: SignalKind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
        let hangup = if is_ignored(libc::SIGHUP) { None } else { Some(listened(SignalKind::hangup())?) };
        for unused in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            // Whoever has listened once has it for good.
            drop(listened(unused)?);
        }
        let end = [listened(SignalKind::terminate())?, listened(SignalKind::interrupt())?, listened(SignalKind::quit())?];
        Ok(Self { end, hangup })
    }

    /// Waits for one of them; from then on SIGHUP is none.
    pub(super) async fn told_to_end(&mut self) {
        poll_fn(|context| {
            let is_told = self.end.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            let is_hung_up = self.hangup.as_mut().is_some_and(|hangup| hangup.poll_recv(context).is_ready());
            if !is_told && !is_hung_up {
                return Poll::Pending;
            }
            self.hangup = None;
            Poll::Ready(())
        })
        .await;
    }
}

/// From here on a file that is at a bound (`ulimit -f`, `LimitFSIZE=`) is an error of the write that meets it, and no end of the process.
pub(super) fn outlive_bounds_of_files() {
    // SAFETY: to ignore a signal is no function of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action only the old one is written, whole where the answer is 0.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0 && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn set(signal: libc::c_int, action: libc::sighandler_t) {
        // SAFETY: neither action is a function.
        unsafe { libc::signal(signal, action) };
    }

    fn send(signal: libc::c_int) {
        // SAFETY: takes a number; the process listens to the signal.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }

    #[test]
    fn a_file_at_its_bound_ends_nothing() {
        outlive_bounds_of_files();
        assert!(is_ignored(libc::SIGXFSZ));
    }

    #[tokio::test]
    async fn the_terminals_end_is_told_first_or_not_at_all_and_not_to_those_that_ignore_it() {
        set(libc::SIGHUP, libc::SIG_IGN);
        assert!(Signals::listen().unwrap().hangup.is_none());
        set(libc::SIGHUP, libc::SIG_DFL);
        let mut signals = Signals::listen().unwrap();
        send(libc::SIGUSR1);
        send(libc::SIGUSR2);
        send(libc::SIGHUP);
        signals.told_to_end().await;
        assert!(signals.hangup.is_none());
        send(libc::SIGHUP);
        assert!(signals.told_to_end().now_or_never().is_none());
        send(libc::SIGQUIT);
        signals.told_to_end().await;

        let mut signals = Signals::listen().unwrap();
        send(libc::SIGQUIT);
        send(libc::SIGHUP);
        signals.told_to_end().await;
        assert!(signals.hangup.is_none());
        assert!(signals.told_to_end().now_or_never().is_none(), "both are one");
        send(libc::SIGQUIT);
        signals.told_to_end().await;
    }
}
