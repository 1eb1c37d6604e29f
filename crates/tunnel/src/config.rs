//! The settings of the SSH server, and what russh is told.
//!
//! Owns: defaults with their reasons. Does not own: where settings come from; the binary reads them.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve};
use russh::server::Config;
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

use crate::keyfile::HostKeys;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Settings of the SSH server. [`TunnelConfig::default`] is what a newcomer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Bytes that a camera may send on one channel before we grant more: 256 KiB to 4 MiB. 1 MiB is 5.6 s of video at 1.5 Mbit/s: little is
    /// in flight on a slow uplink, so that the camera's own queue fills and whole pictures are dropped there.
    pub window: u32,
    /// From the accepted connection to a proven key: 20 s (P9). russh has no such limit: any packet resets its inactivity timer.
    pub login_grace: Duration,
    /// How long a rejected key waits for its answer: 1 s. The probe without a key is answered at once.
    pub auth_rejection: Duration,
    /// How often a silent peer is asked for a sign of life: 15 s, never less than that in production, because a slow login would see it
    /// before authentication, on which dropbear exits.
    pub keepalive_interval: Duration,
    /// Unanswered signs of life before the session is lost: 3, so 60 s of silence in all.
    pub keepalive_max: usize,
    /// A write that makes no progress ends the session: 90 s. The only limit on a write to a dead peer.
    pub write_timeout: Duration,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`): 30 s.
    pub user_timeout: Duration,
    /// Connections without a proven key, in all: 4,096 (S9).
    pub unauthenticated: usize,
    /// Connections without a proven key per /24, /48 and /64: 1,024 (S9).
    pub unauthenticated_per_prefix: usize,
    /// Whether a key is taken under its camera's own name alone (S1): for an installation of several tenants, two of which may have one key. False:
    /// a name of no camera passes with the key of exactly one.
    pub names_required: bool,
    /// Whether networks that fail are held off for seconds to minutes, after OpenSSH's model; never one with a live session.
    pub penalties: bool,
    /// Channels of a session, the peer's and ours: 16.
    pub channels: usize,
    /// Remote forwards of a session: 4.
    pub forwards: usize,
    /// Sessions of a camera that do not serve: 4 without a forward, and 4 that wait for their claim. One more ends the oldest.
    pub idle_sessions: usize,
    /// Bytes that wait for their reader, per channel: 4 MiB (S10). At least two windows.
    pub queued_per_channel: usize,
    /// Bytes that wait for their reader, per session: 8 MiB (S10).
    pub queued_per_session: usize,
    /// Bytes that wait for their reader, per tenant: 256 MiB (S10).
    pub queued_per_tenant: usize,
    /// Bytes that wait for their reader, in all: 512 MiB (S10). Over a bound the fullest channel under it closes.
    pub queued: usize,
    /// How long a camera may take to accept a stream: 10 s.
    pub open_deadline: Duration,
    /// How long [`moorline_core::port::Landings::connect`] waits for an absent camera: 30 s.
    pub away_deadline: Duration,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        TunnelConfig {
            window: 1 << 20,
            login_grace: Duration::from_secs(20),
            auth_rejection: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(15),
            keepalive_max: 3,
            write_timeout: Duration::from_secs(90),
            user_timeout: Duration::from_secs(30),
            unauthenticated: 4096,
            unauthenticated_per_prefix: 1024,
            names_required: false,
            penalties: true,
            channels: 16,
            forwards: 4,
            idle_sessions: 4,
            queued_per_channel: 4 * MIB,
            queued_per_session: 8 * MIB,
            queued_per_tenant: 256 * MIB,
            queued: 512 * MIB,
            open_deadline: Duration::from_secs(10),
            away_deadline: Duration::from_secs(30),
        }
    }
}

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {expected}")]
pub struct InvalidConfig {
    /// The field of [`TunnelConfig`].
    pub field: &'static str,
    /// What was given.
    pub value: usize,
    /// What would be right.
    pub expected: &'static str,
}

impl TunnelConfig {
    /// Looks for settings that cannot work.
    ///
    /// # Errors
    /// [`InvalidConfig`], the first that is wrong.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let window = usize::try_from(self.window).unwrap_or(usize::MAX);
        let checks = [
            (
                (256 * KIB..=4 * MIB).contains(&window),
                "window",
                window,
                "must lie between 256 KiB and 4 MiB",
            ),
            (
                self.queued_per_channel >= 2 * window,
                "queued_per_channel",
                self.queued_per_channel,
                "must be at least two windows",
            ),
            (
                self.unauthenticated >= 2,
                "unauthenticated",
                self.unauthenticated,
                "must be at least 2",
            ),
            (
                self.unauthenticated_per_prefix >= 1,
                "unauthenticated_per_prefix",
                self.unauthenticated_per_prefix,
                "must be at least 1",
            ),
            (
                self.channels >= 2,
                "channels",
                self.channels,
                "must be at least 2: the monitor's and one stream",
            ),
            (
                self.forwards >= 1,
                "forwards",
                self.forwards,
                "must be at least 1",
            ),
        ];
        for (right, field, value, expected) in checks {
            if !right {
                return Err(InvalidConfig {
                    field,
                    value,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// What russh is told. Facts and reasons of each value: docs/design/tunnel.md.
    pub(crate) fn ssh(&self, keys: &HostKeys) -> Config {
        Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Moorline")),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: self.auth_rejection,
            // Unset, it delays the `none` probe of dbclient and ssh too: 1018 ms to a usable tunnel instead of 21 ms.
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: keys.ssh(),
            certificates: Vec::new(),
            window_size: self.window,
            // dropbear sends at most 16384, OpenSSH 32768.
            maximum_packet_size: 32768,
            // The read half of each channel is dropped, so the first holds nothing.
            channel_buffer_size: 64,
            event_buffer_size: 64,
            // The default hour is an hourly key exchange on a MIPS camera.
            limits: Limits::new(1 << 30, 1 << 30, Duration::from_secs(24 * 3600)),
            preferred: PREFERRED,
            // Counts rejections, the `none` probe too.
            max_auth_attempts: 3,
            inactivity_timeout: Some(self.write_timeout),
            keepalive_interval: Some(self.keepalive_interval),
            keepalive_max: self.keepalive_max,
            nodelay: true,
        }
    }
}

/// What we negotiate. The client's order decides among these.
const PREFERRED: Preferred = Preferred {
    // No finite-field DH (D(HE)at, and num-bigint is slow); every dropbear from 2016.74 on knows one of these. Strict kex is against Terrapin.
    kex: Cow::Borrowed(&[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ]),
    // Dropbear up to 2019.78 knows only the second; two algorithms let a pinned key be rotated.
    key: Cow::Borrowed(&[
        Algorithm::Ed25519,
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
    ]),
    host_key_certificates: Cow::Borrowed(&[]),
    // Old and small dropbears need CTR.
    cipher: Cow::Borrowed(&[
        cipher::CHACHA20_POLY1305,
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::AES_128_CTR,
        cipher::AES_256_CTR,
    ]),
    // No SHA-1: hmac-sha2-256 works from dropbear 2016.74 on.
    mac: Cow::Borrowed(&[
        mac::HMAC_SHA256_ETM,
        mac::HMAC_SHA512_ETM,
        mac::HMAC_SHA256,
        mac::HMAC_SHA512,
    ]),
    // Video does not compress: 7 times less CPU on cameras without.
    compression: Cow::Borrowed(&[compression::NONE]),
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests of strangers and of dead peers shorten these: what a newcomer gets stands here.
    #[test]
    fn a_silent_session_is_lost_after_60_s_and_a_stranger_gone_after_20() {
        let config = TunnelConfig::default();
        // Asked after each interval; the one after the last that may stay unanswered ends it.
        let asked = u32::try_from(config.keepalive_max).unwrap() + 1;
        assert_eq!(config.keepalive_interval * asked, Duration::from_secs(60));
        assert_eq!(config.login_grace, Duration::from_secs(20));
        // A write to a dead peer may not outlive the signs of life by much.
        assert!(config.user_timeout <= Duration::from_secs(60));
    }

    #[test]
    fn the_defaults_are_right_and_a_wrong_one_is_named() {
        assert_eq!(TunnelConfig::default().check(), Ok(()));
        let config = TunnelConfig {
            window: 1024,
            ..TunnelConfig::default()
        };
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "window = 1024: must lie between 256 KiB and 4 MiB"
        );
        let config = TunnelConfig {
            window: 4 << 20,
            ..TunnelConfig::default()
        };
        assert_eq!(config.check().unwrap_err().field, "queued_per_channel");
    }
}
