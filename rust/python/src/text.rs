//! A `str` of text that is known to be UTF-8.
//!
//! `CPython`'s decoder would validate it a second time, and copy what it has when it meets a character
//! that is too large for it. Here the largest byte tells what the string has to have room for.

use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// So much of a text is looked at together: if it is ASCII, it needs no decoding.
const CHUNK: usize = 16;

/// The `str` of a text.
pub(crate) fn to_str<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    if text.len() < 2 {
        Ok(PyString::new(py, text)) // there is one for all who have such a text
    } else if text.is_ascii() {
        ascii(py, text)
    } else {
        not_ascii(py, text)
    }
}

fn ascii<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: ASCII characters are the bytes that a text has.
    unsafe {
        string(py, text.len(), 0x7F, |places: &mut [MaybeUninit<u8>]| {
            for (place, byte) in places.iter_mut().zip(text.bytes()) {
                place.write(byte);
            }
        })
    }
}

#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the largest fits")]
fn not_ascii<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    let count = text.chars().count();
    // SAFETY: there are as many places as characters. And a character begins with a larger byte than
    // smaller ones do.
    unsafe {
        match text.bytes().max() {
            None | Some(..0xC4) => {
                string(py, count, 0xFF, |places| decode(text, places, |c| u32::from(c) as u8))
            }
            Some(..0xF0) => {
                string(py, count, 0xFFFF, |places| decode(text, places, |c| u32::from(c) as u16))
            }
            Some(_) => string(py, count, 0x10_FFFF, |places| decode(text, places, u32::from)),
        }
    }
}

/// A new string of that length, as `fill` fills it.
///
/// # Safety
///
/// The largest character needs units like `max`, and `fill` fills all.
unsafe fn string<U>(
    py: Python<'_>,
    length: usize,
    max: ffi::Py_UCS4,
    fill: impl FnOnce(&mut [MaybeUninit<U>]),
) -> PyResult<Bound<'_, PyString>> {
    // SAFETY: nobody else has seen the string, and it has room for so many units.
    unsafe {
        let size = ffi::Py_ssize_t::try_from(length)?;
        let string = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(size, max))?;
        let start = ffi::PyUnicode_DATA(string.as_ptr());
        fill(std::slice::from_raw_parts_mut(start.cast(), length));
        Ok(string.cast_into_unchecked())
    }
}

/// Puts each character into its place, as `unit` has it.
fn decode<U: From<u8>>(text: &str, mut places: &mut [MaybeUninit<U>], unit: impl Fn(char) -> U) {
    let mut rest = text;
    while !rest.is_empty() {
        let count = match rest.as_bytes().first_chunk::<CHUNK>() {
            Some(chunk) if chunk.is_ascii() => {
                for (place, &byte) in places.iter_mut().zip(chunk) {
                    place.write(U::from(byte));
                }
                rest = &rest[CHUNK..];
                CHUNK
            }
            _ => {
                let mut characters = rest.chars();
                let mut count = 0;
                for (place, character) in places.iter_mut().zip(characters.by_ref().take(CHUNK)) {
                    place.write(unit(character));
                    count += 1;
                }
                rest = characters.as_str();
                count
            }
        };
        places = &mut places[count..];
    }
}
