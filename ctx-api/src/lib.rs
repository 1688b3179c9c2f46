//! What a script sees: operations, outcomes, events, the journal and the lockstep queue.
