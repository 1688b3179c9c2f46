//! RTP core of Lockstep, sans-IO, and the pacing threads that do its IO.
