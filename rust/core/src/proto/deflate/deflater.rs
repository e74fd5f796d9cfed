//! Messages that go out compressed (RFC 7692, section 7.2.1).
//!
//! Compressing happens on the way from whole, plain frames to the output of a connection: a run of
//! frames becomes another run, in which the messages that are worth it are compressed. So a
//! broadcast is compressed once for all connections with the same [`DeflateSettings`], and what
//! is compressed twice is only what goes out under two sets of them.
//!
//! With context takeover a connection has a compressor of its own, from the first message on that
//! needs one. A frame that is shared with others was compressed without it: its history no longer
//! is what the peer has seen last, so it is forgotten, and begins anew with the next message. A
//! peer keeps more history than is used then, which is always allowed.

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use super::super::frame::{ServerFrame, encode_compressed_frame, server_frames};
use super::{MAX_WINDOW_BITS, MIN_WINDOW_BITS, TAIL};

/// zlib's memory level of a compressor that everybody shares: its default.
const SHARED_MEMORY_LEVEL: i32 = 8;

/// That of a compressor that belongs to one connection: 100 KB less, for blocks of 2,048 symbols.
const OWN_MEMORY_LEVEL: i32 = 5;

/// How much room there is for each step of compressing a message, in bytes.
const STEP: usize = 64 * 1024;

/// A scratch buffer that has grown beyond this is not kept.
const KEPT_SCRATCH: usize = 256 * 1024;

/// How a connection's messages are compressed. Those with equal settings share frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateSettings {
    /// zlib's level, 1 (fastest) to 9 (smallest).
    pub level: u8,
    /// The base-2 logarithm of the window, 9 to 15.
    pub window_bits: u8,
    /// Messages of fewer bytes are sent as they are.
    pub threshold: usize,
}

impl DeflateSettings {
    /// Whether any of these frames is worth compressing.
    fn apply_to(self, frames: &[u8]) -> bool {
        server_frames(frames).any(|frame| self.apply_to_frame(&frame))
    }

    fn apply_to_frame(self, frame: &ServerFrame<'_>) -> bool {
        // An empty message has no bytes to save, and zlib none to flush.
        !frame.opcode.is_control() && frame.payload.len() >= self.threshold.max(1)
    }
}

/// The outbound side of one connection's permessage-deflate.
#[derive(Debug)]
pub struct OutboundDeflate {
    /// What connections must have in common to share frames.
    settings: DeflateSettings,
    history: History,
}

/// What a compressor remembers of the messages before.
#[derive(Debug)]
enum History {
    /// Nothing, ever: the shared compressors do.
    None,
    /// With takeover; the compressor is made by the first message that needs it.
    Own(Option<Box<Deflater>>),
}

impl OutboundDeflate {
    /// The beginning of a connection.
    #[must_use]
    pub const fn new(settings: DeflateSettings, context_takeover: bool) -> Self {
        let history = if context_takeover { History::Own(None) } else { History::None };
        Self { settings, history }
    }

    /// What connections must have in common to share frames.
    #[must_use]
    pub const fn settings(&self) -> DeflateSettings {
        self.settings
    }

    /// Appends to `out` what becomes of whole frames that go to this connection alone.
    pub fn compress(&mut self, frames: &[u8], shared: &mut SharedDeflaters, out: &mut Vec<u8>) {
        let settings = self.settings;
        match &mut self.history {
            History::None => {
                shared.compress(frames, settings, out);
            }
            History::Own(_) if !settings.apply_to(frames) => out.extend_from_slice(frames),
            History::Own(own) => {
                let new = || Box::new(Deflater::new(settings, true));
                let deflater = own.get_or_insert_with(new);
                deflater.compress_frames(frames, settings, &mut shared.scratch, out);
            }
        }
    }

    /// Whether there is a compressor that nobody else uses.
    #[cfg(test)]
    pub(super) fn has_compressor(&self) -> bool {
        matches!(self.history, History::Own(Some(_)))
    }

    /// Whether a message may refer to those before it.
    #[must_use]
    pub const fn keeps_history(&self) -> bool {
        matches!(self.history, History::Own(_))
    }

    /// Notes that the peer gets compressed messages that others get too, or that it does not get
    /// what was compressed last.
    pub fn forget_history(&mut self) {
        if let History::Own(Some(deflater)) = &mut self.history {
            deflater.forget_history();
        }
    }
}

/// The compressors of all connections, one for each level and window, made when they are needed.
#[derive(Debug, Default)]
pub struct SharedDeflaters {
    /// At most 63, and hardly ever more than one.
    deflaters: Vec<Deflater>,
    /// The payload of one message at a time.
    scratch: Vec<u8>,
}

impl SharedDeflaters {
    /// Compressors that take no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { deflaters: Vec::new(), scratch: Vec::new() }
    }

    /// How many compressors there are.
    #[cfg(test)]
    pub(super) fn deflaters(&self) -> usize {
        self.deflaters.len()
    }

    /// Appends to `out` what becomes of whole frames for all connections with these settings.
    /// Returns whether any of them was compressed.
    pub fn compress(
        &mut self,
        frames: &[u8],
        settings: DeflateSettings,
        out: &mut Vec<u8>,
    ) -> bool {
        if !settings.apply_to(frames) {
            out.extend_from_slice(frames);
            return false;
        }
        let fits = |deflater: &Deflater| deflater.has(settings);
        let index = self.deflaters.iter().position(fits).unwrap_or_else(|| {
            self.deflaters.push(Deflater::new(settings, false));
            self.deflaters.len() - 1
        });
        let deflater = &mut self.deflaters[index];
        deflater.compress_frames(frames, settings, &mut self.scratch, out)
    }
}

/// A stream of raw DEFLATE.
struct Deflater {
    stream: Deflate,
    level: u8,
    window_bits: u8,
    /// Whether a message may refer to those before it.
    takeover: bool,
    /// Whether the history is to be forgotten before the next message.
    stale: bool,
}

impl Deflater {
    fn new(settings: DeflateSettings, takeover: bool) -> Self {
        let DeflateSettings { level, window_bits, threshold: _ } = settings;
        let config = DeflateConfig {
            level: i32::from(level.clamp(1, 9)),
            // Negative: without a header.
            window_bits: -i32::from(window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS)),
            mem_level: if takeover { OWN_MEMORY_LEVEL } else { SHARED_MEMORY_LEVEL },
            ..DeflateConfig::default()
        };
        let stream = Deflate::new_with_config(config);
        Self { stream, level, window_bits, takeover, stale: false }
    }

    fn has(&self, settings: DeflateSettings) -> bool {
        self.level == settings.level && self.window_bits == settings.window_bits
    }

    fn forget_history(&mut self) {
        self.stale = true;
    }

    /// Appends the frames to `out`, messages compressed where that is worth it. Returns whether
    /// any was.
    ///
    /// Without takeover what would get longer is sent as it is. With it, what was compressed is
    /// part of the history and has to be sent.
    fn compress_frames(
        &mut self,
        frames: &[u8],
        settings: DeflateSettings,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut any = false;
        for frame in server_frames(frames) {
            let ServerFrame { opcode, payload, bytes } = frame;
            if settings.apply_to_frame(&frame)
                && self.compress(payload, scratch)
                && (self.takeover || scratch.len() < payload.len())
            {
                encode_compressed_frame(out, opcode, scratch);
                any = true;
            } else {
                out.extend_from_slice(bytes);
            }
        }
        scratch.shrink_to(KEPT_SCRATCH);
        any
    }

    /// Compresses one message into `out`, in place of what was there. False if zlib refuses, which
    /// it has no reason to do; then the history is forgotten, too.
    fn compress(&mut self, mut payload: &[u8], out: &mut Vec<u8>) -> bool {
        if std::mem::replace(&mut self.stale, !self.takeover) {
            self.stream.reset();
        }
        let mut length = 0;
        out.clear();
        loop {
            // DEFLATE makes nothing longer by more than this; the flush takes a few bytes.
            let room = (payload.len() + payload.len() / 8 + 64).min(STEP);
            out.resize(length + room, 0);
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let flush = DeflateFlush::SyncFlush;
            let Ok(_) = self.stream.compress(payload, &mut out[length..], flush) else { break };
            #[expect(clippy::cast_possible_truncation, reason = "lengths of slices")]
            let (read, written) = (
                (self.stream.total_in() - read) as usize,
                (self.stream.total_out() - written) as usize,
            );
            payload = &payload[read..];
            length += written;
            if written < room {
                break;
            }
        }
        out.truncate(length);
        let is_whole = payload.is_empty() && out.ends_with(&TAIL);
        self.stale |= !is_whole;
        out.truncate(length.saturating_sub(TAIL.len()));
        is_whole
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Deflater")
            .field("level", &self.level)
            .field("window_bits", &self.window_bits)
            .finish_non_exhaustive()
    }
}
