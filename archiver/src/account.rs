//! One recorder's [`Ledger`] on the spool: learns where the account begins, turns pieces into gap markers.
//!
//! The account begins where the last one of this process ended; at the first start of a camera where the monitor and the store say that
//! the archive ends. The store is asked beside the recording, which waits for nothing. A store that does not answer costs nothing either:
//! the gap that is then written may lie under media, and media beats a gap. Nor is a monitor waited for that cannot be heard, but for a
//! moment: in a cluster pictures of a new tunnel may come before the word of the replica that has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::clock::timeout;
use moorline_core::coverage::Held;
use moorline_core::port::{SegmentSink, WorkloadSpec};
use moorline_core::segment::{GapKey, ObjectKey, Place};
use moorline_core::status::OpenGap;
use moorline_core::{Cause, Generation, TimeRange, Timestamp};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::ledger::{Ledger, Own, Piece};
use crate::spool::{Lane, Spool};

/// The store gets so long to say where the archive ends.
const ASKING: Duration = Duration::from_secs(10);

/// The monitor's word is waited for so long: an archiver that is killed meanwhile loses the gap's cause with it.
const HOLD: Duration = Duration::from_secs(10);

/// What the monitor remembers is at most so old, or it is not the last that it knew.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// The account of one recorder.
pub(crate) struct Account {
    spool: Arc<Spool>,
    place: Place,
    lane: Lane,
    pub(crate) generation: Generation,
    /// The tunnel of the newest media.
    through: Option<Generation>,
    ledger: Option<Ledger>,
    asking: Option<JoinHandle<Option<Timestamp>>>,
    stretches: Vec<(OpenGap, Option<Timestamp>)>,
    own: Option<Own>,
    durable_until: Option<Timestamp>,
    recorded_from: Option<Timestamp>,
    created: Timestamp,
    started: Timestamp,
    /// Whether the monitor has been heard.
    heard: bool,
    /// Since when a gap has been held back.
    held: Option<Instant>,
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

impl Account {
    /// Begins to learn where the account begins.
    pub(crate) fn new(
        spool: &Arc<Spool>,
        sink: &Arc<dyn SegmentSink>,
        place: Place,
        spec: &WorkloadSpec,
    ) -> Self {
        let lane = Lane {
            camera: place.camera.clone(),
            tier: place.tier,
        };
        let (sink, clock, of) = (Arc::clone(sink), Arc::clone(&spool.clock), place.clone());
        let known = spool.stock(|stock| stock.cursor(&lane));
        let asking = known.is_none().then(|| {
            let asking = async move {
                let classes = [of.retention];
                let asked = sink.last_end(&of.camera, &classes, of.tier);
                match timeout(&*clock, ASKING, asked).await {
                    Ok(Ok(end)) => end,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the store does not say where the archive ends");
                        None
                    }
                    Err(_) => {
                        tracing::warn!("the store does not say where the archive ends: no answer");
                        None
                    }
                }
            };
            tokio::spawn(asking.in_current_span())
        });
        Self {
            spool: Arc::clone(spool),
            started: Timestamp::from_millis(spool.clock.wall_ms()),
            place,
            lane,
            generation: spec.generation,
            through: None,
            ledger: None,
            asking,
            stretches: spec.gaps.clone(),
            own: None,
            durable_until: spec.durable_until,
            recorded_from: spec.recorded_from,
            created: spec.camera.created,
            heard: true,
            held: None,
        }
    }

    /// Whether all that the monitor of the present tunnel has to say has been heard.
    pub(crate) fn heard(&mut self, heard: bool) {
        self.heard = heard;
        if heard {
            self.held = None;
        }
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The monitor's word: the cause since then, or media again from now on.
    pub(crate) fn cause(&mut self, gap: Option<OpenGap>, now: Timestamp) {
        match (&mut self.ledger, gap) {
            (Some(ledger), Some(gap)) => ledger.cause(gap.since, Some(gap.cause)),
            (Some(ledger), None) => ledger.cause(now, None),
            (None, gap) => {
                let open = self.stretches.last_mut().filter(|(_, end)| end.is_none());
                if let Some((open, end)) = open {
                    *end = Some(gap.map_or(now, |gap| gap.since.max(open.since)));
                }
                self.stretches.extend(gap.map(|gap| (gap, None)));
            }
        }
    }

    /// What the recorder itself knows of the stretch without media.
    pub(crate) fn own(&mut self, own: Own) {
        match &mut self.ledger {
            Some(ledger) => ledger.own(own),
            None => self.own = Some(own),
        }
    }

    /// A segment begins at `start`: writes the markers of the gap before it. It is sealed a minute later, by the next process if this one
    /// is killed; the store then says that the archive ends with it, and nobody would look for what is missing before. Where its seal
    /// dates it a little earlier, media beats the gap. Returns whether that is done: neither the store's answer nor the monitor's word is waited
    /// for here.
    pub(crate) async fn begins(&mut self, start: Timestamp, generation: Generation) -> bool {
        if self.is_asking() || self.holds_back() {
            return false;
        }
        let mut keys = self.settle(Some(start)).await;
        self.comes_through(generation);
        if let Some(ledger) = &mut self.ledger {
            let pieces = ledger.begins(start);
            keys.extend(pieces.into_iter().map(|piece| self.key(piece)));
        }
        self.write(keys).await;
        true
    }

    /// Media of this tunnel follows. Where it is another one than before, the time between had none: a monitor that ended with its tunnels had no
    /// time to say so.
    fn comes_through(&mut self, generation: Generation) {
        let before = self.through;
        self.through = before.max(Some(generation));
        if let Some(ledger) = &mut self.ledger
            && before.is_some_and(|before| before < generation)
        {
            ledger.own_unless_known(Cause::TunnelDown);
        }
    }

    /// A segment that came through the tunnel `generation` is about to be sealed: the markers that must be written before it.
    pub(crate) async fn media(&mut self, range: TimeRange, generation: Generation) -> Vec<GapKey> {
        self.held = None;
        let mut keys = self.settle(Some(range.from)).await;
        self.comes_through(generation);
        if let Some(ledger) = &mut self.ledger {
            let pieces = ledger.media(range);
            keys.extend(pieces.into_iter().map(|piece| self.key(piece)));
        }
        keys
    }

    /// The segment and its markers are in the spool: everything up to its end is accounted for.
    pub(crate) fn publish(&self) {
        if let Some(ledger) = &self.ledger {
            let (cursor, ahead) = (ledger.cursor(), ledger.ahead());
            self.spool
                .stock(|stock| stock.set_cursor(&self.lane, cursor, ahead));
            self.spool.tell();
        }
    }

    /// Nothing is being recorded at `now`: writes the full hours that have passed so. Does not wait for the store.
    pub(crate) async fn hours(&mut self, now: Timestamp) {
        if self.is_asking() {
            return;
        }
        let begun = self.ledger.is_some();
        let mut keys = self.settle(None).await;
        if let Some(ledger) = &mut self.ledger {
            let pieces = ledger.hours(now);
            keys.extend(pieces.into_iter().map(|piece| self.key(piece)));
        }
        if !begun || !keys.is_empty() {
            self.write(keys).await;
        }
    }

    /// The monitor may yet say why something is missing.
    fn holds_back(&mut self) -> bool {
        if self.heard {
            return false;
        }
        let now = self.spool.clock.monotonic();
        let since = *self.held.get_or_insert(now);
        let holds = now.saturating_duration_since(since) < HOLD;
        if !holds {
            self.held = None;
        }
        holds
    }

    /// The store has not yet said where the archive ends.
    fn is_asking(&self) -> bool {
        let asking = self.asking.as_ref();
        asking.is_some_and(|asking| !asking.is_finished())
    }

    async fn write(&self, keys: Vec<GapKey>) {
        if keys.is_empty() {
            return self.publish();
        }
        let spool = Arc::clone(&self.spool);
        let written = self.spool.disk.run(move || {
            for key in keys {
                spool.write_gap(key);
            }
        });
        if written.await.is_ok() {
            self.publish();
        }
    }

    /// Begins the account, if it has not begun: with what lies in the spool already, and the gaps between.
    async fn settle(&mut self, first: Option<Timestamp>) -> Vec<GapKey> {
        if self.ledger.is_some() {
            return Vec::new();
        }
        let stored = match self.asking.take() {
            Some(asking) => asking.await.ok().flatten(),
            None => None,
        };
        let (cursor, (segments, markers)) = self
            .spool
            .stock(|stock| (stock.cursor(&self.lane), stock.view(&self.lane)));
        let mut known: Vec<(TimeRange, Option<Timestamp>)> = markers
            .iter()
            .map(|key| (key.range(), None))
            .chain(
                segments
                    .iter()
                    .filter(|segment| segment.held == Held::Spool)
                    .map(|segment| (segment.key.range(), None)),
            )
            .collect();
        // what was torn may have been uploaded meanwhile
        for found in self.spool.take_found(&self.lane) {
            let ObjectKey::Segment(key) = &found.key else {
                continue;
            };
            known.retain(|(range, _)| *range != key.range());
            known.push((key.range(), found.torn));
        }
        known.sort_by_key(|(range, _)| *range);
        let earliest = [
            known.first().map(|(range, _)| range.from),
            self.stretches.first().map(|(gap, _)| gap.since),
            first,
        ];
        // The monitor's word reaches further than ours where the camera was recorded in another tier meanwhile.
        let origin = cursor
            .max(self.durable_until)
            .max(self.beyond(stored))
            .or_else(|| earliest.into_iter().flatten().min())
            .unwrap_or(self.started);
        // Before that another stream was recorded: this one was off, which is nobody's gap.
        let origin = self.recorded_from.map_or(origin, |from| origin.max(from));
        // Nor is anything missing of the time before the camera was added, be it again.
        let origin = origin.max(self.created);
        let mut ledger = Ledger::new(origin, &self.stretches);
        ledger.was_ahead(self.spool.stock(|stock| stock.ahead(&self.lane)));
        if let Some(own) = self.own.take() {
            ledger.own(own);
        }
        let mut pieces = Vec::new();
        for (range, torn) in known {
            pieces.extend(ledger.known(range));
            if let Some(until) = torn {
                pieces.extend(ledger.cut_by_crash(until));
            }
        }
        self.ledger = Some(ledger);
        pieces.into_iter().map(|piece| self.key(piece)).collect()
    }

    /// The end of the archive, unless the monitor remembers a little less to be durable: then a marker that the full disk did not take is
    /// missing before that end. A marker under media does no harm, but where that memory is old, such as a restored one, it would hide
    /// older markers.
    fn beyond(&self, stored: Option<Timestamp>) -> Option<Timestamp> {
        let known = self.durable_until;
        stored.filter(|end| known.is_none_or(|known| end.since(known) > MEMORY))
    }

    fn key(&self, piece: Piece) -> GapKey {
        GapKey {
            place: self.place.clone(),
            start: piece.range.from,
            duration: piece.range.duration(),
            generation: self.generation,
            cause: piece.cause,
        }
    }
}
