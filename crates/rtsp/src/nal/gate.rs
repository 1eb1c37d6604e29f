//! What a viewer gets after a loss: nothing until the next IDR, unless nothing referred to what was lost (docs/design/relay.md, Damage; promise P6).

use super::Marks;

/// Decides packet by packet whether a viewer gets it. One per video track; the archiver needs none.
///
/// ```text
/// Open ── loss of a picture that others need ──▶ Waiting ── first packet of an intact AU with an IDR ──▶ Open
///   └──── loss of a disposable picture: only its own packets are held back
/// ```
/// A picture's first packets may be out before it turns out damaged: that is the price of cut-through.
#[derive(Clone, Copy, Debug, Default)]
pub struct ViewerGate {
    waiting: bool,
    /// The access unit that is held back although the gate is open.
    held: Option<u32>,
    /// Packets that are known to be missing and that no other picture needs.
    forgiven: u16,
}

impl ViewerGate {
    /// Waits for an IDR: also what a reader does that fell behind.
    pub fn wait_for_idr(&mut self) {
        self.waiting = true;
    }

    /// Whether the next IDR is waited for.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// A packet was cut short and is the next hole in the sequence. `disposable` is what its first bytes say.
    pub fn lost(&mut self, timestamp: u32, disposable: bool) {
        self.forgiven = self.forgiven.saturating_add(u16::from(disposable));
        self.hold(timestamp, disposable);
    }

    fn hold(&mut self, timestamp: u32, disposable: bool) {
        if disposable {
            self.held = Some(timestamp);
        } else {
            self.waiting = true;
        }
    }

    /// Whether this packet goes out. Parameter sets open the gate too: they are the first packets of an IDR's access unit.
    pub fn admit(&mut self, marks: &Marks) -> bool {
        let broken = marks.damaged || (marks.gap > 0 && !marks.au_start);
        let missing = marks.gap.saturating_sub(self.forgiven);
        if marks.gap > 0 {
            self.forgiven = 0;
        }
        if broken {
            self.hold(marks.timestamp, marks.disposable);
            return false;
        }
        if self
            .held
            .is_some_and(|timestamp| timestamp == marks.timestamp)
        {
            return false;
        }
        self.held = None;
        if self.waiting && marks.au_start && (marks.idr || marks.parameter_sets) {
            self.waiting = false;
        } else if !self.waiting && missing > 0 {
            // Whole pictures are missing and nothing is known of them: the agent on the camera drops up to an IDR, others do not.
            self.waiting = !(marks.idr || marks.parameter_sets);
        }
        !self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(timestamp: u32) -> Marks {
        Marks {
            sequence: 0,
            timestamp,
            ssrc: 0,
            au_start: true,
            au_end: true,
            idr: false,
            parameter_sets: false,
            disposable: false,
            damaged: false,
            gap: 0,
            jumped: false,
        }
    }

    #[test]
    fn after_a_reference_picture_only_an_idr_goes_on() {
        let mut gate = ViewerGate::default();
        assert!(gate.admit(&marks(1)));
        assert!(!gate.admit(&Marks {
            damaged: true,
            ..marks(2)
        }));
        assert!(!gate.admit(&marks(3)));
        assert!(
            !gate.admit(&Marks {
                idr: true,
                au_start: false,
                ..marks(3)
            }),
            "not from the middle of a picture"
        );
        assert!(gate.admit(&Marks {
            parameter_sets: true,
            ..marks(4)
        }));
        assert!(gate.admit(&Marks {
            idr: true,
            au_start: false,
            ..marks(4)
        }));
    }

    #[test]
    fn a_disposable_picture_costs_only_itself() {
        let mut gate = ViewerGate::default();
        gate.lost(2, true);
        assert!(!gate.admit(&Marks {
            au_start: false,
            ..marks(2)
        }));
        assert!(gate.admit(&marks(3)));
        // A picture of one packet: the hole is behind it.
        gate.lost(4, true);
        assert!(gate.admit(&Marks { gap: 1, ..marks(5) }));
        assert!(
            !gate.admit(&Marks { gap: 1, ..marks(6) }),
            "another hole is not forgiven"
        );
    }

    #[test]
    fn missing_pictures_wait_for_an_idr() {
        let mut gate = ViewerGate::default();
        assert!(!gate.admit(&Marks { gap: 3, ..marks(2) }));
        assert!(gate.is_waiting());
        assert!(gate.admit(&Marks {
            idr: true,
            ..marks(3)
        }));
    }
}
