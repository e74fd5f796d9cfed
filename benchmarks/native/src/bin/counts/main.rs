//! Fixed works, to count their instructions under callgrind.
//!
//!     counts                       prints the names of the works
//!     counts WORK REPETITIONS      does one, so often, and prints what that was
//!
//! Only what happens inside of [`counted`] is to be counted, by `--toggle-collect`: not what
//! prepares a repetition, nor what checks that it has done all that it should, nor other threads.
//! Nothing here depends on a time, on chance or on another process, and so the counts do not.
//!
//! The first repetitions are not counted: buffers grow in them, and what is found out about the
//! processor is found out.

mod codec;
mod serving;

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write};

use codec::{Decode, Encode, Mask, Validate};
use handy_ws_benchmarks::frames::Payload;
use serving::{Broadcast, Echo};

type Outcome = Result<(), Box<dyn Error>>;

const UNCOUNTED: usize = 3;
const USAGE: &str = "usage: counts [WORK REPETITIONS]";

fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            let names: Vec<String> = works().map(|(name, ..)| format!("\"{name}\"")).collect();
            writeln!(io::stdout(), "[{}]", names.join(", "))?;
        }
        [name, repetitions] => {
            let (_, unit, make) = works().find(|(known, ..)| known == name).ok_or(USAGE)?;
            let repetitions = repetitions.parse()?;
            let mut work = make()?;
            let takeovers = repeat(&mut *work, repetitions)?;
            let units = work.units() * repetitions;
            writeln!(
                io::stdout(),
                r#"{{"unit": "{unit}", "units": {units}, "takeovers": {takeovers}}}"#
            )?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// What can be done again and again.
trait Work {
    /// What one repetition counts for: so many messages, say.
    fn units(&self) -> usize;

    /// Has everything ready for the next repetition.
    fn prepare(&mut self) -> Outcome;

    /// Does it.
    fn work(&mut self) -> Outcome;

    /// Sees that it was done.
    fn check(&mut self) -> Outcome;

    /// How often another thread has done a part of it. Of that, nothing is counted.
    fn takeovers(&self) -> u64 {
        0
    }
}

/// Returns how often another thread has interfered with what was counted.
fn repeat(work: &mut dyn Work, repetitions: usize) -> Result<u64, Box<dyn Error>> {
    for _ in 0..UNCOUNTED {
        work.prepare()?;
        work.work()?;
        work.check()?;
    }
    let before = work.takeovers();
    for _ in 0..repetitions {
        work.prepare()?;
        counted(work)?;
        work.check()?;
    }
    Ok(work.takeovers() - before)
}

/// By its name callgrind knows when to count.
#[inline(never)]
fn counted(work: &mut dyn Work) -> Outcome {
    // It has to return here: the end of the function is the end of counting.
    black_box(work.work())
}

type Make = fn() -> Result<Box<dyn Work>, Box<dyn Error>>;

/// Each with its name, and what is counted.
fn works() -> impl Iterator<Item = (&'static str, &'static str, Make)> {
    let works: [(_, _, Make); 15] = [
        ("decode-small", "message", || Ok(Box::new(Decode::small()))),
        ("decode-large", "message", || Ok(Box::new(Decode::large()))),
        ("decode-fragments", "message", || Ok(Box::new(Decode::fragments()))),
        ("encode-small", "message", || Ok(Box::new(Encode::new(64, 32)))),
        ("encode-large", "message", || Ok(Box::new(Encode::new(1, 65_536)))),
        ("mask", "16 KiB", || Ok(Box::new(Mask::new()))),
        ("utf8-ascii", "16 KiB", || Ok(Box::new(Validate::whole(Payload::Ascii)))),
        ("utf8-mixed", "16 KiB", || Ok(Box::new(Validate::whole(Payload::Mixed)))),
        ("utf8-ascii-pieces", "16 KiB", || Ok(Box::new(Validate::in_pieces(Payload::Ascii)))),
        ("utf8-mixed-pieces", "16 KiB", || Ok(Box::new(Validate::in_pieces(Payload::Mixed)))),
        ("echo", "message", || Ok(Box::new(Echo::new(64, 1, 32)?))),
        ("echo-deep", "message", || Ok(Box::new(Echo::new(16, 16, 32)?))),
        ("echo-large", "message", || Ok(Box::new(Echo::new(8, 1, 16_384)?))),
        ("broadcast", "delivery", || Ok(Box::new(Broadcast::new(1)?))),
        ("broadcast-burst", "delivery", || Ok(Box::new(Broadcast::new(16)?))),
    ];
    works.into_iter()
}
