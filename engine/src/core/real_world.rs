//! The [`World`] of a running engine: tokio sockets, media threads, the prompt library, name servers, HTTP.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use lockstep_ctx_api::host::HostCall;
use lockstep_ctx_api::op::{FetchArgs, RecordFormat, TtsArgs};
use lockstep_ctx_api::{ErrorCode, OpError};
use lockstep_media::codec::Codec;
use lockstep_media::io::{LegId as MediaLeg, MediaPool, RecordingFile, RecordingFormat};
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::prompt::{PromptLibrary, Source};
use lockstep_media::stream::Command;
use lockstep_sip::net::{FlowId, Protocol, Transmit};
use lockstep_sip::resolve::{Resolver, Target};
use lockstep_sip::transport::Transports;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::handle::{Metric, MetricKind};
use super::world::{ApplicationCall, Arrival, Arrived, OpenedMedia, RecordingOrder, Ticket, World, prompt_error};
use crate::cdr::{self, Cdr};
use crate::class4::{Class4, Facts, RouteTable};
use crate::fetch::Fetcher;
use crate::host::{HostServices, RunContext};
use crate::runs::RunsHandle;
use crate::tts::Tts;

/// See the module.
pub(super) struct RealWorld {
    pub(super) transports: Rc<RefCell<Transports>>,
    pub(super) media: MediaPool,
    pub(super) prompts: PromptLibrary,
    pub(super) tts: Tts,
    pub(super) fetcher: Fetcher,
    pub(super) services: HostServices,
    pub(super) resolver: Resolver,
    pub(super) runs: RunsHandle,
    /// Absent where `[store] cdr_days` is 0.
    pub(super) records: Option<cdr::Keeper>,
    /// One arrival a ticket, and tickets are bounded by the operations of calls: this cannot grow without end.
    pub(super) arrivals: mpsc::UnboundedSender<Arrival>,
    pub(super) tasks: BTreeMap<Ticket, AbortHandle>,
    pub(super) listening: Vec<(Protocol, SocketAddr)>,
    pub(super) applications: mpsc::Sender<ApplicationCall>,
}

impl RealWorld {
    /// Runs `work` beside the core; its result comes as an arrival.
    fn spawn(&mut self, ticket: Ticket, work: impl Future<Output = Arrived> + 'static) {
        let arrivals = self.arrivals.clone();
        let task = tokio::task::spawn_local(async move {
            let what = work.await;
            // The core is gone only when the engine stops.
            let _ = arrivals.send(Arrival { ticket, what });
        });
        self.tasks.insert(ticket, task.abort_handle());
    }
}

impl World for RealWorld {
    fn transmit(&mut self, transmit: Transmit) -> Result<Option<FlowId>, String> {
        self.transports.borrow_mut().send(transmit).map_err(|error| error.to_string())
    }

    fn keep_flow(&mut self, flow: FlowId) {
        self.transports.borrow_mut().keep_flow(flow);
    }

    fn local_for(&mut self, protocol: Protocol, remote: SocketAddr) -> Option<SocketAddr> {
        self.transports.borrow_mut().local_for(protocol, remote)
    }

    fn listening(&self) -> &[(Protocol, SocketAddr)] {
        &self.listening
    }

    fn admit(&mut self, now: Instant, local: IpAddr) -> Result<(), String> {
        self.media.admit(now, local).map_err(|refusal| refusal.to_string())
    }

    fn open_media(&mut self, now: Instant, local: IpAddr, near: Option<MediaLeg>) -> Result<OpenedMedia, String> {
        let leg = self.media.open_leg(now, local, near).map_err(|error| error.to_string())?;
        Ok(OpenedMedia { leg: leg.id, rtp: leg.rtp })
    }

    fn media(&mut self, leg: MediaLeg, command: Command) {
        if let Err(error) = self.media.send(leg, command) {
            tracing::warn!(?leg, %error, "a media thread did not take a command");
        }
    }

    fn join(&mut self, a: MediaLeg, b: MediaLeg) {
        if let Err(error) = self.media.join(a, b) {
            tracing::warn!(?a, ?b, %error, "two legs were not joined");
        }
    }

    fn part(&mut self, leg: MediaLeg) {
        if let Err(error) = self.media.leave(leg) {
            tracing::debug!(?leg, %error, "a leg was gone before it was parted");
        }
    }

    fn close_media(&mut self, leg: MediaLeg) -> bool {
        self.media.close(leg);
        true
    }

    fn record(&mut self, order: RecordingOrder) -> Result<(), OpError> {
        let RecordingOrder { leg, id, options, within, path, format, codec, call } = order;
        let cannot = |why: String| OpError::new(ErrorCode::MediaError, format!("cannot record to {}: {why}", path.display()));
        let format = match format {
            RecordFormat::Wav => RecordingFormat::Wav,
            RecordFormat::Ogg => RecordingFormat::Ogg,
        };
        let file = RecordingFile { within, path: path.clone(), format, mark: call };
        self.media.record(leg, id, options, file, codec).map_err(|error| cannot(error.to_string()))
    }

    fn recorded(&mut self, path: &Path) {
        self.prompts.written(path);
    }

    fn audio_at_hand(&mut self, now: Instant, sources: &[Source], codec: Codec) -> Option<Vec<Arc<EncodedPrompt>>> {
        self.prompts.all_cached(now, sources, codec)
    }

    fn load_audio(&mut self, now: Instant, ticket: Ticket, sources: Vec<Source>, codec: Codec) {
        let load = self.prompts.load_all(now, sources, codec);
        self.spawn(ticket, async move { Arrived::Audio(load.await.map_err(|error| prompt_error(&error))) });
    }

    fn speak(&mut self, _now: Instant, ticket: Ticket, args: TtsArgs, codec: Codec) {
        let (tts, library) = (self.tts.clone(), self.prompts.clone());
        self.spawn(ticket, async move { Arrived::Audio(tts.prompt(&library, &args, codec).await.map(|prompt| vec![prompt])) });
    }

    fn resolve(&mut self, ticket: Ticket, target: Target, seed: u64) {
        let resolver = self.resolver.clone();
        self.spawn(
            ticket,
            async move { Arrived::NextHops(resolver.resolve(&target, seed).await.map_err(|error| error.to_string())) },
        );
    }

    fn fetch(&mut self, ticket: Ticket, account: &str, args: FetchArgs) {
        let (fetcher, account) = (self.fetcher.clone(), account.to_owned());
        self.spawn(ticket, async move { Arrived::Answered(fetcher.run(&account, args).await) });
    }

    fn call_host(&mut self, ticket: Ticket, context: RunContext, call: HostCall) {
        // Called here and not in the task: what two scripts ask for takes effect in the order in which they asked.
        let answer = self.services.call(&context, call);
        self.spawn(ticket, async move { Arrived::Answered(answer.await) });
    }

    fn route(&mut self, ticket: Ticket, table: Arc<RouteTable>, facts: Box<Facts>) {
        let class4 = Class4::new(&table, &self.runs);
        self.spawn(ticket, async move { Arrived::Routed(class4.route(&facts).await) });
    }

    fn keep_record(&mut self, record: Box<Cdr>) {
        if let Some(records) = &self.records {
            tokio::task::spawn_local(records.keep(*record));
        }
    }

    fn call_application(&mut self, call: ApplicationCall) -> Result<(), String> {
        self.applications.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => "too many calls wait for their applications".to_owned(),
            mpsc::error::TrySendError::Closed(_) => "no event socket serves applications".to_owned(),
        })
    }

    fn abandon(&mut self, ticket: Ticket) {
        if let Some(task) = self.tasks.remove(&ticket) {
            task.abort();
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let gauges = self.media.gauges();
        let sip = self.transports.borrow().stats();
        let metric = |name, help, kind, value: f64| Metric { name, help, kind, labels: Vec::new(), value };
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        let late = |q: f64| gauges.lateness.quantile(q).as_secs_f64();
        vec![
            metric("lockstep_media_legs", "Media legs that are open.", gauge, gauges.legs as f64),
            metric("lockstep_media_threads", "Media threads.", gauge, gauges.threads as f64),
            metric("lockstep_media_lateness_p50_seconds", "Half of all ticks came within this of their time.", gauge, late(0.5)),
            metric("lockstep_media_lateness_p99_seconds", "99 of 100 ticks came within this of their time.", gauge, late(0.99)),
            metric("lockstep_rtp_received_total", "Datagrams received on media ports.", counter, gauges.received as f64),
            metric("lockstep_rtp_sent_total", "Datagrams sent from media ports.", counter, gauges.sent as f64),
            metric(
                "lockstep_rtp_send_failures_total",
                "Datagrams the system would not take.",
                counter,
                gauges.send_failures as f64,
            ),
            metric(
                "lockstep_recording_blocks_dropped_total",
                "Half seconds of recordings lost because the disk fell behind.",
                counter,
                gauges.recording_blocks_dropped as f64,
            ),
            metric(
                "lockstep_cdrs_lost_total",
                "Records of calls that the store did not take.",
                counter,
                self.records.as_ref().map_or(0, cdr::Keeper::lost) as f64,
            ),
            metric("lockstep_descriptor_limit", "Descriptors the process may have.", gauge, gauges.descriptor_limit as f64),
            metric("lockstep_prompt_cache_bytes", "Encoded audio in memory.", gauge, self.prompts.cached_bytes() as f64),
            metric("lockstep_sip_connections", "Open SIP connections.", gauge, sip.connections as f64),
        ]
    }
}
