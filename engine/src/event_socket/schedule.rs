//! Commands that are carried out later: `sched_api`, `sched_hangup`, `sched_transfer`, `sched_broadcast`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::api;
use super::hub::{Hub, unix_ms};
use super::reach::By;
use crate::core::Asker;
use crate::esl::Event;

/// Commands that may wait at once.
const MAX_TASKS: usize = 65_536;
/// The longest a command may wait, in seconds: a year.
const MAX_WAIT_S: u64 = 366 * 86_400;

/// What is to be carried out, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) when: When,
    /// By which it can be taken back with others.
    pub(super) group: String,
    /// The call after whose end there is nothing to do any more.
    pub(super) call: Option<String>,
    /// A command as `api` takes it.
    pub(super) command: String,
    /// As whom it is carried out.
    pub(super) asker: Asker,
}

/// Seconds from now, once or again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    after_s: u64,
    repeats: bool,
}

impl When {
    /// `+SECONDS` from now, `@SECONDS` again and again, or seconds since 1970. What has passed is due at once.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (seconds, repeats, is_absolute) = match (text.strip_prefix('+'), text.strip_prefix('@')) {
            // `+@5` is written, too.
            (Some(rest), _) => match rest.strip_prefix('@') {
                Some(rest) => (rest, true, false),
                None => (rest, false, false),
            },
            (None, Some(rest)) => (rest, true, false),
            (None, None) => (text, false, true),
        };
        let seconds: u64 = seconds.parse().ok()?;
        let after_s = if is_absolute { seconds.saturating_sub(unix_ms() / 1_000) } else { seconds };
        let is_possible = after_s <= MAX_WAIT_S && !(repeats && after_s == 0);
        is_possible.then_some(Self { after_s, repeats })
    }
}

/// One that waits.
#[derive(Debug)]
struct Task {
    wanted: Wanted,
    timer: AbortHandle,
}

#[derive(Debug, Default)]
struct Tasks {
    waiting: BTreeMap<u32, Task>,
    /// What waits for a call, by the call: calls end far more often than there is something to forget.
    of_calls: HashMap<String, BTreeSet<u32>>,
    last: u32,
}

impl Tasks {
    fn insert(&mut self, id: u32, task: Task) {
        if let Some(call) = &task.wanted.call {
            self.of_calls.entry(call.clone()).or_default().insert(id);
        }
        self.waiting.insert(id, task);
    }

    fn remove(&mut self, id: u32) -> Option<Task> {
        let task = self.waiting.remove(&id)?;
        if let Some(call) = &task.wanted.call
            && let Some(ids) = self.of_calls.get_mut(call)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_calls.remove(call);
            }
        }
        Some(task)
    }
}

/// See the module. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule(Arc<Mutex<Tasks>>);

impl Schedule {
    /// Nothing in here panics while it holds the lock.
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what waits under a number.
    pub(super) fn cancel(&self, hub: &Hub, id: u32) -> bool {
        let task = self.tasks().remove(id);
        if let Some(task) = &task {
            task.timer.abort();
            hub.publish(event("DEL_SCHEDULE", id, &task.wanted), None);
        }
        task.is_some()
    }

    /// Takes back everything of a group; how much that was.
    pub(super) fn cancel_group(&self, hub: &Hub, group: &str) -> usize {
        let tasks = self.tasks();
        let theirs = tasks.waiting.iter().filter(|(_, task)| task.wanted.group == group);
        let waiting: Vec<u32> = theirs.map(|(id, _)| *id).collect();
        drop(tasks);
        waiting.into_iter().filter(|id| self.cancel(hub, *id)).count()
    }

    /// The calls that something waits for.
    pub(super) fn calls(&self) -> Vec<String> {
        self.tasks().of_calls.keys().cloned().collect()
    }

    /// A call is over, and what was to be done to it is not done.
    pub(super) fn call_over(&self, call: &str) {
        let mut tasks = self.tasks();
        for id in tasks.of_calls.remove(call).unwrap_or_default() {
            if let Some(task) = tasks.waiting.remove(&id) {
                task.timer.abort();
            }
        }
    }
}

/// Has a command carried out later; its number, or `None` when too many wait.
pub(super) fn add(hub: &Arc<Hub>, wanted: Wanted) -> Option<u32> {
    let mut tasks = hub.schedule.tasks();
    if tasks.waiting.len() >= MAX_TASKS {
        return None;
    }
    tasks.last = tasks.last.wrapping_add(1).max(1);
    let id = tasks.last;
    // It finds itself in the list: whoever adds it holds the lock until it is there.
    let timer = tokio::spawn(wait(Arc::clone(hub), id, wanted.clone())).abort_handle();
    let added = event("ADD_SCHEDULE", id, &wanted);
    tasks.insert(id, Task { wanted, timer });
    drop(tasks);
    hub.publish(added, None);
    Some(id)
}

/// A scheduled command may schedule others: the type of its future is written down here once.
fn wait(hub: Arc<Hub>, id: u32, wanted: Wanted) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let time = Duration::from_secs(wanted.when.after_s);
        let by = By { is_restricted: wanted.asker == Asker::Tenant, ..By::default() };
        loop {
            tokio::time::sleep(time).await;
            if !wanted.when.repeats && hub.schedule.tasks().remove(id).is_none() {
                return;
            }
            hub.publish(event("EXE_SCHEDULE", id, &wanted), None);
            let answer = api::run(&hub, &wanted.command, &by).await;
            tracing::debug!(command = %wanted.command, answer = %answer.trim_end(), "a scheduled command was carried out");
            if !wanted.when.repeats {
                return;
            }
        }
    })
}

fn event(name: &str, id: u32, wanted: &Wanted) -> Event {
    let mut event = Event::new(name);
    let runtime = unix_ms() / 1_000 + wanted.when.after_s;
    event.push("Task-ID", &id.to_string());
    event.push("Task-Desc", wanted.command.split(' ').next().unwrap_or_default());
    event.push("Task-Group", &wanted.group);
    event.push("Task-Runtime", &runtime.to_string());
    event
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// In an hour.
    pub(in crate::event_socket) fn wanted(call: Option<&str>) -> Wanted {
        Wanted {
            when: When { after_s: 3_600, repeats: false },
            group: "g".to_owned(),
            call: call.map(str::to_owned),
            command: "status".to_owned(),
            asker: Asker::Operator,
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_call_is_forgotten_with_it_and_nothing_else() {
        let schedule = Schedule::default();
        for (id, call) in [(1, Some("one")), (2, Some("one")), (3, Some("two")), (4, None)] {
            let timer = tokio::spawn(std::future::pending::<()>()).abort_handle();
            schedule.tasks().insert(id, Task { wanted: wanted(call), timer });
        }
        assert!(schedule.tasks().remove(1).is_some());
        schedule.call_over("one");
        assert_eq!(schedule.tasks().waiting.keys().copied().collect::<Vec<_>>(), [3, 4]);
        assert!(schedule.tasks().remove(3).is_some());
        assert!(schedule.tasks().of_calls.is_empty());
    }

    #[test]
    fn times_are_from_now_again_and_again_or_of_the_clock() {
        let when = |after_s, repeats| Some(When { after_s, repeats });
        assert_eq!(When::parse("+10"), when(10, false));
        assert_eq!((When::parse("@5"), When::parse("+@5")), (when(5, true), when(5, true)));
        assert_eq!(When::parse("1"), when(0, false), "what has passed is due at once");
        for bad in ["", "+", "x", "-1", "+1x", "@0", "+99999999999", "99999999999999999999"] {
            assert_eq!(When::parse(bad), None, "{bad}");
        }
    }
}
