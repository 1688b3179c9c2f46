//! RFC 3261 core of Lockstep, sans-IO.
