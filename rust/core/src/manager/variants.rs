//! One broadcast, as plain frames and compressed: once for each set of parameters, and never once a
//! client.

use std::sync::Arc;

use crate::proto::deflate::{DeflateSettings, OutboundDeflate, SharedDeflaters};

/// The forms that the frames of one broadcast take, each made when the first receiver needs it.
pub(super) struct Variants<'a> {
    frames: &'a [u8],
    plain: Option<Arc<[u8]>>,
    /// One for each set of parameters that has come so far.
    compressed: Vec<(DeflateSettings, Option<Arc<[u8]>>)>,
}

impl<'a> Variants<'a> {
    pub(super) const fn new(frames: &'a [u8]) -> Self {
        Self { frames, plain: None, compressed: Vec::new() }
    }

    /// The form for a receiver, which has agreed on compression or not.
    pub(super) fn choose(
        &mut self,
        receiver: Option<&mut OutboundDeflate>,
        deflaters: &mut SharedDeflaters,
    ) -> &Arc<[u8]> {
        let Self { frames, plain, compressed } = self;
        if let Some(deflate) = receiver {
            let settings = deflate.settings();
            let known = compressed.iter().position(|(key, _)| *key == settings);
            let index = known.unwrap_or_else(|| {
                let mut out = Vec::with_capacity(frames.len());
                let any = deflaters.compress(frames, settings, &mut out);
                compressed.push((settings, any.then(|| Arc::from(out))));
                compressed.len() - 1
            });
            if let Some(frames) = &compressed[index].1 {
                deflate.forget_history();
                return frames;
            }
        }
        plain.get_or_insert_with(|| Arc::from(*frames))
    }
}
