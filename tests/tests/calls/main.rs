//! Calls to a real engine, from a real softphone, over real sockets; one file a behaviour.

mod accounts;
mod background;
mod bad_prompts;
mod bridging;
mod call_control;
mod class4;
mod demo_call;
mod drivers;
mod event_socket;
mod hostile_network;
mod hostile_scripts;
mod kamailio;
mod keys;
mod lockstep_rules;
mod management;
mod messages;
mod provisioning;
mod realtime;
mod recording;
mod refusals;
mod routing;
mod script_versions;
mod scripts;
mod unawaited;
mod variables;
mod worker_death;
