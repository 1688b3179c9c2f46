//! The engine's figures, in Prometheus' manner.

use super::handle::{Metric, MetricKind, StatsSnapshot};
use super::switch::Switch;
use crate::journals::Journals;

use MetricKind::{Counter, Gauge};

impl Switch {
    /// Every figure at this moment.
    pub(super) fn stats(&self) -> StatsSnapshot {
        let mut metrics = Vec::new();
        let mut add = |name, help, kind, value: f64| metrics.push(Metric { name, help, kind, labels: Vec::new(), value });
        let counters = &self.counters;
        add("lockstep_calls_live", "Calls that are not over.", Gauge, self.live as f64);
        add("lockstep_calls_max", "Calls taken at once at most.", Gauge, self.max_calls as f64);
        add("lockstep_calls_taken_total", "Calls that came in and were taken.", Counter, counters.calls_taken as f64);
        add("lockstep_calls_placed_total", "Calls placed for the API.", Counter, counters.calls_placed as f64);
        add("lockstep_calls_ended_total", "Calls that are over.", Counter, counters.calls_ended as f64);
        add("lockstep_operations_total", "Operations that scripts have issued.", Counter, counters.operations as f64);
        add("lockstep_operations_failed_total", "Operations that were rejected.", Counter, counters.operations_failed as f64);
        add(
            "lockstep_script_errors_total",
            "Scripts that ended with an error of their own.",
            Counter,
            counters.script_errors as f64,
        );
        add("lockstep_digits_total", "Keys that callers have pressed.", Counter, counters.digits as f64);
        let connections = self.connections.len();
        add("lockstep_freeswitch_connections", "Channels that media servers have handed over.", Gauge, connections as f64);
        let refused = self.connections.refused;
        add("lockstep_freeswitch_refused_total", "Channels handed over that no call came of.", Counter, refused as f64);

        let scripts = self.host.stats();
        add("lockstep_script_runs", "Live runs of scripts.", Gauge, scripts.runs as f64);
        add("lockstep_script_runs_unplaced", "Live runs without a worker at the moment.", Gauge, scripts.runs_unplaced as f64);
        add("lockstep_workers_ready", "Script workers that take runs.", Gauge, scripts.workers_ready as f64);
        add("lockstep_worker_deaths_total", "Script workers that died by themselves.", Counter, scripts.worker_deaths as f64);
        add(
            "lockstep_worker_kills_total",
            "Script workers killed for a turn over its limit.",
            Counter,
            scripts.worker_kills as f64,
        );
        add("lockstep_rebuilds_total", "Runs rebuilt from their journals.", Counter, scripts.rebuilds as f64);
        add("lockstep_divergences_total", "Rebuilds that did not repeat the journal.", Counter, scripts.divergences as f64);
        add("lockstep_turns_total", "Turns of scripts, repeated ones included.", Counter, scripts.turns as f64);
        add("lockstep_turn_cpu_seconds_total", "CPU time of all turns.", Counter, scripts.turn_cpu_us as f64 / 1e6);

        let (written, lost) = self.keeping.journals.as_ref().map_or((0, 0), Journals::counts);
        add("lockstep_journals_written_total", "Pieces of journals written to the store.", Counter, written as f64);
        add("lockstep_journals_lost_total", "Pieces of journals that were not written.", Counter, lost as f64);
        add("lockstep_journals_behind", "Calls and pieces that are not on disk yet.", Gauge, self.keeping.behind() as f64);

        let exchange = self.exchange.borrow();
        let sip = exchange.endpoint.stats();
        add("lockstep_sip_requests_received_total", "SIP requests received.", Counter, sip.requests_received as f64);
        add("lockstep_sip_responses_received_total", "SIP responses received.", Counter, sip.responses_received as f64);
        add("lockstep_sip_malformed_total", "SIP messages that could not be understood.", Counter, sip.malformed as f64);
        add("lockstep_sip_unmatched_total", "Responses and ACKs that belong to nothing known.", Counter, sip.unmatched as f64);
        add(
            "lockstep_sip_retransmissions_received_total",
            "Repeated requests absorbed.",
            Counter,
            sip.retransmissions_received as f64,
        );
        add("lockstep_sip_retransmissions_sent_total", "Messages of ours sent again.", Counter, sip.retransmissions_sent as f64);
        add("lockstep_sip_overloaded_total", "Requests answered 503 without state.", Counter, sip.overloaded as f64);
        add("lockstep_sip_failovers_total", "Requests that went to a further destination.", Counter, sip.failovers as f64);
        add("lockstep_sip_ack_timeouts_total", "2xx responses that were never acknowledged.", Counter, sip.ack_timeouts as f64);
        add("lockstep_sip_dialogs", "Dialogs alive.", Gauge, exchange.endpoint.dialog_count() as f64);
        add("lockstep_sip_transactions", "Transactions alive.", Gauge, exchange.endpoint.transaction_count() as f64);
        add("lockstep_registrations", "Devices registered here.", Gauge, exchange.registrar.len() as f64);
        let (registered, wanted) = self.trunks.registered(exchange.now.instant);
        add("lockstep_gateways_registered", "Gateways we are registered with.", Gauge, registered as f64);
        add("lockstep_gateways_to_register", "Gateways we should be registered with.", Gauge, wanted as f64);

        for (why, count) in self.refusals.totals() {
            metrics.push(Metric {
                name: "lockstep_refused_total",
                help: "Requests refused, by reason.",
                kind: Counter,
                labels: vec![("reason", why.name().to_owned())],
                value: count as f64,
            });
        }
        metrics.extend(exchange.world.metrics());
        StatsSnapshot { metrics }
    }
}
